"""The modules and functions of a trace whose channels are understood, and what is read of a node."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils import rnn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
# they map zero to zero, so that a channel that is always zero can as well be missing
ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Hardswish),
    *(nn.Softsign, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink, nn.Identity),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
)
POOLS = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)
KEEPING_FUNCTIONS = {
    *(functional.relu, functional.relu6, functional.leaky_relu, functional.elu, functional.selu, functional.gelu),
    *(
        functional.silu,
        functional.mish,
        functional.tanh,
        functional.hardswish,
        functional.dropout,
        functional.dropout2d,
    ),
    *(torch.relu, torch.relu_, torch.tanh, torch.abs, torch.neg, operator.neg),
    *(functional.max_pool1d, functional.max_pool2d, functional.max_pool3d),
    *(functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d),
    *(functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d),
    *(functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.adaptive_max_pool3d),
}
KEEPING_METHODS = {"relu", "relu_", "tanh", "abs", "neg", "contiguous", "clone", "float"}
SUMS = {operator.add, operator.sub, operator.iadd, operator.isub, operator.mul, torch.add, torch.sub, torch.mul}
SUM_METHODS = {"add", "add_", "sub", "sub_", "mul", "mul_"}


def is_plain_index(index: tuple) -> bool:
    """Whether an index has numbers, slices with constant ends and ellipses only."""
    return all(
        isinstance(i, int) or i is Ellipsis
        or (isinstance(i, slice) and all(part is None or isinstance(part, int) for part in (i.start, i.stop, i.step)))
        for i in index
    )  # fmt: skip


def shape_of(node: Any) -> Any:
    value = node.meta.get("value") if isinstance(node, fx.Node) else None
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def is_packed(node: Any) -> bool:
    return isinstance(node, fx.Node) and isinstance(node.meta.get("value"), rnn.PackedSequence)


def name_of(node: fx.Node) -> str:
    target: Callable | str = node.target
    return f"{getattr(target, '__name__', target)}"
