"""A user's module before it is stored, compressed or filled: taken out of its wrappers, checked, changed or left."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

from lifecycle._check import UnsupportedModel


def unwrap(model: Any) -> Any:
    """The module that torch.compile, DataParallel or DistributedDataParallel wraps, whose names have no prefix."""
    compiled = getattr(sys.modules.get("torch._dynamo"), "OptimizedModule", ())
    while True:
        if isinstance(model, compiled):
            model = model._orig_mod
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model


def check_values(net: nn.Module) -> nn.Module:
    """The module; ValueError if a parameter or buffer has no values."""
    for name, value in chain(net.named_parameters(), net.named_buffers()):
        if nn.parameter.is_lazy(value) or value.is_meta:
            raise ValueError(
                f"{name} of the model has no values yet: run the model once if it is lazy, and make it outside "
                'torch.device("meta")'
            )
    return net


def state_tensors(net: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict, parameters as such; UnsupportedModel if it holds anything but tensors."""
    state = dict(net.state_dict(keep_vars=True))
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
    registers = [vars(module)[name] for module in net.modules() for name in ("_parameters", "_buffers", "_modules")]
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
        if not isinstance(error, Exception):
            raise
        raise ValueError(f"{what} does not fit: {error}") from error
