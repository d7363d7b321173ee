"""Products of rows of X with the vectors of many models, dense by BLAS and CSR by kernels that threads can share."""

from typing import Any, NamedTuple

import numpy as np

from lifecycle.loops.linear_csr import WIDTHS, csr_products, csr_transposed_products


class CsrRows(NamedTuple):
    """Consecutive rows of a CSR matrix, which are no copy: `indptr` holds places in all of `data` and `indices`."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    n_features: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.indptr) - 1, self.n_features


def multiply(X: Any, vectors: np.ndarray) -> np.ndarray:
    """(n, rows): products of rows X with vectors (n, features) of the same dtype."""
    if not isinstance(X, CsrRows):
        return vectors @ X.T
    columns, out = _padded(vectors), np.zeros((X.shape[0], _padded_size(len(vectors))), vectors.dtype)
    csr_products(_width(len(vectors)))(*X[:3], columns, out)
    return np.ascontiguousarray(out.T[: len(vectors)])


def multiply_transposed(X: Any, vectors: np.ndarray) -> np.ndarray:
    """(n, features): products of transposed rows X with vectors (n, rows) of the same dtype."""
    if not isinstance(X, CsrRows):
        return vectors @ X
    rows, out = _padded(vectors), np.zeros((X.n_features, _padded_size(len(vectors))), vectors.dtype)
    csr_transposed_products(_width(len(vectors)))(*X[:3], rows, out)
    return out.T[: len(vectors)]


def _width(n: int) -> int:
    return WIDTHS[0] if n == 1 else WIDTHS[-1]


def _padded_size(n: int) -> int:
    return -(-n // _width(n)) * _width(n)


def _padded(vectors: np.ndarray) -> np.ndarray:
    """The vectors as columns, with columns of zeros up to a multiple of the width."""
    columns = np.zeros((vectors.shape[1], _padded_size(len(vectors))), vectors.dtype)
    columns[:, : len(vectors)] = vectors.T
    return columns
