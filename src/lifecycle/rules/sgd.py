"""Stochastic gradient descent with momentum (Polyak, 1964) and Nesterov's variant (Sutskever et al., 2013)."""

from lifecycle._jit import element

SLOTS = {"momentum_buffer": "signed"}


def step(t, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    """Stochastic gradient descent with momentum, as in torch.optim.SGD.

    Parameters
    ----------
    lr : float
        Step size.
    momentum : float
        Factor of the buffer in each step; without it there is no buffer.
    dampening : float
        The gradient enters the buffer times 1 - dampening (from the second step on).
    weight_decay : float
        Added to the gradient as weight_decay * p.
    nesterov : bool
        Nesterov's momentum: step along gradient + momentum * buffer. Needs momentum > 0 and dampening 0.
    maximize : bool
        Maximize instead of minimize.

    References
    ----------
    Polyak (1964), Some methods of speeding up the convergence of iteration methods.
    Sutskever, Martens, Dahl, Hinton (2013), On the importance of initialization and momentum in deep learning.
    """
    grad_sign = -1.0 if maximize else 1.0
    one_minus_dampening = 1.0 if t == 1 else 1.0 - dampening  # the first gradient becomes the buffer, undamped
    grad_weight, buffer_weight = (1.0, momentum) if nesterov else (0.0, 1.0)
    return grad_sign, weight_decay, lr, momentum, one_minus_dampening, grad_weight, buffer_weight


@element
def update(p, g, momentum_buffer, s):
    grad_sign, weight_decay, lr, momentum, one_minus_dampening, grad_weight, buffer_weight = s
    g = grad_sign * g + weight_decay * p
    momentum_buffer = momentum * momentum_buffer + one_minus_dampening * g
    return p - lr * (grad_weight * g + buffer_weight * momentum_buffer), momentum_buffer


@element
def update_without_momentum(p, g, s):
    grad_sign, weight_decay, lr, _, _, _, _ = s
    return (p - lr * (grad_sign * g + weight_decay * p),)


def variant(momentum=0.0, dampening=0.0, nesterov=False, **_):
    if nesterov and (momentum <= 0 or dampening != 0):
        raise ValueError("nesterov=True needs momentum > 0 and dampening = 0")
    return (update, SLOTS) if momentum != 0 else (update_without_momentum, {})
