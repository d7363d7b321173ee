"""Logistic loss: log(1 + exp(-yz)) with y = ±1 for two classes, the cross-entropy of the softmax for more.

Every exponent is at most zero, so nothing overflows. The `joint_` functions take one score per class: y is one-hot,
and y[k], z[k] are numbers or arrays with one element per sample.
"""

import numpy as np

from lifecycle._jit import element

task = "classification"
steepest = 0.25
joint_steepest = 0.5  # largest eigenvalue of diag(p) - p pᵀ (Böhning, 1992)


@element
def value(y, z, epsilon):
    m = y * z
    return np.maximum(0.0, -m) + np.log1p(np.exp(-np.abs(m)))


@element
def slope(y, z, epsilon):
    m = y * z
    e = np.exp(-np.abs(m))
    return -y * (e * (m >= 0.0) + (m < 0.0)) / (1.0 + e)


@element
def curvature(y, z, epsilon):
    e = np.exp(-np.abs(z))
    return e / (1.0 + e) ** 2


@element
def joint_value(y, z):
    top = z[0]
    for k in range(1, len(z)):
        top = np.maximum(top, z[k])
    total = 0.0 * top
    chosen = 0.0 * top
    for k in range(len(z)):
        total = total + np.exp(z[k] - top)
        chosen = chosen + y[k] * (z[k] - top)
    return np.log(total) - chosen


@element
def joint_slope(y, z, out):
    top = z[0]
    for k in range(1, len(z)):
        top = np.maximum(top, z[k])
    total = 0.0 * top
    for k in range(len(z)):
        out[k] = np.exp(z[k] - top)
        total = total + out[k]
    for k in range(len(z)):
        out[k] = out[k] / total - y[k]


def slope_bound(epsilon: float) -> float:
    return 1.0
