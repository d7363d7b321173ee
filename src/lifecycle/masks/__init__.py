"""Pruning criteria: one file for each, which scores the weights; the ones with the lowest scores are pruned.

A new file in this package is a new criterion (docs/add-a-criterion.md). `lowest` and `n_of_m` choose by the scores of
any criterion which weights to keep.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np

from lifecycle._registry import read, registry
from lifecycle.masks._lowest import lowest
from lifecycle.masks._n_of_m import n_of_m

__all__ = ["Criterion", "list_masks", "lowest", "n_of_m"]


@dataclass(frozen=True)
class Criterion:
    """What the file of a criterion defines: the scores of an array of weights, an array of its shape."""

    name: str
    scores: Annotated[Callable[[np.ndarray], np.ndarray], "weight"]


@cache
def list_masks() -> dict[str, Criterion]:
    """All criteria by name."""
    return registry(__name__, lambda module: read(module, Criterion))
