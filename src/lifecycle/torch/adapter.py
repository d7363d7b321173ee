"""The adapter of torch modules and estimators; `lifecycle.store.adapters.Adapter` documents its functions."""

import copy as _copy
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle._check import UnsupportedModel
from lifecycle.codecs import decode, encode_like, on_grid
from lifecycle.store.adapters import (
    COMPUTED,
    MAX_INPUTS,
    TORCH_ESTIMATOR,
    TORCH_MODULE,
    Encode,
    Layer,
    QuantizationOptions,
    check_n_inputs,
)
from lifecycle.torch import calibration, channels, serialization
from lifecycle.torch.batches import as_array, input_dtype_and_device, to_batches
from lifecycle.torch.bias_correction import correct_biases, output_means
from lifecycle.torch.equalization import equalize
from lifecycle.torch.folding import fold_batch_norms as _fold_batch_norms
from lifecycle.torch.modules import check_values, named_modules, unwrap
from lifecycle.torch.quantized import QuantizedModule
from lifecycle.torch.quantized.grids import clear_scales, codes_of, scales_of, set_scales
from lifecycle.torch.quantized_layers import has_activations, replacements
from lifecycle.torch.swapping import swap
from lifecycle.torch.tensors import in_channels_last, to_array

_OUTPUT_BATCH_SIZE = 256
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
# module types, kind, names of the weights, input axis, channel axis
_KINDS: list[tuple[tuple[type, ...], str, str, int, int]] = [
    ((nn.Linear,), "linear", "weight", 1, 0),
    (_CONVS, "conv", "weight", 1, 0),
    (_TRANSPOSED, "conv_transpose", "weight", 0, 1),
    (_RECURRENT, "recurrent", "weight_*", 1, 0),
    ((nn.Embedding, nn.EmbeddingBag), "embedding", "weight", 1, 0),
    ((nn.MultiheadAttention,), "attention", "*proj_weight", 1, 0),
]


def _module(model: Any) -> nn.Module:
    """The module itself, or the fitted module of an estimator, without wrappers."""
    net = unwrap(model if isinstance(model, nn.Module) else getattr(model, "module_", None))
    if isinstance(net, torch.jit.ScriptModule):
        raise UnsupportedModel("a TorchScript module is not supported: pass the nn.Module that it was made from")
    if isinstance(net, nn.Module):
        return net
    if hasattr(model, "get_params"):
        raise UnsupportedModel(f"this {type(model).__name__} is not fitted yet: call fit first")
    raise UnsupportedModel(f"a {type(model).__name__} is not supported; what is: an nn.Module or a torch estimator")


def _weights(net: nn.Module) -> Iterator[tuple[Layer, nn.Module, str]]:
    """Each weight as (layer, the module that owns it, its name in that module); tied weights once."""
    seen: set[int] = set()
    module: nn.Module
    for path, module in named_modules(net):
        prefix = f"{path}." if path else ""
        if isinstance(module, QuantizedModule):
            for name in module.weight_names:
                yield Layer(prefix + name, module.kind, tuple(module.grid(name)[0].shape)), module, name
            continue
        for types, kind, pattern, input_axis, channel_axis in _KINDS:
            if isinstance(module, types):
                computed = _computed(module, pattern)
                if computed:
                    yield from ((Layer(prefix + name, COMPUTED, ()), module, name) for name in computed)
                    break
                for name, p in module._parameters.items():
                    if p is not None and fnmatchcase(name, pattern) and p.is_floating_point() and id(p) not in seen:
                        seen.add(id(p))
                        yield Layer(prefix + name, kind, tuple(p.shape), input_axis, channel_axis), module, name
                break


def _computed(module: nn.Module, pattern: str) -> list[str]:
    """Weights that a parametrization or a hook computes from parameters."""
    # the parameters of the hooks of weight_norm, spectral_norm and torch's pruning
    hooked = (name.removesuffix(end) for name in module._parameters for end in ("_v", "_orig") if name.endswith(end))
    names = chain(getattr(module, "parametrizations", ()), (name for name in hooked if hasattr(module, name)))
    return [name for name in names if fnmatchcase(name, pattern)]


def _find(net: nn.Module, name: str) -> tuple[Layer, nn.Module, str]:
    for weight in _weights(net):
        if weight[0].name == name:
            return weight
    raise ValueError(f"there is no weight {name!r}; there are: {', '.join(w[0].name for w in _weights(net))}")


def layers(model: Any) -> list[Layer]:
    return [layer for layer, _, _ in _weights(check_values(_module(model)))]


def parameter(net: nn.Module, name: str) -> nn.Parameter:
    """The parameter of a weight; UnsupportedModel for a layer with integer weights, which has none."""
    _, module, attribute = _find(net, name)
    if isinstance(module, QuantizedModule):
        raise UnsupportedModel(f"{_is_quantized(name, module)}, and no gradient: take the model that it was made from")
    found: nn.Parameter = getattr(module, attribute)
    return found


def _is_quantized(name: str, module: QuantizedModule) -> str:
    return f"{name} has int8 activations" if module.quantizes_inputs else f"{name} has integer weights"


def read_weight(model: Any, name: str) -> np.ndarray:
    _, module, attribute = _find(_module(model), name)
    return _values(getattr(module, attribute))


def _values(p: torch.Tensor) -> np.ndarray:
    return to_array(p if p.dtype in (torch.float32, torch.float64) else p.float()).copy()


def replace_weight(model: Any, name: str, array: np.ndarray) -> None:
    layer, module, attribute = _find(_module(model), name)
    if isinstance(module, QuantizedModule):
        before, scales = (part.numpy() for part in module.grid(attribute))
        codes = on_grid(array, scales)
        if codes is None:
            codes, scales = encode_like(array, before, scales)
        module.set_grid(attribute, torch.from_numpy(codes.copy()), torch.from_numpy(scales.copy()))
        return
    grid = codes_of(module, attribute, _values(getattr(module, attribute)))
    if grid is None:
        clear_scales(module, attribute)  # it was trained since it was quantized
    elif codes_of(module, attribute, array) is None:
        codes, scales = encode_like(array, *grid)
        array = decode(codes, scales, layer.channel_axis, array.dtype)
        set_scales(module, attribute, scales, layer.channel_axis)
    _write(getattr(module, attribute), array)


def _write(p: torch.Tensor, array: np.ndarray) -> None:
    with torch.no_grad():
        p.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def quantize_layers(model: Any, names: list[str], encode: Encode, options: QuantizationOptions | None) -> Any:
    net, options = _module(model), options or QuantizationOptions()
    activations = options.activations
    rows = None if options.calibration is None else _batches(model, net, options.calibration)
    weights = [weight for weight in _weights(net) if weight[0].name in names]
    for layer, module, attribute in weights:
        if isinstance(module, QuantizedModule):
            grid = module.grid(attribute)[0].numpy(), module.grid(attribute)[1].numpy()
            weight = _values(getattr(module, attribute))
            if not has_activations(module, activations) or encode(layer.name, weight, 0, grid) is not grid:
                raise ValueError(
                    f"{_is_quantized(layer.name, module)} already: quantize the model that it was made from"
                )
    is_quantized = any(isinstance(module, QuantizedModule) and module.quantizes_inputs for _, module, _ in weights)
    weights = [weight for weight in weights if not isinstance(weight[1], QuantizedModule)]
    paths = {layer.name.rpartition(".")[0] for layer, _, _ in weights}
    if options.equalize:
        equalize(net, paths, rows)
    means = output_means(net, paths, rows) if options.bias_correction else {}
    if options.bias_correction and not means:
        raise ValueError("bias_correction=True needs a linear or convolution layer with a bias, and there is none here")
    grids: dict[int, dict[str, tuple[torch.Tensor, torch.Tensor]]] = {}
    for layer, module, attribute in weights:
        weight, axis = _values(getattr(module, attribute)), layer.channel_axis
        known = codes_of(module, attribute, weight)
        codes, scales = encode(layer.name, weight, axis, None if known is None else known[:2])
        # also where the layer is replaced at the end: `encode` may run the model up to the later layers
        _write(getattr(module, attribute), decode(codes, scales, axis, weight.dtype))
        set_scales(module, attribute, scales, axis)
        if activations is not None:
            grids.setdefault(id(module), {})[attribute] = torch.from_numpy(codes), torch.from_numpy(scales.copy())
    of_estimator = not isinstance(model, nn.Module)
    swaps: dict[int, nn.Module] = {**replacements(net, grids, options, rows, of_estimator=of_estimator)}
    if activations in ("dynamic", "static") and not swaps and not is_quantized:
        raise ValueError(
            f'activations="{activations}" needs a plain float32 nn.Linear, nn.Conv1d or nn.Conv2d'
            f"{', or a recurrent layer,' if activations == 'dynamic' else ''} on the CPU, not tied to another layer, "
            "without hooks and with sums within 32 bits, and there is none to quantize here: pass "
            'activations="auto" or None'
        )
    net = swap(net, swaps)
    correct_biases(net, means, rows)
    return _with_module(model, net)


def integer_layers(model: Any) -> list[str] | None:
    return [layer.name for layer, module, _ in _weights(_module(model)) if isinstance(module, QuantizedModule)]


def _batches(model: Any, net: nn.Module, inputs: Any) -> Any:
    """Rows as `calibration.batches_of` takes them."""
    return inputs if isinstance(model, nn.Module) else to_batches(model._check_data(inputs, reset=False), net)


def outputs(model: nn.Module, inputs: Any) -> np.ndarray:
    """What a module computes for rows; an estimator has `predict`."""
    net = check_values(_module(model))
    found = []
    with calibration.evaluating(net), torch.no_grad():
        for arguments, keywords in calibration.batches_of(net, inputs, _OUTPUT_BATCH_SIZE):
            out = net(*arguments, **keywords)
            if not isinstance(out, torch.Tensor):
                raise UnsupportedModel(
                    f"the module returns a {type(out).__name__}: pass predict=, which takes the model and rows and "
                    "returns an array"
                )
            found.append(as_array(out))
    return np.concatenate(found)


def second_moments(
    model: Any, names: Sequence[str], inputs: Any, *, skip_unknown: bool = False
) -> dict[str, np.ndarray]:
    net, modules = check_values(_module(model)), {}
    for name in names:
        layer, module, _ = _find(net, name)
        n_inputs = int(np.prod(layer.shape[1:]))
        if not skip_unknown:
            check_n_inputs(name, n_inputs)
        if n_inputs <= MAX_INPUTS:
            modules[name] = module
    run = None if isinstance(model, nn.Module) else lambda: model.predict(inputs)
    found = calibration.second_moments(net, run, list(modules.values()), inputs, skip_unknown=skip_unknown)
    return {name: moments for name, moments in zip(modules, found, strict=True) if moments is not None}


def squared_gradients(model: Any, names: list[str], inputs: Any, targets: Any) -> list[np.ndarray]:
    net = check_values(_module(model))
    parameters = [parameter(net, name) for name in names]
    loss = None
    if not isinstance(model, nn.Module):
        inputs = _batches(model, net, inputs)
        loss, targets = _loss_and_targets(model, targets)
    return calibration.squared_gradients(net, parameters, inputs, targets, loss)


def _loss_and_targets(model: Any, targets: Any) -> tuple[Callable, Any]:
    """The loss that an estimator was trained with, and targets as it takes them."""
    of_rows = model._make_loss(False, input_dtype_and_device(model.module_)[1])
    encoded = None if targets is None else model._encode_targets(np.asarray(targets))
    return lambda out, y: of_rows(model._check_output(out), y, None), encoded


def remove_channels(
    model: Any, amount: float, method: str, scope: str, calibration: Any, protect: Sequence[str], seed: Any
) -> Any:
    net, loss, targets = _module(model), None, None
    if method == "taylor":
        calibration, targets = calibration
    if not isinstance(model, nn.Module):
        calibration = _batches(model, net, calibration)
        loss, targets = _loss_and_targets(model, targets)
    for path, module in named_modules(net):
        if isinstance(module, QuantizedModule):
            raise UnsupportedModel(f"{_is_quantized(path, module)}: prune the model that it was made from")
    channels.remove_channels(
        net, amount, method=method, scope=scope, calibration=calibration, targets=targets, loss=loss,
        protect=_protected_paths(net, protect), random_state=seed,
    )  # fmt: skip
    return model


def fold_batch_norms(model: Any, calibration: Any) -> Any:
    net = _module(model)
    return _with_module(model, _fold_batch_norms(net, _batches(model, net, calibration)))


def channels_last(model: Any) -> Any:
    net = _module(model)
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    for layer in layers:  # not `net.to`, which refuses a network with tensors of five dimensions
        layer.weight.data = in_channels_last(layer.weight.data)
    return model if layers else None


def first_trees(model: Any, share: float) -> Any:
    return None


def _with_module(model: Any, net: nn.Module) -> Any:
    """The module itself, or the estimator with it."""
    if isinstance(model, nn.Module):
        return net
    model.module_ = net
    return model


def _protected_paths(net: nn.Module, protect: Sequence[str]) -> list[str]:
    """Paths of the modules that `protect` names by themselves, by a module around them or by a weight."""
    paths = [path for path, _ in named_modules(net)]
    found = []
    for name in protect:
        inside = [path for path in paths if path == name or path.startswith(f"{name}.")]
        owner = [
            path
            for path in paths
            if path and name.rpartition(".")[0] == path and hasattr(net.get_submodule(path), name.rpartition(".")[2])
        ]
        if not inside and not owner:
            raise ValueError(f"protect names {name!r}, which is not a layer of the model")
        found += inside or owner
    return found


def copy(model: Any) -> Any:
    net = check_values(_module(model))
    if isinstance(model, nn.Module):
        return _copy.deepcopy(net)
    copied = _copy.deepcopy(model)
    copied.module_ = unwrap(copied.module_)
    return copied


def tensors(model: Any) -> dict[str, np.ndarray]:
    net = check_values(_module(model))
    return serialization.serialize_module(net, _codes(net))[1]


def _codes(net: nn.Module) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Codes, scales and axis of every weight that is on its int8 grid, by the parameter's name."""
    quantized = (weight for weight in _weights(net) if scales_of(*weight[1:]) is not None)
    codes = {layer.name: codes_of(module, name, _values(getattr(module, name))) for layer, module, name in quantized}
    return {name: of_weight for name, of_weight in codes.items() if of_weight is not None}


def serialize(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    net = check_values(_module(model))
    codes = _codes(net)
    if isinstance(model, nn.Module):
        config, arrays = serialization.serialize_module(net, codes)
        return {"kind": TORCH_MODULE, **config}, arrays
    config, arrays = serialization.serialize_estimator(model, net, codes)
    return {"kind": TORCH_ESTIMATOR, **config}, arrays


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    if config["kind"] == TORCH_MODULE:
        return serialization.deserialize_module(config, arrays, into)
    return serialization.deserialize_estimator(config, arrays, into)
