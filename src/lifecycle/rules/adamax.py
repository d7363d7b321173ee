"""Adamax (Kingma & Ba, 2015, section 7.1)."""

from lifecycle._jit import absolute, element, maximum

SLOTS = {"exp_avg": "signed", "exp_inf": "non-negative"}


def step(t, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, maximize=False):
    """Adamax: Adam with a decaying maximum of |gradient| in place of the root of the mean square.

    Parameters
    ----------
    lr : float
        Step size.
    betas : (float, float)
        Decay of the running mean of the gradient, and of its running maximum.
    eps : float
        Added to |gradient|, for stability.
    weight_decay : float
        Added to the gradient as weight_decay * p.
    maximize : bool
        Maximize instead of minimize.

    References
    ----------
    Kingma, Ba (2015), Adam: a method for stochastic optimization.
    """
    beta1, beta2 = betas
    grad_sign = -1.0 if maximize else 1.0
    one_minus_beta1, bias_correction1 = 1.0 - beta1, 1.0 - beta1**t
    step_size = lr / bias_correction1
    return grad_sign, weight_decay, one_minus_beta1, beta2, step_size, eps


@element
def update(p, g, exp_avg, exp_inf, s):
    grad_sign, weight_decay, one_minus_beta1, beta2, step_size, eps = s
    g = grad_sign * g + weight_decay * p
    exp_avg = exp_avg + one_minus_beta1 * (g - exp_avg)
    exp_inf = maximum(beta2 * exp_inf, absolute(g) + eps)
    return p - step_size * exp_avg / exp_inf, exp_avg, exp_inf
