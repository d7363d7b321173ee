"""The room of torch modules and of the torch estimators: see `lifecycle.store.adapters.Adapter` for the verbs."""

import copy as _copy
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle._check import UnsupportedModel
from lifecycle.codecs import Quantizer, absmax
from lifecycle.store.adapters import COMPUTED, Layer
from lifecycle.torch import serialization
from lifecycle.torch.compressed import Int8Module, best_for, codes_of, mark, scales_of, unmark

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


def _net(model: Any) -> nn.Module:
    """The module itself, or the fitted module of an estimator."""
    if isinstance(model, nn.Module):
        if isinstance(model, torch.jit.ScriptModule):
            raise UnsupportedModel(
                "a TorchScript module cannot be taken apart: pass the nn.Module that it was made from"
            )
        return model
    found = getattr(model, "module_", None)
    if isinstance(found, nn.Module):
        return found
    if hasattr(model, "get_params"):
        raise UnsupportedModel(f"this {type(model).__name__} is not fitted yet: call fit first")
    raise UnsupportedModel(f"a {type(model).__name__} is not served; what is: an nn.Module or a torch estimator")


def _weights(net: nn.Module) -> Iterator[tuple[Layer, nn.Module, str]]:
    """(layer, the module that owns it, parameter name there), tied weights once."""
    seen: set[int] = set()
    module: nn.Module
    for path, module in net.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, Int8Module):
            kind = "linear" if module.codes.ndim == 2 else "conv"
            yield Layer(f"{prefix}weight", kind, tuple(module.codes.shape)), module, "weight"
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
    """Weights that are no parameters but are computed from some, by a parametrization or, as once, by a hook."""
    # of a hook's parameters: weight_norm's, spectral_norm's and torch's own pruning's
    hooked = (name.removesuffix(end) for name in module._parameters for end in ("_v", "_orig") if name.endswith(end))
    names = chain(getattr(module, "parametrizations", ()), (name for name in hooked if hasattr(module, name)))
    return [name for name in names if fnmatchcase(name, pattern)]


def _find(net: nn.Module, name: str) -> tuple[Layer, nn.Module, str]:
    for found in _weights(net):
        if found[0].name == name:
            return found
    raise ValueError(f"there is no weight {name!r}; there are: {', '.join(f[0].name for f in _weights(net))}")


def layers(model: Any) -> list[Layer]:
    return [layer for layer, _, _ in _weights(_net(model))]


def read_weight(model: Any, name: str) -> np.ndarray:
    _, module, attribute = _find(_net(model), name)
    return _floats(getattr(module, attribute))


def _floats(p: torch.Tensor) -> np.ndarray:
    wide = p.detach().cpu()
    if wide.dtype not in (torch.float32, torch.float64):
        wide = wide.float()
    return wide.contiguous().numpy().copy()


def replace_weight(model: Any, name: str, array: np.ndarray) -> None:
    layer, module, attribute = _find(_net(model), name)
    if isinstance(module, Int8Module):
        scales = module.scales.numpy()
        codes = absmax.on_grid(array, scales)
        if codes is None:
            codes, scales = absmax.encode(array)
        module.codes = torch.from_numpy(codes.copy())
        module.scales = torch.from_numpy(scales.copy())
        return
    if codes_of(module, attribute, read_weight(model, name)) is None:
        unmark(module, attribute)  # trained since it was quantized
    elif codes_of(module, attribute, array) is None:
        codes, scales = absmax.encode(array, layer.channel_axis)
        array = absmax.decode(codes, scales, layer.channel_axis, array.dtype)
        mark(module, attribute, scales, layer.channel_axis)
    _write(getattr(module, attribute), array)


def _write(p: torch.Tensor, array: np.ndarray) -> None:
    with torch.no_grad():
        p.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def quantize_layers(model: Any, names: list[str], codec: Quantizer, activations: str | None) -> Any:
    net = _net(model)
    counts: dict[int, int] = {}
    for module in net.modules():
        for p in module._parameters.values():
            counts[id(p)] = counts.get(id(p), 0) + 1
    chosen = [found for found in _weights(net) if found[0].name in names]
    done = [layer.name for layer, module, _ in chosen if isinstance(module, Int8Module)]
    if done and activations is None:
        raise ValueError(f"{done[0]} has int8 activations already: quantize the model that it was made from")
    swaps: dict[int, nn.Module] = {}
    for layer, module, attribute in chosen:
        if layer.name in done:
            continue
        weight, axis = read_weight(net, layer.name), layer.channel_axis
        # what lies on a grid keeps it: quantizing twice changes nothing
        codes, scales, _ = codes_of(module, attribute, weight) or (*codec.encode(weight, axis), axis)
        small = None if activations is None or not _swappable(module, counts) else best_for(module)
        if small is not None:
            swaps[id(module)] = small.standing_in(module, torch.from_numpy(codes), torch.from_numpy(scales.copy()))
        else:
            _write(getattr(module, attribute), codec.decode(codes, scales, axis, weight.dtype))
            mark(module, attribute, scales, axis)
    if activations == "dynamic" and not swaps and not done:
        raise ValueError(
            'activations="dynamic" needs a plain float32 nn.Linear or nn.Conv2d on the CPU, not tied to another layer '
            'and without hooks, and there is none to quantize here: pass activations="auto" or None'
        )
    net = serialization.swap(net, swaps)
    if isinstance(model, nn.Module):
        return net
    model.module_ = net
    return model


def _swappable(module: nn.Module, counts: dict[int, int]) -> bool:
    hooks = any(getattr(module, h) for h in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"))
    own = [p for p in module._parameters.values() if p is not None]
    return not hooks and all(counts[id(p)] == 1 and p.dtype == torch.float32 and p.device.type == "cpu" for p in own)


def copy(model: Any) -> Any:
    _net(model)
    return _copy.deepcopy(model)


def tensors(model: Any) -> dict[str, np.ndarray]:
    return serialization.module_apart(_net(model), _codes)[1]


def _codes(net: nn.Module) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Codes, scales and axis of every weight that lies on its grid, by the parameter's name."""
    found = {}
    for layer, module, attribute in _weights(net):
        if scales_of(module, attribute) is not None:
            codes = codes_of(module, attribute, read_weight(net, layer.name))
            if codes is not None:
                found[layer.name] = codes
    return found


def take_apart(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    net = _net(model)
    if isinstance(model, nn.Module):
        config, arrays = serialization.module_apart(net, _codes)
        return {"kind": "torch.module", **config}, arrays
    config, arrays = serialization.estimator_apart(model, net, _codes)
    return {"kind": "torch.estimator", **config}, arrays


def rebuild(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    if config["kind"] == "torch.module":
        return serialization.module_together(config, arrays, into)
    return serialization.estimator_together(config, arrays, into)
