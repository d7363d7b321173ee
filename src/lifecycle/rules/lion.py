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
        Share of the mean in the mixture, and decay of the mean.
    weight_decay : float
        Share of the parameter, times lr, that each step takes away.
    maximize : bool
        Go up instead of down.

    References
    ----------
    Chen et al. (2023), Symbolic discovery of optimization algorithms.
    """
    b1, b2 = betas
    return -1.0 if maximize else 1.0, 1.0 - lr * weight_decay, lr, 1.0 - b1, 1.0 - b2


@element
def update(p, g, exp_avg, s):
    up, keep, rate, mix, take = s
    g = up * g
    p = keep * p - rate * sign(exp_avg + mix * (g - exp_avg))
    return p, exp_avg + take * (g - exp_avg)
