"""Huber loss (1964), quadratic within ε of the target and linear beyond: r²/2, else ε|r| - ε²/2; r = z - y."""

import numpy as np

from lifecycle._jit import element

task = "regression"
steepest = 1.0


@element
def value(y, z, epsilon):
    away = np.abs(z - y)
    near = np.minimum(away, epsilon)
    return near * (away - 0.5 * near)


@element
def slope(y, z, epsilon):
    return np.minimum(np.maximum(z - y, -epsilon), epsilon)


@element
def curvature(y, z, epsilon):
    return 1.0 * (np.abs(z - y) < epsilon)


def slope_bound(epsilon: float) -> float:
    return epsilon
