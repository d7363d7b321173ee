"""RAdam (Liu et al., 2020): Adam that trusts its mean square only when it has seen enough."""

from math import sqrt as scalar_sqrt

from lifecycle._jit import element, sqrt

NAME = "RAdam"
SLOTS = {"exp_avg": "signed", "exp_avg_sq": "non-negative"}


def step(t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False, maximize=False):
    """RAdam: Adam with a warm-up of its own, from the variance of its adaptive step size.

    Parameters
    ----------
    lr : float
        Step size.
    betas : (float, float)
        Decay of the running means of the gradient and of its square.
    eps : float
        Added to the root, for stability.
    weight_decay : float
        Added to the gradient as weight_decay * p.
    decoupled_weight_decay : bool
        Take lr * weight_decay of the parameter away instead, as AdamW does.
    maximize : bool
        Go up instead of down.

    References
    ----------
    Liu, Jiang, He, Chen, Liu, Gao, Han (2020), On the variance of the adaptive learning rate and beyond.
    """
    b1, b2 = betas
    c2 = 1.0 - b2**t
    rate = lr / (1.0 - b1**t)
    longest = 2.0 / (1.0 - b2) - 1.0
    length = longest - 2.0 * t * b2**t / c2  # of the simple moving average that the mean square is worth
    adaptive, plain = 0.0, rate
    if length > 5.0:
        share = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
        adaptive, plain = rate * scalar_sqrt(share * c2), 0.0
    l2, keep = (0.0, 1.0 - lr * weight_decay) if decoupled_weight_decay else (weight_decay, 1.0)
    return -1.0 if maximize else 1.0, l2, keep, 1.0 - b1, 1.0 - b2, adaptive, plain, eps


@element
def update(p, g, exp_avg, exp_avg_sq, s):
    sign, l2, keep, c1, c2, adaptive, plain, eps = s
    g = sign * g + l2 * p
    exp_avg = exp_avg + c1 * (g - exp_avg)
    exp_avg_sq = exp_avg_sq + c2 * (g * g - exp_avg_sq)
    return keep * p - (adaptive / (sqrt(exp_avg_sq) + eps) + plain) * exp_avg, exp_avg, exp_avg_sq
