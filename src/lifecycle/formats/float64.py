"""IEEE 754 binary64 (IEEE Std 754-2019)."""

import numpy as np

from lifecycle._jit import element

DTYPE = np.dtype(np.float64)
BLOCK = 1
STOCHASTIC = False


@element
def load(code):
    return code


@element
def store(x, noise):
    return x


store_positive = store
