"""Layers with fewer channels: parts of their weights, and the attributes that tell their sizes."""

from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle.torch.channels.coupling import Use
from lifecycle.torch.channels.operations import BATCH_NORMS, CONVOLUTIONS, RECURRENT
from lifecycle.torch.quantized.base import QuantizedModule, floating_shapes

RESIZABLE = (nn.Linear, *CONVOLUTIONS, *BATCH_NORMS, *RECURRENT)
_SHAPES = "_lifecycle_original_shapes"  # attribute of a layer with fewer channels: shapes of its tensors before
GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}
Shapes = dict[str, list[int]]


def keep_channels(use: Use, kept: np.ndarray) -> None:
    """Slice the weights of a layer, in place; `kept[number]` tells which channels stay."""
    module: Any = use.module
    if all(kept[numbers].all() for numbers in (use.inputs, use.outputs, *use.hidden) if numbers is not None):
        return
    set_original_shapes(module, original_shapes(module) or _shapes_of(module))
    outputs = None if use.outputs is None else np.flatnonzero(kept[use.outputs])
    inputs = None if use.inputs is None else np.flatnonzero(kept[use.inputs])
    if isinstance(module, RECURRENT):
        _keep_units(module, inputs, [np.flatnonzero(kept[numbers]) for numbers in use.hidden])
        return
    if isinstance(module, BATCH_NORMS):
        for name in ("weight", "bias", "running_mean", "running_var"):
            _slice(module, name, inputs, 0)
    elif is_depthwise(module):
        for name in ("weight", "bias"):
            _slice(module, name, inputs, 0)
    else:
        if inputs is not None:
            # the weight of a convolution with groups has the channels of one group; those of all groups are alike
            n_inputs = module.weight.shape[1]
            _slice(module, "weight", inputs[inputs < n_inputs], 1)
        for name in ("weight", "bias"):
            _slice(module, name, outputs, 0)
    _set_sizes(module)


def is_depthwise(module: Any) -> bool:
    """Whether a convolution has one filter for each channel."""
    return isinstance(module, CONVOLUTIONS) and module.groups == module.in_channels == module.out_channels > 1


def _slice(module: nn.Module, name: str, places: np.ndarray | None, axis: int) -> None:
    value = getattr(module, name, None)
    if value is None or places is None:
        return
    part = value.detach().index_select(axis, torch.from_numpy(places).to(value.device))
    if isinstance(value, nn.Parameter):
        part = nn.Parameter(part, value.requires_grad)
    setattr(module, name, part)


def _keep_units(module: Any, inputs: np.ndarray | None, units: list[np.ndarray]) -> None:
    """Of each layer the units of a recurrent network; every direction of a layer has its own."""
    hidden, gates = module.hidden_size, GATES[type(module)]
    for layer, kept in enumerate(units):
        for d, suffix in enumerate(_suffixes(module)):
            own = kept[(kept >= d * hidden) & (kept < (d + 1) * hidden)] - d * hidden
            rows = np.concatenate([own + gate * hidden for gate in range(gates)])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                _slice(module, f"{name}_l{layer}{suffix}", rows, 0)
            _slice(module, f"weight_hh_l{layer}{suffix}", own, 1)
            _slice(module, f"weight_ih_l{layer}{suffix}", inputs if layer == 0 else units[layer - 1], 1)
    _set_sizes(module)


def _suffixes(module: Any) -> tuple[str, ...]:
    return ("", "_reverse") if module.bidirectional else ("",)


def _set_sizes(module: Any) -> None:
    """Make the attributes of a layer agree with the shapes of its weights."""
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, BATCH_NORMS):
        tensor = module.weight if module.weight is not None else module.running_mean
        module.num_features = module.num_features if tensor is None else len(tensor)
    elif isinstance(module, CONVOLUTIONS):
        if is_depthwise(module):
            module.groups = len(weight)
        module.out_channels, module.in_channels = len(weight), weight.shape[1] * module.groups
    elif isinstance(module, RECURRENT):
        first, recurrent = module._parameters["weight_ih_l0"], module._parameters["weight_hh_l0"]
        module.hidden_size, module.input_size = recurrent.shape[1], first.shape[1]  # type: ignore[union-attr]
        module._init_flat_weights()


def original_shapes(module: nn.Module) -> Shapes | None:
    """The shapes that the tensors of a layer had before channels were removed; None if none were."""
    return vars(module).get(_SHAPES)


def set_original_shapes(module: nn.Module, shapes: Shapes | None) -> None:
    """Remember them; None changes nothing."""
    if shapes is not None:
        setattr(module, _SHAPES, shapes)


def _shapes_of(module: nn.Module) -> Shapes:
    tensors = {**module._parameters, **module._buffers}
    return {name: list(tensor.shape) for name, tensor in tensors.items() if tensor is not None}


def resize(module: Any, shapes: Shapes, original: Any) -> None:
    """Give the tensors of a layer these shapes, in place, without values: it has them already, or the original ones.

    Raises
    ------
    ValueError
        The layer has other shapes, or could not have these after channels were removed.
    """
    now = floating_shapes(dict(module._buffers)) if isinstance(module, QuantizedModule) else _shapes_of(module)
    if now == shapes:
        set_original_shapes(module, original if isinstance(original, dict) else shapes)
        return
    kind = type(module).__name__
    if not isinstance(module, RESIZABLE) or vars(module).get("proj_size"):
        raise ValueError(f"a {kind} cannot have other sizes")
    if now != original or shapes != _sliced_shapes(module, shapes):
        raise ValueError(
            f"the file has a {kind} with the shapes {shapes}, where channels were removed; it cannot be made of the "
            f"module's, which has {now}"
        )
    for name, shape in shapes.items():
        value = getattr(module, name)
        if list(value.shape) != shape:
            empty = torch.empty(shape, dtype=value.dtype, device=value.device)
            setattr(
                module, name, nn.Parameter(empty, value.requires_grad) if isinstance(value, nn.Parameter) else empty
            )
    set_original_shapes(module, original)
    _set_sizes(module)


def _sliced_shapes(module: Any, shapes: Shapes) -> Shapes:
    """The shapes of all tensors of the layer if it has as many channels as these say; {} if it could not."""
    now = _shapes_of(module)
    if isinstance(module, RECURRENT):
        found = _sliced_shapes_of_units(module, shapes)
    elif isinstance(module, BATCH_NORMS):
        size = shapes.get("weight", shapes.get("running_mean", [0]))[:1]
        found = {name: size if shape else [] for name, shape in now.items()}
    else:
        weight = [*shapes.get("weight", [])[:2], *now["weight"][2:]]
        found = {"weight": weight, **({"bias": weight[:1]} if "bias" in now else {})}
        groups = getattr(module, "groups", 1)
        if is_depthwise(module):
            weight[1:2] = [1]
        elif weight[0] % groups:
            return {}
    is_smaller = found.keys() == now.keys() and all(
        len(shape) == len(now[name]) and all(1 <= n <= old for n, old in zip(shape, now[name], strict=True))
        for name, shape in found.items()
    )
    return found if is_smaller else {}


def _sliced_shapes_of_units(module: Any, shapes: Shapes) -> Shapes:
    gates, now = GATES[type(module)], _shapes_of(module)
    first, recurrent = shapes.get("weight_ih_l0", []), shapes.get("weight_hh_l0", [])
    if len(first) != 2 or len(recurrent) != 2:
        return {}
    size, n_inputs, found = recurrent[1], first[1], {}
    for layer in range(module.num_layers):
        for suffix in _suffixes(module):
            found[f"weight_ih_l{layer}{suffix}"] = [gates * size, n_inputs]
            found[f"weight_hh_l{layer}{suffix}"] = [gates * size, size]
            for name in (f"bias_ih_l{layer}{suffix}", f"bias_hh_l{layer}{suffix}"):
                if name in now:
                    found[name] = [gates * size]
        n_inputs = size * len(_suffixes(module))
    return found
