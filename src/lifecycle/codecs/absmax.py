"""int8, symmetric, one scale per channel: scale = max |w| / 127, code = round(w / scale)."""

from collections.abc import Callable

import numpy as np

LOSSLESS = False
BITS = (8,)
_MAX_CODE = 127


def encode(array: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes (int8, the array's shape) and scales (float32, one for each index of `axis`).

    A vector is one channel: it gets one scale. |w − scale × code| ≤ scale / 2, up to the rounding of the product.
    """
    if array.dtype.kind != "f":
        raise TypeError(f"only floating-point arrays can be quantized; got {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError("the weights contain NaN or infinity: they cannot be quantized")
    others = tuple(range(array.ndim)) if array.ndim < 2 else tuple(i for i in range(array.ndim) if i != axis)
    largest = np.atleast_1d(np.abs(array).max(axis=others, initial=0.0)).astype(np.float64)
    if (largest > np.finfo(np.float32).max).any():
        raise ValueError("the weights are too large for float32 scales")
    scales = np.where(largest > 0, np.maximum(largest / _MAX_CODE, np.finfo(np.float32).tiny), 1.0).astype(np.float32)
    # where the scale was rounded up, 127 × scale may exceed the largest float32
    with np.errstate(over="ignore"):
        scales = np.where(np.isinf(scales * np.float32(_MAX_CODE)), np.nextafter(scales, np.float32(0)), scales)
    return _round(array, scales, axis), scales


def decode(codes: np.ndarray, scales: np.ndarray, axis: int = 0, dtype: np.typing.DTypeLike = np.float32) -> np.ndarray:
    """scale × code, in `dtype`; ValueError where codes, scales and axis do not fit each other."""
    if not _fit(codes, scales, axis) or codes.dtype != np.int8 or scales.dtype != np.float32:
        raise ValueError(
            f"{codes.dtype} codes of shape {codes.shape} do not fit {scales.dtype} scales of shape {scales.shape}"
        )
    work = np.float64 if np.dtype(dtype) == np.float64 else np.float32
    return (codes.astype(work) * _broadcast(scales, codes.ndim, axis).astype(work)).astype(dtype)


def on_grid(
    array: np.ndarray, scales: np.ndarray, axis: int = 0, rounded: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> np.ndarray | None:
    """Codes that decode to exactly this array with these scales, or None if there are none.

    `rounded`: how decoded values are rounded where they are kept in a dtype that is narrower than the array's.
    """
    if not (_fit(array, scales, axis) and np.isfinite(array).all()):
        return None
    codes = _round(array, scales, axis)
    decoded = rounded(decode(codes, scales, axis, array.dtype))
    return codes if np.array_equal(decoded, array) and not np.signbit(array[array == 0]).any() else None


def _round(array: np.ndarray, scales: np.ndarray, axis: int) -> np.ndarray:
    exact = array.astype(np.float64) / _broadcast(scales, array.ndim, axis)
    return np.clip(np.rint(exact), -_MAX_CODE, _MAX_CODE).astype(np.int8)


def _fit(array: np.ndarray, scales: np.ndarray, axis: int) -> bool:
    """Whether there is one scale for each channel."""
    return 0 <= axis < max(array.ndim, 1) and scales.shape == (array.shape[axis] if array.ndim > 1 else 1,)


def _broadcast(scales: np.ndarray, ndim: int, axis: int) -> np.ndarray:
    shape = [1] * ndim
    if ndim >= 2:
        shape[axis] = -1
    return scales.reshape(shape)
