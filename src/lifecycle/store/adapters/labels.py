"""Checks of the labels and the names of features that a file holds."""

from typing import Any

import numpy as np


def check_classes(classes: Any) -> None:
    """ValueError unless these are the sorted labels that a classifier learns."""
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or classes.dtype.kind not in "biufUO":
        raise ValueError("classes_ is not a list of labels")
    if classes.dtype.kind == "O" and not all(isinstance(c, (str, bool, int, float)) for c in classes):
        raise ValueError("classes_ holds objects that are no labels")
    if not classes.size or not np.array_equal(np.unique(classes), classes):
        raise ValueError("classes_ must be sorted labels, each of them once")


def check_feature_names(names: Any, n_features: int) -> None:
    """ValueError unless the names of the features are as many strings, or None."""
    if names is not None and not (
        isinstance(names, np.ndarray) and names.shape == (n_features,) and all(isinstance(n, str) for n in names)
    ):
        raise ValueError(f"feature_names_in_ does not name {n_features} features")
