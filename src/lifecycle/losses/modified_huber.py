"""Modified Huber loss (Zhang, 2004): max(0, 1 - m)² for m = yz >= -1, else -4m; y = ±1."""

from lifecycle._jit import element, like, maximum, minimum, where

task = "classification"
max_curvature = 2.0


@element
def value(y, z, epsilon):
    m = y * z
    margin_error = minimum(maximum(like(z, 1.0) - m, like(z, 0.0)), like(z, 2.0))
    return margin_error * margin_error + like(z, 4.0) * maximum(like(z, -1.0) - m, like(z, 0.0))


@element
def dloss(y, z, epsilon):
    return like(z, -2.0) * y * minimum(maximum(like(z, 1.0) - y * z, like(z, 0.0)), like(z, 2.0))


@element
def hessian(y, z, epsilon):
    return where((y * z < like(z, 1.0)) & (y * z > like(z, -1.0)), like(z, 2.0), like(z, 0.0))


def dloss_bound(epsilon: float) -> float:
    return 4.0
