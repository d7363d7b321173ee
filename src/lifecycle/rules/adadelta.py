"""Adadelta (Zeiler, 2012)."""

from lifecycle._jit import element, sqrt

SLOTS = {"square_avg": "non-negative", "acc_delta": "non-negative"}


def step(t, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, maximize=False):
    """Adadelta: the root of the mean squared step takes the place of a step size.

    Parameters
    ----------
    lr : float
        Factor of the step.
    rho : float
        Decay of the running means of the squared gradient and of the squared step.
    eps : float
        Added under both roots; it sets the size of the first steps.
    weight_decay : float
        Added to the gradient as weight_decay * p.
    maximize : bool
        Maximize instead of minimize.

    References
    ----------
    Zeiler (2012), Adadelta: an adaptive learning rate method.
    """
    grad_sign = -1.0 if maximize else 1.0
    one_minus_rho = 1.0 - rho
    return grad_sign, weight_decay, lr, one_minus_rho, eps


@element
def update(p, g, square_avg, acc_delta, s):
    grad_sign, weight_decay, lr, one_minus_rho, eps = s
    g = grad_sign * g + weight_decay * p
    square_avg = square_avg + one_minus_rho * (g * g - square_avg)
    delta = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * g
    return p - lr * delta, square_avg, acc_delta + one_minus_rho * (delta * delta - acc_delta)
