"""Squared hinge loss: max(0, 1 - yz)², y = ±1; the default of scikit-learn's LinearSVC."""

from lifecycle._jit import element, like, maximum, where

task = "classification"
max_curvature = 2.0


@element
def value(y, z, epsilon):
    margin_error = maximum(like(z, 1.0) - y * z, like(z, 0.0))
    return margin_error * margin_error


@element
def dloss(y, z, epsilon):
    return like(z, -2.0) * y * maximum(like(z, 1.0) - y * z, like(z, 0.0))


@element
def hessian(y, z, epsilon):
    return where(y * z < like(z, 1.0), like(z, 2.0), like(z, 0.0))
