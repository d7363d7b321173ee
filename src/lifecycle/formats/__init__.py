"""How a number is stored: one file for each format, with the functions that load and store one element.

A format file has `DTYPE`, of the array that holds the codes, `STOCHASTIC`, whether its rounding uses noise, and
  `load(code) -> float`: the number;
  `store(x, noise) -> code`: the number, rounded to one of its two neighbours with the probabilities that make the mean
      exact (`noise`: 32 random bits, of which the upper 20 are used at most); a format without loss ignores it;
  `store_positive(x, noise) -> code`: the same for a number that must not become zero unless it is (a second moment that
      is stored as zero makes the next step divide by eps).
A block format (`BLOCK` > 1) keeps a scale, a power of two, for every `BLOCK` elements: its functions take it too.
The functions are made of elementwise functions of `_jit`, so that they run in kernels, on numpy arrays and, as `update`
of a rule does, on torch tensors. A new file in this folder is a new format.
"""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

__all__ = ["list_formats"]


@cache
def list_formats() -> dict[str, ModuleType]:
    """All formats by name."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    return {name: import_module(f"{__name__}.{name}") for name in names}
