"""IEEE 754 binary32 (IEEE Std 754-2019)."""

import numpy as np

from lifecycle._jit import element

DTYPE = np.dtype(np.float32)
BLOCK = 1
STOCHASTIC = False


@element
def load(code):
    return code


@element
def store(x, noise):
    return x


store_positive = store
