"""Squared error, halved as in scikit-learn's SGDRegressor: (z - y)² / 2."""

from lifecycle._jit import element, like

task = "regression"
max_curvature = 1.0


@element
def value(y, z, epsilon):
    return like(z, 0.5) * (z - y) * (z - y)


@element
def dloss(y, z, epsilon):
    return z - y


@element
def hessian(y, z, epsilon):
    return like(z, 0.0) * z + like(z, 1.0)
