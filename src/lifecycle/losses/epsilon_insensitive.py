"""Loss of support vector regression (Vapnik, 1995): max(0, |z - y| - ε)."""

import numpy as np

from lifecycle._jit import element

task = "regression"


@element
def value(y, z, epsilon):
    return np.maximum(0.0, np.abs(z - y) - epsilon)


@element
def slope(y, z, epsilon):
    return np.sign(z - y) * (np.abs(z - y) > epsilon)


def slope_bound(epsilon: float) -> float:
    return 1.0
