"""Rows of what a model takes: arrays, DataFrames, tensors, lists, and tuples or dicts of these."""

from typing import Any

import numpy as np


def n_rows(X: Any) -> int:
    """Rows of the input, or of each of several."""
    if isinstance(X, dict | tuple):
        sizes = {n_rows(part) for part in (X.values() if isinstance(X, dict) else X)}
        if len(sizes) != 1:
            raise ValueError(f"the inputs must have the same number of rows; they have {sorted(sizes)}")
        return sizes.pop()
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def take(X: Any, rows: np.ndarray | slice) -> Any:
    """The rows of these numbers, or a slice of them."""
    if isinstance(X, dict):
        return {name: take(part, rows) for name, part in X.items()}
    if isinstance(X, tuple):
        return tuple(take(part, rows) for part in X)
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return [X[i] for i in rows] if isinstance(X, list) and not isinstance(rows, slice) else X[rows]
