"""How matrices lie in memory, on which the last bit of a product depends."""

from typing import Any

import numpy as np

from lifecycle.store import limits

_MAX_GAPS = 1_000_000  # bytes of memory between the rows or columns of a matrix; more are not kept for a last bit


def strides_of(array: np.ndarray) -> list[int] | None:
    """The strides of a matrix in items; None where its rows lie one after another, or no items are neighbours."""
    if array.ndim != 2 or min(array.shape) < 2 or array.flags.c_contiguous:
        return None
    strides = [stride // array.itemsize for stride in array.strides]
    axis = _outer_axis(array.shape, strides)
    if axis is None:
        return None
    if _gaps(array, axis, strides) > _MAX_GAPS:
        strides[axis] = array.shape[1 - axis] * (1 if strides[axis] > 0 else -1)
    limits.spend_bytes(_gaps(array, axis, strides))
    return strides


def _outer_axis(shape: tuple[int, ...], strides: list[int]) -> int | None:
    """The axis with the longer stride, where the other one has neighbours in memory."""
    fits = [abs(strides[1 - axis]) == 1 and abs(strides[axis]) >= shape[1 - axis] for axis in (0, 1)]
    return fits.index(True) if any(fits) else None


def _gaps(array: np.ndarray, axis: int, strides: list[int]) -> int:
    return (abs(strides[axis]) - array.shape[1 - axis]) * array.shape[axis] * array.itemsize


def with_strides(array: np.ndarray, strides: Any) -> np.ndarray:
    """The matrix with strides that `strides_of` has found; ValueError for others."""
    if array.ndim != 2 or not isinstance(strides, list) or [type(stride) for stride in strides] != [int, int]:
        raise ValueError("the strides of a matrix are malformed")
    axis = _outer_axis(array.shape, strides)
    if axis is None or _gaps(array, axis, strides) > _MAX_GAPS:
        raise ValueError("the strides of a matrix are not those of neighbours in memory")
    limits.spend_bytes(_gaps(array, axis, strides))
    memory = np.zeros((array.shape[axis], abs(strides[axis])), array.dtype)[:, : array.shape[1 - axis]]
    view = memory if axis == 0 else memory.T
    view = view[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in strides)]
    view[...] = array
    return view
