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
        Share of the buffer that each step keeps; without it no buffer is kept.
    dampening : float
        Share of the gradient that does not enter the buffer (from the second step on).
    weight_decay : float
        Added to the gradient as weight_decay * p.
    nesterov : bool
        Look ahead: step along gradient + momentum * buffer. Needs momentum > 0 and dampening 0.
    maximize : bool
        Go up instead of down.

    References
    ----------
    Polyak (1964), Some methods of speeding up the convergence of iteration methods.
    Sutskever, Martens, Dahl, Hinton (2013), On the importance of initialization and momentum in deep learning.
    """
    # the buffer starts as the first gradient itself, undamped
    take = 1.0 if t == 1 else 1.0 - dampening
    along, ahead = (1.0, momentum) if nesterov else (0.0, 1.0)
    return -1.0 if maximize else 1.0, weight_decay, lr, momentum, take, along, ahead


@element
def update(p, g, momentum_buffer, s):
    sign, l2, lr, keep, take, along, ahead = s
    g = sign * g + l2 * p
    momentum_buffer = keep * momentum_buffer + take * g
    return p - lr * (along * g + ahead * momentum_buffer), momentum_buffer


@element
def without_momentum(p, g, s):
    return (p - s[2] * (s[0] * g + s[1] * p),)


def variant(momentum=0.0, dampening=0.0, nesterov=False, **_):
    if nesterov and (momentum <= 0 or dampening != 0):
        raise ValueError("nesterov=True needs momentum > 0 and dampening = 0")
    return (update, SLOTS) if momentum != 0 else (without_momentum, {})
