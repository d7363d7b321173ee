"""Logistic loss: log(1 + exp(-yz)) with y = ±1 for two classes, the cross-entropy of the softmax for more.

Every exponent is at most zero, so nothing overflows.
"""

from lifecycle._jit import absolute, element, exp, like, log1p, maximum, where

task = "classification"
max_curvature = 0.25
multinomial_max_curvature = 0.5  # largest eigenvalue of diag(p) - p pᵀ (Böhning, 1992)


@element
def value(y, z, epsilon):
    m = y * z
    return maximum(-m, like(z, 0.0)) + log1p(exp(-absolute(m)))


@element
def dloss(y, z, epsilon):
    m = y * z
    e, one = exp(-absolute(m)), like(z, 1.0)
    return -y * where(m >= like(z, 0.0), e, one) / (one + e)


@element
def hessian(y, z, epsilon):
    e, one = exp(-absolute(z)), like(z, 1.0)
    return e / ((one + e) * (one + e))


@element
def multinomial_exp(z, z_max):
    return exp(z - z_max)


@element
def multinomial_dloss(y, exp_z, sum_exp):
    return exp_z / sum_exp - y


@element
def multinomial_value(z_true, sum_exp):
    return log1p(sum_exp - like(sum_exp, 1.0)) - z_true


def dloss_bound(epsilon: float) -> float:
    return 1.0
