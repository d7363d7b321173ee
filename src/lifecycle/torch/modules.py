"""A user's module before it is stored, compressed or filled: taken out of its wrappers, checked, changed or left."""

import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import Any

import torch
from torch import nn

from lifecycle._check import UnsupportedModel


def unwrap(model: Any) -> Any:
    """The module that torch.compile, DataParallel or DistributedDataParallel wraps, whose names have no prefix."""
    while (name := _name_inside(model)) is not None:
        model = getattr(model, name)
    return model


def _name_inside(module: Any) -> str | None:
    """The name under which a wrapper holds the module that it wraps; None for any other module."""
    if isinstance(module, getattr(sys.modules.get("torch._dynamo"), "OptimizedModule", ())):
        return "_orig_mod"
    return "module" if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)) else None


def name_without_wrappers(net: nn.Module) -> Callable[[str], str]:
    """What gives the name of a module or tensor of `net` as it is where no module inside of `net` is wrapped."""
    paths = [(path, _name_inside(module)) for path, module in net.named_modules(remove_duplicate=False)]
    prefixes = [(f"{path}.{name}.", f"{path}.") for path, name in reversed(paths) if name is not None]

    def without_wrappers(name: str) -> str:
        for prefix, short in prefixes:  # the innermost first
            if f"{name}.".startswith(prefix):
                name = (short + name[len(prefix) :]).removesuffix(".")
        return name

    return without_wrappers


def named_modules(net: nn.Module, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """Path and module, without wrappers."""
    without_wrappers = name_without_wrappers(net)
    for path, module in net.named_modules(remove_duplicate=remove_duplicate):
        if _name_inside(module) is None:
            yield without_wrappers(path), module


def names_of_file(net: nn.Module, names: Iterable[str]) -> Callable[[str], str]:
    """What gives the name without wrappers of one of a file, which may be of a version that stored them as they are."""
    paths = {path for path, _ in named_modules(net, remove_duplicate=False)}
    current = all(name.rpartition(".")[0] in paths for name in names)
    return (lambda name: name) if current else name_without_wrappers(net)


def load_state(net: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Fill a module from tensors whose names are those of `state_tensors`."""
    without_wrappers = name_without_wrappers(net)
    name_of = {without_wrappers(name): name for name in net.state_dict(keep_vars=True)}
    net.load_state_dict({name_of.get(name, name): value for name, value in state.items()})


def check_values(net: nn.Module) -> nn.Module:
    """The module; ValueError if a parameter or buffer has no values, a warning of layers that are not registered."""
    for name, value in chain(net.named_parameters(), net.named_buffers()):
        if nn.parameter.is_lazy(value) or value.is_meta:
            raise ValueError(
                f"{name} of the model has no values yet: run the model once if it is lazy, and make it outside "
                'torch.device("meta")'
            )
    for name in _unregistered(net):
        _warn_unregistered(name, type(net).__name__)
    return net


REGISTERS = ("_parameters", "_buffers", "_modules")  # attributes of a module


def _unregistered(net: nn.Module) -> Iterator[str]:
    """The attributes in which its modules hold layers with parameters or buffers that are not among those of `net`.

    A module around the one that holds it, as its owner, is none of its layers.
    """
    registered = {id(module) for module in net.modules()}
    for path, module in named_modules(net):
        for name, value in vars(module).items():
            if name not in REGISTERS:
                held = (part for part in modules_in(value) if id(part) not in registered)
                if any(_has_tensors(part) and all(one is not module for one in part.modules()) for part in held):
                    yield f"{path}.{name}" if path else name


def _has_tensors(module: nn.Module) -> bool:
    return next(chain(module.parameters(), module.buffers()), None) is not None


_CONTAINERS = (list, tuple, dict, deque)
_HOLDERS = (nn.Module, *_CONTAINERS)


def modules_in(value: Any, seen: frozenset[int] = frozenset()) -> Iterator[nn.Module]:
    """A value that is a module, or the modules in a list, tuple, dict or deque, at any depth."""
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, _CONTAINERS) and id(value) not in seen:
        inside = seen | {id(value)}
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, _HOLDERS):  # a vocabulary has a million of others
                yield from modules_in(part, inside)


@cache  # once for each attribute
def _warn_unregistered(name: str, of_class: str) -> None:
    warnings.warn(
        f"{name} of this {of_class} holds layers that torch does not find, as they are in no nn.ModuleList or "
        "nn.ModuleDict: they are neither compressed, nor counted, nor stored; register them if the model needs them",
        stacklevel=4,
    )


def state_tensors(net: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict, parameters as such, names without wrappers; UnsupportedModel if it holds anything but tensors."""
    without_wrappers = name_without_wrappers(net)
    state = {without_wrappers(name): value for name, value in net.state_dict(keep_vars=True).items()}
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModel(f"{name} of this module is a {type(value).__name__}; only tensors can be stored")
    return state


def check_writable(state: dict[str, torch.Tensor]) -> None:
    """ValueError for a tensor that cannot be filled."""
    for name, value in state.items():
        if value.layout is not torch.strided:
            raise ValueError(f"{name} of the model is {value.layout} and cannot be filled: make it dense")
        if any(n > 1 and stride == 0 for n, stride in zip(value.shape, value.stride(), strict=True)):
            raise ValueError(f"{name} of the model is expanded and cannot be written to: make it contiguous")
        if value.is_inference():
            raise ValueError(
                f"{name} of the model was made in torch.inference_mode() and cannot be written to: make the model "
                "outside of it"
            )


def memory_of(tensor: torch.Tensor) -> Any:
    """What is equal for tensors that are the same numbers in memory."""
    if tensor.is_meta or not tensor.numel():
        return id(tensor)
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


@contextmanager
def undone_on_error(net: nn.Module, what: str = "the file") -> Iterator[None]:
    """Undo a change of a module, in place, that fails halfway, as a user's hook may make it; ValueError then."""
    state = net.state_dict(keep_vars=True)
    values = {name: value.detach().clone() for name, value in state.items()}
    attributes = [(vars(module), dict(vars(module))) for module in net.modules()]
    registers = [vars(module)[name] for module in net.modules() for name in REGISTERS]
    dicts = [*attributes, *((register, dict(register)) for register in registers)]
    try:
        yield
    except BaseException as error:
        for changed, before in dicts:
            changed.clear()
            changed.update(before)
        with torch.no_grad():
            for name, value in state.items():
                value.copy_(values[name])
        for module in net.modules():
            if isinstance(module, nn.RNNBase):
                module._init_flat_weights()  # a list that was changed in place
        says_so = isinstance(error, ValueError) and str(error).startswith(f"{what} does not fit")
        if says_so or not isinstance(error, Exception):
            raise
        raise ValueError(f"{what} does not fit: {error}") from error
