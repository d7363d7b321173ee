"""Sums over the rows of each training set, from sums that training sets share."""

from collections.abc import Callable

import numpy as np


def sums_by_column(
    counts: np.ndarray, base: np.ndarray | None, of_rows: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
) -> dict[int, np.ndarray]:
    """For each column of counts (n, columns), the sum of what `of_rows` (row numbers, weights (n,) or None: ones)
    gives, up to a factor where a column is a multiple of `base`.

    Training sets whose held-out rows do not overlap (the folds of one partition) share all but the sums over the rows
    held out: together they cost as much as one. Sums are only added, never taken away, so that no row leaves its
    rounding in a sum that it is not part of.
    """
    found, families = {}, []
    for columns in _families(counts):
        multiples = [k for k in columns if _is_multiple(counts[:, k], base)]
        families += [(multiples, base)] if multiples else []
        families += [([k], counts[:, k].astype(np.float64)) for k in columns if k not in multiples]
    for columns, weights in families:
        held = [np.flatnonzero(counts[:, k] == 0) for k in columns]
        common = np.flatnonzero((counts[:, columns] != 0).all(axis=1))
        parts = [of_rows(common, weights)]
        parts += [of_rows(rows, weights) if len(columns) > 1 else np.zeros_like(parts[0]) for rows in held]
        for i, k in enumerate(columns):
            found[k] = np.zeros_like(parts[0])
            for j, part in enumerate(parts):
                if j != i + 1:
                    found[k] += part
    return found


def _is_multiple(counts: np.ndarray, base: np.ndarray | None) -> bool:
    """Whether they are a multiple of the base (None: of ones) where they are not zero."""
    seen = counts != 0
    ratio = counts[seen] / (1.0 if base is None else base[seen])
    return bool(ratio.max() - ratio.min() <= 1e-6 * ratio.max())


def _families(counts: np.ndarray) -> list[list[int]]:
    """The columns, in groups whose zeros do not overlap."""
    families: list[tuple[list[int], np.ndarray]] = []
    for k in range(counts.shape[1]):
        held = counts[:, k] == 0
        for columns, union in families:
            if not (union & held).any():
                columns.append(k)
                union |= held
                break
        else:
            families.append(([k], held))
    return [columns for columns, _ in families]
