"""The column loop of `solvers.obs` on the weights of a layer: pruning (SparseGPT) and quantization (GPTQ)."""

from functools import cached_property

import numpy as np

from lifecycle.codecs import Quantizer, choose_scales, encode, even_group_size, max_code
from lifecycle.masks import lowest_count, n_of_m
from lifecycle.solvers.obs import cholesky_factor, compress_columns
from lifecycle.store.adapters import Layer

_BLOCK_OF_N_OF_M = (
    32  # columns: of groups in later blocks, the weights that stay are chosen after earlier ones are gone
)


class LayerInputs:
    """Second moments of the inputs of a layer, (groups, n_inputs, n_inputs); they are factorized once."""

    def __init__(self, moments: np.ndarray):
        self.moments = moments

    @cached_property
    def factors(self) -> list[np.ndarray]:
        """Of each group the factor that the column loop takes."""
        return [cholesky_factor(h) for h in self.moments]

    def reordered(self, columns: np.ndarray) -> "LayerInputs":
        """Of inputs in another order."""
        return LayerInputs(self.moments[:, columns[:, None], columns])

    def groups(self, rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows of weights that have the same inputs, and the factor of these."""
        return list(zip(np.split(rows, len(self.moments)), self.factors, strict=True))


def prune_layer(
    layer: Layer, weight: np.ndarray, inputs: LayerInputs, drop: int, n_and_m: tuple[int, int] | None
) -> np.ndarray:
    """The weight with so many zeros, or n of every m kept, and the others adapted."""
    if not weight.size:
        return weight
    order = _order(layer, input_channels_last=n_and_m is not None)
    rows = _rows(weight, order)
    if n_and_m is None:
        quota = _Quota(drop, rows.size)
        found = [compress_columns(w, factor, keep_mask=quota.keep).weight for w, factor in inputs.groups(rows)]
    else:
        n, m = n_and_m
        n_inputs = rows.shape[1] if len(order) < 2 else layer.shape[layer.input_axis]
        # groups end with the channels of one place of a kernel
        size = n_inputs if n_inputs < rows.shape[1] else m * max(1, _BLOCK_OF_N_OF_M // m)
        if len(order) > 2:
            shape = [layer.shape[axis] for axis in _order(layer)[1:]]
            inputs = inputs.reordered(np.moveaxis(np.arange(rows.shape[1]).reshape(shape), 0, -1).ravel())
        found = [
            compress_columns(w, factor, keep_mask=lambda s: n_of_m(s, n, m, axis=1), block_size=size).weight
            for w, factor in inputs.groups(rows)
        ]
    return _unrolled(np.concatenate(found), layer, order).astype(weight.dtype)


def quantize_layer(
    layer: Layer, weight: np.ndarray, inputs: LayerInputs, codec: Quantizer, bits: int, group_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales, as `codecs.encode` gives them."""
    if not weight.size:
        return encode(weight, codec.scales, layer.channel_axis, bits, group_size)
    order = _order(layer)
    rows = _rows(weight, order)
    found = [
        compress_columns(
            w,
            factor,
            fixed_mask=w != 0,
            scales=lambda values: choose_scales(values, codec.scales, bits),
            max_code=max_code(bits),
            group_size=None if group_size is None else even_group_size(rows.shape[1], group_size),
        )
        for w, factor in inputs.groups(rows)
    ]
    codes, scales = (np.concatenate(parts) for parts in zip(*((one.codes, one.scales) for one in found), strict=True))
    return _unrolled(codes, layer, order), scales[:, 0] if group_size is None else scales


def output_error(layer: Layer, change: np.ndarray, inputs: LayerInputs) -> float:
    """Mean squared change of the outputs of a layer, summed over them, for a change of its weight."""
    rows = _rows(change.astype(np.float64), _order(layer))
    parts = zip(np.split(rows, len(inputs.moments)), inputs.moments, strict=True)
    return float(sum(np.einsum("ij,ij->", w @ h, w) for w, h in parts))


class _Quota:
    """Zeros that are shared out among blocks of columns in proportion to their weights."""

    def __init__(self, drop: int, size: int):
        self.drop, self.size, self.seen, self.dropped = drop, size, 0, 0

    def keep(self, scores: np.ndarray) -> np.ndarray:
        self.seen += scores.size
        due = round(self.drop * self.seen / self.size) - self.dropped
        self.dropped += due
        return lowest_count(scores, due)


def _order(layer: Layer, input_channels_last: bool = False) -> tuple[int, ...]:
    """The axes of a weight with that of the outputs first; the input channels of one place of a kernel may be last."""
    if len(layer.shape) < 2:
        return tuple(range(len(layer.shape)))
    others = [axis for axis in range(len(layer.shape)) if axis != layer.channel_axis]
    if input_channels_last:
        others.sort(key=lambda axis: axis == layer.input_axis)
    return (layer.channel_axis, *others)


def _rows(weight: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """(outputs, inputs); a vector has one output."""
    if len(order) < 2:
        return weight.reshape(1, -1)
    return weight.transpose(order).reshape(weight.shape[order[0]], -1)


def _unrolled(rows: np.ndarray, layer: Layer, order: tuple[int, ...]) -> np.ndarray:
    """Rows in the shape of the weight."""
    if len(order) < 2:
        return rows.reshape(layer.shape)
    shape = tuple(layer.shape[axis] for axis in order)
    return np.ascontiguousarray(rows.reshape(shape).transpose(np.argsort(order)))
