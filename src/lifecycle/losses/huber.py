"""Huber loss (Huber, 1964): r²/2 where |r| ≤ ε, else ε|r| - ε²/2; r = z - y."""

from lifecycle._jit import absolute, element, like, maximum, minimum, where

task = "regression"
max_curvature = 1.0


@element
def value(y, z, epsilon):
    residual = absolute(z - y)
    clipped = minimum(residual, epsilon)
    return clipped * (residual - like(z, 0.5) * clipped)


@element
def dloss(y, z, epsilon):
    return minimum(maximum(z - y, -epsilon), epsilon)


@element
def hessian(y, z, epsilon):
    return where(absolute(z - y) < epsilon, like(z, 1.0), like(z, 0.0))


def dloss_bound(epsilon: float) -> float:
    return epsilon
