"""Codecs: one file each, arrays in, smaller arrays out, and back. A new file in this folder is a new codec.

A codec file has `LOSSLESS`. A quantizer (False) offers `BITS`, `encode(array, axis) -> (codes, scales)`,
`decode(codes, scales, axis, dtype) -> array` and `on_grid(array, scales, axis) -> codes or None`. A packer (True)
offers `encode(array) -> {part: array}` and `decode(parts, dtype, shape) -> array`, which gives back every bit.
"""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

import numpy as np

__all__ = ["list_codecs", "pack", "unpack"]


@cache
def list_codecs() -> dict[str, ModuleType]:
    """All codecs by name."""
    return {info.name: import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}


def pack(array: np.ndarray) -> tuple[str | None, dict[str, np.ndarray]]:
    """Smallest lossless form of an array: (codec name, its parts), or (None, {"": array}) where nothing is gained."""
    best: tuple[str | None, dict[str, np.ndarray]] = (None, {"": array})
    smallest = array.nbytes
    for name, codec in list_codecs().items():
        if codec.LOSSLESS:
            parts = codec.encode(array)
            size = sum(p.nbytes for p in parts.values())
            if size < smallest:
                best, smallest = (name, parts), size
    return best


def unpack(name: str, parts: dict[str, np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array that `pack` was given; ValueError where the parts do not fit each other."""
    codec = list_codecs().get(name)
    if codec is None or not codec.LOSSLESS:
        raise ValueError(f"no lossless codec is called {name!r}")
    return codec.decode(parts, dtype, shape)
