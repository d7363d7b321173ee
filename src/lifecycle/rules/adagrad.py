"""Adagrad (Duchi, Hazan & Singer, 2011)."""

from lifecycle._jit import element, sqrt

SLOTS = {"sum": "non-negative"}


def step(t, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, maximize=False):
    """Adagrad: each element steps by its gradient over the root of the sum of its squared gradients.

    Parameters
    ----------
    lr : float
        Step size.
    lr_decay : float
        Step t uses lr / (1 + (t - 1) * lr_decay).
    weight_decay : float
        Added to the gradient as weight_decay * p.
    initial_accumulator_value : float
        Where the sum starts.
    eps : float
        Added to the root, for stability.
    maximize : bool
        Maximize instead of minimize.

    References
    ----------
    Duchi, Hazan, Singer (2011), Adaptive subgradient methods for online learning and stochastic optimization.
    """
    grad_sign = -1.0 if maximize else 1.0
    step_size = lr / (1.0 + (t - 1.0) * lr_decay)
    return grad_sign, weight_decay, step_size, eps


@element
def update(p, g, sum, s):
    grad_sign, weight_decay, step_size, eps = s
    g = grad_sign * g + weight_decay * p
    sum = sum + g * g
    return p - step_size * g / (sqrt(sum) + eps), sum


def initial(initial_accumulator_value=0.0, **_):
    return {"sum": initial_accumulator_value}
