"""8-bit minifloats in blocks of 256 that share a scale, with stochastic rounding.

A code holds an exponent and a mantissa of 3 bits, so that neighbours lie 6 to 12 % apart. Codes cover the 31 binades
below the scale of their block, or 15 where their first bit is a sign; in the lowest binade the steps are equal, down to
zero, as among the subnormal numbers of IEEE 754. The scale is a power of two, and multiplication by it is exact.

References
----------
Dettmers, Lewis, Shleifer, Zettlemoyer (2022), 8-bit optimizers via block-wise quantization (one scale for each block).
Micikevicius et al. (2022), FP8 formats for deep learning (minifloats of 8 bits; their exponents have 4 or 5 bits too).
Croci, Fasi, Higham, Mary, Mikaitis (2022), Stochastic rounding: implementation, error analysis and applications.
"""

import numpy as np

from lifecycle._jit import absolute, bits, element, from_bits, magnitude_bits, maximum, minimum, uint8, uint32, where

DTYPE = np.dtype(np.uint8)
BLOCK = 256
STOCHASTIC = True
pattern = magnitude_bits  # their maximum over a block is fast, and is what `scale` takes
_DROPPED_BITS = 20  # of the 23 bits of a float32's mantissa
_EXPONENT_MASK = np.uint32(0x7F800000)
_SIGN_MASK = np.uint32(0x80000000)
_SIGNED_CODE_MASK = np.uint32(127 << 20)
# the smallest step, added before the mantissa is truncated, makes the steps near zero equal
_STEP, _STEP_BITS = np.float32(2.0**-31), np.uint32((127 - 31) << 23)
_SIGNED_STEP, _SIGNED_STEP_BITS = np.float32(2.0**-15), np.uint32((127 - 15) << 23)


@element
def scale(largest, before):
    """(1 / scale, scale) of a block, from the largest pattern in it: scaled numbers are below 1.

    Where that is infinity or NaN the scale stays as it was `before`, for the sake of the others in the block.
    """
    power = minimum(maximum(uint32(largest & _EXPONENT_MASK), np.uint32(2 << 23)), np.uint32(252 << 23))
    now = np.float32(2.0) * from_bits(power)
    now = where((largest >= _EXPONENT_MASK) & (before > np.float32(0.0)), before, now)
    return np.float32(1.0) / now, now


@element
def load(code, scale):
    extended = uint32(uint32(code ^ np.uint8(128)) - np.uint32(128))  # the sign in all upper bits
    steps = uint32(uint32(extended << _DROPPED_BITS) & _SIGNED_CODE_MASK)
    x = (from_bits(steps | _SIGNED_STEP_BITS) - _SIGNED_STEP) * scale
    return from_bits(bits(x) | uint32(extended & _SIGN_MASK))


@element
def store(x, inverse, noise):
    steps = uint32(bits(absolute(x) * inverse + _SIGNED_STEP) - _SIGNED_STEP_BITS)
    code = uint32(uint32(steps + uint32(noise >> 12)) >> _DROPPED_BITS)
    sign = uint32(uint32(bits(x) & _SIGN_MASK) >> 24)
    return uint8(minimum(code, np.uint32(127)) | sign)


@element
def load_positive(code, scale):
    return (from_bits(uint32(uint32(code) << _DROPPED_BITS) + _STEP_BITS) - _STEP) * scale


@element
def store_positive(x, inverse, noise):
    steps = uint32(bits(x * inverse + _STEP) - _STEP_BITS)
    code = uint32(uint32(steps + uint32(noise >> 12)) >> _DROPPED_BITS)
    smallest = minimum(bits(x), np.uint32(1))  # 0 for zero alone
    return uint8(minimum(maximum(code, smallest), np.uint32(255)))
