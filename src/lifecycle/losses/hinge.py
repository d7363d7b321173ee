"""Hinge loss of the linear support vector machine (Cortes & Vapnik, 1995): max(0, 1 - yz), y = ±1."""

from lifecycle._jit import element, like, maximum, where

task = "classification"


@element
def value(y, z, epsilon):
    return maximum(like(z, 1.0) - y * z, like(z, 0.0))


@element
def dloss(y, z, epsilon):
    return where(y * z < like(z, 1.0), -y, like(z, 0.0))


def dloss_bound(epsilon: float) -> float:
    return 1.0
