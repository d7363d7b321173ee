"""Squared hinge loss: max(0, 1 - yz)², y = ±1; the default of scikit-learn's LinearSVC."""

import numpy as np

from lifecycle._jit import element

task = "classification"
steepest = 2.0  # the largest curvature


@element
def value(y, z, epsilon):
    return np.maximum(0.0, 1.0 - y * z) ** 2


@element
def slope(y, z, epsilon):
    return -2.0 * y * np.maximum(0.0, 1.0 - y * z)


@element
def curvature(y, z, epsilon):
    return 2.0 * (y * z < 1.0)
