"""Products of rows of X with the vectors of many models, dense by BLAS and sparse by a kernel on threads.

Both products with a sparse X gather: that with the transpose walks over columns, as sums over rows would scatter into
vectors of all features, one set of them for each thread.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lifecycle._threads import map_ordered
from lifecycle.loops.linear_csr import WIDTHS, csr_products

_PIECES = 16  # of rows or columns, which threads multiply
_CACHE_LINE = 64  # bytes


class CompressedRows(NamedTuple):
    """The arrays of a CSR matrix, or of the transpose of a CSC matrix."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray


class SparseRows(NamedTuple):
    """All rows of a sparse X, and a function () -> those of its transpose."""

    rows: CompressedRows
    columns: Callable[[], CompressedRows]


class DenseRows(NamedTuple):
    """Rows of a dense X with a copy by columns, which makes their first product up to four times faster."""

    rows: np.ndarray
    columns: np.ndarray  # (features, rows)


def multiply(X: Any, vectors: np.ndarray) -> np.ndarray:
    """(n, rows): products of rows X with vectors (n, features) of the same dtype."""
    if isinstance(X, SparseRows):
        return _sparse_products(X.rows, vectors)
    return vectors @ (X.columns if isinstance(X, DenseRows) else X.T)


def multiply_transposed(X: Any, vectors: np.ndarray) -> np.ndarray:
    """(n, features): products of transposed rows X with vectors (n, rows) of the same dtype."""
    if isinstance(X, SparseRows):
        return _sparse_products(X.columns(), vectors)
    return vectors @ (X.rows if isinstance(X, DenseRows) else X)


def squared(X: Any) -> Any:
    """The squares of an array or a sparse matrix."""
    if isinstance(X, np.ndarray):
        return X * X
    return X.power(2) if X.has_canonical_format else X.multiply(X)  # numbers of one place are added first


def _sparse_products(matrix: CompressedRows, vectors: np.ndarray) -> np.ndarray:
    n_rows, n_stored = len(matrix.indptr) - 1, int(matrix.indptr[-1])
    out = np.empty((len(vectors), n_rows), vectors.dtype)
    # equal parts of the numbers, since columns may hold few or many
    ends = np.searchsorted(matrix.indptr, np.arange(1, _PIECES, dtype=matrix.indptr.dtype) * (n_stored // _PIECES))
    pieces = np.column_stack([[0, *ends], [*ends, n_rows]]).tolist()
    for begin in range(0, len(vectors), WIDTHS[-1]):
        block = vectors[begin : begin + WIDTHS[-1]]
        width = next(w for w in WIDTHS if w >= len(block))
        run, columns, to = csr_products(width), _as_columns(block, width), out[begin : begin + len(block)]

        def multiply_piece(
            piece: list[int], run: Any = run, columns: np.ndarray = columns, to: np.ndarray = to
        ) -> None:
            run(*matrix, *piece, columns, to)

        for _ in map_ordered(multiply_piece, pieces, width * n_stored):
            pass
    return out


def _as_columns(vectors: np.ndarray, width: int) -> np.ndarray:
    """(features * width,): for each feature its elements in all vectors, then zeros, from a cache line on."""
    size, item = vectors.shape[1] * width, vectors.itemsize
    memory = np.zeros(size + _CACHE_LINE // item, vectors.dtype)
    first = -memory.ctypes.data % _CACHE_LINE // item
    columns = memory[first : first + size]
    columns.reshape(-1, width)[:, : len(vectors)] = vectors.T
    return columns
