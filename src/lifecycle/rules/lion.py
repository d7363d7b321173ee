"""Lion (Chen et al., 2023)."""

from lifecycle._jit import element, sign

SLOTS = {"exp_avg": "signed"}


def step(t, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, maximize=False):
    """Lion: a step of length lr along the sign of the gradient mixed with its running mean.

    Parameters
    ----------
    lr : float
        Step size; a third to a tenth of Adam's.
    betas : (float, float)
        Weight of the mean in the mixture, and decay of the mean.
    weight_decay : float
        Each step multiplies the parameter by 1 - lr * weight_decay.
    maximize : bool
        Maximize instead of minimize.

    References
    ----------
    Chen et al. (2023), Symbolic discovery of optimization algorithms.
    """
    beta1, beta2 = betas
    grad_sign = -1.0 if maximize else 1.0
    decay_factor = 1.0 - lr * weight_decay
    # twice, for half of the difference of gradient and mean: the difference itself may be infinite
    weight1, weight2 = 2.0 * (1.0 - beta1), 2.0 * (1.0 - beta2)
    half, half_grad_sign = 0.5, 0.5 * grad_sign
    return half_grad_sign, decay_factor, lr, half, weight1, weight2


@element
def update(p, g, exp_avg, s):
    half_grad_sign, decay_factor, lr, half, weight1, weight2 = s
    half_difference = half_grad_sign * g - half * exp_avg
    p = decay_factor * p - lr * sign(exp_avg + weight1 * half_difference)
    return p, exp_avg + weight2 * half_difference
