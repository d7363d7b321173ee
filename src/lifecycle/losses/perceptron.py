"""Perceptron loss (Rosenblatt, 1958): max(0, -yz), y = ±1."""

import numpy as np

from lifecycle._jit import element

task = "classification"


@element
def value(y, z, epsilon):
    return np.maximum(0.0, -y * z)


@element
def slope(y, z, epsilon):
    # a margin of exactly zero counts as a mistake: otherwise zero coefficients would never move
    return -y * (y * z <= 0.0)


def slope_bound(epsilon: float) -> float:
    return 1.0
