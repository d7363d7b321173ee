"""Very sparse storage of 4-bit codes: a byte for each that is not zero, with the zeros before it (Han et al., 2016).

The low four bits of a byte are the number of zeros before a code, the high four the code. Where there are 16 zeros or
more, bytes with 15 and the code 0 stand for 16 zeros each. Returns every bit.
"""

import math

import numpy as np

LOSSLESS = True
_ZEROS = 16  # of a byte without a code
_FILLER = _ZEROS - 1


def encode(array: np.ndarray) -> dict[str, np.ndarray] | None:
    """Part "entries" (uint8, C order); None for any array but int8 with values from −8 to 7."""
    if array.dtype != np.int8 or array.size == 0 or array.min() < -8 or array.max() > 7:
        return None
    flat = array.reshape(-1)
    places = np.flatnonzero(flat)
    zeros = np.diff(places, prepend=-1, append=flat.size) - 1  # before each code, and after the last
    fillers = zeros // _ZEROS
    entries = np.full(places.size + int(fillers.sum()), _FILLER, np.uint8)
    codes = flat[places].view(np.uint8) & 15
    entries[np.cumsum(fillers[:-1] + 1) - 1] = zeros[:-1] % _ZEROS | codes << 4
    return {"entries": entries}


def decode(parts: dict[str, np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array that `encode` was given; ValueError where the entries do not fit the shape."""
    size = math.prod(shape)
    if set(parts) != {"entries"}:
        raise ValueError("a relative index has the part entries")
    entries = parts["entries"]
    if dtype != np.int8 or entries.dtype != np.uint8 or entries.ndim != 1 or size == 0:
        raise ValueError("the relative index does not fit the array's shape and dtype")
    codes, zeros = entries >> 4, entries & 15
    places = np.cumsum(zeros + np.int64(1)) - 1
    # zeros after the last code have their bytes too: a few bytes cannot stand for a huge array
    n_after = size - 1 - (int(places[-1]) if places.size else -1)
    if not 0 <= n_after < _ZEROS or (zeros[codes == 0] != _FILLER).any():
        raise ValueError("the relative index does not fit the array's shape and dtype")
    flat = np.zeros(size, np.uint8)
    flat[places] = codes
    return ((flat ^ 8).view(np.int8) - np.int8(8)).reshape(shape)  # 8 … 15 stand for −8 … −1
