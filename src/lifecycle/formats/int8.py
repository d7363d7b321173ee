"""8 bits in blocks of 256 that share a scale, with stochastic rounding: logarithmic, as magnitudes in a block differ.

A code counts steps of a float with a 3-bit mantissa, so that neighbours lie 6 to 12 % apart, over 32 binades below the
block's largest number (15 for signed ones, whose first bit is the sign); below that the steps are equal, down to zero.
The scale is a power of two, by which multiplying loses nothing.
"""

import numpy as np

from lifecycle._jit import bits, element, from_bits

DTYPE = np.dtype(np.uint8)
BLOCK = 256
STOCHASTIC = True
_CUT = np.uint32(20)  # of the 23 bits of a float32's mantissa
_EXPONENT = np.uint32(0x7F800000)
_SIZE = np.uint32(0x7FFFFFFF)
_SIGN = np.uint32(0x80000000)
_SIGNED_STEPS = np.uint32(127 << 20)
# the smallest step, added before the mantissa is cut, makes the steps near zero equal
_STEP, _STEP_BITS = np.float32(2.0**-31), np.uint32((127 - 31) << 23)
_SIGNED_STEP, _SIGNED_STEP_BITS = np.float32(2.0**-15), np.uint32((127 - 15) << 23)


@element
def pattern(x):
    """Bits of |x|: their maximum over a block is fast, and is what `scale` takes."""
    return np.uint32(bits(x) & _SIZE)


@element
def scale(largest, before):
    """(1 / scale, scale) of a block, from the largest pattern in it: scaled numbers are below 1.

    Where that is infinity or NaN the scale stays as it was `before`, for the sake of the others in the block.
    """
    power = np.uint32(largest & _EXPONENT)
    power = min(max(power, np.uint32(2 << 23)), np.uint32(252 << 23))
    now = np.float32(2.0) * from_bits(power)
    now = before if (largest >= _EXPONENT) & (before > np.float32(0.0)) else now
    return np.float32(1.0) / now, now


@element
def load(code, scale):
    wide = np.uint32(np.uint32(code ^ np.uint8(128)) - np.uint32(128))  # the sign in all upper bits
    steps = np.uint32(np.uint32(wide << _CUT) & _SIGNED_STEPS)
    x = (from_bits(np.uint32(steps | _SIGNED_STEP_BITS)) - _SIGNED_STEP) * scale
    return from_bits(np.uint32(bits(x) | np.uint32(wide & _SIGN)))


@element
def store(x, inverse, noise):
    size = np.abs(x) * inverse + _SIGNED_STEP
    steps = np.uint32(bits(size) - _SIGNED_STEP_BITS)
    code = np.uint32(np.uint32(steps + np.uint32(noise >> np.uint32(12))) >> _CUT)
    sign = np.uint32(np.uint32(bits(x) & _SIGN) >> np.uint32(24))
    return np.uint8(min(code, np.uint32(127)) | sign)


@element
def load_positive(code, scale):
    return (from_bits(np.uint32(np.uint32(np.uint32(code) << _CUT) + _STEP_BITS)) - _STEP) * scale


@element
def store_positive(x, inverse, noise):
    steps = np.uint32(bits(x * inverse + _STEP) - _STEP_BITS)
    code = np.uint32(np.uint32(steps + np.uint32(noise >> np.uint32(12))) >> _CUT)
    least = min(bits(x), np.uint32(1))  # 0 for zero alone
    return np.uint8(min(max(code, least), np.uint32(255)))
