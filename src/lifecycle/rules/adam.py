"""Adam (Kingma & Ba, 2015) and AMSGrad (Reddi, Kale & Kumar, 2018)."""

from math import sqrt as scalar_sqrt

from lifecycle._jit import element, maximum, sqrt

SLOTS = {"exp_avg": "signed", "exp_avg_sq": "non-negative"}


@element  # adamw's step calls it, in kernels too
def step(
    t,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    maximize=False,
    bias_correction=True,
    decoupled_weight_decay=False,
):
    """Adam: each element steps by its mean gradient over the root of its mean squared gradient.

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
    amsgrad : bool
        Divide by the largest mean square so far.
    maximize : bool
        Go up instead of down.
    bias_correction : bool
        Divide the means by 1 - beta**t; without it the step is m / (sqrt(v) + eps).
    decoupled_weight_decay : bool
        Take lr * weight_decay of the parameter away instead: AdamW.

    References
    ----------
    Kingma, Ba (2015), Adam: a method for stochastic optimization.
    Reddi, Kale, Kumar (2018), On the convergence of Adam and beyond.
    """
    b1, b2 = betas
    c1, c2 = (1.0 - b1**t, 1.0 - b2**t) if bias_correction else (1.0, 1.0)
    root = scalar_sqrt(c2)  # (m / c1) / (sqrt(v / c2) + eps), with one rounded coefficient less
    l2, keep = (0.0, 1.0 - lr * weight_decay) if decoupled_weight_decay else (weight_decay, 1.0)
    return -1.0 if maximize else 1.0, l2, keep, 1.0 - b1, 1.0 - b2, lr * root / c1, eps * root


# The means move towards the gradient by 1 - beta: beta itself, rounded to float32, would be off by 3e-5 of 1 - beta2.


@element
def update(p, g, exp_avg, exp_avg_sq, s):
    sign, l2, keep, c1, c2, rate, eps = s
    g = sign * g + l2 * p
    exp_avg = exp_avg + c1 * (g - exp_avg)
    exp_avg_sq = exp_avg_sq + c2 * (g * g - exp_avg_sq)
    return keep * p - rate * exp_avg / (sqrt(exp_avg_sq) + eps), exp_avg, exp_avg_sq


@element
def update_amsgrad(p, g, exp_avg, exp_avg_sq, max_exp_avg_sq, s):
    sign, l2, keep, c1, c2, rate, eps = s
    g = sign * g + l2 * p
    exp_avg = exp_avg + c1 * (g - exp_avg)
    exp_avg_sq = exp_avg_sq + c2 * (g * g - exp_avg_sq)
    max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)
    return keep * p - rate * exp_avg / (sqrt(max_exp_avg_sq) + eps), exp_avg, exp_avg_sq, max_exp_avg_sq


def variant(amsgrad=False, **_):
    return (update_amsgrad, {**SLOTS, "max_exp_avg_sq": "non-negative"}) if amsgrad else (update, SLOTS)
