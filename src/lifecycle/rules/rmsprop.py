"""RMSprop (Hinton, 2012), plain, centered (Graves, 2013) and with momentum."""

from lifecycle._jit import absolute, element, sqrt

NAME = "RMSprop"
SLOTS = {"square_avg": "non-negative"}


def step(t, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, maximize=False):
    """RMSprop: each element steps by its gradient over the root of its mean squared gradient.

    Parameters
    ----------
    lr : float
        Step size.
    alpha : float
        Decay of the running means.
    eps : float
        Added to the root, for stability.
    weight_decay : float
        Added to the gradient as weight_decay * p.
    momentum : float
        Share of the buffer of past steps that each step keeps; without it no buffer is kept.
    centered : bool
        Divide by the root of the variance of the gradient instead: the square of its mean is taken off.
    maximize : bool
        Go up instead of down.

    References
    ----------
    Hinton (2012), Neural networks for machine learning, lecture 6e.
    Graves (2013), Generating sequences with recurrent neural networks.
    """
    return -1.0 if maximize else 1.0, weight_decay, lr, 1.0 - alpha, eps, momentum


@element
def update(p, g, square_avg, s):
    sign, l2, lr, take, eps, _ = s
    g = sign * g + l2 * p
    square_avg = square_avg + take * (g * g - square_avg)
    return p - lr * g / (sqrt(square_avg) + eps), square_avg


@element
def with_momentum(p, g, square_avg, momentum_buffer, s):
    sign, l2, lr, take, eps, keep = s
    g = sign * g + l2 * p
    square_avg = square_avg + take * (g * g - square_avg)
    momentum_buffer = keep * momentum_buffer + g / (sqrt(square_avg) + eps)
    return p - lr * momentum_buffer, square_avg, momentum_buffer


# rounding can push a variance below zero


@element
def centered_update(p, g, square_avg, grad_avg, s):
    sign, l2, lr, take, eps, _ = s
    g = sign * g + l2 * p
    square_avg = square_avg + take * (g * g - square_avg)
    grad_avg = grad_avg + take * (g - grad_avg)
    return p - lr * g / (sqrt(absolute(square_avg - grad_avg * grad_avg)) + eps), square_avg, grad_avg


@element
def centered_with_momentum(p, g, square_avg, grad_avg, momentum_buffer, s):
    sign, l2, lr, take, eps, keep = s
    g = sign * g + l2 * p
    square_avg = square_avg + take * (g * g - square_avg)
    grad_avg = grad_avg + take * (g - grad_avg)
    momentum_buffer = keep * momentum_buffer + g / (sqrt(absolute(square_avg - grad_avg * grad_avg)) + eps)
    return p - lr * momentum_buffer, square_avg, grad_avg, momentum_buffer


def variant(momentum=0.0, centered=False, **_):
    slots = {
        **SLOTS,
        **({"grad_avg": "signed"} if centered else {}),
        **({"momentum_buffer": "signed"} if momentum else {}),
    }
    if centered:
        return (centered_with_momentum if momentum else centered_update), slots
    return (with_momentum if momentum else update), slots
