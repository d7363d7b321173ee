"""Gradient descent (Cauchy, 1847)."""

from lifecycle._jit import element

SLOTS: dict[str, str] = {}


def step(t, lr=1e-3, weight_decay=0.0, maximize=False):
    """Gradient descent: a step of length lr against the gradient.

    Parameters
    ----------
    lr : float
        Step size.
    weight_decay : float
        Added to the gradient as weight_decay * p.
    maximize : bool
        Go up instead of down.
    """
    return -1.0 if maximize else 1.0, weight_decay, lr


@element
def update(p, g, s):
    sign, l2, lr = s
    return (p - lr * (sign * g + l2 * p),)
