"""Codecs: one file for each, which encodes an array as smaller arrays and decodes them.

There are two kinds: packers return every bit, quantizers do not. A new file in this package is a new codec
(docs/add-a-codec.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Annotated, Literal

import numpy as np

from lifecycle._registry import read, registry

__all__ = ["Packer", "Quantizer", "list_codecs", "pack", "unpack"]


@dataclass(frozen=True)
class Packer:
    """What the file of a lossless codec defines: an array as arrays by name ("parts"), and back."""

    name: str
    LOSSLESS: Literal[True]
    encode: Annotated[Callable[[np.ndarray], dict[str, np.ndarray]], "array"]
    # raises a ValueError where the parts do not fit each other, the dtype or the shape
    decode: Annotated[Callable[..., np.ndarray], "parts", "dtype", "shape"]


@dataclass(frozen=True)
class Quantizer:
    """What the file of a quantizer defines: int8 codes and a scale for each channel, whose product is the number."""

    name: str
    LOSSLESS: Literal[False]
    BITS: tuple  # numbers of bits that a code may have
    encode: Annotated[Callable[..., tuple[np.ndarray, np.ndarray]], "array", "axis"]  # codes and scales
    decode: Annotated[Callable[..., np.ndarray], "codes", "scales", "axis", "dtype"]
    # the codes that decode to exactly this array, or None
    on_grid: Annotated[Callable[..., np.ndarray | None], "array", "scales", "axis", "rounded"]


def _read_codec(module: ModuleType) -> Packer | Quantizer:
    return read(module, Quantizer) if getattr(module, "LOSSLESS", None) is False else read(module, Packer)


@cache
def list_codecs() -> dict[str, Packer | Quantizer]:
    """All codecs by name."""
    return registry(__name__, _read_codec)


def pack(array: np.ndarray) -> tuple[str | None, dict[str, np.ndarray]]:
    """Smallest lossless form of an array: (codec name, its parts), or (None, {"": array}) if none saves bytes."""
    smallest: tuple[str | None, dict[str, np.ndarray]] = (None, {"": array})
    size = array.nbytes
    for name, codec in list_codecs().items():
        if codec.LOSSLESS:
            parts = codec.encode(array)
            packed_size = sum(part.nbytes for part in parts.values())
            if packed_size < size:
                smallest, size = (name, parts), packed_size
    return smallest


def unpack(name: str, parts: dict[str, np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array that `pack` was given; ValueError where the parts do not fit each other."""
    codec = list_codecs().get(name)
    if codec is None or not codec.LOSSLESS:
        raise ValueError(f"no lossless codec is called {name!r}")
    return codec.decode(parts, dtype, shape)
