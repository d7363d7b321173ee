"""Modules and torch estimators as JSON and arrays, and back; nothing is built but what stands in the tables here."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle._check import CorruptBundle, UnsupportedModel
from lifecycle.codecs import absmax
from lifecycle.store.json_values import (
    attributes_apart,
    from_plain,
    params_apart,
    params_together,
    set_attributes,
    to_plain,
)
from lifecycle.torch.compressed import INT8, Int8Module, holds_int8, mark, unmark

_MODELS = ("MLP", "CNN", "RNN")
_ESTIMATORS = ("TorchClassifier", "TorchRegressor")
_DTYPES = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "int64": torch.int64, "int32": torch.int32, "int16": torch.int16, "int8": torch.int8, "uint8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip
Codes = Callable[[nn.Module], dict[str, tuple[np.ndarray, np.ndarray, int]]]


def _model_class(name: Any) -> Any:
    """lt.MLP, lt.CNN or lt.RNN; None for any other name."""
    if name not in _MODELS:
        return None
    from lifecycle.torch import models

    return getattr(models, name)


def _estimator_class(name: Any) -> Any:
    if name not in _ESTIMATORS:
        return None
    from lifecycle.torch import estimators

    return getattr(estimators, name)


# -- modules ---------------------------------------------------------------------------------------------------------


def module_apart(net: nn.Module, codes_of: Codes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Config and arrays of a module."""
    codes = codes_of(net)
    arrays: dict[str, np.ndarray] = {}
    dtypes, int8, tied, layout, frozen = {}, {}, {}, [], []
    first: dict[int, str] = {}
    for name, value in net.state_dict(keep_vars=True).items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModel(f"{name} of this module is a {type(value).__name__}; only tensors can be stored")
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in _DTYPES or value.layout != torch.strided:
            raise UnsupportedModel(f"{name} of this module is {dtype}, {value.layout}; that cannot be stored")
        if isinstance(value, nn.Parameter) and not value.requires_grad:
            frozen.append(name)
        if id(value) in first:
            tied[name] = first[id(value)]
            continue
        first[id(value)] = name
        if value.ndim == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last):
            layout.append(name)
        dtypes[name] = dtype
        if name in codes:
            arrays[f"{name}.codes"], arrays[f"{name}.scales"], int8[name] = codes[name]
        else:
            arrays[name] = _to_numpy(value)
    config = {
        **_known(net),
        "dtypes": dtypes,
        "int8": int8,
        "int8_layers": [path for path, m in net.named_modules(remove_duplicate=False) if isinstance(m, Int8Module)],
        "tied": tied,
        "channels_last": layout,
        "frozen": frozen,
        "training": net.training,
        "other_mode": [path for path, m in net.named_modules() if m.training != net.training],
    }
    return config, arrays


def _to_numpy(value: torch.Tensor) -> np.ndarray:
    flat = value.detach().cpu().contiguous()
    # numpy has no bfloat16: its bits
    return (flat.view(torch.uint16) if flat.dtype == torch.bfloat16 else flat).numpy()


def _known(net: nn.Module) -> dict[str, Any]:
    name = type(net).__name__
    if type(net) is _model_class(name):
        if not _as_built(net):
            return {"class": None, "named": f"changed {name}"}
        return {"class": name, "config": to_plain(dict(vars(net)["config"]))}
    return {"class": None, "named": name}


def _as_built(net: Any) -> bool:
    """Whether one of our models still has the layers that its arguments give it, and no hooks."""
    with torch.device("meta"):
        shadow = type(net)(**net.config)
    wanted, found = (dict(m.named_modules(remove_duplicate=False)) for m in (shadow, net))
    same = wanted.keys() == found.keys() and all(
        isinstance(m, Int8Module) or (type(m) is type(wanted[k]) and m.extra_repr() == wanted[k].extra_repr())
        for k, m in found.items()
    )
    return same and not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def module_together(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> nn.Module:
    """The module again: built if its class is one of ours, else filled into `into`."""
    if into is not None and not isinstance(into, nn.Module):
        raise ValueError(f"the file holds a module; into must be a torch nn.Module, not a {type(into).__name__}")
    state, scales = _state(config, arrays)
    net = _build(config, state) if into is None else into
    swaps = _swaps(net, config["int8_layers"], state)
    _check_state(net, swaps, state)
    net = swap(net, swaps)
    if into is None:
        # it has no memory of its own yet: it takes the tensors as they are, tied ones as one
        state |= {name: nn.Parameter(state[name], p.requires_grad) for name, p in net.named_parameters()}
        state |= {name: state[target] for name, target in config["tied"].items()}
    net.load_state_dict(state, assign=into is None)
    for module in net.modules():
        unmark(module)  # those of what `into` held before
    for name, (values, axis) in scales.items():
        path, _, attribute = name.rpartition(".")
        mark(net.get_submodule(path), attribute, values, axis)
    if into is None:
        net.train(config["training"])
        for path in config["other_mode"]:
            net.get_submodule(path).training = not config["training"]
        for name in config["frozen"]:
            net.get_parameter(name).requires_grad_(False)
        for name in config["channels_last"]:
            p = net.get_parameter(name)
            if p.ndim != 4:
                raise ValueError(f"{name} has {p.ndim} dimensions, which are not those of images")
            p.data = p.data.contiguous(memory_format=torch.channels_last)
    return net


def _state(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[dict[str, torch.Tensor], dict]:
    """State dict, in torch's own memory, and the scales of the weights that are stored as codes."""
    rest, state, scales = dict(arrays), {}, {}
    for name, dtype in config["dtypes"].items():
        if name in config["int8"]:
            axis = config["int8"][name]
            codes, found = rest.pop(f"{name}.codes"), rest.pop(f"{name}.scales")
            if type(axis) is not int or not 0 <= axis < max(codes.ndim, 1) or codes.dtype != np.int8:
                raise ValueError(f"the codes of {name} are malformed")
            if found.shape != (codes.shape[axis] if codes.ndim > 1 else 1,) or found.dtype != np.float32:
                raise ValueError(f"the codes of {name} do not fit their scales")
            wide = absmax.decode(codes, found, axis, np.float64 if dtype == "float64" else np.float32)
            state[name] = torch.from_numpy(wide).to(_DTYPES[dtype], copy=True)
            scales[name] = (found, axis)
            continue
        array = rest.pop(name)
        tensor = torch.from_numpy(array).clone()
        state[name] = tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor
        if state[name].dtype != _DTYPES[dtype]:
            raise ValueError(f"{name} is stored as {array.dtype}, not as {dtype}")
    if rest:
        raise ValueError(f"arrays that belong to no weight: {', '.join(list(rest)[:5])}")
    for name, target in config["tied"].items():
        state[name] = state[target]
    return state, scales


def _build(config: dict[str, Any], state: dict[str, torch.Tensor]) -> nn.Module:
    name = config["class"]
    if name is None:
        raise UnsupportedModel(
            f"the file holds the weights of a {config['named']}, a class that this library does not know: make the "
            f"module yourself and pass it, load(path, into=module)"
        )
    cls = _model_class(name)
    if cls is None:
        raise CorruptBundle(f"the file names the model {name!r}, which this version does not have")
    arguments = from_plain(config["config"])
    if not isinstance(arguments, dict) or any(type(v) is int and abs(v) > 2**31 for v in arguments.values()):
        raise ValueError("the model's arguments are malformed")
    if arguments.get("num_layers", 1) > len(state):
        raise ValueError("more layers than arrays")
    # without memory, so that no file can ask for more of it than its arrays take
    try:
        with torch.device("meta"):
            shadow = cls(**arguments)
    except (RuntimeError, ArithmeticError) as error:
        raise ValueError(f"no {name} can be made with the stored arguments: {error}") from error
    for key, parameter in shadow.named_parameters():
        if key in state and state[key].is_floating_point():
            parameter.data = parameter.data.to(state[key].dtype)  # of a model after .double() or .bfloat16()
    return shadow


def _swaps(net: nn.Module, paths: list[str], state: dict[str, torch.Tensor]) -> dict[int, nn.Module]:
    """The int8 layers that belong in the places of floating-point ones, by the id of the latter."""
    swaps: dict[int, nn.Module] = {}
    modules: dict[str, Any] = dict(net.named_modules(remove_duplicate=False))
    for path in paths:
        prefix = f"{path}." if path else ""
        old, codes, scales = modules.get(path), state.get(f"{prefix}codes"), state.get(f"{prefix}scales")
        if codes is None or scales is None:
            raise ValueError(f"the int8 layer {path!r} has no codes or no scales")
        if codes.dtype != torch.int8 or codes.ndim < 2 or scales.dtype != torch.float32:
            raise ValueError(f"the codes of the int8 layer {path!r} are malformed")
        small = (
            type(old)
            if isinstance(old, Int8Module)
            else next((k for k in INT8 if old is not None and k.takes(old)), None)
        )
        if small is None or old is None:
            raise ValueError(f"the file has an int8 layer at {path!r}; the module has {type(old).__name__}")
        shape, found = tuple(old.weight.shape), tuple(codes.shape)
        if shape != found or scales.shape != codes.shape[:1]:
            raise ValueError(f"{prefix}weight has the shape {found} in the file and {shape} in the module")
        if not isinstance(old, Int8Module) and id(old) not in swaps:
            device = old.weight.device
            swaps[id(old)] = small.standing_in(
                old, torch.zeros_like(codes, device=device), torch.ones_like(scales, device=device)
            )
    return swaps


def swap(net: nn.Module, swaps: dict[int, nn.Module]) -> nn.Module:
    """Put other modules in the places of these (by id), wherever they stand; the root too."""
    for module in list(net.modules()):
        for name, child in module._modules.items():
            if id(child) in swaps:
                module._modules[name] = swaps[id(child)]
    for module in net.modules():
        # torch's fast paths take the weights out of a transformer's layers and never call these, or hand them nested
        # tensors, for which there is no int8 kernel
        if isinstance(module, nn.TransformerEncoderLayer) and holds_int8(module):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, nn.TransformerEncoder) and holds_int8(module):
            module.use_nested_tensor = False
    return swaps.get(id(net), net)


def _check_state(net: nn.Module, swaps: dict[int, nn.Module], state: dict[str, torch.Tensor]) -> None:
    """ValueError that says which names, shapes and dtypes differ; the module is left alone."""
    wanted = dict(net.state_dict(keep_vars=True))
    for path, module in net.named_modules(remove_duplicate=False):
        if id(module) in swaps:
            prefix = f"{path}." if path else ""
            for name in ("weight", "bias"):
                wanted.pop(prefix + name, None)
            wanted |= {prefix + name: t for name, t in swaps[id(module)].state_dict(keep_vars=True).items()}
    faults = [f"{name} is missing in the file" for name in wanted if name not in state]
    faults += [f"{name} is not in the module" for name in state if name not in wanted]
    first: dict[int, str] = {}
    for name, tensor in wanted.items():
        if name not in state:
            continue
        if tensor.shape != state[name].shape:
            shapes = f"{tuple(state[name].shape)} in the file and {tuple(tensor.shape)} in the module"
            faults.append(f"{name} has the shape {shapes}")
        elif tensor.dtype != state[name].dtype:
            faults.append(f"{name} is {state[name].dtype} in the file and {tensor.dtype} in the module")
        elif not torch.equal(state[name], state[first.setdefault(id(tensor), name)]):
            faults.append(f"{name} is tied to {first[id(tensor)]} in the module, and differs from it in the file")
    if faults:
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise ValueError(f"the file does not fit the module: {'; '.join(faults[:5])}{more}")


# -- estimators ------------------------------------------------------------------------------------------------------


def estimator_apart(model: Any, net: nn.Module, codes_of: Codes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Config and arrays of a fitted estimator."""
    name = type(model).__name__
    if type(model) is not _estimator_class(name):
        raise UnsupportedModel(f"a {name} cannot be stored; what can: {', '.join(_ESTIMATORS)}, or its module alone")
    params = model.get_params(deep=False)
    plain, missing = params_apart({k: v for k, v in params.items() if k != "module"})
    fitted, arrays = attributes_apart(model, params, skip=("module_",))
    inner, weights = module_apart(net, codes_of)
    module = _module_param(params.get("module"))
    if module is None or not _fits(module, inner):
        module = None
        missing.insert(0, "module")
    config = {"class": name, "params": plain, "module": module, "missing": missing, "fitted": fitted, "net": inner}
    stored = {f"module_.{k}": v for k, v in weights.items()} | {f"fitted.{k}": v for k, v in arrays.items()}
    return config, stored


def _module_param(module: Any) -> dict[str, Any] | None:
    """The argument `module` as JSON; None if it is somebody's own."""
    if module is None:
        return {"is": "default"}
    if isinstance(module, type) and module is _model_class(module.__name__):
        return {"is": "class", "class": module.__name__}
    if type(module) is _model_class(type(module).__name__):
        return {"is": "instance", "class": type(module).__name__, "config": to_plain(dict(module.config))}
    return None


def _fits(module: dict[str, Any], net: dict[str, Any]) -> bool:
    """Whether its arguments alone make the module object that was given, which is built like the fitted one.

    So no file makes one that is larger than its arrays, and none comes back untied or in another precision.
    """
    changed = net["tied"] or not {"float64", "float16", "bfloat16"}.isdisjoint(net["dtypes"].values())
    return module["is"] != "instance" or (not changed and all(module[k] == net.get(k) for k in ("class", "config")))


def _module_argument(module: dict[str, Any], net: dict[str, Any]) -> Any:
    if not _fits(module, net):
        raise ValueError("the module that the estimator was made with is not the one that was fitted")
    if module["is"] == "default":
        return None
    cls = _model_class(module["class"])
    if cls is None:
        raise CorruptBundle(f"the file names the model {module['class']!r}, which this version does not have")
    if module["is"] == "class":
        return cls
    with torch.random.fork_rng(devices=[]):
        return cls(**from_plain(module["config"]))


def estimator_together(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    """The estimator again; `into` where it was made with arguments that no file can hold."""
    cls = _estimator_class(config["class"])
    if cls is None:
        raise CorruptBundle(f"the file names the estimator {config['class']!r}, which this version does not have")
    if into is not None and type(into) is not cls:
        raise ValueError(f"the file holds a {cls.__name__}; into is a {type(into).__name__}")
    if into is None and config["missing"]:
        raise UnsupportedModel(
            f"this {cls.__name__} was saved without its arguments {', '.join(config['missing'])}, which are no plain "
            f"values: make it again and pass it, load(path, into=estimator)"
        )
    weights = {k.removeprefix("module_."): v for k, v in arrays.items() if k.startswith("module_.")}
    fitted = {k.removeprefix("fitted."): v for k, v in arrays.items() if k.startswith("fitted.")}
    if len(weights) + len(fitted) != len(arrays):
        raise ValueError("arrays that belong to no part of the estimator")
    net = module_together(config["net"], weights, None if config["net"]["class"] else _own_module(into))
    params = params_together(config["params"])
    if "module" not in config["missing"]:
        params["module"] = _module_argument(config["module"], config["net"])
    model = cls() if into is None else into
    for name in [k for k in vars(model) if k.startswith("module__") and k not in config["missing"]]:
        delattr(model, name)  # an argument of another module
    model.set_params(**params)
    set_attributes(model, config["fitted"], fitted)
    model.module_ = net
    return model


def _own_module(into: Any) -> nn.Module:
    """A copy of the module of somebody's estimator: the fitted one, else the one it was made with."""
    for found in (getattr(into, "module_", None), getattr(into, "module", None)):
        if isinstance(found, nn.Module):
            return copy.deepcopy(found)
    raise UnsupportedModel(
        "the estimator's module is of a class that this library does not know: into must be an estimator that is "
        "fitted, or that was made with a module object (module=Net(…), not module=Net)"
    )
