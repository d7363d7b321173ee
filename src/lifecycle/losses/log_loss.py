"""Logistic loss: log(1 + exp(-yz)) with y = ±1 for two classes, the cross-entropy of the softmax for more.

Every exponent is at most zero, so nothing overflows.
"""

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
def joint_part(z, top):
    return exp(z - top)


@element
def joint_slope(y, part, total):
    return part / total - y


@element
def joint_value(chosen, total):
    return log1p(total - like(total, 1.0)) - chosen


def slope_bound(epsilon: float) -> float:
    return 1.0
