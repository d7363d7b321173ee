"""The number of threads that torch computes a batch with, chosen by the work of the module's largest layer.

The threads of torch wait for each other at the end of every operation. Where another process is on one of their cores
they wait for its time slice, which takes thousands of times as long as a small layer. The number follows from shapes,
not from measured times: the gradient of a convolution has other bits with another number of threads.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lifecycle.torch import _openmp
from lifecycle.torch.batches import Sequences, TensorRows
from lifecycle.torch.quantized import Int8Conv, Int8Embedding, Int8Recurrent, QuantizedModule
from lifecycle.torch.quantized.linear import LinearShape

MIN_MULTIPLICATIONS = 1 << 25  # of the largest layer for each thread
_OF_A_STEP = 32  # multiplications in the time in which an optimizer reads and writes one parameter

_CONVOLUTIONS = (nn.modules.conv._ConvNd, Int8Conv)
_LINEAR = (nn.Linear, LinearShape)
_EMBEDDINGS = (nn.Embedding, Int8Embedding)
_RECURRENT = (nn.RNNBase, Int8Recurrent)
_POOLINGS = {nn.MaxPool1d: 1, nn.AvgPool1d: 1, nn.MaxPool2d: 2, nn.AvgPool2d: 2, nn.MaxPool3d: 3, nn.AvgPool3d: 3}


@contextmanager
def intra_op_threads(
    net: nn.Module, data: TensorRows | Sequences, n_rows: int, *, training: bool = False
) -> Iterator[None]:
    """Compute batches of `n_rows` rows inside the block on as many threads as they have work for.

    Never more than `torch.get_num_threads()`, which is restored behind the block unless the module has set another
    number itself. Only the calling thread is concerned.
    """
    before = torch.get_num_threads()
    n = before
    if before > 1 and data.values.device.type == "cpu":
        n = min(before, max(1, int(multiplications(net, data, n_rows, training) // MIN_MULTIPLICATIONS)))
    if n == before:
        yield
        return
    restore = _openmp.set_num_threads_of_caller(n)
    try:
        yield
    finally:
        if torch.get_num_threads() == n:
            restore()


def multiplications(net: nn.Module, data: TensorRows | Sequences, n_rows: int, training: bool) -> float:
    """Estimated multiplications of the largest operation on a batch, from the shapes of the parameters.

    Layers are taken in the order in which the module holds them. What the shapes leave open is estimated too high,
    because then the number of threads stays as it is. Infinite if a parameter has no shape yet.
    """
    params = list(net.parameters())
    if any(map(nn.parameter.is_lazy, params)):
        return math.inf
    n_values = -(-data.values.numel() // max(1, len(data)))  # of a sample, on average
    largest = max(_of_layers(net, n_values), default=0)
    return max(n_rows * largest, _OF_A_STEP * sum(p.numel() for p in params) * training)


def _of_layers(net: nn.Module, n_values: int) -> Iterator[int]:
    """Multiplications of each layer for one sample, of which the first takes `n_values` values."""
    at_most = n_values  # a layer is applied at no more positions than the sample has values
    for layer in net.modules():
        if isinstance(layer, _EMBEDDINGS):
            n_values *= layer.embedding_dim
        elif isinstance(layer, tuple(_POOLINGS)):
            n_values //= _positions_of_stride(layer)
        elif isinstance(layer, _RECURRENT):  # step by step
            yield max(w.numel() for w in _weights(layer))
            both = getattr(layer, "bidirectional", False)
            width = (getattr(layer, "proj_size", 0) or layer.hidden_size) * (2 if both else 1)
            n_values = n_values // layer.input_size * width
        elif isinstance(layer, _CONVOLUTIONS):
            n_values = yield from _of_convolution(layer, n_values)
        else:
            weights = [w for w in _weights(layer) if w.ndim > 1 and w.numel()]
            calls = [max(1, min(at_most, n_values // w.shape[1])) for w in weights]
            yield from (w.numel() * n for w, n in zip(weights, calls, strict=True))
            if isinstance(layer, _LINEAR):
                n_values = calls[0] * len(weights[0]) if weights else n_values
            elif not isinstance(layer, nn.MultiheadAttention):  # whose output is as wide as its input
                n_values = max([n_values, *(n * len(w) for w, n in zip(weights, calls, strict=True))])


def _of_convolution(layer: Any, n_values: int) -> Any:
    """Yield the multiplications of a convolution; the number of values of its output is returned."""
    weight = _weights(layer)[0]
    strides = layer.geometry[0] if isinstance(layer, Int8Conv) else layer.stride
    groups = layer.geometry[3] if isinstance(layer, Int8Conv) else layer.groups
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    n_in, n_out = (weight.shape[0], weight.shape[1] * groups) if transposed else (weight.shape[1] * groups, len(weight))
    positions, step = max(1, n_values // n_in), math.prod(strides)
    outputs = positions * step if transposed else max(1, positions // step)
    yield weight.numel() * (positions if transposed else outputs)
    return n_out * outputs


def _weights(layer: nn.Module) -> list[torch.Tensor]:
    """The layer's own parameters; of one with integer weights the codes, since its weights are computed from them."""
    if isinstance(layer, QuantizedModule):
        return [layer.grid(name)[0] for name in layer.weight_names]
    return list(layer.parameters(recurse=False))


def _positions_of_stride(pooling: Any) -> int:
    """The number of positions of the input for each one of the output."""
    dimensions = next(n for cls, n in _POOLINGS.items() if isinstance(pooling, cls))
    stride = pooling.stride
    return stride**dimensions if isinstance(stride, int) else math.prod(stride)
