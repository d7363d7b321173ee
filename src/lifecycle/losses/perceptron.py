"""Perceptron loss (Rosenblatt, 1958): max(0, -yz), y = ±1."""

from lifecycle._jit import element, like, maximum, where

task = "classification"


@element
def value(y, z, epsilon):
    return maximum(-y * z, like(z, 0.0))


@element
def dloss(y, z, epsilon):
    # a margin of exactly zero counts as a mistake: otherwise coefficients of zero would never change
    return where(y * z <= like(z, 0.0), -y, like(z, 0.0))


def dloss_bound(epsilon: float) -> float:
    return 1.0
