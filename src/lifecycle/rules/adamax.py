"""Adamax (Kingma & Ba, 2015, section 7.1)."""

from lifecycle._jit import absolute, element, maximum

SLOTS = {"exp_avg": "signed", "exp_inf": "non-negative"}


def step(t, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, maximize=False):
    """Adamax: Adam with the largest recent gradient, decaying, in the place of the mean square.

    Parameters
    ----------
    lr : float
        Step size.
    betas : (float, float)
        Decay of the running mean of the gradient, and of its running maximum.
    eps : float
        Added to the gradient's size, for stability.
    weight_decay : float
        Added to the gradient as weight_decay * p.
    maximize : bool
        Go up instead of down.

    References
    ----------
    Kingma, Ba (2015), Adam: a method for stochastic optimization.
    """
    b1, b2 = betas
    return -1.0 if maximize else 1.0, weight_decay, 1.0 - b1, b2, lr / (1.0 - b1**t), eps


@element
def update(p, g, exp_avg, exp_inf, s):
    sign, l2, c1, b2, rate, eps = s
    g = sign * g + l2 * p
    exp_avg = exp_avg + c1 * (g - exp_avg)
    exp_inf = maximum(b2 * exp_inf, absolute(g) + eps)
    return p - rate * exp_avg / exp_inf, exp_avg, exp_inf
