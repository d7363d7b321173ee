"""Which rows each model trains on, and how much each row counts."""

from typing import Any

import numpy as np


class SampleWeights:
    """Weights of the rows for each training set, (n_samples, n_sets).

    They are kept as counts of a small dtype, times a factor that gives the weights of each training set mean 1.

    Parameters
    ----------
    counts : (n_samples, n_sets), any dtype
        Zero: the row is not in that training set.
    dtype : of the weights that are read
    scale : (n_sets,), optional
        The factor; None: the one that gives mean 1 over all rows.
    """

    def __init__(self, counts: np.ndarray, dtype: Any, scale: np.ndarray | None = None):
        self.counts, self.dtype = counts, dtype
        self.n_samples, self.n_sets = counts.shape
        self.scale = self.n_samples / counts.sum(axis=0, dtype=np.float64) if scale is None else scale
        # share of the rows that have a weight: a step of one row takes this share of the weight and of the penalty
        self.fraction = np.count_nonzero(counts, axis=0) / self.n_samples if scale is None else np.ones(self.n_sets)

    def read(self, begin: int, end: int, dtype: Any = None, sets: Any = slice(None)) -> np.ndarray:
        """Weights of the rows begin to end, (rows, n_sets), or in some training sets."""
        dtype = dtype or self.dtype
        return np.multiply(self.counts[begin:end, sets], self.scale[sets].astype(dtype), dtype=dtype)

    def read_for_steps(self, begin: int, end: int) -> np.ndarray:
        """The same with mean 1 over the rows that have a weight, (rows, n_sets)."""
        return np.multiply(self.counts[begin:end], (self.scale * self.fraction).astype(self.dtype), dtype=self.dtype)

    def of_set(self, k: int, rows: Any = slice(None)) -> np.ndarray:
        """Weights of one training set, (n_samples,), float64."""
        return self.counts[rows, k] * self.scale[k]

    def rows_of_set(self, k: int) -> np.ndarray:
        """Numbers of the rows in one training set."""
        return np.flatnonzero(self.counts[:, k])

    def n_rows(self) -> np.ndarray:
        """Number of rows in each training set, (n_sets,)."""
        return np.count_nonzero(self.counts, axis=0)
