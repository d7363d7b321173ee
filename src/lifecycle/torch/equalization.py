"""Ranges of weights that are made alike across two layers before they are quantized (Nagel et al., 2019)."""

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from lifecycle._check import UnsupportedModel
from lifecycle.torch.calibration import batches_of, evaluating
from lifecycle.torch.channels.tracing import trace

_CHECK_ROWS = 32
_ROUNDS, _SMALL_CHANGE = 20, 1e-3  # of the factors: then ranges are alike
_TOLERANCE = 1e-4  # of the largest output, for the rounding of weights
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RELUS = (nn.ReLU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_RELU_FUNCTIONS: tuple[Any, ...] = (torch.relu, functional.relu, "relu", "relu_")


def equalize(net: nn.Module, paths: set[str], inputs: Any) -> None:
    """Scale the channels between two layers so that their weights in both have the same largest absolute value.

    In place, for each pair of linear or convolution layers of `paths` that are joined by ReLU, or by nothing, alone. As
    ReLU(s x) = s ReLU(x) for s > 0, the outputs stay the same but for rounding, which is checked on calibration rows.

    Raises
    ------
    UnsupportedModel
        torch.fx cannot trace the network, there is no such pair, or the outputs change.
    """
    arguments, keywords = next(batches_of(net, inputs, _CHECK_ROWS))
    with evaluating(net), torch.no_grad():
        pairs = _pairs(net, paths, arguments, keywords)
        if not pairs:
            raise UnsupportedModel(
                f"this {type(net).__name__} has no two linear or convolution layers that are joined by ReLU alone, so "
                "that there is nothing to equalize: leave equalize out"
            )
        before = _output(net, arguments, keywords)
        for _ in range(_ROUNDS):
            if max(_equalize_pair(*pair) for pair in pairs) < _SMALL_CHANGE:
                break
        after = _output(net, arguments, keywords)
    if not torch.allclose(before, after, rtol=0.0, atol=_TOLERANCE * float(before.abs().max()), equal_nan=True):
        raise UnsupportedModel(
            f"equalization changes the outputs of this {type(net).__name__}: its layers are used in a way that the "
            "trace does not show; leave equalize out"
        )


def _equalize_pair(first: Any, second: Any) -> float:
    """Scale the channels between two layers; how far the largest factor is from 1, as its logarithm."""
    axis = 0 if getattr(second, "groups", 1) > 1 else 1  # a depthwise convolution has one filter for each channel
    outputs = first.weight.abs().flatten(1).amax(1)
    inputs = second.weight.abs().movedim(axis, 0).flatten(1).amax(1)
    usable = (outputs > 0) & (inputs > 0) & torch.isfinite(outputs) & torch.isfinite(inputs)
    factors = torch.where(usable, (inputs / outputs).sqrt(), 1.0)
    first.weight *= factors.view(-1, *[1] * (first.weight.ndim - 1))
    if first.bias is not None:
        first.bias *= factors
    second.weight /= factors.view(*[1] * axis, -1, *[1] * (second.weight.ndim - 1 - axis))
    return float(factors.log().abs().max()) if factors.numel() else 0.0


def _pairs(net: nn.Module, paths: set[str], arguments: tuple, keywords: dict[str, Any]) -> list[tuple[Any, Any]]:
    graph = trace(net, *copy.deepcopy((arguments, keywords)))
    calls: dict[Any, int] = {}
    uses: dict[int, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[node.target] = calls.get(node.target, 0) + 1
        elif node.op == "get_attr":  # a weight that is used without its layer
            path = str(node.target).rpartition(".")[0]
            calls[path] = calls.get(path, 0) + 1
    for module in net.modules():
        for p in module._parameters.values():
            uses[id(p)] = uses.get(id(p), 0) + 1

    def layer_of(node: fx.Node) -> Any:
        if node.op != "call_module" or node.target not in paths or calls[node.target] != 1:
            return None
        module = net.get_submodule(str(node.target))
        hooks = module._forward_hooks or module._forward_pre_hooks
        shared = any(p is not None and uses[id(p)] != 1 for p in module._parameters.values())
        return module if type(module) in _LAYERS and not hooks and not shared else None

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
    if isinstance(second, nn.Linear):
        return len(first.weight) == second.in_features
    n = len(first.weight)
    return n == second.in_channels and (second.groups == 1 or second.groups == n == second.out_channels)


def _is_relu(net: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        module = net.get_submodule(str(node.target))
        return type(module) in _RELUS and not module._forward_hooks and not module._forward_pre_hooks
    return node.op in ("call_function", "call_method") and node.target in _RELU_FUNCTIONS


def _output(net: nn.Module, arguments: tuple, keywords: dict[str, Any]) -> torch.Tensor:
    args, kwargs = copy.deepcopy((arguments, keywords))  # a network may write to its input
    out = net(*args, **kwargs)
    if not isinstance(out, torch.Tensor):
        raise UnsupportedModel(
            f"the module returns a {type(out).__name__}, which cannot be compared: leave equalize out"
        )
    return out.double()
