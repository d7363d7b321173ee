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
    """NAdam: Adam with Nesterov's momentum, which grows towards beta1.

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
        Multiply the parameter by 1 - lr * weight_decay instead, as AdamW does.
    maximize : bool
        Maximize instead of minimize.

    References
    ----------
    Dozat (2016), Incorporating Nesterov momentum into Adam.
    """
    beta1, beta2 = betas
    grad_sign = -1.0 if maximize else 1.0
    l2_penalty, decay_factor = (0.0, 1.0 - lr * weight_decay) if decoupled_weight_decay else (weight_decay, 1.0)
    one_minus_beta1, one_minus_beta2 = 1.0 - beta1, 1.0 - beta2
    mu = beta1 * (1.0 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * momentum_decay))
    mu_product = mu_product * mu
    bias_correction2_sqrt = scalar_sqrt(1.0 - beta2**t)
    # as in Adam, bias_correction2 is a factor of the step sizes and of eps
    grad_lr = lr * bias_correction2_sqrt * (1.0 - mu) / (1.0 - mu_product)
    avg_lr = lr * bias_correction2_sqrt * mu_next / (1.0 - mu_product * mu_next)
    eps_hat = eps * bias_correction2_sqrt
    return mu_product, grad_sign, l2_penalty, decay_factor, one_minus_beta1, one_minus_beta2, grad_lr, avg_lr, eps_hat


@element
def update(p, g, exp_avg, exp_avg_sq, s):
    _, grad_sign, l2_penalty, decay_factor, one_minus_beta1, one_minus_beta2, grad_lr, avg_lr, eps_hat = s
    g = grad_sign * g + l2_penalty * p
    exp_avg = exp_avg + one_minus_beta1 * (g - exp_avg)
    exp_avg_sq = exp_avg_sq + one_minus_beta2 * (g * g - exp_avg_sq)
    numerator = grad_lr * g + avg_lr * exp_avg
    return decay_factor * p - numerator / (sqrt(exp_avg_sq) + eps_hat), exp_avg, exp_avg_sq
