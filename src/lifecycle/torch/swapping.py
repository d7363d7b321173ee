"""Layers with integer weights in the place of floating-point ones: which a file has, and how they get there."""

import copy
import math
from typing import Any

import torch
from torch import nn

from lifecycle._check import UnsupportedModel
from lifecycle.torch import modules
from lifecycle.torch.quantized import Grids, Int8Affine, QuantizedModule, holds_quantized, stored_class
from lifecycle.torch.quantized.base import buffer_names


def swaps_of_file(net: nn.Module, paths: list[str], state: dict[str, torch.Tensor]) -> dict[int, nn.Module]:
    """The layers with integer weights that replace floating-point ones, by the id of the latter."""
    swaps: dict[int, nn.Module] = {}
    of_path: dict[str, Any] = dict(modules.named_modules(net, False))
    for path in paths:
        prefix, old = f"{path}." if path else "", of_path.get(path)
        grids = _stored_grids(path, prefix, state)
        is_quantized = isinstance(old, QuantizedModule)
        cls: Any = type(old) if is_quantized else None if old is None else stored_class(old, grids)
        if cls is None or old is None:
            raise ValueError(f"the file has an int8 layer at {path!r}; the module has {type(old).__name__}")
        for name in old.weight_names if is_quantized else cls.weights_of(old):
            if name not in grids:
                raise ValueError(f"the int8 layer {path!r} has no codes or no scales")
            codes, scales = grids[name]
            now = tuple((old.grid(name)[0] if is_quantized else getattr(old, name)).shape)
            if now != codes.shape or not cls.fits(codes, scales):
                raise ValueError(
                    f"{prefix}{name} has the shape {tuple(codes.shape)} in the file and {now} in the module"
                )
        input_range = state.get(f"{prefix}input_range")
        if input_range is not None:
            _check_range(path, input_range)
        if not is_quantized and id(old) not in swaps:
            device = next(old.parameters()).device
            made = cls.from_float(
                old,
                {
                    name: (torch.zeros_like(codes, device=device), torch.ones_like(scales, device=device))
                    for name, (codes, scales) in grids.items()
                },
            )
            if input_range is not None and isinstance(made, Int8Affine):
                made.input_range = torch.zeros_like(input_range, device=device)
            swaps[id(old)] = made
    return swaps


def _stored_grids(path: str, prefix: str, state: dict[str, torch.Tensor]) -> Grids:
    """Codes and scales of a layer in a file, by the name of the weight."""
    own = [name.removeprefix(prefix) for name in state if name.startswith(prefix)]
    names = ["weight"] * ("codes" in own) + [name.removesuffix("_codes") for name in own if name.endswith("_codes")]
    grids = {}
    for name in names:
        codes, scales = (state.get(prefix + buffer) for buffer in buffer_names(name))
        if codes is None or scales is None:
            raise ValueError(f"the int8 layer {path!r} has no codes or no scales")
        if codes.dtype != torch.int8 or codes.ndim < 2 or scales.dtype != torch.float32 or scales.ndim not in (1, 2):
            raise ValueError(f"the codes of the int8 layer {path!r} are malformed")
        if not ((scales > 0) & torch.isfinite(scales)).all():
            raise ValueError(f"the scales of the int8 layer {path!r} are not all finite and above zero")
        grids[name] = codes, scales
    if not grids:
        raise ValueError(f"the int8 layer {path!r} has no codes or no scales")
    return grids


def _check_range(path: str, limits: torch.Tensor) -> None:
    if limits.dtype != torch.float32 or limits.shape != (2,):
        raise ValueError(f"the range of the inputs of the int8 layer {path!r} is malformed")
    low, high = limits.tolist()
    if not (math.isfinite(high - low) and low <= 0 <= high):
        raise ValueError(f"the inputs of the int8 layer {path!r} have a range from {low} to {high}")


def swap(net: nn.Module, swaps: dict[int, nn.Module]) -> nn.Module:
    """The module, in place, with the modules of these ids replaced everywhere; the root may be one of them."""
    made: dict[int, Any] = {}
    for module in list(net.modules()):
        for name, child in module._modules.items():
            plain = modules.unwrap(child)
            if id(plain) in swaps:  # instead of its wrapper too, which would still call the old module
                module._modules[name] = swaps[id(plain)]
        for name, value in list(vars(module).items()):  # lists, and other attributes, of layers that are registered too
            if name not in modules.REGISTERS:
                try:
                    vars(module)[name] = _swapped(value, swaps, made)
                except Exception as error:  # of a container of the user's, whose copy cannot be made or changed
                    raise UnsupportedModel(
                        f"{name} of the {type(module).__name__} holds layers that are replaced, and cannot be copied "
                        f"with others in their place: {error}; hold them in a list, tuple or dict"
                    ) from error
    for module in net.modules():
        # torch's fast paths read the weights of a transformer's layers without calling them, or give them nested
        # tensors, which no int8 kernel takes
        if isinstance(module, nn.TransformerEncoderLayer) and holds_quantized(module):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, nn.TransformerEncoder) and holds_quantized(module):
            module.use_nested_tensor = False
    return swaps.get(id(net), net)


def _swapped(value: Any, swaps: dict[int, nn.Module], made: dict[int, Any]) -> Any:
    """A module, or a list, tuple, dict or deque with modules at any depth, with those replaced; others as they are.

    Subclasses keep their class. `made`: what was made of containers before, by their ids, so that those that are one
    stay one.
    """
    if isinstance(value, nn.Module):
        return swaps.get(id(modules.unwrap(value)), value)
    if not any(id(modules.unwrap(part)) in swaps for part in modules.modules_in(value)):
        return value
    if id(value) not in made:
        if isinstance(value, tuple):  # as _make of a namedtuple does
            made[id(value)] = new = tuple.__new__(type(value), [_swapped(part, swaps, made) for part in value])
            if hasattr(value, "__dict__"):
                vars(new).update(vars(value))
        else:
            new = made[id(value)] = copy.copy(value)  # before its parts, which may hold it
            for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
                new[key] = _swapped(part, swaps, made)
    return made[id(value)]
