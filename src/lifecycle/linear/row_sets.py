"""Training and test sets as arrays of row numbers."""

from typing import Any

import numpy as np


class RowSets:
    """Distinct sets of row numbers; each array is examined once, because models that share rows often share it."""

    def __init__(self, n_samples: int) -> None:
        self.n_samples = n_samples
        self._known: dict[int, tuple[Any, tuple[int, np.ndarray]]] = {}
        self._sets: list[np.ndarray] = []
        self._alike: dict[tuple[int, ...], list[int]] = {}  # sets of which a few numbers are the same

    def __call__(self, rows: Any) -> tuple[int, np.ndarray]:
        """The number of the set, and the row numbers, of an array of row numbers or of a boolean mask; raises
        ValueError."""
        if id(rows) not in self._known:
            numbers = np.ascontiguousarray(_row_numbers(rows, self.n_samples))
            # kept with the array, so that no other array gets its id
            self._known[id(rows)] = rows, self._find(numbers)
        return self._known[id(rows)][1]

    def _find(self, numbers: np.ndarray) -> tuple[int, np.ndarray]:
        alike = self._alike.setdefault((len(numbers), *numbers[:1], *numbers[-1:], int(numbers.sum())), [])
        for k in alike:
            if np.array_equal(self._sets[k], numbers):
                return k, self._sets[k]
        alike.append(len(self._sets))
        self._sets.append(numbers)
        return alike[-1], numbers


def _row_numbers(rows: Any, n: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype == bool:
        if len(rows) != n:
            raise ValueError(f"a mask of rows must have as many elements as X has rows, {n}; it has {len(rows)}")
        return np.flatnonzero(rows)
    if rows.size and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n):
        raise ValueError(
            f"rows must be numbers of rows of X, from 0 to {n - 1}, or a mask of dtype bool; got {rows.min()} to "
            f"{rows.max()}, {rows.dtype}"
        )
    if len(rows) == n > 2 and rows.max() <= 1:
        raise ValueError(
            f"rows are {n} zeros and ones, as in a mask, but a mask must be of dtype bool; got {rows.dtype}"
        )
    return rows.astype(np.intp, copy=False)
