"""Pruning criteria: one file each, with `scores(weight)`, an array of the weight's shape; low scores are pruned first.

A new file in this folder is a new criterion. What is common to all of them, choosing by score, stands here:
`lowest` (unstructured, an exact count) and `n_of_m` (at most n kept in every m neighbours).
"""

import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from types import ModuleType

import numpy as np

__all__ = ["list_masks", "lowest", "n_of_m"]


@cache
def list_masks() -> dict[str, ModuleType]:
    """All criteria by name."""
    return {info.name: import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)}


def lowest(scores: Sequence[np.ndarray], amount: float) -> list[np.ndarray]:
    """Masks (True: keep) that drop exactly round(amount × size) elements, the lowest over all arrays together.

    Among equal scores the first in memory order go.
    """
    _no_nan(scores)
    flat = np.concatenate([np.ravel(s) for s in scores]) if len(scores) else np.empty(0)
    drop = round(amount * flat.size)
    keep = np.ones(flat.size, dtype=bool)
    if drop:
        threshold = np.partition(flat, drop - 1)[drop - 1]
        below = flat < threshold
        keep[below] = False
        keep[np.flatnonzero(flat == threshold)[: drop - np.count_nonzero(below)]] = False
    ends = np.cumsum([s.size for s in scores])[:-1]
    return [part.reshape(s.shape) for part, s in zip(np.split(keep, ends), scores, strict=True)]


def n_of_m(scores: np.ndarray, n: int, m: int, axis: int) -> np.ndarray:
    """Mask (True: keep) with the n highest of every m consecutive elements along `axis`.

    A last group shorter than m keeps its n highest too. Among equal scores the first in memory order stay.
    """
    _no_nan([scores])
    last = np.moveaxis(scores, axis, -1)
    missing = -last.shape[-1] % m
    groups = np.pad(last.astype(np.float64), [(0, 0)] * (last.ndim - 1) + [(0, missing)], constant_values=-np.inf)
    groups = groups.reshape(*last.shape[:-1], -1, m)
    order = np.argsort(-groups, axis=-1, kind="stable")
    keep = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(keep, order[..., :n], True, axis=-1)
    keep = keep.reshape(*last.shape[:-1], -1)[..., : last.shape[-1]]
    return np.ascontiguousarray(np.moveaxis(keep, -1, axis))


def _no_nan(scores: Sequence[np.ndarray]) -> None:
    if any(np.isnan(s).any() for s in scores):
        raise ValueError("the weights contain NaN: they cannot be ranked")
