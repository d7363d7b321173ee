"""Hinge loss of the linear support vector machine (Cortes & Vapnik, 1995): max(0, 1 - yz), y = ±1."""

import numpy as np

from lifecycle._jit import element

task = "classification"


@element
def value(y, z, epsilon):
    return np.maximum(0.0, 1.0 - y * z)


@element
def slope(y, z, epsilon):
    return -y * (y * z < 1.0)


def slope_bound(epsilon: float) -> float:
    return 1.0
