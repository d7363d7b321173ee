"""Which layers of a module are replaced by layers with integer weights, and with which range of inputs."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from lifecycle._check import UnsupportedModel
from lifecycle.store.adapters import QuantizationOptions
from lifecycle.torch.batches import TensorRows
from lifecycle.torch.channels.slicing import original_shapes, set_original_shapes
from lifecycle.torch.intra_op_threads import intra_op_threads
from lifecycle.torch.layer_inputs import first_arguments, see_inputs
from lifecycle.torch.modules import named_modules
from lifecycle.torch.quantized import Grids, Int8Affine, QuantizedModule, class_for, layer_timing
from lifecycle.torch.quantized.input_range import InputRange
from lifecycle.torch.quantized.kernels import eight_bits


def replacements(
    net: nn.Module,
    grids: Mapping[int, Grids],
    options: QuantizationOptions,
    calibration: Any,
    *,
    of_estimator: bool = False,
) -> dict[int, QuantizedModule]:
    """The layers that take the place of others, by the id of the latter.

    Parameters
    ----------
    grids : codes and scales by the name of the weight, by the id of the layer
        Its weights are decoded already.
    calibration : rows as `batches_of` takes them, or None
    of_estimator : bool
        Whether the net is the module of an estimator, whose `predict` chooses the number of threads.
    """
    mode = options.activations
    if mode is None:
        return {}
    uses = _uses_of_parameters(net)
    floating: dict[int, Any] = {}
    found: dict[int, QuantizedModule] = {}
    for module in net.modules():
        of_module = grids.get(id(module))
        if of_module is None or not _is_replaceable(module, uses):
            continue
        cls = class_for(module, of_module, is_static=mode == "static")
        if cls is not None:
            floating[id(module)], found[id(module)] = module, cls.from_float(module, of_module)
            set_original_shapes(found[id(module)], original_shapes(module))
    if mode == "auto":
        with _threads(net, found, options.batch_size, calibration) if of_estimator else nullcontext():
            return _faster(net, floating, found, options.batch_size, calibration)
    if not any(layer.quantizes_inputs for layer in found.values()):
        found = {}
    elif mode == "static":
        _set_input_ranges(net, floating, found, options.activation_range, calibration)
    return found


def has_activations(layer: QuantizedModule, activations: str | None) -> bool:
    """Whether a layer with integer weights computes as is asked for already; "static" asks for a new range."""
    if activations is None:
        return False
    if not layer.quantizes_inputs or activations == "auto":
        return True
    return activations == "dynamic" and not layer.is_static


def _uses_of_parameters(net: nn.Module) -> dict[int, int]:
    """How many modules have a parameter, by its id."""
    uses: dict[int, int] = {}
    for module in net.modules():
        for p in module._parameters.values():
            uses[id(p)] = uses.get(id(p), 0) + 1
    return uses


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _is_replaceable(module: nn.Module, uses: dict[int, int]) -> bool:
    """Whether it computes what its class does, in float32 on the CPU, with parameters of its own."""
    own = [*(getattr(module, hooks) for hooks in _HOOKS), module._buffers, "forward" in vars(module)]
    params = [p for p in module._parameters.values() if p is not None]
    plain = (uses[id(p)] == 1 and p.dtype == torch.float32 and p.device.type == "cpu" for p in params)
    return not any(own) and all(plain)


def _faster(
    net: nn.Module, floating: dict[int, Any], found: dict[int, QuantizedModule], batch_size: int, calibration: Any
) -> dict[int, QuantizedModule]:
    """Those layers that are clearly faster than the floating-point ones."""
    arguments: dict[int, tuple] = {}
    if calibration is not None and found:
        arguments = first_arguments(net, list(floating.values()), calibration, batch_size)
    kept = {}
    for key, layer in found.items():
        if not all(layer.grid(name)[0].numel() for name in layer.weight_names):
            continue  # there is nothing to compute
        given = arguments.get(key) or (layer.assumed_input(batch_size),)
        if layer_timing.timing_of(layer, floating[key], given).is_faster:
            kept[key] = layer
    return kept


def _threads(
    net: nn.Module, found: dict[int, QuantizedModule], batch_size: int, calibration: Any
) -> AbstractContextManager[None]:
    """As many threads as `predict` of an estimator computes a batch with."""
    if calibration is None and found:  # as long as `_faster` assumes the input of the first of these layers to be
        calibration = TensorRows(next(iter(found.values())).assumed_input(1).reshape(1, -1))
    return nullcontext() if calibration is None else intra_op_threads(net, calibration, batch_size)


def _set_input_ranges(
    net: nn.Module, floating: dict[int, Any], found: dict[int, QuantizedModule], method: str, calibration: Any
) -> None:
    n_codes = 255 if eight_bits() else 127
    ranges = {key: InputRange(method, n_codes) for key, layer in found.items() if isinstance(layer, Int8Affine)}
    layers = [floating[key] for key in ranges]
    see_inputs(net, layers, calibration, lambda layer, x: ranges[id(layer)].see(x))
    for key, of_layer in ranges.items():
        if not of_layer.n_seen:
            path = next(path for path, module in named_modules(net) if module is floating[key])
            raise UnsupportedModel(
                f"the layer {path!r} has no finite input on the calibration rows, so that the range of its activations "
                "is not known: protect it, or give rows on which the model calls it"
            )
        found[key].input_range = torch.tensor(of_layer.range(), dtype=torch.float32)
