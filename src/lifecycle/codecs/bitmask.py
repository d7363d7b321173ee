"""Sparse storage: one bit an element that says where the non-zeros are, and their values. Gives back every bit."""

import numpy as np

LOSSLESS = True


def encode(array: np.ndarray) -> dict[str, np.ndarray]:
    """Parts "bits" (uint8, eight elements a byte, C order) and "values" (the elements whose bits are not all zero)."""
    flat = np.ascontiguousarray(array).reshape(-1)
    # by bit pattern, so that -0.0 is kept
    there = flat.view(np.uint8).reshape(flat.size, flat.itemsize).any(axis=1) if flat.size else np.zeros(0, dtype=bool)
    return {"bits": np.packbits(there), "values": flat[there]}


def decode(parts: dict[str, np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array again; ValueError where the parts do not fit the shape or each other."""
    size = 1
    for n in shape:
        size *= n
    if set(parts) != {"bits", "values"}:
        raise ValueError("a bit mask has the parts bits and values")
    bits, values = parts["bits"], parts["values"]
    if bits.dtype != np.uint8 or bits.shape != (-(-size // 8),) or values.dtype != dtype or values.ndim != 1:
        raise ValueError("the bit mask does not fit the array's shape and dtype")
    there = np.unpackbits(bits, count=size).view(bool)
    if np.count_nonzero(there) != values.size or (size % 8 and np.unpackbits(bits[-1:])[size % 8 :].any()):
        raise ValueError("the bit mask does not fit its values")
    flat = np.zeros(size, dtype=dtype)
    flat[there] = values
    return flat.reshape(shape)
