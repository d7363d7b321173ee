"""Pruning criteria: one file for each, which scores the weights; the ones with the lowest scores are pruned.

A new file in this package is a new criterion (docs/add-a-criterion.md). `lowest` and `n_of_m` choose by the scores of
any criterion which weights to keep.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np

from lifecycle._registry import read, registry

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


def lowest(scores: Sequence[np.ndarray], amount: float) -> list[np.ndarray]:
    """Masks (True: keep) that drop exactly round(amount × size) elements, the lowest among those of all arrays.

    Among equal scores the first in memory order are dropped.
    """
    _check_no_nan(scores)
    flat = np.concatenate([np.ravel(s) for s in scores]) if len(scores) else np.empty(0)
    drop = round(amount * flat.size)
    keep = np.ones(flat.size, dtype=bool)
    if drop:
        threshold = np.partition(flat, drop - 1)[drop - 1]
        below = flat < threshold
        keep[below] = False
        keep[np.flatnonzero(flat == threshold)[: drop - np.count_nonzero(below)]] = False
    ends = np.cumsum([s.size for s in scores])[:-1]
    return [mask.reshape(s.shape) for mask, s in zip(np.split(keep, ends), scores, strict=True)]


def n_of_m(scores: np.ndarray, n: int, m: int, axis: int) -> np.ndarray:
    """Mask (True: keep) with the n highest of every m consecutive elements along `axis`.

    A last group shorter than m keeps its n highest too. Among equal scores the first in memory order are kept.
    """
    _check_no_nan([scores])
    last = np.moveaxis(scores, axis, -1)
    missing = -last.shape[-1] % m
    groups = np.pad(last.astype(np.float64), [(0, 0)] * (last.ndim - 1) + [(0, missing)], constant_values=-np.inf)
    groups = groups.reshape(*last.shape[:-1], -1, m)
    order = np.argsort(-groups, axis=-1, kind="stable")
    keep = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(keep, order[..., :n], True, axis=-1)
    keep = keep.reshape(*last.shape[:-1], -1)[..., : last.shape[-1]]
    return np.ascontiguousarray(np.moveaxis(keep, -1, axis))


def _check_no_nan(scores: Sequence[np.ndarray]) -> None:
    if any(np.isnan(s).any() for s in scores):
        raise ValueError("the weights contain NaN: they cannot be ranked")
