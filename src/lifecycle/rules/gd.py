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
        Maximize instead of minimize.
    """
    grad_sign = -1.0 if maximize else 1.0
    return grad_sign, weight_decay, lr


@element
def update(p, g, s):
    grad_sign, weight_decay, lr = s
    return (p - lr * (grad_sign * g + weight_decay * p),)
