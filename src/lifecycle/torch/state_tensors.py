"""State tensors of an optimizer: the slots of its rule, how they are checked, made and converted between formats.

In a state dict a slot has its own name and the parameter's shape: float32, float64, bfloat16 and float16 as torch
tensors of that dtype, int8 as the uint8 codes of `formats/int8.py` in the parameter's memory order, with the float32
scales of its blocks under "NAME_scale".
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from lifecycle.formats import list_formats
from lifecycle.loops import convert
from lifecycle.torch.averaged_weights import complete_ema

SCALE_SUFFIX = "_scale"
TORCH_DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16")}
TORCH_DTYPES["int8"] = torch.uint8
_FORMATS = {dtype: name for name, dtype in TORCH_DTYPES.items()} | {torch.int8: "int8"}
REAL_DTYPES = {torch.complex64: torch.float32, torch.complex128: torch.float64}


def format_name(dtype: torch.dtype) -> str:
    """The format of a dtype; a complex number is stored as two real ones."""
    return _FORMATS[REAL_DTYPES.get(dtype, dtype)]


def check_state_dtype(state_dtype: Any) -> str | None:
    """The argument `state_dtype` as None or the name of a format."""
    name = _FORMATS.get(state_dtype, state_dtype) if isinstance(state_dtype, torch.dtype) else state_dtype
    if name not in (None, "float32", "bfloat16", "int8"):
        raise ValueError(
            f"state_dtype must be None (the parameter's own), 'float32', 'bfloat16' or 'int8'; got {state_dtype!r}"
        )
    return name


def slot_format(p: torch.Tensor, state_dtype: str | None) -> str:
    """The format of a parameter's slots; those of a float64 parameter stay float64."""
    param_format = format_name(p.dtype)
    return param_format if state_dtype is None or param_format == "float64" else state_dtype


def check_slots(p: torch.Tensor, state: dict[str, Any], names: Iterable[str], *, any_device: bool = False) -> None:
    """ValueError for a stored tensor that cannot be a slot of this parameter: a kernel would write beyond its end.

    `any_device`: the tensor may be on another device, from which loading moves it.
    """
    for name in names:
        if name not in state:
            continue
        value = state[name]
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else None
        usable = shape is not None and (any_device or value.device == p.device) and value.layout is torch.strided
        if shape != tuple(p.shape) or not usable:
            what = f"of shape {shape} on {value.device}" if shape is not None else f"a {type(value).__name__}"
            raise ValueError(
                f"{name} of a parameter of shape {tuple(p.shape)} on {p.device} is {what}: it belongs to another one"
            )
        if value.dtype not in (*TORCH_DTYPES.values(), *REAL_DTYPES):
            raise ValueError(
                f"{name} is stored as {value.dtype}; a slot is {', '.join(list(TORCH_DTYPES)[:-1])}, complex, or the "
                "uint8 codes of int8"
            )
        if value.is_complex() != p.is_complex():
            raise ValueError(f"{name} is {value.dtype}, its parameter {p.dtype}: both must be complex, or none")
        if format_name(value.dtype) == "int8":
            scales: Any = state.get(name + SCALE_SUFFIX)
            blocks = -(-value.numel() // list_formats()["int8"].BLOCK)
            complete = isinstance(scales, torch.Tensor) and scales.shape == (blocks,) and scales.is_contiguous()
            if not complete or scales.dtype is not torch.float32 or scales.device != value.device:
                raise ValueError(
                    f"{name} holds int8 codes, of which {name}{SCALE_SUFFIX} must be the {blocks} float32 scales"
                )


def complete_state(state: dict[str, Any], p: torch.Tensor, hyper: dict[str, Any], signature: Any) -> None:
    """Check the state of a parameter, make what is missing, and bring the rest into format and memory order."""
    rule, slots, form = signature.rule, signature.slots, signature.slot_format
    if "step" not in state or (slots and not any(name in state for name, _ in slots)):
        state["step"] = 0  # new, or its first step with slots
    for name, value in rule.scalars.items():
        state.setdefault(name, value)
    check_slots(p, state, [*(name for name, _ in slots), *["ema"] * signature.averaged])
    dtype = p.dtype if p.is_complex() else TORCH_DTYPES[form]
    for name, kind in slots:
        if name not in state:
            state.update(_make(p, name, kind, form, rule.initial(hyper, name)))
        elif state[name].dtype is dtype and _same_memory_order(state[name], p):
            if state[name].stride() != p.stride():
                state[name] = state[name].as_strided(p.shape, p.stride())
        else:
            converted = _convert(state, p, name, kind, form)
            state.pop(name + SCALE_SUFFIX, None)
            state.update(converted)
    if signature.averaged:
        complete_ema(state, p)


def _same_memory_order(x: torch.Tensor, p: torch.Tensor) -> bool:
    """Whether two tensors of one shape differ at most in the strides of axes of length one, which say nothing.

    int8 codes are kept then: to encode their numbers again would lose some, where the largest was rounded up.
    """
    strides = zip(x.shape, x.stride(), p.stride(), strict=True)
    return x.numel() == 0 or all(n == 1 or a == b for n, a, b in strides)


def _make(p: torch.Tensor, name: str, kind: str, form: str, start: float) -> dict[str, torch.Tensor]:
    """A new slot, every element at `start`; in the memory order of `p`, without gaps."""
    if form == "int8":
        return _encode(np.full(p.numel(), start, np.float32), torch.empty_like(p, dtype=torch.uint8), name, kind)
    if p.is_complex():
        return {name: torch.full_like(p, complex(start, start), memory_format=torch.preserve_format)}
    return {name: torch.full_like(p, start, dtype=TORCH_DTYPES[form], memory_format=torch.preserve_format)}


def _convert(state: dict[str, Any], p: torch.Tensor, name: str, kind: str, form: str) -> dict[str, torch.Tensor]:
    """A stored slot in another format, or in the memory order of `p`."""
    values = state[name]
    if format_name(values.dtype) == "int8":
        scales = state[name + SCALE_SUFFIX].numpy()
        decoded = convert.decode(_flat(values).numpy(), scales, list_formats()["int8"], kind)
        values = torch.empty_like(values, dtype=torch.float32)
        _flat(values).copy_(torch.from_numpy(decoded))
    dense = torch.empty_like(p, dtype=values.dtype).copy_(values)
    if form == "int8":
        return _encode(_flat(dense.float()).numpy(), torch.empty_like(dense, dtype=torch.uint8), name, kind)
    return {name: dense.to(p.dtype if dense.is_complex() else TORCH_DTYPES[form])}


def _encode(values: np.ndarray, codes: torch.Tensor, name: str, kind: str) -> dict[str, torch.Tensor]:
    encoded, scales = convert.encode(values, list_formats()["int8"], kind)
    _flat(codes).copy_(torch.from_numpy(encoded))
    return {name: codes, name + SCALE_SUFFIX: torch.from_numpy(scales)}


def _flat(dense: torch.Tensor) -> torch.Tensor:
    """The elements of a tensor without gaps, in memory order, as a view."""
    return dense.as_strided((dense.numel(),), (1,))
