"""Pruning criteria: one file for each, which scores the weights; the ones with the lowest scores are pruned.

A new file in this package is a new criterion (docs/add-a-criterion.md). `lowest` and `n_of_m` choose by the scores of
any criterion which weights to keep; `lamp` makes the scores of different layers comparable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import numpy as np

from lifecycle._registry import read, registry
from lifecycle.masks._lamp import lamp
from lifecycle.masks._lowest import lowest, lowest_count
from lifecycle.masks._n_of_m import n_of_m

__all__ = ["Criterion", "lamp", "list_masks", "lowest", "lowest_count", "n_of_m"]


@dataclass(frozen=True)
class Criterion:
    """What the file of a criterion defines: the scores of an array of weights, an array of its shape.

    `statistic` is None, or numbers that broadcast with the weights: uniform random ones, the root mean squares of the
    weights' inputs, or those of the gradients of the loss, both over calibration rows.
    """

    name: str
    STATISTIC: Literal[None, "uniform", "input_norms", "gradients"]
    scores: Annotated[Callable[..., np.ndarray], "weight", "statistic"]
    PER_OUTPUT: bool = False  # weights of one layer compete within an output only
    COMPARABLE: bool = False  # scores of different layers can be compared as they are, without LAMP


@cache
def list_masks() -> dict[str, Criterion]:
    """All criteria by name."""
    return registry(__name__, lambda module: read(module, Criterion))
