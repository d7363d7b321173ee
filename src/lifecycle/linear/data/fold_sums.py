"""Sums over the rows of each training set, from sums that training sets share."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Sums = TypeVar("Sums", bound=Any)  # anything with +


def sums_by_train_set(
    counts: np.ndarray, base: np.ndarray | None, sum_rows: Callable[[np.ndarray, np.ndarray | None], Sums]
) -> dict[int, Sums]:
    """For each column of counts (n, n_sets), `sum_rows` (row numbers, weights (n,) or None: ones) of its rows, up to a
    factor where the column is a multiple of `base`.

    Training sets whose held-out rows do not overlap (the folds of one partition) share the sum over the rows that all
    of them have, and the sums over the rows that each of them holds out: together they cost as much as one. Sums are
    only added, never subtracted, so that no row leaves its rounding in the sum of a training set without it.
    """
    totals, shared = {}, []
    for train_sets in _partitions(counts):
        multiples = [k for k in train_sets if _is_multiple(counts[:, k], base)]
        shared += [(multiples, base)] if multiples else []
        shared += [([k], counts[:, k].astype(np.float64)) for k in train_sets if k not in multiples]
    for train_sets, weights in shared:
        common = sum_rows(np.flatnonzero((counts[:, train_sets] != 0).all(axis=1)), weights)
        held_out = {}
        if len(train_sets) > 1:
            held_out = {k: sum_rows(np.flatnonzero(counts[:, k] == 0), weights) for k in train_sets}
        for k in train_sets:
            totals[k] = sum((part for other, part in held_out.items() if other != k), start=common)
    return totals


def _is_multiple(counts: np.ndarray, base: np.ndarray | None) -> bool:
    """Whether the counts are a multiple of the base (None: of ones) where they are not zero."""
    if base is None and counts.dtype.kind == "u" and counts.max() == 1:
        return True
    rows = counts != 0
    ratio = counts[rows] / (1.0 if base is None else base[rows])
    return bool(ratio.max() - ratio.min() <= 1e-6 * ratio.max())


def _partitions(counts: np.ndarray) -> list[list[int]]:
    """The columns in groups whose zeros do not overlap."""
    partitions: list[tuple[list[int], np.ndarray]] = []
    for k in range(counts.shape[1]):
        held_out = counts[:, k] == 0
        for columns, union in partitions:
            if not (union & held_out).any():
                columns.append(k)
                union |= held_out
                break
        else:
            partitions.append(([k], held_out))
    return [columns for columns, _ in partitions]
