"""AdamW (Loshchilov & Hutter, 2019): Adam with a weight decay that is not part of the gradient."""

from lifecycle.rules import adam
from lifecycle.rules.adam import SLOTS, update, variant

NAME = "AdamW"
__all__ = ["NAME", "SLOTS", "step", "update", "variant"]


def step(
    t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, maximize=False, bias_correction=True
):
    """Adam with decoupled weight decay: the parameter shrinks by lr * weight_decay, whatever its gradient.

    Parameters
    ----------
    lr : float
        Step size.
    betas : (float, float)
        Decay of the running means of the gradient and of its square.
    eps : float
        Added to the root, for stability.
    weight_decay : float
        Each step multiplies the parameter by 1 - lr * weight_decay.
    amsgrad : bool
        Divide by the largest mean square so far.
    maximize : bool
        Maximize instead of minimize.
    bias_correction : bool
        Divide the means by 1 - beta**t; without it the step is lr * exp_avg / (sqrt(exp_avg_sq) + eps).

    References
    ----------
    Loshchilov, Hutter (2019), Decoupled weight decay regularization.
    """
    return adam.step(t, lr, betas, eps, weight_decay, amsgrad, maximize, bias_correction, True)
