"""Formats in which numbers are stored: one file for each, with the functions that load and store one element.

The functions consist of elementwise functions of `_jit`, which run in kernels, on numpy arrays and on torch tensors. A
new file in this package is a new format (docs/add-a-format.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Annotated

import numpy as np

from lifecycle._registry import read, registry

__all__ = ["BlockFormat", "Format", "list_formats"]


# eq=False: kernels are cached by their formats, which identity tells apart at once
@dataclass(frozen=True, eq=False)
class Format:
    """What the file of a format defines.

    `load(code)` is the number. `store(x, noise)` is the code of one of the two neighbours of x. The noise, 32 random
    bits of which the upper 20 are used at most, chooses it with the probabilities that make the mean exact; a format
    without loss ignores the noise. `store_positive` does the same with numbers that must not become zero unless they
    are: a second moment that is stored as zero makes the next step divide by eps.
    """

    name: str
    DTYPE: np.dtype  # of the codes
    BLOCK: int  # elements that share a scale; 1: there are no scales
    STOCHASTIC: bool  # whether `store` uses the noise
    load: Annotated[Callable, "code"]
    store: Annotated[Callable, "x", "noise"]
    store_positive: Annotated[Callable, "x", "noise"]


@dataclass(frozen=True, eq=False)
class BlockFormat(Format):
    """What the file of a format defines in which every BLOCK elements share a scale, a power of two.

    `scale(largest, before)` is (1 / scale, scale) of a block, from the largest `pattern(x)`, the bits of |x|, among its
    elements; `before` is its scale until now.
    """

    load: Annotated[Callable, "code", "scale"]
    load_positive: Annotated[Callable, "code", "scale"]
    store: Annotated[Callable, "x", "inverse", "noise"]
    store_positive: Annotated[Callable, "x", "inverse", "noise"]
    pattern: Annotated[Callable, "x"]
    scale: Annotated[Callable, "largest", "before"]


def _read_format(module: ModuleType) -> Format:
    return read(module, BlockFormat if getattr(module, "BLOCK", 1) != 1 else Format)


@cache
def list_formats() -> dict[str, Format]:
    """All formats by name."""
    return registry(__name__, _read_format)
