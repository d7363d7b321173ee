"""Symmetric grids: a number is a scale times a whole number of 4 or 8 bits.

A scale belongs to an output channel, or to a group of its inputs. Inputs are all axes but that of the channels, in C
order; groups have the same size, but for the last. Scales have the shape (channels,), or (channels, groups).
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from lifecycle._threads import map_ordered

_MAX = 127  # the largest code in int8
_PART_ELEMENTS = 1 << 16
_FLOAT32 = np.finfo(np.float32)


def max_code(bits: int) -> int:
    """Codes are whole numbers from −max_code to max_code."""
    return 2 ** (bits - 1) - 1


def even_group_size(n_inputs: int, group_size: int | None) -> int:
    """The size of groups that differ as little as possible, and are no larger than `group_size`."""
    n_groups = 1 if group_size is None else max(-(-n_inputs // group_size), 1)
    return max(-(-n_inputs // n_groups), 1)


def choose_scales(rows: np.ndarray, rule: Callable[[np.ndarray, int], np.ndarray], bits: int) -> np.ndarray:
    """A quantizer's scales of rows of weights, in float32: positive, and finite times the largest code.

    Raises
    ------
    ValueError
        A weight is NaN or infinite, or too large for float32.
    """
    parts = map_ordered(lambda part: _scales_of(rows[part], rule, bits), _parts(rows), rows.size)
    return np.concatenate(list(parts))


def _scales_of(rows: np.ndarray, rule: Callable[[np.ndarray, int], np.ndarray], bits: int) -> np.ndarray:
    if not np.isfinite(rows).all():
        raise ValueError("the weights contain NaN or infinity: they cannot be quantized")
    largest = np.abs(rows).max(axis=1, initial=0.0)
    if (largest > _FLOAT32.max).any():
        raise ValueError("the weights are too large for float32 scales")
    scales = np.where(largest > 0, np.maximum(rule(rows.astype(np.float64), max_code(bits)), _FLOAT32.tiny), 1.0)
    scales = scales.astype(np.float32)
    # where the scale was rounded up, its product with the largest code may exceed the largest float32
    with np.errstate(over="ignore"):
        return np.where(np.isinf(scales * np.float32(max_code(bits))), np.nextafter(scales, np.float32(0)), scales)


def encode(
    array: np.ndarray,
    rule: Callable[[np.ndarray, int], np.ndarray],
    axis: int = 0,
    bits: int = 8,
    group_size: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (int8, the array's shape) and scales (float32). A vector is one channel.

    Raises
    ------
    TypeError
        The array has no floating-point numbers.
    ValueError
        As `choose_scales`.
    """
    if array.dtype.kind != "f":
        raise TypeError(f"only floating-point arrays can be quantized; got {array.dtype}")
    rows = _rows(array, axis)
    size = even_group_size(rows.shape[1], group_size)
    bounds = [*range(0, rows.shape[1], size), rows.shape[1]] if rows.shape[1] else [0, 0]

    def scales_of(part: slice) -> np.ndarray:
        return np.stack([choose_scales(rows[part, a:b], rule, bits) for a, b in pairwise(bounds)], axis=1)

    parts = _parts(rows)
    scales = np.concatenate(list(map_ordered(scales_of, parts, rows.size)))
    if group_size is None:
        scales = scales[:, 0]
    return _round(array, scales, axis, max_code(bits)), scales


def decode(codes: np.ndarray, scales: np.ndarray, axis: int = 0, dtype: np.typing.DTypeLike = np.float32) -> np.ndarray:
    """scale × code, in `dtype`; ValueError where codes, scales and axis do not fit, or a scale is not positive."""
    if not _fit(codes, scales, axis) or codes.dtype != np.int8 or scales.dtype != np.float32:
        raise ValueError(
            f"{codes.dtype} codes of shape {codes.shape} do not fit {scales.dtype} scales of shape {scales.shape}"
        )
    if not ((scales > 0) & (scales < np.inf)).all():
        raise ValueError("a scale of codes is not positive, or not finite")
    work = np.float64 if np.dtype(dtype) == np.float64 else np.float32
    return (codes.astype(work) * _broadcast(scales, codes.shape, axis).astype(work)).astype(dtype)


def on_grid(
    array: np.ndarray, scales: np.ndarray, axis: int = 0, rounded: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> np.ndarray | None:
    """Codes that decode to exactly this array with these scales, or None if there are none.

    `rounded`: how decoded values are rounded where they are kept in a dtype that is narrower than the array's.
    """
    if not (_fit(array, scales, axis) and np.isfinite(array).all()):
        return None
    codes = _round(array, scales, axis, _MAX)
    decoded = rounded(decode(codes, scales, axis, array.dtype))
    return codes if np.array_equal(decoded, array) and not np.signbit(array[array == 0]).any() else None


def _round(array: np.ndarray, scales: np.ndarray, axis: int, largest: int) -> np.ndarray:
    rows = _rows(array, axis)
    codes, of_rows = np.empty(rows.shape, np.int8), scales.reshape(len(rows), scales.size // max(len(rows), 1))
    group_size = _group_size(of_rows, rows.shape[1])

    def round_part(part: slice) -> None:
        steps = of_rows[part]
        if steps.shape[1] > 1:
            steps = np.repeat(steps, group_size, axis=1)[:, : rows.shape[1]]
        exact = rows[part].astype(np.float64)
        exact /= steps
        np.clip(np.rint(exact, out=exact), -largest, largest, out=exact)
        codes[part] = exact

    for _ in map_ordered(round_part, _parts(rows), rows.size):
        pass
    if array.ndim < 2:
        return codes.reshape(array.shape)
    others = [n for i, n in enumerate(array.shape) if i != axis]
    return np.ascontiguousarray(np.moveaxis(codes.reshape(array.shape[axis], *others), 0, axis))


def _parts(rows: np.ndarray) -> list[slice]:
    """Parts of the rows whose float64 copies stay in the cache."""
    n = max(1, _PART_ELEMENTS // max(rows.shape[1], 1))
    return [slice(start, start + n) for start in range(0, max(len(rows), 1), n)]


def _rows(array: np.ndarray, axis: int) -> np.ndarray:
    """(channels, inputs)."""
    if array.ndim < 2:
        return array.reshape(1, -1)
    channels_first = np.moveaxis(array, axis, 0)
    return channels_first.reshape(len(channels_first), -1) if array.size else np.empty((array.shape[axis], 0))


def _fit(array: np.ndarray, scales: np.ndarray, axis: int) -> bool:
    """Whether there is one scale for each channel, or as many groups of inputs as there can be."""
    if not 0 <= axis < max(array.ndim, 1) or scales.ndim not in (1, 2):
        return False
    channels = array.shape[axis] if array.ndim > 1 else 1
    inputs = array.size // channels if channels else 0
    if scales.ndim == 2 and scales.shape[1] != max(-(-inputs // _group_size(scales, inputs)), 1):
        return False
    return len(scales) == channels


def _group_size(scales: np.ndarray, inputs: int) -> int:
    return max(-(-inputs // max(scales.shape[1], 1)), 1)


def _broadcast(scales: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """The scales in a shape that broadcasts with the array's."""
    if scales.ndim == 1:
        if len(shape) < 2:
            return scales.reshape([1] * len(shape))
        return scales.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    channels = shape[axis] if len(shape) > 1 else 1
    inputs = int(np.prod(shape)) // channels if channels else 0
    rows = np.repeat(scales, _group_size(scales, inputs), axis=1)[:, :inputs]
    if len(shape) < 2:
        return rows.reshape(shape)
    others = tuple(n for i, n in enumerate(shape) if i != axis)
    return np.moveaxis(rows.reshape(channels, *others), 0, axis)
