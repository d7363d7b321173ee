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
        Factor of the buffer of past steps in each step; without it there is no buffer.
    centered : bool
        Divide by the root of the variance of the gradient instead: the square of its mean is subtracted.
    maximize : bool
        Maximize instead of minimize.

    References
    ----------
    Hinton (2012), Neural networks for machine learning, lecture 6e.
    Graves (2013), Generating sequences with recurrent neural networks.
    """
    grad_sign = -1.0 if maximize else 1.0
    one_minus_alpha = 1.0 - alpha
    return grad_sign, weight_decay, lr, one_minus_alpha, eps, momentum


@element
def update(p, g, square_avg, s):
    grad_sign, weight_decay, lr, one_minus_alpha, eps, _ = s
    g = grad_sign * g + weight_decay * p
    square_avg = square_avg + one_minus_alpha * (g * g - square_avg)
    return p - lr * g / (sqrt(square_avg) + eps), square_avg


@element
def update_momentum(p, g, square_avg, momentum_buffer, s):
    grad_sign, weight_decay, lr, one_minus_alpha, eps, momentum = s
    g = grad_sign * g + weight_decay * p
    square_avg = square_avg + one_minus_alpha * (g * g - square_avg)
    momentum_buffer = momentum * momentum_buffer + g / (sqrt(square_avg) + eps)
    return p - lr * momentum_buffer, square_avg, momentum_buffer


# In the centered variants rounding can make a variance negative: hence its absolute value.


@element
def update_centered(p, g, square_avg, grad_avg, s):
    grad_sign, weight_decay, lr, one_minus_alpha, eps, _ = s
    g = grad_sign * g + weight_decay * p
    square_avg = square_avg + one_minus_alpha * (g * g - square_avg)
    grad_avg = grad_avg + one_minus_alpha * (g - grad_avg)
    return p - lr * g / (sqrt(absolute(square_avg - grad_avg * grad_avg)) + eps), square_avg, grad_avg


@element
def update_centered_momentum(p, g, square_avg, grad_avg, momentum_buffer, s):
    grad_sign, weight_decay, lr, one_minus_alpha, eps, momentum = s
    g = grad_sign * g + weight_decay * p
    square_avg = square_avg + one_minus_alpha * (g * g - square_avg)
    grad_avg = grad_avg + one_minus_alpha * (g - grad_avg)
    momentum_buffer = momentum * momentum_buffer + g / (sqrt(absolute(square_avg - grad_avg * grad_avg)) + eps)
    return p - lr * momentum_buffer, square_avg, grad_avg, momentum_buffer


def variant(momentum=0.0, centered=False, **_):
    slots = dict(SLOTS)
    if centered:
        slots["grad_avg"] = "signed"
    if momentum:
        slots["momentum_buffer"] = "signed"
        return (update_centered_momentum if centered else update_momentum), slots
    return (update_centered if centered else update), slots
