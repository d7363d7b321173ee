"""Hashes of the rows of a table, by which equal rows are recognized."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from lifecycle.splits._labels import factorize, n_samples


def row_hashes(X: Any) -> np.ndarray:
    """uint64 of each row; equal rows have equal hashes."""
    if hasattr(X, "tocsr"):
        return _sparse_hashes(X.tocsr())
    columns: Iterable
    if hasattr(X, "iloc") and X.ndim == 2:
        columns = (X.iloc[:, j] for j in range(X.shape[1]))
    else:
        table = np.asarray(X)
        columns = table.reshape(len(table), -1).T
    hashes = np.zeros(n_samples(X), dtype=np.uint64)
    for column in columns:
        hashes = _mix(hashes ^ _bits(np.asarray(column)))
    return hashes


def _sparse_hashes(X: Any) -> np.ndarray:
    X = X.copy()
    X.sum_duplicates()
    column = _mix(X.indices.astype(np.uint64) + np.uint64(1))
    entries = np.where(X.data != 0, _mix(column ^ _bits(X.data)), np.uint64(0))
    # the sum may overflow: the difference below is exact modulo 2**64
    cumulative = np.concatenate([np.zeros(1, np.uint64), np.cumsum(entries, dtype=np.uint64)])
    return cumulative[X.indptr[1:]] - cumulative[X.indptr[:-1]]


def _bits(values: np.ndarray) -> np.ndarray:
    """uint64 of each value; equal values have equal bits."""
    kind = values.dtype.kind
    if kind in "fiub":
        with np.errstate(over="ignore"):
            exact = kind in "iu" and values.dtype.itemsize == 8
            bits = values.astype(np.int64 if exact else np.float64) + 0  # -0.0 is 0.0
        if bits.dtype == np.float64:
            bits = np.where(bits != bits, np.nan, bits)  # all NaN have the same bits
        return bits.view(np.uint64)
    if kind == "O":
        numbers: dict = {}
        return np.array([numbers.setdefault(_key(v), len(numbers)) for v in values], dtype=np.uint64)
    return factorize("X", values.view(np.int64) if kind in "mM" else values)[1].astype(np.uint64)


def _key(value: Any) -> Any:
    """Something hashable that is equal for equal values; None for all that are missing."""
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _mix(h: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea & Flood, 2014)."""
    h = h + np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))
