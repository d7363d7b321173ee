"""Two codes of 4 bits in a byte, for int8 arrays with values from −8 to 7; returns every bit."""

import math

import numpy as np

LOSSLESS = True


def encode(array: np.ndarray) -> dict[str, np.ndarray] | None:
    """Part "nibbles" (uint8, C order, the first code of two in the low bits); None for any other array."""
    if array.dtype != np.int8 or array.size == 0 or array.min() < -8 or array.max() > 7:
        return None
    codes = np.zeros(-(-array.size // 2) * 2, np.uint8)
    codes[: array.size] = array.reshape(-1).view(np.uint8) & 15
    return {"nibbles": codes[::2] | codes[1::2] << 4}


def decode(parts: dict[str, np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array that `encode` was given; ValueError where the parts do not fit the shape."""
    if set(parts) != {"nibbles"}:
        raise ValueError("an array of 4-bit codes has the part nibbles")
    nibbles, size = parts["nibbles"], math.prod(shape)
    if dtype != np.int8 or nibbles.dtype != np.uint8 or nibbles.shape != (-(-size // 2),):
        raise ValueError("the 4-bit codes do not fit the array's shape and dtype")
    codes = np.empty(2 * nibbles.size, np.uint8)
    codes[::2], codes[1::2] = nibbles & 15, nibbles >> 4
    if codes[size:].any():
        raise ValueError("the 4-bit codes do not fit the array's shape and dtype")
    return ((codes[:size] ^ 8).view(np.int8) - np.int8(8)).reshape(shape)  # 8 … 15 stand for −8 … −1
