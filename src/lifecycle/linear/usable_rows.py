"""Which rows hold numbers that no model can be trained on: NaN, infinity, and numbers whose squares overflow."""

from typing import Any

import numpy as np

_LARGEST_VALUE = {"float64": 1e100, "float32": 1e15}  # above, squares overflow
_CHUNK_ELEMENTS = 1 << 20


def find_unusable_rows(X: Any, y: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray | None, float]:
    """Numbers of the rows that cannot be trained on, None if there are none; and the largest |x| of the others."""
    values = X if isinstance(X, np.ndarray) else X.data
    limit, unusable = _LARGEST_VALUE[values.dtype.name], np.zeros(len(y), bool)
    max_abs = float(np.maximum(-values.min(initial=0.0), values.max(initial=0.0)))
    # NaN fails every comparison
    if y.dtype.kind == "f":
        unusable |= ~(np.abs(y) <= limit)
    if weights is not None:
        unusable |= ~(weights < np.inf)
    if max_abs <= limit and not unusable.any():
        return None, max_abs
    size, max_abs = max(1, _CHUNK_ELEMENTS // max(1, X.shape[1])), 0.0
    for begin in range(0, len(y), size):
        rows = np.abs(_dense(X[begin : begin + size]))
        bad = unusable[begin : begin + size]
        bad |= ~(rows <= limit).all(axis=1)
        max_abs = max(max_abs, float(rows[~bad].max(initial=0.0)))
    return np.flatnonzero(unusable), max_abs


def describe_unusable_row(X: Any, y: np.ndarray, weights: np.ndarray | None, row: int) -> str:
    """Why row `row` cannot be trained on."""
    x = _dense(X[[row]])[0]
    named: dict[str, np.ndarray] = {"X": x, "y": y[row : row + 1] if y.dtype.kind == "f" else np.zeros(0)}
    named |= {} if weights is None else {"sample_weight": weights[row : row + 1]}
    for name, values in named.items():
        if np.isnan(values).any():
            return f"Input {name} contains NaN in row {row}: impute it, e.g. with SimpleImputer, or leave the row out"
        if np.isinf(values).any():
            return f"Input {name} contains infinity in row {row}: leave the row out, or clip it"
    largest = max(float(np.abs(named[name]).max(initial=0.0)) for name in ("X", "y"))
    limit = _LARGEST_VALUE[x.dtype.name]
    return f"the data hold a value of {largest:.2g} in row {row}, and above {limit:g} squares overflow: scale the data"


def without_rows(
    X: Any, y: np.ndarray, weights: np.ndarray | None, rows: np.ndarray | None
) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Copies in which these rows are zero, so that the others keep their numbers; the same where rows is None."""
    if rows is None:
        return X, y, weights
    X, y = X.copy(), y.copy()
    if isinstance(X, np.ndarray):
        X[rows] = 0.0
    else:
        for row in rows:
            X.data[X.indptr[row] : X.indptr[row + 1]] = 0.0
    if y.dtype.kind == "f":
        y[rows] = 0.0
    if weights is not None:
        weights = np.where(np.isfinite(weights), weights, 1.0)
    return X, y, weights


def _dense(X: Any) -> np.ndarray:
    return X if isinstance(X, np.ndarray) else X.toarray()
