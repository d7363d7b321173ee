"""IEEE 754 binary16 with stochastic rounding; uint16 holds the bits.

A finite number beyond its range becomes the largest one: a second moment that is stored as infinity stays infinite.

References
----------
IEEE Std 754-2019, Standard for floating-point arithmetic.
Gupta, Agrawal, Gopalakrishnan, Narayanan (2015), Deep learning with limited numerical precision.
Croci, Fasi, Higham, Mary, Mikaitis (2022), Stochastic rounding: implementation, error analysis and applications.
"""

import numpy as np

from lifecycle._jit import (
    absolute,
    bits,
    copysign,
    element,
    from_bits,
    from_half_bits,
    half_bits,
    minimum,
    uint32,
    where,
)

DTYPE = np.dtype(np.uint16)
BLOCK = 1
STOCHASTIC = True
_LARGEST_BITS = np.uint32(0x477FE000)  # of 65504
_LARGEST_FLOAT32 = np.float32(3.4028235e38)
_SMALLEST_NORMAL = np.float32(2.0**-14)
_KEPT_BITS = np.uint32(0xFFFFE000)  # of a float32: its sign, its exponent and the upper 10 bits of its mantissa


@element
def load(code):
    return from_half_bits(code)


@element
def store(x, noise):
    size = absolute(x)
    # below 2^-14 float16 has equal steps of 2^-24; with 2^-14 added, these are the steps of the truncated mantissa
    shift = where(size < _SMALLEST_NORMAL, _SMALLEST_NORMAL, np.float32(0.0))
    pattern = uint32((bits(size + shift) + (noise >> 19)) & _KEPT_BITS)
    rounded = from_bits(minimum(pattern, _LARGEST_BITS)) - shift
    return half_bits(copysign(where(size <= _LARGEST_FLOAT32, rounded, size), x))  # infinity and NaN stay


@element
def store_positive(x, noise):
    code = store(x, noise)
    return where((code != np.uint16(0)) | (x <= np.float32(0.0)), code, np.uint16(1))
