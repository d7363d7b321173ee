"""Logistic loss: log(1 + exp(-yz)) with y = ±1 for two classes, the cross-entropy of the softmax for more.

Every exponent is at most zero, so nothing overflows. The `joint_` functions take one score per class: y is one-hot,
and y[k], z[k] are numbers or arrays with one element per sample.
"""

import numpy as np

from lifecycle._jit import absolute, element, exp, like, log1p, maximum, where

task = "classification"
steepest = 0.25
joint_steepest = 0.5  # largest eigenvalue of diag(p) - p pᵀ (Böhning, 1992)


@element
def value(y, z, epsilon):
    m = y * z
    return maximum(-m, like(z, 0.0)) + log1p(exp(-absolute(m)))


@element
def slope(y, z, epsilon):
    m = y * z
    e, one = exp(-absolute(m)), like(z, 1.0)
    return -y * where(m >= like(z, 0.0), e, one) / (one + e)


@element
def curvature(y, z, epsilon):
    e, one = exp(-absolute(z)), like(z, 1.0)
    return e / ((one + e) * (one + e))


@element
def joint_value(y, z):
    top = z[0]
    for k in range(1, len(z)):
        top = maximum(top, z[k])
    total = 0.0 * top
    chosen = 0.0 * top
    for k in range(len(z)):
        total = total + exp(z[k] - top)
        chosen = chosen + y[k] * (z[k] - top)
    return np.log(total) - chosen


@element
def joint_slope(y, z, out):
    top = z[0]
    for k in range(1, len(z)):
        top = maximum(top, z[k])
    total = 0.0 * top
    for k in range(len(z)):
        out[k] = exp(z[k] - top)
        total = total + out[k]
    for k in range(len(z)):
        out[k] = out[k] / total - y[k]


def slope_bound(epsilon: float) -> float:
    return 1.0
