"""How much the loss changes to first order when a weight becomes zero (Molchanov et al., 2019)."""

import numpy as np

STATISTIC = "gradients"
COMPARABLE = True


def scores(weight: np.ndarray, statistic: np.ndarray) -> np.ndarray:
    """|w| times the root mean square of the gradients of batches."""
    return np.abs(weight) * statistic
