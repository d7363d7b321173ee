"""bfloat16, the upper half of a float32, with stochastic rounding. numpy has no such type: uint16 holds the bits."""

import numpy as np

from lifecycle._jit import bits, element, from_bits

DTYPE = np.dtype(np.uint16)
BLOCK = 1
STOCHASTIC = True
_NAN = np.uint16(0x7FC0)


@element
def load(code):
    return from_bits(np.uint32(np.uint32(code) << np.uint32(16)))


@element
def store(x, noise):
    pattern = np.uint32(bits(x) + np.uint32(noise >> np.uint32(16)))
    return np.uint16(pattern >> np.uint32(16)) if x == x else _NAN  # noise must not carry a NaN over into its sign


@element
def store_positive(x, noise):
    code = store(x, noise)
    return np.uint16(1) if (code == np.uint16(0)) & (x > np.float32(0.0)) else code
