"""bfloat16, the upper half of a float32, with stochastic rounding. numpy has no such type: uint16 holds the bits.

References
----------
Kalamkar et al. (2019), A study of bfloat16 for deep learning training.
Gupta, Agrawal, Gopalakrishnan, Narayanan (2015), Deep learning with limited numerical precision.
Croci, Fasi, Higham, Mary, Mikaitis (2022), Stochastic rounding: implementation, error analysis and applications.
"""

import numpy as np

from lifecycle._jit import bits, element, from_bits, uint16, uint32, where

DTYPE = np.dtype(np.uint16)
BLOCK = 1
STOCHASTIC = True
_NAN = np.uint16(0x7FC0)


@element
def load(code):
    return from_bits(uint32(code) << 16)


@element
def store(x, noise):
    code = uint16((bits(x) + (noise >> 16)) >> 16)
    return where(x == x, code, _NAN)  # noise could carry a NaN over into its sign


@element
def store_positive(x, noise):
    code = store(x, noise)
    return where((code != np.uint16(0)) | (x <= np.float32(0.0)), code, np.uint16(1))
