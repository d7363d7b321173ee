"""Modules and torch estimators as JSON and arrays, and back; a file can only name the classes in these tables."""

import copy
from contextlib import ExitStack
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle._check import CorruptBundle, UnsupportedModel
from lifecycle.codecs import decode
from lifecycle.store import json_values, limits
from lifecycle.store.json_values import deserialize_value, serialize_value
from lifecycle.torch import modules, tensors
from lifecycle.torch.channels.slicing import Shapes, original_shapes, resize
from lifecycle.torch.folding import fold_as_in_file, folded_paths
from lifecycle.torch.quantized import QuantizedModule
from lifecycle.torch.quantized.base import floating_shapes
from lifecycle.torch.quantized.grids import clear_scales, set_scales
from lifecycle.torch.swapping import swap, swaps_of_file

_MODELS, _ESTIMATORS = "lifecycle.torch.models", "lifecycle.torch.estimators"
_CLASSES = {_MODELS: ("MLP", "CNN", "RNN"), _ESTIMATORS: ("TorchClassifier", "TorchRegressor")}
# codes, scales and channel axis of the quantized weights of a module
Codes = dict[str, tuple[np.ndarray, np.ndarray, int]]


def _is_class_of(module: str, cls: type) -> bool:
    """Whether a class, not a subclass, is one that files may name."""
    return cls.__name__ in _CLASSES[module] and cls is _class_named(module, cls.__name__)


def _class_named(module: str, name: Any) -> Any:
    if name not in _CLASSES[module]:
        raise CorruptBundle(f"the file names {name!r} of {module}, which this version does not have")
    return getattr(import_module(module), name)


# -- modules ---------------------------------------------------------------------------------------------------------


def serialize_module(net: nn.Module, codes: Codes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Config and arrays of a module."""
    arrays: dict[str, np.ndarray] = {}
    dtypes, int8, tied, layout, frozen = {}, {}, {}, [], []
    first: dict[int, str] = {}
    for name, value in modules.state_tensors(net).items():
        dtype = tensors.dtype_name(f"{name} of this module", value, allow_complex=False)
        if isinstance(value, nn.Parameter) and not value.requires_grad:
            frozen.append(name)
        if id(value) in first:
            tied[name] = first[id(value)]
            continue
        first[id(value)] = name
        if isinstance(value, nn.Parameter) and tensors.has_channels_last(value):
            layout.append(name)
        dtypes[name] = dtype
        if name in codes:
            arrays[f"{name}.codes"], arrays[f"{name}.scales"], int8[name] = codes[name]
        else:
            arrays[name] = tensors.to_array(value)
    named = modules.named_modules(net, False)
    resized = {path: shapes for path, m in named if (shapes := original_shapes(m)) is not None}
    config = {
        **_class_config(net),
        "dtypes": dtypes,
        "int8": int8,
        "int8_layers": [path for path, m in modules.named_modules(net, False) if isinstance(m, QuantizedModule)],
        "tied": tied,
        "channels_last": layout,
        "frozen": frozen,
        "training": net.training,
        "other_mode": [path for path, m in modules.named_modules(net) if m.training != net.training],
        **({"original_shapes": resized} if resized else {}),
        **({"folded_batch_norms": folded} if (folded := folded_paths(net)) else {}),
    }
    return config, arrays


def _class_config(net: nn.Module) -> dict[str, Any]:
    name = type(net).__name__
    if not _is_class_of(_MODELS, type(net)):
        return {"class": None, "named": name}
    if not _is_unchanged(net):
        return {"class": None, "named": f"changed {name}"}
    return {"class": name, "config": serialize_value(dict(vars(net)["config"]))}


def _is_unchanged(net: Any) -> bool:
    """Whether a model of this library still has the layers that its arguments give it, and no hooks."""
    with torch.device("meta"):
        rebuilt = type(net)(**net.config)
    wanted, given = (dict(modules.named_modules(m, False)) for m in (rebuilt, net))
    same = wanted.keys() == given.keys() and all(
        isinstance(m, QuantizedModule)
        or (type(m) is type(wanted[k]) and (original_shapes(m) or m.extra_repr() == wanted[k].extra_repr()))
        for k, m in given.items()
    )
    return same and not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def deserialize_module(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> nn.Module:
    """The module that `serialize_module` was given: of a class of this library, or `into`, filled."""
    if into is not None and not isinstance(into, nn.Module):
        raise ValueError(f"the file holds a module; into must be a torch nn.Module, not a {type(into).__name__}")
    # a module that is made keeps these tensors, in memory that torch allocates; one that is filled copies them
    state, scales = _state(config, arrays, own=into is None)
    if into is not None:
        return _fill(into, config, state, scales)
    net = _build(config, state)
    if config.get("folded_batch_norms"):
        raise ValueError(f"the file has folded batch normalizations, and a {config['class']} has none")
    _resize(net, config.get("original_shapes", {}), state)
    swaps = swaps_of_file(net, config["int8_layers"], state)
    _check_state(net, swaps, state)
    net = swap(net, swaps)
    # the parameters have no memory yet and become these tensors, tied ones the same tensor
    state |= {name: nn.Parameter(state[name], p.requires_grad) for name, p in net.named_parameters()}
    state |= {name: state[target] for name, target in config["tied"].items()}
    net.load_state_dict(state, assign=True)
    _set_all_scales(net, scales)
    net.train(config["training"])
    for path in config["other_mode"]:
        net.get_submodule(path).training = not config["training"]
    for name in config["frozen"]:
        net.get_parameter(name).requires_grad_(False)
    _set_channels_last(net, config["channels_last"])
    return net


def _set_channels_last(net: nn.Module, names: list[str]) -> None:
    state = modules.state_tensors(net)
    for name in names:
        p = state[name]
        if p.ndim != 4:
            raise ValueError(f"{name} has {p.ndim} dimensions; channels_last needs 4")
        if isinstance(p, nn.Parameter):  # earlier versions wrote the names of buffers too
            p.data = tensors.in_channels_last(p.data)


def _fill(into: nn.Module, config: dict[str, Any], state: dict[str, torch.Tensor], scales: dict) -> nn.Module:
    """Fill a user's module; before everything fits, nothing of it changes."""
    net = modules.check_values(modules.unwrap(into))
    name_of = modules.names_of_file(net, state)
    state, scales = ({name_of(name): value for name, value in of_file.items()} for of_file in (state, scales))
    resized = {name_of(path): shapes for path, shapes in config.get("original_shapes", {}).items()}
    folded = [name_of(path) for path in config.get("folded_batch_norms", ())]
    modules.check_writable(modules.state_tensors(net))
    with ExitStack() as undo:
        if resized or folded:
            undo.enter_context(modules.undone_on_error(net))
            fold_as_in_file(net, folded, state)
            _resize(net, resized, state)
        swaps = swaps_of_file(net, [name_of(path) for path in config["int8_layers"]], state)
        _check_state(net, swaps, state)
        if not (resized or folded):
            undo.enter_context(modules.undone_on_error(net))
        filled = swap(net, swaps)
        modules.load_state(filled, state)
        for module in filled.modules():
            clear_scales(module)  # of the weights before
        _set_all_scales(filled, scales)
        _set_channels_last(filled, [name_of(name) for name in config["channels_last"]])
    return into if filled is net else filled


def _set_all_scales(net: nn.Module, scales: dict[str, tuple[np.ndarray, int]]) -> None:
    of_path = dict(modules.named_modules(net, False))
    for name, (values, axis) in scales.items():
        path, _, attribute = name.rpartition(".")
        set_scales(of_path[path], attribute, values, axis)


def _state(config: dict[str, Any], arrays: dict[str, np.ndarray], *, own: bool) -> tuple[dict[str, torch.Tensor], dict]:
    """State dict (`own`: in memory of torch), and scales and channel axes of the weights that are stored as codes.

    `arrays` is emptied, so that no array is in memory twice.
    """
    state, scales = {}, {}
    for name, dtype in config["dtypes"].items():
        if name in config["int8"]:
            axis = config["int8"][name]
            if not tensors.DTYPES[dtype].is_floating_point:
                raise ValueError(f"{name} is stored as codes of a {dtype}")
            codes, weight_scales = arrays.pop(f"{name}.codes"), arrays.pop(f"{name}.scales")
            weight = decode(codes, weight_scales, axis, np.float64 if dtype == "float64" else np.float32)
            state[name] = torch.from_numpy(weight).to(tensors.DTYPES[dtype], copy=own)
            scales[name] = (weight_scales, axis)
        else:
            tensor = tensors.from_array(name, arrays.pop(name), dtype)
            state[name] = tensor.clone() if own else tensor
    if arrays:
        raise ValueError(f"the file holds arrays that no weight has: {', '.join(list(arrays)[:5])}")
    for name, target in config["tied"].items():
        state[name] = state[target]
    return state, scales


def _build(config: dict[str, Any], state: dict[str, torch.Tensor]) -> nn.Module:
    name = config["class"]
    if name is None:
        raise UnsupportedModel(
            f"the file holds the weights of a {config['named']}, a class that this library does not know: make the "
            "module yourself and pass it, load(path, into=module)"
        )
    cls = _class_named(_MODELS, name)
    arguments = deserialize_value(config["config"])
    _check_arguments(arguments, len(config["dtypes"]))
    # on the meta device, so that no file can request more memory than its arrays take
    try:
        with torch.device("meta"):
            net = cls(**arguments)
    except (RuntimeError, ArithmeticError) as error:
        raise ValueError(f"no {name} can be made with the stored arguments: {error}") from error
    for key, parameter in net.named_parameters():
        if key in state and state[key].is_floating_point():
            parameter.data = parameter.data.to(state[key].dtype)  # of a model after .double() or .bfloat16()
    return net


def _check_arguments(arguments: Any, n_arrays: int) -> None:
    """ValueError for arguments that no model has, or that ask for many more layers than the file has arrays."""
    if not isinstance(arguments, dict):
        raise ValueError("the model's arguments are malformed")
    n_layers = 0
    for name, value in arguments.items():
        values = value if type(value) is list else [value]
        if any(type(v) not in (int, float, bool, str, type(None)) or (type(v) is int and v > 2**31) for v in values):
            raise ValueError(f"the model's argument {name} is malformed")
        n_layers += len(values) if type(value) is list else value if name == "num_layers" else 0
    limits.spend_work(limits.PART * max(0, n_layers - n_arrays))  # with tied weights a layer has no array of its own


def _resize(net: nn.Module, original: dict[str, Shapes], state: dict[str, torch.Tensor]) -> None:
    """Give layers whose channels were removed the sizes of the file."""
    of_path = dict(modules.named_modules(net, False))
    for path, shapes_before in original.items():
        if path not in of_path:
            raise ValueError(f"the file has a layer {path!r} with fewer channels, and the module has no such layer")
        prefix = f"{path}." if path else ""
        inside = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        own = {name: tensor for name, tensor in inside.items() if "." not in name}
        resize(of_path[path], floating_shapes(own), shapes_before)


def _check_state(net: nn.Module, swaps: dict[int, nn.Module], state: dict[str, torch.Tensor]) -> None:
    """ValueError if names, shapes, dtypes or ties differ; the module is not changed."""
    wanted = modules.state_tensors(net)
    for path, module in modules.named_modules(net, False):
        if id(module) in swaps:
            prefix = f"{path}." if path else ""
            for name in module._parameters:
                wanted.pop(prefix + name, None)
            wanted |= {prefix + name: t for name, t in swaps[id(module)].state_dict(keep_vars=True).items()}
    tensors.check_state(state, wanted)
    first: dict[Any, str] = {}
    for name, tensor in wanted.items():
        other = first.setdefault(modules.memory_of(tensor), name)
        tied = state[other]
        if tied is not state[name] and not torch.equal(tied, state[name]):
            raise ValueError(f"{name} is tied to {other} in the module, and differs from it in the file")


# -- estimators ------------------------------------------------------------------------------------------------------


def serialize_estimator(model: Any, net: nn.Module, codes: Codes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Config and arrays of a fitted estimator."""
    name = type(model).__name__
    if not _is_class_of(_ESTIMATORS, type(model)):
        known = ", ".join(_CLASSES[_ESTIMATORS])
        raise UnsupportedModel(f"a {name} cannot be stored; what can: {known}, or its module alone")
    config, arrays = json_values.serialize_fitted(model, {"module", "module_"})
    net_config, weights = serialize_module(net, codes)
    module = _serialize_module_param(model.module)
    if module is None or not _makes_the_fitted_one(module, net_config):
        module = None
        config["missing"].insert(0, "module")
    # in this order in a file
    config = {"class": name, "params": config["params"], "module": module, **config, "net": net_config}
    return config, {f"module_.{key}": array for key, array in weights.items()} | arrays


def _serialize_module_param(module: Any) -> dict[str, Any] | None:
    """The argument `module` as JSON; None for a class that this library does not know."""
    if module is None:
        return {"is": "default"}
    if isinstance(module, type) and _is_class_of(_MODELS, module):
        return {"is": "class", "class": module.__name__}
    if _is_class_of(_MODELS, type(module)):
        return {"is": "instance", "class": type(module).__name__, "config": serialize_value(dict(module.config))}
    return None


def _makes_the_fitted_one(module: dict[str, Any], net: dict[str, Any]) -> bool:
    """Whether the arguments of a module object give a module that is built like the fitted one.

    So no file makes a module that is larger than its arrays, with untied weights or in another precision.
    """
    other_precision = not {"float64", "float16", "bfloat16"}.isdisjoint(net["dtypes"].values())
    changed = net["tied"] or net.get("original_shapes") or other_precision
    return module["is"] != "instance" or (not changed and all(module[k] == net.get(k) for k in ("class", "config")))


def _deserialize_module_param(module: dict[str, Any], net: dict[str, Any]) -> Any:
    if not _makes_the_fitted_one(module, net):
        raise ValueError("the module that the estimator was made with is not the one that was fitted")
    if module["is"] == "default":
        return None
    cls = _class_named(_MODELS, module["class"])
    if module["is"] == "class":
        return cls
    with torch.random.fork_rng(devices=[]):
        return cls(**deserialize_value(module["config"]))


def deserialize_estimator(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    """The estimator that `serialize_estimator` was given; `into` has the arguments that are not stored."""
    cls = _class_named(_ESTIMATORS, config["class"])
    weights = json_values.pop_prefixed(arrays, "module_.")
    params, attributes = json_values.deserialize_fitted(config, arrays, cls, into)
    net = deserialize_module(config["net"], weights, None if config["net"]["class"] else _copy_of_module(into))
    if "module" not in config["missing"]:
        params["module"] = _deserialize_module_param(config["module"], config["net"])
    model = cls() if into is None else copy.copy(into)
    for name in [k for k in vars(model) if k.startswith("module__") and k not in config["missing"]]:
        delattr(model, name)  # an argument of another module
    model.set_params(**params)
    json_values.restore_attributes(model, attributes)
    model.module_ = net
    return model if into is None else json_values.become(into, model)


def _copy_of_module(into: Any) -> nn.Module:
    """A copy of the module of an estimator: of the fitted one, else of the one it was made with."""
    for module in (getattr(into, "module_", None), getattr(into, "module", None)):
        if isinstance(module, nn.Module):
            return copy.deepcopy(modules.unwrap(module))
    raise UnsupportedModel(
        "the estimator's module is of a class that this library does not know: into must be an estimator that is "
        "fitted, or that was made with a module object (module=Net(…), not module=Net)"
    )
