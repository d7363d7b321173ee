"""The hold-out of early stopping: which of a model's rows are validated on instead of trained on."""

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split


def hold_out(rows: np.ndarray, y: np.ndarray, fraction: float, stratify: bool, seed: int) -> np.ndarray:
    """(n_samples,) bool: a random fraction of these rows, each class of y in proportion if `stratify`.

    Raises
    ------
    ValueError
        If there are too few rows, or too few of a class.
    """
    held_out = np.zeros(len(y), bool)
    options: dict[str, Any] = {"test_size": fraction, "random_state": seed, "stratify": y[rows] if stratify else None}
    try:
        held_out[train_test_split(rows, **options)[1]] = True
    except ValueError as error:
        raise ValueError(f"early_stopping cannot set validation_fraction={fraction} aside: {error}") from None
    return held_out
