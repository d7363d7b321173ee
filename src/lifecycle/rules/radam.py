"""RAdam (Liu et al., 2020): Adam whose adaptive step size is rectified while its variance is large."""

from math import sqrt as scalar_sqrt

from lifecycle._jit import element, sqrt

NAME = "RAdam"
SLOTS = {"exp_avg": "signed", "exp_avg_sq": "non-negative"}


def step(t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False, maximize=False):
    """RAdam: Adam with a warm-up that follows from the variance of its adaptive step size.

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
        Multiply the parameter by 1 - lr * weight_decay instead, as AdamW does.
    maximize : bool
        Maximize instead of minimize.

    References
    ----------
    Liu, Jiang, He, Chen, Liu, Gao, Han (2020), On the variance of the adaptive learning rate and beyond.
    """
    beta1, beta2 = betas
    grad_sign = -1.0 if maximize else 1.0
    l2_penalty, decay_factor = (0.0, 1.0 - lr * weight_decay) if decoupled_weight_decay else (weight_decay, 1.0)
    one_minus_beta1, one_minus_beta2 = 1.0 - beta1, 1.0 - beta2
    bias_correction1, bias_correction2 = 1.0 - beta1**t, 1.0 - beta2**t
    step_size = lr / bias_correction1
    # lengths of the simple moving average that approximates exp_avg_sq: the largest, and that of step t
    rho_inf = 2.0 / (1.0 - beta2) - 1.0
    rho_t = rho_inf - 2.0 * t * beta2**t / bias_correction2
    adaptive_lr, plain_lr = 0.0, step_size
    if rho_t > 5.0:
        rectification_squared = (rho_t - 4.0) * (rho_t - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho_t)
        adaptive_lr, plain_lr = step_size * scalar_sqrt(rectification_squared * bias_correction2), 0.0
    return grad_sign, l2_penalty, decay_factor, one_minus_beta1, one_minus_beta2, adaptive_lr, plain_lr, eps


@element
def update(p, g, exp_avg, exp_avg_sq, s):
    grad_sign, l2_penalty, decay_factor, one_minus_beta1, one_minus_beta2, adaptive_lr, plain_lr, eps = s
    g = grad_sign * g + l2_penalty * p
    exp_avg = exp_avg + one_minus_beta1 * (g - exp_avg)
    exp_avg_sq = exp_avg_sq + one_minus_beta2 * (g * g - exp_avg_sq)
    p = decay_factor * p - (adaptive_lr / (sqrt(exp_avg_sq) + eps) + plain_lr) * exp_avg
    return p, exp_avg, exp_avg_sq
