"""Which rows each model trains on, and how much they count."""

from typing import Any

import numpy as np


class Weights:
    """Weights of the rows, (n, columns): counts, kept as small as they are, times a unit that gives each column mean 1.

    Parameters
    ----------
    counts : (n, columns), any dtype
        Zero: the row is not in the training set of the models of that column.
    dtype : of the weights that are read
    unit : (columns,), optional
    """

    def __init__(self, counts: np.ndarray, dtype: Any, unit: np.ndarray | None = None):
        self.counts, self.dtype = counts, dtype
        self.n, self.columns = counts.shape
        self.unit = self.n / counts.sum(axis=0, dtype=np.float64) if unit is None else unit
        # of the rows, how many have a weight: a step of one row has this share of it, and of the penalty
        self.share = np.count_nonzero(counts, axis=0) / self.n if unit is None else np.ones(self.columns)

    def read(self, begin: int, end: int, dtype: Any = None) -> np.ndarray:
        """Of the rows begin to end, (rows, columns)."""
        dtype = dtype or self.dtype
        return np.multiply(self.counts[begin:end], self.unit.astype(dtype), dtype=dtype)

    def of_steps(self, begin: int, end: int) -> np.ndarray:
        """The same with mean 1 over the rows that have a weight, (rows, columns)."""
        return np.multiply(self.counts[begin:end], (self.unit * self.share).astype(self.dtype), dtype=self.dtype)

    def column(self, k: int, rows: Any = slice(None)) -> np.ndarray:
        """Of one column, (n,), float64."""
        return self.counts[rows, k] * self.unit[k]

    def rows(self, k: int) -> np.ndarray:
        """Numbers of the rows that have a weight in this column."""
        return np.flatnonzero(self.counts[:, k])
