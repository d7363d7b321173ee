"""Huber loss (1964), quadratic within ε of the target and linear beyond: r²/2, else ε|r| - ε²/2; r = z - y."""

from lifecycle._jit import absolute, element, like, maximum, minimum, where

task = "regression"
max_curvature = 1.0


@element
def value(y, z, epsilon):
    away = absolute(z - y)
    near = minimum(away, epsilon)
    return near * (away - like(z, 0.5) * near)


@element
def dloss(y, z, epsilon):
    return minimum(maximum(z - y, -epsilon), epsilon)


@element
def hessian(y, z, epsilon):
    return where(absolute(z - y) < epsilon, like(z, 1.0), like(z, 0.0))


def dloss_bound(epsilon: float) -> float:
    return epsilon
