"""IEEE 754, 16 bits, with stochastic rounding; uint16 holds the bits.

A finite number beyond its range becomes the largest one: a second moment that is stored as infinity stays it for ever.
"""

import numpy as np

from lifecycle._jit import bits, element, from_bits, from_half_bits, half_bits

DTYPE = np.dtype(np.uint16)
BLOCK = 1
STOCHASTIC = True
_LARGEST = np.float32(65504.0)
_CUT = np.uint32(0xFFFFE000)  # the mantissa's 13 bits that a float16 has no room for


@element
def load(code):
    return from_half_bits(code)


@element
def store(x, noise):
    size = np.abs(x)
    # below 2^-14 float16 has equal steps of 2^-24; with 2^-14 added, these are the steps of the mantissa that is cut
    shift = np.float32(6.103515625e-05) if size < np.float32(6.103515625e-05) else np.float32(0.0)
    raised = np.uint32(bits(size + shift) + np.uint32(noise >> np.uint32(19)))
    cut = from_bits(np.uint32(raised & _CUT)) - shift
    cut = min(cut, _LARGEST) if size <= np.float32(3.4028235e38) else size  # infinity and NaN stay
    return half_bits(np.copysign(cut, x))


@element
def store_positive(x, noise):
    code = store(x, noise)
    return np.uint16(1) if (code == np.uint16(0)) & (x > np.float32(0.0)) else code
