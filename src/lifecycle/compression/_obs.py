"""The column loop of `solvers.obs` on the weights of a layer: pruning (SparseGPT) and quantization (GPTQ)."""

from typing import Any

import numpy as np

from lifecycle.codecs import Quantizer, choose_scales, encode, even_group_size, max_code
from lifecycle.masks import lowest_count, n_of_m
from lifecycle.solvers.obs import compress_columns, inverse_factor
from lifecycle.store.adapters import Layer

_BLOCK_OF_N_OF_M = (
    32  # columns: of groups in later blocks, the weights that stay are chosen after earlier ones are gone
)


def prune_layer(
    layer: Layer, weight: np.ndarray, moments: np.ndarray, drop: int, n_and_m: tuple[int, int] | None
) -> np.ndarray:
    """The weight with so many zeros, or n of every m kept, and the others adapted."""
    if not weight.size:
        return weight
    rows, moments, order = _columns(layer, weight, moments, channels_last=n_and_m is not None)
    if n_and_m is None:
        quota = _Quota(drop, rows.size)
        found = [compress_columns(w, inverse_factor(h), keep_mask=quota.keep).weight for w, h in _groups(rows, moments)]
    else:
        n, m = n_and_m
        n_inputs = rows.shape[1] if len(order) == 1 else layer.shape[layer.input_axis]
        # groups end with the channels of one place of a kernel
        size = n_inputs if n_inputs < rows.shape[1] else m * max(1, _BLOCK_OF_N_OF_M // m)
        found = [
            compress_columns(w, inverse_factor(h), keep_mask=lambda s: n_of_m(s, n, m, axis=1), block_size=size).weight
            for w, h in _groups(rows, moments)
        ]
    return _restored(np.concatenate(found), weight, order)


def quantize_layer(
    layer: Layer, weight: np.ndarray, moments: np.ndarray, codec: Quantizer, bits: int, group_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales, as `codecs.encode` gives them."""
    if not weight.size:
        return encode(weight, codec.scales, layer.channel_axis, bits, group_size)
    rows, moments, _ = _columns(layer, weight, moments, channels_last=False)
    found = [
        compress_columns(
            w,
            inverse_factor(h),
            fixed_mask=w != 0,
            scales=lambda values: choose_scales(values, codec.scales, bits),
            max_code=max_code(bits),
            group_size=None if group_size is None else even_group_size(rows.shape[1], group_size),
        )
        for w, h in _groups(rows, moments)
    ]
    codes, scales = (np.concatenate(parts) for parts in zip(*((one.codes, one.scales) for one in found), strict=True))
    return codes.reshape(weight.shape), scales[:, 0] if group_size is None else scales


class _Quota:
    """Zeros that are shared out among blocks of columns in proportion to their weights."""

    def __init__(self, drop: int, size: int):
        self.drop, self.size, self.seen, self.dropped = drop, size, 0, 0

    def keep(self, scores: np.ndarray) -> np.ndarray:
        self.seen += scores.size
        due = round(self.drop * self.seen / self.size) - self.dropped
        self.dropped += due
        return lowest_count(scores, due)


def _columns(
    layer: Layer, weight: np.ndarray, moments: np.ndarray, channels_last: bool
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Weights (outputs, inputs), the moments of these inputs, and the order of the axes that they are taken in.

    `channels_last`: the channels of one place of a kernel follow one another.
    """
    if weight.ndim < 2:
        return weight.reshape(1, -1), moments, (0,)
    order = tuple(range(weight.ndim))
    if channels_last and weight.ndim > 2:
        order = (0, *range(2, weight.ndim), 1)
        places = np.arange(moments.shape[1]).reshape(weight.shape[1:])
        columns = np.moveaxis(places, 0, -1).ravel()
        moments = moments[:, columns[:, None], columns]
    return weight.transpose(order).reshape(len(weight), -1), moments, order


def _groups(rows: np.ndarray, moments: np.ndarray) -> Any:
    """Rows that have the same inputs, and the moments of these."""
    return zip(np.split(rows, len(moments)), moments, strict=True)


def _restored(rows: np.ndarray, weight: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    if len(order) == 1:
        return rows.reshape(weight.shape).astype(weight.dtype)
    shape = tuple(weight.shape[axis] for axis in order)
    return rows.reshape(shape).transpose(np.argsort(order)).astype(weight.dtype)
