"""Sparse storage of 4-bit codes: one bit per element, and 4 bits for each that is not zero; returns every bit."""

import numpy as np

from lifecycle.codecs import bitmask, int4

LOSSLESS = True


def encode(array: np.ndarray) -> dict[str, np.ndarray] | None:
    """Parts "bits" of `bitmask` and "nibbles" of `int4`; None for an array that `int4` does not hold."""
    if array.dtype != np.int8:
        return None
    nonzero = array.reshape(-1) != 0
    codes = int4.encode(array.reshape(-1)[nonzero])
    return None if codes is None else {"bits": np.packbits(nonzero), **codes}


def decode(parts: dict[str, np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array that `encode` was given; ValueError where the parts do not fit the shape or each other."""
    if set(parts) != {"bits", "nibbles"}:
        raise ValueError("a bit mask with 4-bit codes has the parts bits and nibbles")
    bits = parts["bits"]
    n_values = int(np.unpackbits(bits).sum()) if bits.dtype == np.uint8 else 0
    values = int4.decode({"nibbles": parts["nibbles"]}, dtype, (n_values,))
    return bitmask.decode({"bits": bits, "values": values}, dtype, shape)
