"""Batch normalizations that the layers before them compute: in eval mode both are one affine map."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lifecycle._check import UnsupportedModel
from lifecycle.torch.calibration import batches_of, evaluating
from lifecycle.torch.channels.slicing import original_shapes, set_original_shapes
from lifecycle.torch.channels.tracing import SoleLayers, trace
from lifecycle.torch.modules import named_modules
from lifecycle.torch.outputs import CHECK_ROWS, are_close, outputs_of_call
from lifecycle.torch.quantized.grids import scales_of
from lifecycle.torch.swapping import swap

_TOLERANCE = 1e-4  # of the largest output, for the rounding of weights
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_N_SPATIAL = {nn.Linear: 0, nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


class FoldedBatchNorm(nn.Identity):
    """What is left of a batch normalization after the layer before it has taken over its factors and its bias."""


def fold_batch_norms(net: nn.Module, inputs: Any) -> nn.Module:
    """A copy in which linear and convolution layers do the work of the batch normalizations that follow them.

    W' = γ / √(σ² + ε) · W and b' = γ / √(σ² + ε) · (b − μ) + β, with the running mean μ and variance σ² (Jacob et al.,
    2018). The result is for inference. A network without such a pair is returned as it is.

    Raises
    ------
    UnsupportedModel
        torch.fx cannot trace the network, or the outputs on calibration rows change.
    """
    if not any(type(module) in _BATCH_NORMS for module in net.modules()):
        return net
    arguments, keywords = next(batches_of(net, inputs, CHECK_ROWS))
    with evaluating(net):
        pairs = _pairs(net, arguments, keywords)
    if not pairs:
        return net
    folded = copy.deepcopy(net)
    of_path = dict(named_modules(folded))
    for layer, norm in pairs:
        _fold(of_path[layer], of_path[norm])
    folded = swap(folded, {id(of_path[norm]): FoldedBatchNorm().train(of_path[norm].training) for _, norm in pairs})
    reason = "its layers are used in a way that the trace does not show"
    with evaluating(net), evaluating(folded):
        before = outputs_of_call(net, arguments, keywords)
        try:
            after = outputs_of_call(folded, arguments, keywords)
        except Exception as error:
            message = str(error).partition("\n")[0]
            raise UnsupportedModel(
                f"without its batch normalizations this {type(net).__name__} does not run ({message}): {reason}"
            ) from error
    if not are_close(after, before, _TOLERANCE):
        raise UnsupportedModel(
            f"without its batch normalizations this {type(net).__name__} computes something else: {reason}"
        )
    return folded


def _pairs(net: nn.Module, arguments: tuple, keywords: dict[str, Any]) -> list[tuple[str, str]]:
    """Paths of layers and of the batch normalizations that alone read their outputs."""
    graph = trace(net, *copy.deepcopy((arguments, keywords)))
    sole = SoleLayers(net, graph)
    found = []
    for node in graph.nodes:
        norm = sole.module(node)
        if type(norm) not in _BATCH_NORMS or norm.running_mean is None or len(node.args) != 1:
            continue
        source: Any = node.args[0]
        layer: Any = sole.module(source) if len(source.users) == 1 else None
        n_spatial = _N_SPATIAL.get(type(layer))
        # a batch normalization takes the second dimension for the channels
        if n_spatial is None or source.meta["value"].ndim != n_spatial + 2 or norm.num_features != len(layer.weight):
            continue
        if layer.weight.dtype in (torch.float32, torch.float64) and scales_of(layer, "weight") is None:
            found.append((str(source.target), str(node.target)))
    return found


@torch.no_grad()
def _fold(layer: Any, norm: Any) -> None:
    dtype, shapes = layer.weight.dtype, original_shapes(layer)
    values = (layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    exact: list[Any] = [None if value is None else value.double() for value in values]
    weight, bias, mean, variance, factor, shift = exact
    fused = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, factor, shift)
    layer.weight.copy_(fused[0])
    if layer.bias is None:
        layer.bias = nn.Parameter(fused[1].to(dtype), layer.weight.requires_grad)
        if shapes is not None:
            set_original_shapes(layer, {**shapes, "bias": shapes["weight"][:1]})
    else:
        layer.bias.copy_(fused[1])


def folded_paths(net: nn.Module) -> list[str]:
    """Where batch normalizations were folded."""
    return [path for path, module in named_modules(net, False) if isinstance(module, FoldedBatchNorm)]


def fold_as_in_file(net: nn.Module, paths: Iterable[str], state: Mapping[str, torch.Tensor]) -> nn.Module:
    """The module without the batch normalizations at these paths, and with the biases that layers have got by that.

    Raises
    ------
    ValueError
        There is no batch normalization at one of the paths.
    """
    of_path: dict[str, Any] = dict(named_modules(net, False))
    swaps: dict[int, nn.Module] = {}
    for path in paths:
        norm = of_path.get(path)
        if type(norm) not in (*_BATCH_NORMS, FoldedBatchNorm):
            raise ValueError(
                f"the file has a folded batch normalization at {path!r}; the module has {type(norm).__name__}"
            )
        swaps[id(norm)] = FoldedBatchNorm()
    for path, layer in of_path.items() if swaps else ():
        if type(layer) in _N_SPATIAL and layer.bias is None and (f"{path}.bias" if path else "bias") in state:
            bias = torch.empty(len(layer.weight), dtype=layer.weight.dtype, device=layer.weight.device)
            layer.bias = nn.Parameter(bias, layer.weight.requires_grad)
    return swap(net, swaps)
