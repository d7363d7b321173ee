"""A training run as JSON and arrays, by parameter name, and back."""

import copy
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle._check import UnsupportedModel, integer, number, one_of
from lifecycle.optim import check_hyperparameters
from lifecycle.rules import list_rules
from lifecycle.store.json_values import NotPlain, from_plain, to_plain
from lifecycle.torch.optimizers import RuleOptimizer
from lifecycle.torch.parameter_groups import OPTIONS, check_options, to_numbers
from lifecycle.torch.state_tensors import SCALE_SUFFIX, check_slots

_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
    torch.float32, torch.float64, torch.complex64, torch.complex128,
)}  # fmt: skip


_OWN = {"max_grad_norm", "nonfinite", "skipped_steps"}  # of our optimizers, and not in their state dict


def take_apart(model: Any, optimizer: Any, scheduler: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Config and arrays of a run."""
    model = _unwrapped(model)
    _check_kinds(model, optimizer, scheduler)
    if getattr(optimizer, "averaging", False):
        raise ValueError("inside averaged_weights() the model holds the averages: save it outside the block")
    arrays: dict[str, np.ndarray] = {}

    def apart(what: str, value: Any) -> Any:
        try:
            return _apart(value, what, arrays, {})
        except NotPlain as error:
            raise UnsupportedModel(f"{error}, and it has no place in a checkpoint") from None

    tensors = dict(model.state_dict(keep_vars=True))
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModel(f"{name} of the model is a {type(value).__name__}; a checkpoint holds tensors only")
    config: dict[str, Any] = {
        "class": type(model).__name__,
        "model": apart("model", tensors),
        "random": apart("random", _random_state()),
    }
    if optimizer is not None:
        state = _by_name(optimizer.state_dict(), _names(model, optimizer))
        config["optimizer"] = {"class": type(optimizer).__name__, "state": apart("optimizer", state)}
        if isinstance(optimizer, RuleOptimizer):
            config["optimizer"]["own"] = {name: getattr(optimizer, name) for name in _OWN}
    if scheduler is not None:
        config["scheduler"] = {
            "class": type(scheduler).__name__, "state": apart("scheduler", dict(scheduler.state_dict()))
        }  # fmt: skip
    return config, arrays


def decode(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What `take_apart` was given, checked as far as it can be without the model."""
    found: dict[str, Any] = {name: _together(config[name], arrays) for name in ("model", "random")}
    for name in ("optimizer", "scheduler"):
        if name in config:
            found[name] = (str(config[name]["class"]), _together(config[name]["state"], arrays))
    if not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found["model"].items()):
        raise ValueError("the model's state holds what is no tensor")
    if "optimizer" in found:
        groups, state = found["optimizer"][1]["groups"], found["optimizer"][1]["state"]
        names = [name for group in groups for name in group["params"]]
        if len(set(names)) < len(names) or not all(isinstance(name, str) for name in [*names, *state]):
            raise ValueError("the optimizer's parameters are malformed")
        for own in state.values():
            if not all(isinstance(slot, str) for slot in own):
                raise ValueError("the optimizer's state is malformed")
            step = own.get("step", 0)
            if not isinstance(step, (int, float, torch.Tensor)) or not float(step) >= 0 or float(step) != int(step):
                raise ValueError("the optimizer's number of steps is malformed")
        found["own"] = config["optimizer"].get("own", {})
        norm, skipped = found["own"].get("max_grad_norm"), found["own"].get("skipped_steps", 0)
        if norm is not None:
            number("max_grad_norm", norm, above=0.0)
        integer("skipped_steps", skipped, low=0)
        one_of("nonfinite", found["own"].get("nonfinite", "propagate"), ("propagate", "skip", "raise"))
    if "scheduler" in found and not isinstance(found["scheduler"][1], dict):
        raise ValueError("the scheduler's state is malformed")
    random.Random().setstate(found["random"]["python"])
    np.random.RandomState().set_state(found["random"]["numpy"])
    torch.Generator().set_state(found["random"]["torch"])
    return found


def put_back(found: dict[str, Any], model: Any, optimizer: Any, scheduler: Any, random_state: bool) -> None:
    """Compare everything, then change the model, the optimizer, the scheduler and the random generators."""
    model = _unwrapped(model)
    _check_kinds(model, optimizer, scheduler)
    _check_model(found["model"], model)
    for what, given in (("optimizer", optimizer), ("scheduler", scheduler)):
        if given is not None and what not in found:
            raise ValueError(f"the checkpoint holds no {what}: leave {what}= out")
    state = None if optimizer is None else _by_number(found["optimizer"], model, optimizer)
    if scheduler is not None:
        _check_scheduler(found["scheduler"], scheduler)
    if getattr(optimizer, "averaging", False):
        raise ValueError("inside averaged_weights() the model holds the averages: load it outside the block")
    with _taken_back_on_error(model, optimizer, scheduler):
        if optimizer is not None:
            optimizer.load_state_dict(state)
        if scheduler is not None:
            scheduler.load_state_dict(found["scheduler"][1])
        model.load_state_dict(found["model"])
    if isinstance(optimizer, RuleOptimizer):
        for name in _OWN & found["own"].keys():
            setattr(optimizer, name, found["own"][name])
    if random_state:
        _set_random_state(found["random"])


@contextmanager
def _taken_back_on_error(model: nn.Module, optimizer: Any, scheduler: Any) -> Iterator[None]:
    """What only loading can tell (hooks, schedulers of one's own) must leave nothing half done."""
    tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}
    # loading puts other tensors into an optimizer, and changes those of a scheduler
    states = [
        (o, keep(o.state_dict())) for o, keep in ((optimizer, copy.copy), (scheduler, copy.deepcopy)) if o is not None
    ]
    try:
        yield
    except BaseException as error:
        with torch.no_grad():
            for name, value in model.state_dict().items():
                value.copy_(tensors[name])
        for owner, state in states:
            owner.load_state_dict(state)
        if not isinstance(error, Exception):
            raise
        raise ValueError(f"the checkpoint does not fit: {error}") from error


def _unwrapped(model: Any) -> Any:
    """The model inside of torch.compile's or DistributedDataParallel's, whose names carry no prefix."""
    while type(model).__name__ in ("OptimizedModule", "DistributedDataParallel", "DataParallel"):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    return model


def _check_kinds(model: Any, optimizer: Any, scheduler: Any) -> None:
    kinds: list[tuple[str, Any, Any]] = [
        ("model", model, nn.Module), ("optimizer", optimizer, torch.optim.Optimizer),
    ]  # fmt: skip
    for name, value, kind in kinds:
        if not isinstance(value, kind) and (value is not None or name == "model"):
            raise TypeError(f"{name} must be a torch {kind.__name__}; got a {type(value).__name__}")
    for name, value in chain(model.named_parameters(), model.named_buffers()):
        if nn.parameter.is_lazy(value) or value.is_meta:
            raise ValueError(f"{name} of the model has no numbers yet: run it once, or give it memory, before this")
    if scheduler is not None and not hasattr(scheduler, "load_state_dict"):
        raise TypeError(f"scheduler must have a state_dict and load_state_dict; got a {type(scheduler).__name__}")


def _check_class(what: str, stored: str, here: str) -> None:
    if stored != here:
        raise ValueError(f"the checkpoint holds the state of {stored}, the {what} is {here}: make the same one")


def _compare(what: str, stored: Iterable[str], here: Iterable[str]) -> None:
    """ValueError that names what is missing in the checkpoint and what is unexpected in it."""
    stored, here = list(stored), list(here)
    missing, unexpected = [n for n in here if n not in set(stored)], [n for n in stored if n not in set(here)]
    if missing or unexpected:
        parts = [
            f"{label} {_listed(names)}" for label, names in (("missing", missing), ("unexpected", unexpected)) if names
        ]
        raise ValueError(f"the checkpoint does not fit the {what}: {'; '.join(parts)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


# -- the model -------------------------------------------------------------------------------------------------------


def _check_model(stored: dict[str, torch.Tensor], model: nn.Module) -> None:
    here = model.state_dict()
    _compare("model", stored, here)
    for name, value in here.items():
        told = (tuple(stored[name].shape), stored[name].dtype)
        if isinstance(value, torch.Tensor) and any(
            n > 1 and s == 0 for n, s in zip(value.shape, value.stride(), strict=True)
        ):
            raise ValueError(f"{name} of the model is expanded, and cannot be filled: make it contiguous")
        if isinstance(value, torch.Tensor) and told != (tuple(value.shape), value.dtype):
            raise ValueError(
                f"the checkpoint does not fit the model: {name} is {_told(value)} here and {_told(stored[name])} in it"
            )


def _told(value: torch.Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


# -- the optimizer ---------------------------------------------------------------------------------------------------


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The name of every parameter of the optimizer, in its order."""
    found: dict[int, str] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(p), name)
    names = []
    for group in optimizer.param_groups:
        for p in group["params"]:
            if id(p) not in found:
                raise ValueError(
                    f"the optimizer has a parameter of shape {tuple(p.shape)} that is none of the model's: pass the "
                    "model that it trains"
                )
            names.append(found[id(p)])
    return names


def _by_name(state: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """A state dict of torch's form, with names in the place of numbers."""
    groups = [{**group, "params": [names[i] for i in group["params"]]} for group in state["param_groups"]]
    return {"groups": groups, "state": {names[i]: own for i, own in state["state"].items()}}


def _by_number(found: tuple[str, dict[str, Any]], model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state dict for this optimizer."""
    stored, here = found[1], type(optimizer).__name__
    _check_class("optimizer", found[0], here)
    names, groups = _names(model, optimizer), list(stored["groups"])
    _compare("optimizer", [name for group in groups for name in group["params"]], names)
    if len(groups) != len(optimizer.param_groups):
        raise ValueError(
            f"the checkpoint's optimizer has {len(groups)} parameter groups, this one {len(optimizer.param_groups)}"
        )
    number, made, begin = {name: i for i, name in enumerate(names)}, [], 0
    for k, (group, own) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        mine = names[begin : begin + len(own["params"])]
        _compare(f"optimizer's parameter group {k}", group["params"], mine)
        _check_options(group, optimizer)
        made.append({**group, "params": [number[name] for name in mine]})
        if "param_names" in group:
            made[-1]["param_names"] = own.get("param_names", mine)
        begin += len(mine)
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for name, own in stored["state"].items():
        if name not in number:
            raise ValueError(f"the checkpoint does not fit the optimizer: unexpected {name}")
        if here in _twins():
            slots = [slot for slot in own if slot not in _SCALARS and not slot.endswith(SCALE_SUFFIX)]
            try:
                check_slots(params[number[name]], own, slots, any_device=True)
            except ValueError as error:
                raise ValueError(f"the checkpoint does not fit the optimizer: {name}: {error}") from None
    return {"param_groups": made, "state": {number[name]: own for name, own in stored["state"].items()}}


_SCALARS = ("step", "mu_product")
# of a group; torch fills in what an older checkpoint does not say
_FILLED_IN = {"foreach", "fused", "capturable", "differentiable", "maximize", "amsgrad", "nesterov",
              "decoupled_weight_decay"}  # fmt: skip


def _twins() -> set[str]:
    """Optimizers that are known in both libraries, or are ours: their slots are as large as the parameter."""
    return {rule.class_name for rule in list_rules().values()}


def _check_options(group: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    here = type(optimizer).__name__
    try:
        if isinstance(optimizer, RuleOptimizer):
            rule = optimizer.rule
            check_hyperparameters(rule, {k: to_numbers(group[k]) for k in rule.defaults if k in group})
            check_options({k: group[k] for k in OPTIONS if k in group})
        elif group.get("state_dtype") not in (None, "float32"):
            raise ValueError(f"its state is {group['state_dtype']}, which torch's {here} cannot read")
        elif missing := sorted(set(optimizer.defaults) - _FILLED_IN - set(group)):
            raise ValueError(f"missing {', '.join(missing)} of a parameter group")
    except (ValueError, TypeError) as error:
        raise ValueError(f"the checkpoint does not fit the optimizer: {error}") from None


# -- the scheduler ---------------------------------------------------------------------------------------------------


def _check_scheduler(found: tuple[str, dict[str, Any]], scheduler: Any) -> None:
    _check_class("scheduler", found[0], type(scheduler).__name__)
    _compare_schedulers(found[1], scheduler.state_dict())


def _compare_schedulers(stored: dict[str, Any], here: dict[str, Any]) -> None:
    """By what they hold, the ones inside of them too: their classes do not stand in a state dict."""
    _compare("scheduler", map(str, stored), map(str, here))
    inner = stored.get("_schedulers", ()), here.get("_schedulers", ())
    if len(inner[0]) != len(inner[1]):
        raise ValueError(f"the checkpoint's scheduler is made of {len(inner[0])}, this one of {len(inner[1])}")
    for a, b in zip(*inner, strict=True):
        _compare_schedulers(a, b)


# -- random generators -----------------------------------------------------------------------------------------------


def _random_state() -> dict[str, Any]:
    found = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state_all()
    return found


def _set_random_state(found: dict[str, Any]) -> None:
    setters: dict[str, Callable] = {
        "python": random.setstate, "numpy": np.random.set_state, "torch": torch.set_rng_state,
    }  # fmt: skip
    if torch.cuda.is_available() and len(found.get("cuda", ())) == torch.cuda.device_count():
        setters["cuda"] = torch.cuda.set_rng_state_all
    for name, setter in setters.items():
        setter(found[name])


# -- values ----------------------------------------------------------------------------------------------------------


def _apart(value: Any, path: str, arrays: dict[str, np.ndarray], seen: dict[int, dict]) -> Any:
    """A value as JSON, its tensors and arrays among `arrays`."""
    if isinstance(value, torch.Tensor):
        if id(value) not in seen:
            while path in arrays:  # two keys may read the same: 1 and "1"
                path += "'"
            arrays[path], seen[id(value)] = _tensor_apart(value, path)
        return seen[id(value)]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        while path in arrays:
            path += "'"
        arrays[path] = np.ascontiguousarray(value)
        return {"$ndarray": path}
    if type(value) in (dict, OrderedDict, Counter):
        tag = "$counter" if isinstance(value, Counter) else "$dict"
        return {tag: [[to_plain(k), _apart(v, f"{path}.{k}", arrays, seen)] for k, v in value.items()]}
    if type(value) in (list, tuple):
        inner = [_apart(v, f"{path}.{i}", arrays, seen) for i, v in enumerate(value)]
        return inner if type(value) is list else {"$tuple": inner}
    try:
        return to_plain(value)
    except NotPlain:
        raise NotPlain(f"{path} is a {type(value).__name__}") from None


def _tensor_apart(value: torch.Tensor, path: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Its numbers in the order of its memory, which the codes of int8 slots hang on, and how to make it of them."""
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in _DTYPES or value.layout is not torch.strided:
        raise NotPlain(f"{path} is a {dtype} tensor ({value.layout})")
    flat = value.detach().cpu().resolve_conj().resolve_neg()
    strides = flat.stride()
    order = sorted(range(flat.ndim), key=lambda k: (-strides[k], k))
    flat = flat.permute(order).contiguous()
    if flat.is_complex():
        flat = torch.view_as_real(flat)
    if flat.dtype == torch.bfloat16:  # numpy has none: its bits
        flat = flat.view(torch.uint16)
    return flat.numpy(), {"$tensor": path, "dtype": dtype, "order": order}


def _tensor_together(told: dict[str, Any], arrays: dict[str, np.ndarray]) -> torch.Tensor:
    dtype, order = _DTYPES[told["dtype"]], told["order"]
    flat = torch.from_numpy(arrays[told["$tensor"]])
    if dtype == torch.bfloat16 and flat.dtype == torch.uint16:
        flat = flat.view(dtype)
    if dtype.is_complex:
        flat = torch.view_as_complex(flat)
    if flat.dtype != dtype or sorted(order) != list(range(flat.ndim)):
        raise ValueError(f"{told['$tensor']} is not stored as the manifest says")
    return flat.permute(*np.argsort(order).tolist()) if order else flat


def _together(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The value that `_apart` was given."""
    if isinstance(value, list):
        return [_together(v, arrays) for v in value]
    if isinstance(value, dict):
        match next(iter(value), None):
            case "$tensor":
                return _tensor_together(value, arrays)
            case "$ndarray":
                return arrays[value["$ndarray"]]
            case "$dict":
                return {from_plain(k): _together(v, arrays) for k, v in value["$dict"]}
            case "$counter":
                return Counter({from_plain(k): _together(v, arrays) for k, v in value["$counter"]})
            case "$tuple":
                return tuple(_together(v, arrays) for v in value["$tuple"])
    return from_plain(value)
