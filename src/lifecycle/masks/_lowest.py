"""Masks that drop the lowest scores of all weights."""

from collections.abc import Sequence

import numpy as np


def lowest(scores: Sequence[np.ndarray], amount: float) -> list[np.ndarray]:
    """Masks (True: keep) that drop exactly round(amount × size) elements, the lowest among those of all arrays.

    Among equal scores the first in memory order are dropped.
    """
    flat = np.concatenate([np.ravel(s) for s in scores]) if len(scores) else np.empty(0)
    keep = lowest_count(flat, round(amount * flat.size))
    ends = np.cumsum([s.size for s in scores])[:-1]
    return [mask.reshape(s.shape) for mask, s in zip(np.split(keep, ends), scores, strict=True)]


def lowest_count(scores: np.ndarray, drop: int) -> np.ndarray:
    """Mask (True: keep) that drops so many elements of an array, as `lowest` does."""
    check_no_nan([scores])
    flat = np.ravel(scores)
    keep = np.ones(flat.size, dtype=bool)
    if drop:
        threshold = np.partition(flat, drop - 1)[drop - 1]
        below = flat < threshold
        keep[below] = False
        keep[np.flatnonzero(flat == threshold)[: drop - np.count_nonzero(below)]] = False
    return keep.reshape(scores.shape)


def check_no_nan(scores: Sequence[np.ndarray]) -> None:
    """ValueError for a score that cannot be compared with others."""
    if any(np.isnan(s).any() for s in scores):
        raise ValueError("the weights contain NaN: they cannot be ranked")
