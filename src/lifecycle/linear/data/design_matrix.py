"""The rows of X, read in chunks: dense or CSR, in memory or mapped from a file that is larger than it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

_SMALL, _LARGE = 1 << 18, 1 << 26  # elements: of a chunk that stays in the cache, and of one that is read from a file


class Rows:
    """X (rows, features), float32 or float64; never copied as a whole."""

    def __init__(self, X: Any):
        self.X = X
        self.n, self.features = X.shape
        self.dtype = X.dtype
        self.sparse = not isinstance(X, np.ndarray)
        self.size = X.size  # numbers that are stored

    def chunks(self, elements: int = _SMALL, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        """First and last row (not included) of pieces of so many elements; they depend on the shape of X only."""
        size, end = max(64, elements // max(1, self.features)), self.n if end is None else end
        for first in range(begin, end, size):
            yield first, min(first + size, end)

    def large_chunks(self) -> list[tuple[int, int]]:
        """The pieces within which rows are visited in any order: all of X unless that is large and dense."""
        return [(0, self.n)] if self.sparse else list(self.chunks(_LARGE))

    def read(self, begin: int, end: int, shift: np.ndarray | None = None, dtype: Any = None) -> Any:
        """Rows begin to end; where they are dense, less a row `shift` and in another precision."""
        part = self.X[begin:end] if end - begin < self.n else self.X  # a slice of a sparse X is a copy
        if shift is None or self.sparse or not shift.any():
            return part if dtype is None else part.astype(dtype, copy=False)
        away = np.subtract(part, shift, dtype=self.dtype)  # before digits are given up
        return away if dtype is None else away.astype(dtype, copy=False)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Those rows, whose numbers rise, as a dense float64 array that is not to be written to."""
        in_turn = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        part = self.X[rows[0] : rows[-1] + 1] if in_turn else self.X[rows]
        return np.asarray(part.toarray() if self.sparse else part, dtype=np.float64)
