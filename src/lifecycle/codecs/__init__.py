"""Codecs: one file for each, which encodes an array as smaller arrays and decodes them.

There are two kinds: packers return every bit, quantizers do not. A new file in this package is a new codec
(docs/add-a-codec.md). A quantizer chooses scales; what codes and scales mean is the same for all, and stands in
`encode`, `decode` and `on_grid`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Annotated, Literal

import numpy as np

from lifecycle._registry import read, registry
from lifecycle.codecs._grid import choose_scales, decode, encode, even_group_size, max_code, on_grid

__all__ = [
    "Packer",
    "Quantizer",
    "choose_scales",
    "decode",
    "encode",
    "encode_like",
    "even_group_size",
    "list_codecs",
    "list_quantizers",
    "max_code",
    "on_grid",
    "pack",
    "unpack",
]


@dataclass(frozen=True)
class Packer:
    """What the file of a lossless codec defines: an array as arrays by name ("parts"), and back."""

    name: str
    LOSSLESS: Literal[True]
    encode: Annotated[Callable[[np.ndarray], dict[str, np.ndarray] | None], "array"]  # None: not for such an array
    # raises a ValueError where the parts do not fit each other, the dtype or the shape
    decode: Annotated[Callable[..., np.ndarray], "parts", "dtype", "shape"]


@dataclass(frozen=True)
class Quantizer:
    """What the file of a quantizer defines: the scale of each row of weights, whose codes go up to `max_code`."""

    name: str
    LOSSLESS: Literal[False]
    scales: Annotated[Callable[[np.ndarray, int], np.ndarray], "rows", "max_code"]


def _read_codec(module: ModuleType) -> Packer | Quantizer:
    return read(module, Quantizer) if getattr(module, "LOSSLESS", None) is False else read(module, Packer)


@cache
def list_codecs() -> dict[str, Packer | Quantizer]:
    """All codecs by name."""
    return registry(__name__, _read_codec)


def list_quantizers() -> dict[str, Quantizer]:
    """Those that choose scales, by name."""
    return {name: codec for name, codec in list_codecs().items() if isinstance(codec, Quantizer)}


def encode_like(
    array: np.ndarray, codes: np.ndarray, scales: np.ndarray, axis: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales of other values of a quantized weight, with as many bits and groups as it has now."""
    bits = 4 if np.abs(codes, dtype=np.int16).max(initial=0) <= max_code(4) else 8
    channels = array.shape[axis] if array.ndim > 1 else 1
    group_size = -(-array.size // max(channels * scales.shape[1], 1)) if scales.ndim == 2 else None
    return encode(array, list_quantizers()["absmax"].scales, axis, bits, group_size)


def pack(array: np.ndarray) -> tuple[str | None, dict[str, np.ndarray]]:
    """Smallest lossless form of an array: (codec name, its parts), or (None, {"": array}) if none saves bytes."""
    smallest: tuple[str | None, dict[str, np.ndarray]] = (None, {"": array})
    size = array.nbytes
    for name, codec in list_codecs().items():
        if codec.LOSSLESS:
            parts = codec.encode(array)
            packed_size = size if parts is None else sum(part.nbytes for part in parts.values())
            if parts is not None and packed_size < size:
                smallest, size = (name, parts), packed_size
    return smallest


def unpack(name: str, parts: dict[str, np.ndarray], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The array that `pack` was given; ValueError where the parts do not fit each other."""
    codec = list_codecs().get(name)
    if codec is None or not codec.LOSSLESS:
        raise ValueError(f"no lossless codec is called {name!r}")
    return codec.decode(parts, dtype, shape)
