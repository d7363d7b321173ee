"""Ranges of weights that are made alike across two layers before they are quantized (Nagel et al., 2019)."""

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from lifecycle._check import UnsupportedModel
from lifecycle.torch.calibration import batches_of, evaluating
from lifecycle.torch.channels.tracing import SoleLayers, trace
from lifecycle.torch.outputs import CHECK_ROWS, are_close, outputs_of_call

_ROUNDS, _SMALL_CHANGE = 20, 1e-3  # of the factors: then ranges are alike
_LARGEST_FACTOR = 16.0
_SUBSTANTIAL = 1e-3  # of the largest range of a layer
_TOLERANCE = 1e-4  # of the largest output, for the rounding of weights
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RELUS = (nn.ReLU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_RELU_FUNCTIONS: tuple[Any, ...] = (torch.relu, functional.relu, "relu", "relu_")


def equalize(net: nn.Module, paths: set[str], inputs: Any) -> None:
    """Scale the channels between two layers so that their weights in both have the same largest absolute value.

    In place, for each pair of linear or convolution layers of `paths` that are joined by ReLU, or by nothing, alone. As
    ReLU(s x) = s ReLU(x) for s > 0, the outputs stay the same but for rounding, which is checked on calibration rows.

    A bias is scaled with its channel, and no part of it moves to the next layer, so that a factor also multiplies the
    range of the channel's activations. Each factor is therefore between 1/16 and 16. A channel whose weights in one of
    the two layers are zero, or below a thousandth of the largest of the layer, is left as it is.

    Raises
    ------
    UnsupportedModel
        torch.fx cannot trace the network, there is no such pair, or the outputs change.
    """
    arguments, keywords = next(batches_of(net, inputs, CHECK_ROWS))
    with evaluating(net), torch.no_grad():
        pairs = [_Pair(*layers) for layers in _pairs(net, paths, arguments, keywords)]
        if not pairs:
            raise UnsupportedModel(
                f"this {type(net).__name__} has no two linear or convolution layers that are joined by ReLU alone, so "
                "that there is nothing to equalize: leave equalize out"
            )
        before = outputs_of_call(net, arguments, keywords)
        for _ in range(_ROUNDS):
            if max(pair.equalize() for pair in pairs) < _SMALL_CHANGE:
                break
        after = outputs_of_call(net, arguments, keywords)
    if not are_close(after, before, _TOLERANCE):
        raise UnsupportedModel(
            f"equalization changes the outputs of this {type(net).__name__}: its layers are used in a way that the "
            "trace does not show; leave equalize out"
        )


class _Pair:
    """Two layers, and the factors by which the channels between them were scaled."""

    def __init__(self, first: Any, second: Any):
        self.first, self.second = first, second
        self.axis = 0 if getattr(second, "groups", 1) > 1 else 1  # a depthwise convolution: one filter for each channel
        outputs, inputs = self.ranges()
        self.usable = _is_substantial(outputs) & _is_substantial(inputs)
        self.factors = torch.ones_like(outputs)

    def ranges(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest absolute weight of each channel in both layers."""
        outputs, inputs = self.first.weight.abs(), self.second.weight.abs().movedim(self.axis, 0)
        return outputs.flatten(1).amax(1), inputs.flatten(1).amax(1)

    def equalize(self) -> float:
        """Scale the channels; how far the largest change of a factor is from 1, as its logarithm."""
        outputs, inputs = self.ranges()
        wanted = self.factors * torch.where(self.usable, (inputs / outputs).sqrt(), 1.0)
        factors = wanted.clamp(1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
        change, self.factors = factors / self.factors, factors
        first, second, axis = self.first.weight, self.second.weight, self.axis
        first *= change.view(-1, *[1] * (first.ndim - 1))
        if self.first.bias is not None:
            self.first.bias *= change
        second /= change.view(*[1] * axis, -1, *[1] * (second.ndim - 1 - axis))
        return float(change.log().abs().max())


def _is_substantial(ranges: torch.Tensor) -> torch.Tensor:
    """Which channels have a weight that counts beside the largest of the layer."""
    return (ranges > 0) & (ranges >= _SUBSTANTIAL * ranges.max()) & torch.isfinite(ranges)


def _pairs(net: nn.Module, paths: set[str], arguments: tuple, keywords: dict[str, Any]) -> list[tuple[Any, Any]]:
    graph = trace(net, *copy.deepcopy((arguments, keywords)))
    sole = SoleLayers(net, graph)

    def layer_of(node: fx.Node) -> Any:
        module = sole.module(node) if node.target in paths else None
        return module if type(module) in _LAYERS else None

    found = []
    for node in graph.nodes:
        first, after = layer_of(node), node
        while first is not None and len(after.users) == 1:
            after = next(iter(after.users))
            second = layer_of(after)
            if second is not None:
                if _fit(first, second):
                    found.append((first, second))
                break
            if not _is_relu(net, after):
                break
    return found


def _fit(first: Any, second: Any) -> bool:
    """Whether the inputs of the second layer are the output channels of the first."""
    if isinstance(first, nn.Linear) != isinstance(second, nn.Linear):
        return False
    if not (first.weight.numel() and second.weight.numel()):
        return False
    if isinstance(second, nn.Linear):
        return len(first.weight) == second.in_features
    n = len(first.weight)
    return n == second.in_channels and (second.groups == 1 or second.groups == n == second.out_channels)


def _is_relu(net: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        module = net.get_submodule(str(node.target))
        return type(module) in _RELUS and not module._forward_hooks and not module._forward_pre_hooks
    return node.op in ("call_function", "call_method") and node.target in _RELU_FUNCTIONS
