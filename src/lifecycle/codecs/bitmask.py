"""Sparse storage: one bit per element, set where it is not zero, and the values of these elements; lossless."""

import math

import numpy as np

LOSSLESS = True


def encode(array: np.ndarray) -> dict[str, np.ndarray] | None:
    """Parts "bits" (uint8, eight elements per byte, C order) and "values" (the elements with any bit set).

    None for an array with so few zeros that no byte is saved, of which no copy is made, and for numbers of more than
    eight bytes.
    """
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.itemsize > 8:
        return None
    patterns = flat.view(f"u{flat.itemsize}")  # so that -0.0 is kept
    if -(-flat.size // 8) + np.count_nonzero(patterns) * flat.itemsize >= flat.nbytes:
        return None
    nonzero = patterns != 0
    return {"bits": np.packbits(nonzero), "values": flat[nonzero]}


def decode(parts: dict[str, np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array that `encode` was given; ValueError where the parts do not fit the shape or each other."""
    size = math.prod(shape)
    if set(parts) != {"bits", "values"}:
        raise ValueError("a bit mask has the parts bits and values")
    bits, values = parts["bits"], parts["values"]
    if bits.dtype != np.uint8 or bits.shape != (-(-size // 8),) or values.dtype != dtype or values.ndim != 1:
        raise ValueError("the bit mask does not fit the array's shape and dtype")
    nonzero = np.unpackbits(bits, count=size).view(bool)
    if np.count_nonzero(nonzero) != values.size or (size % 8 and np.unpackbits(bits[-1:])[size % 8 :].any()):
        raise ValueError("the bit mask does not fit its values")
    flat = np.zeros(size, dtype=dtype)
    flat[nonzero] = values
    return flat.reshape(shape)
