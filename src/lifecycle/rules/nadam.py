"""NAdam (Dozat, 2016): Adam with Nesterov's momentum."""

from math import sqrt as scalar_sqrt

from lifecycle._jit import element, sqrt

NAME = "NAdam"
SLOTS = {"exp_avg": "signed", "exp_avg_sq": "non-negative"}
SCALARS = {"mu_product": 1.0}


def step(
    t,
    lr=2e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    momentum_decay=4e-3,
    decoupled_weight_decay=False,
    maximize=False,
    mu_product=1.0,
):
    """NAdam: Adam that looks ahead along its mean gradient, with a momentum that grows towards beta1.

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
    momentum_decay : float
        How fast the momentum of step t, beta1 * (1 - 0.96**(t * momentum_decay) / 2), grows.
    decoupled_weight_decay : bool
        Take lr * weight_decay of the parameter away instead, as AdamW does.
    maximize : bool
        Go up instead of down.

    References
    ----------
    Dozat (2016), Incorporating Nesterov momentum into Adam.
    """
    b1, b2 = betas
    now = b1 * (1.0 - 0.5 * 0.96 ** (t * momentum_decay))
    then = b1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * momentum_decay))
    mu_product = mu_product * now
    root = scalar_sqrt(1.0 - b2**t)  # sqrt(v / c2) + eps = (sqrt(v) + eps * root) / root
    along, ahead = lr * root * (1.0 - now) / (1.0 - mu_product), lr * root * then / (1.0 - mu_product * then)
    l2, keep = (0.0, 1.0 - lr * weight_decay) if decoupled_weight_decay else (weight_decay, 1.0)
    return mu_product, -1.0 if maximize else 1.0, l2, keep, 1.0 - b1, 1.0 - b2, along, ahead, eps * root


@element
def update(p, g, exp_avg, exp_avg_sq, s):
    _, sign, l2, keep, c1, c2, along, ahead, eps = s
    g = sign * g + l2 * p
    exp_avg = exp_avg + c1 * (g - exp_avg)
    exp_avg_sq = exp_avg_sq + c2 * (g * g - exp_avg_sq)
    return keep * p - (along * g + ahead * exp_avg) / (sqrt(exp_avg_sq) + eps), exp_avg, exp_avg_sq
