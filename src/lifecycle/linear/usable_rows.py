"""Which rows hold numbers that no model can be trained on: NaN, infinity, and numbers whose squares overflow."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from lifecycle._threads import map_ordered, single_threaded_blas

_LARGEST_VALUE = {"float64": 1e100, "float32": 1e15}  # above, squares overflow
_CHUNK_ELEMENTS = 1 << 20
_LARGE = 1 << 28  # bytes of X from which a copy is said


def find_unusable_rows(X: Any, y: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray | None, float]:
    """Numbers of the rows that cannot be trained on, None if there are none; and a bound of |x| in the others, which is
    their largest where float32 cannot square it. (Of |x| whose squares vanish it is no bound.)"""
    values = X if isinstance(X, np.ndarray) else X.data
    limit, unusable = _LARGEST_VALUE[values.dtype.name], np.zeros(len(y), bool)
    max_abs = _norm(values)
    if not max_abs <= _LARGEST_VALUE["float32"]:
        max_abs = float(np.maximum(-values.min(initial=0.0), values.max(initial=0.0)))
    # NaN fails every comparison
    if y.dtype.kind == "f":
        unusable |= ~(np.abs(y) <= limit)
    if weights is not None:
        unusable |= ~(weights < np.inf)
    if max_abs <= limit and not unusable.any():
        return None, max_abs
    max_abs = 0.0
    for begin, end, magnitudes, row in _magnitudes(X):
        usable = magnitudes <= limit
        unusable[begin:end][row[~usable]] = True
        max_abs = max(max_abs, float(magnitudes[usable].max(initial=0.0)))
    rows = np.flatnonzero(unusable)
    return rows if rows.size else None, max_abs


def _norm(values: np.ndarray) -> float:
    """‖values‖₂, a bound that takes one pass in which NaN and infinity show; infinity where it overflows."""
    pieces = [values.ravel()[i : i + _CHUNK_ELEMENTS] for i in range(0, values.size, _CHUNK_ELEMENTS)]

    def square(piece: np.ndarray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(piece @ piece)

    with single_threaded_blas():
        return math.sqrt(sum(map_ordered(square, pieces, values.size)))


def _magnitudes(X: Any) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Pieces of X: the first and the last row (not included), absolute values of the stored numbers, and their rows,
    counted from the first."""
    if not isinstance(X, np.ndarray):
        yield 0, X.shape[0], np.abs(X.data), np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
        return
    size = max(1, _CHUNK_ELEMENTS // max(1, X.shape[1]))
    for begin in range(0, len(X), size):
        magnitudes = np.abs(X[begin : begin + size])
        yield begin, begin + len(magnitudes), magnitudes.max(axis=1, initial=0.0), np.arange(len(magnitudes))


def describe_unusable_row(X: Any, y: np.ndarray, weights: np.ndarray | None, row: int) -> str:
    """Why row `row` cannot be trained on."""
    x = X[row] if isinstance(X, np.ndarray) else X.data[X.indptr[row] : X.indptr[row + 1]]
    if weights is not None and not weights[row] < np.inf:
        return f"Input sample_weight is {weights[row]} in row {row}: give the row a finite weight, 0 to leave it out"
    named: dict[str, np.ndarray] = {"X": x, "y": y[row : row + 1] if y.dtype.kind == "f" else np.zeros(0)}
    for name, values in named.items():
        if np.isnan(values).any():
            impute = "impute it, e.g. with SimpleImputer, or " if name == "X" else ""
            return f"Input {name} contains NaN in row {row}: {impute}leave the row out"
        if np.isinf(values).any():
            return f"Input {name} contains infinity in row {row}: leave the row out, or clip it"
    largest = max(float(np.abs(named[name]).max(initial=0.0)) for name in ("X", "y"))
    limit = _LARGEST_VALUE[x.dtype.name]
    return f"the data hold a value of {largest:.2g} in row {row}, and above {limit:g} squares overflow: scale the data"


def without_rows(
    X: Any, y: np.ndarray, weights: np.ndarray | None, rows: np.ndarray | None
) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """The data with zeros in these rows, so that the others keep their numbers; X is copied if it has to change."""
    if rows is None:
        return X, y, weights
    if isinstance(X, np.ndarray):
        if not (np.abs(X[rows]) <= _LARGEST_VALUE[X.dtype.name]).all():
            if X.nbytes > _LARGE:
                warnings.warn(
                    f"X is copied ({X.nbytes / 1e9:.1f} GB), because rows such as {rows[0]} hold numbers that no model "
                    "can be trained on: replace these to save the memory",
                    stacklevel=3,
                )
            X = X.copy()
            X[rows] = 0.0
    else:
        X = X.copy()
        for row in rows:
            X.data[X.indptr[row] : X.indptr[row + 1]] = 0.0
    if y.dtype.kind == "f":
        y = y.copy()
        y[rows] = 0.0
    if weights is not None:
        weights = np.where(np.isfinite(weights), weights, 1.0)
    return X, y, weights
