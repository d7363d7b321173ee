"""Modified Huber loss (Zhang, 2004): max(0, 1 - m)² for m = yz >= -1, else -4m; y = ±1."""

import numpy as np

from lifecycle._jit import element

task = "classification"
steepest = 2.0


@element
def value(y, z, epsilon):
    m = y * z
    return np.minimum(np.maximum(0.0, 1.0 - m), 2.0) ** 2 + 4.0 * np.maximum(0.0, -1.0 - m)


@element
def slope(y, z, epsilon):
    return -2.0 * y * np.minimum(np.maximum(0.0, 1.0 - y * z), 2.0)


@element
def curvature(y, z, epsilon):
    return 2.0 * (np.abs(y * z) < 1.0)


def slope_bound(epsilon: float) -> float:
    return 4.0
