"""Adam (Kingma & Ba, 2015) and AMSGrad (Reddi, Kale & Kumar, 2018)."""

from math import sqrt as scalar_sqrt

from lifecycle._jit import element, maximum, sqrt

SLOTS = {"exp_avg": "signed", "exp_avg_sq": "non-negative"}


@element  # kernels of linear models call it, and so does the step of adamw
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
        Maximize instead of minimize.
    bias_correction : bool
        Divide the means by 1 - beta**t; without it the step is lr * exp_avg / (sqrt(exp_avg_sq) + eps).
    decoupled_weight_decay : bool
        Multiply the parameter by 1 - lr * weight_decay instead: AdamW.

    References
    ----------
    Kingma, Ba (2015), Adam: a method for stochastic optimization.
    Reddi, Kale, Kumar (2018), On the convergence of Adam and beyond.
    """
    beta1, beta2 = betas
    grad_sign = -1.0 if maximize else 1.0
    l2_penalty, decay_factor = (0.0, 1.0 - lr * weight_decay) if decoupled_weight_decay else (weight_decay, 1.0)
    one_minus_beta1, one_minus_beta2 = 1.0 - beta1, 1.0 - beta2
    bias_correction1, bias_correction2 = (1.0 - beta1**t, 1.0 - beta2**t) if bias_correction else (1.0, 1.0)
    bias_correction2_sqrt = scalar_sqrt(bias_correction2)
    # the form at the end of section 2 of Kingma & Ba: one rounded coefficient less
    step_size, eps_hat = lr * bias_correction2_sqrt / bias_correction1, eps * bias_correction2_sqrt
    return grad_sign, l2_penalty, decay_factor, one_minus_beta1, one_minus_beta2, step_size, eps_hat


# The means move towards the gradient by 1 - beta: beta itself, rounded to float32, would be off by 3e-5 of 1 - beta2.


@element
def update(p, g, exp_avg, exp_avg_sq, s):
    grad_sign, l2_penalty, decay_factor, one_minus_beta1, one_minus_beta2, step_size, eps_hat = s
    g = grad_sign * g + l2_penalty * p
    exp_avg = exp_avg + one_minus_beta1 * (g - exp_avg)
    exp_avg_sq = exp_avg_sq + one_minus_beta2 * (g * g - exp_avg_sq)
    return decay_factor * p - step_size * exp_avg / (sqrt(exp_avg_sq) + eps_hat), exp_avg, exp_avg_sq


@element
def update_amsgrad(p, g, exp_avg, exp_avg_sq, max_exp_avg_sq, s):
    grad_sign, l2_penalty, decay_factor, one_minus_beta1, one_minus_beta2, step_size, eps_hat = s
    g = grad_sign * g + l2_penalty * p
    exp_avg = exp_avg + one_minus_beta1 * (g - exp_avg)
    exp_avg_sq = exp_avg_sq + one_minus_beta2 * (g * g - exp_avg_sq)
    max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)
    p = decay_factor * p - step_size * exp_avg / (sqrt(max_exp_avg_sq) + eps_hat)
    return p, exp_avg, exp_avg_sq, max_exp_avg_sq


def variant(amsgrad=False, **_):
    return (update_amsgrad, {**SLOTS, "max_exp_avg_sq": "non-negative"}) if amsgrad else (update, SLOTS)
