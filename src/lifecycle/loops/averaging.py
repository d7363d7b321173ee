"""Averages of the parameters, updated in the kernel of the step: EMA of torch's, Polyak's average of linear models.

x̄ ← x̄ + w (x − x̄), where w is 1 − decay for an exponential moving average, and 1 / t for the mean of t steps. Source:
Polyak & Juditsky (1992).
"""

from lifecycle._jit import element


@element
def running_mean(mean, x, weight):
    """The mean after x is added with this weight."""
    return mean + weight * (x - mean)
