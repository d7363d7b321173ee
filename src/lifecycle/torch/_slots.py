"""Slots of an optimizer as torch tensors: how they are made, stored in a format, and brought into another one.

In a state dict a slot stands under its name, with the parameter's shape: float32, float64, bfloat16 and float16 as
torch tensors of that type, int8 as the uint8 codes of `formats/int8.py` in the parameter's memory order, with the
scales of its blocks beside it under "NAME_scale" (float32).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from lifecycle.formats import list_formats
from lifecycle.loops import convert

SCALE = "_scale"
TORCH_DTYPES = {
    "float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16,
    "int8": torch.uint8,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()} | {torch.int8: "int8"}
REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}


def state_name(state_dtype: Any) -> str | None:
    """The argument `state_dtype` as None or the name of a format."""
    name = NAMES.get(state_dtype, state_dtype) if isinstance(state_dtype, torch.dtype) else state_dtype
    if name not in (None, "float32", "bfloat16", "int8"):
        raise ValueError(
            f"state_dtype must be None (the parameter's own), 'float32', 'bfloat16' or 'int8'; got {state_dtype!r}"
        )
    return name


def format_of(p: torch.Tensor, name: str | None) -> str:
    """The format in which the slots of a parameter are stored; a double parameter keeps double slots."""
    own = NAMES[REAL.get(p.dtype, p.dtype)]
    return own if name is None or own == "float64" else name


def check(p: torch.Tensor, own: dict[str, Any], names: Iterable[str], *, anywhere: bool = False) -> None:
    """Refuse a stored tensor that cannot be a slot of this parameter: a kernel would write beyond its end.

    `anywhere`: it may be on another device, from which loading moves it.

    Raises
    ------
    ValueError
    """
    for name in names:
        if name not in own:
            continue
        value = own[name]
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else None
        here = shape is not None and (anywhere or value.device == p.device) and value.layout is torch.strided
        if shape != tuple(p.shape) or not here:
            what = f"of shape {shape} on {value.device}" if shape is not None else f"a {type(value).__name__}"
            raise ValueError(
                f"{name} of a parameter of shape {tuple(p.shape)} on {p.device} is {what}: it belongs to another one"
            )
        if value.dtype not in NAMES and value.dtype not in REAL:
            raise ValueError(f"{name} is stored as {value.dtype}; a slot is {', '.join(TORCH_DTYPES)}, or complex")
        if value.is_complex() != p.is_complex():
            raise ValueError(f"{name} is {value.dtype}, its parameter {p.dtype}: both must be complex, or none")
        if format_found(own, name) == "int8":
            scales: Any = own.get(name + SCALE)
            blocks = -(-value.numel() // list_formats()["int8"].BLOCK)
            whole = isinstance(scales, torch.Tensor) and scales.shape == (blocks,) and scales.is_contiguous()
            if not whole or scales.dtype is not torch.float32 or scales.device != value.device:
                raise ValueError(f"{name} holds int8 codes, of which {name}{SCALE} must be the {blocks} float32 scales")


def make(p: torch.Tensor, slot: str, kind: str, form: str, start: float) -> dict[str, torch.Tensor]:
    """A fresh slot, every element at `start`; in the memory order of `p`, without gaps."""
    if form == "int8":
        values = np.full(p.numel(), start, np.float32)
        return _encoded(values, torch.empty_like(p, dtype=torch.uint8), slot, kind)
    if p.is_complex():
        return {slot: torch.full_like(p, complex(start, start), memory_format=torch.preserve_format)}
    return {slot: torch.full_like(p, start, dtype=TORCH_DTYPES[form], memory_format=torch.preserve_format)}


def format_found(own: dict[str, Any], slot: str) -> str:
    """The format in which a slot is stored now."""
    dtype = own[slot].dtype
    return NAMES[REAL.get(dtype, dtype)]


def converted(own: dict[str, Any], p: torch.Tensor, slot: str, kind: str, form: str) -> dict[str, torch.Tensor]:
    """A stored slot in another format, or in the memory order of `p`."""
    stored = own[slot]
    if format_found(own, slot) == "int8":
        form8 = list_formats()["int8"]
        values = convert.decode(_flat(stored).numpy(), own[slot + SCALE].numpy(), form8, kind)
        wide = torch.empty_like(stored, dtype=torch.float32)
        _flat(wide).copy_(torch.from_numpy(values))
    else:
        wide = stored
    dense = torch.empty_like(p, dtype=wide.dtype).copy_(wide)
    if form == "int8":
        values = _flat(dense.float()).numpy()
        return _encoded(values, torch.empty_like(dense, dtype=torch.uint8), slot, kind)
    return {slot: dense.to(p.dtype if dense.is_complex() else TORCH_DTYPES[form])}


def _encoded(values: np.ndarray, codes: torch.Tensor, slot: str, kind: str) -> dict[str, torch.Tensor]:
    found, scales = convert.encode(values, list_formats()["int8"], kind)
    _flat(codes).copy_(torch.from_numpy(found))
    return {slot: codes, slot + SCALE: torch.from_numpy(scales)}


def _flat(dense: torch.Tensor) -> torch.Tensor:
    """The elements of a tensor without gaps, in memory order, as a view."""
    return dense.as_strided((dense.numel(),), (1,))
