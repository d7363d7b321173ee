"""Epsilon-insensitive loss of support vector regression (Vapnik, 1995): max(0, |z - y| - ε)."""

from lifecycle._jit import absolute, element, like, maximum, sign, where

task = "regression"


@element
def value(y, z, epsilon):
    return maximum(absolute(z - y) - epsilon, like(z, 0.0))


@element
def dloss(y, z, epsilon):
    return where(absolute(z - y) > epsilon, sign(z - y), like(z, 0.0))


def dloss_bound(epsilon: float) -> float:
    return 1.0
