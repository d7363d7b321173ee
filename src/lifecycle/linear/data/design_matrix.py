"""The rows of X, read in chunks: dense or CSR, in memory or mapped from a file that is larger than memory."""

from collections.abc import Iterator
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from lifecycle.linear.data.products import CompressedRows, SparseRows

_CACHE_ELEMENTS = 1 << 18  # elements of a chunk that stays in the cache
_FILE_ELEMENTS = 1 << 26  # elements of a chunk that is read from a file at once


class DesignMatrix:
    """X (n_samples, n_features), float32 or float64, and a bound of |x| in it; it is never copied as a whole."""

    def __init__(self, X: Any, max_abs: float = np.inf):
        self.X, self.max_abs = X, max_abs
        self.n_samples, self.n_features = X.shape
        self.dtype = X.dtype
        self.sparse = not isinstance(X, np.ndarray)
        self.n_stored = X.size  # numbers in memory
        # of a sparse X: the transpose, and the numbers of both by precision, when they are first asked for
        self._columns: Any = None
        self._data: dict[tuple[str, np.dtype], np.ndarray] = {}
        self._lock = Lock()

    def chunks(
        self, elements: int = _CACHE_ELEMENTS, begin: int = 0, end: int | None = None
    ) -> Iterator[tuple[int, int]]:
        """First and last row (not included) of pieces of that many elements; they depend on the shape of X only."""
        size, end = max(64, elements // max(1, self.n_features)), self.n_samples if end is None else end
        for first in range(begin, end, size):
            yield first, min(first + size, end)

    def sum_chunks(self, elements: int = _CACHE_ELEMENTS) -> Iterator[tuple[int, int]]:
        """The same for sums of the length of a row: few where X is sparse, as each takes the time of a dense row."""
        if self.sparse:
            elements = max(elements, self.n_features * min(-(-self.n_samples // 4), 8 * self.n_features))
        return self.chunks(elements)

    def file_chunks(self) -> list[tuple[int, int]]:
        """The pieces within which rows are visited in any order: all of X unless it is large and dense."""
        return [(0, self.n_samples)] if self.sparse else list(self.chunks(_FILE_ELEMENTS))

    def read(self, begin: int, end: int, shift: np.ndarray | None = None, dtype: Any = None) -> Any:
        """Rows begin to end, minus the row `shift` where they are dense, in another precision if `dtype` is given."""
        part = self.X[begin:end] if end - begin < self.n_samples else self.X  # a slice of a sparse X is a copy
        if shift is None or self.sparse or not shift.any():
            return part if dtype is None else part.astype(dtype, copy=False)
        shifted = np.subtract(part, shift, dtype=self.dtype)  # before digits are given up
        return shifted if dtype is None else shifted.astype(dtype, copy=False)

    def product_chunks(self, elements: int = _CACHE_ELEMENTS) -> Iterator[tuple[int, int]]:
        """The same as `chunks` for `read_products`: all of X where it is sparse, as threads share each product."""
        return iter([(0, self.n_samples)]) if self.sparse else self.chunks(elements)

    def read_products(self, begin: int, end: int, shift: np.ndarray | None, dtype: Any) -> Any:
        """The same as `read` as an argument of `multiply`; of a sparse X all rows, with its transpose."""
        if not self.sparse:
            return self.read(begin, end, shift, dtype)
        return SparseRows(self._stored(self.X, dtype), partial(self._transposed, dtype))

    def _transposed(self, dtype: Any) -> CompressedRows:
        with self._lock:  # or each of several threads would make the same
            if self._columns is None:
                self._columns = self.X.tocsc()
        return self._stored(self._columns, dtype)

    def _stored(self, matrix: Any, dtype: Any) -> CompressedRows:
        """The arrays of a CSR or CSC matrix, its numbers in one precision."""
        with self._lock:
            key = matrix.format, np.dtype(dtype)
            if key not in self._data:
                self._data[key] = matrix.data.astype(dtype, copy=False)
        return CompressedRows(self._data[key], matrix.indices, matrix.indptr)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows with these increasing numbers as a dense float64 array that must not be written to."""
        contiguous = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        part = self.X[rows[0] : rows[-1] + 1] if contiguous else self.X[rows]
        return np.asarray(part.toarray() if self.sparse else part, dtype=np.float64)
