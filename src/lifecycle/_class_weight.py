"""The argument `class_weight` of a classifier."""

from typing import Any

import numpy as np

from lifecycle._check import one_of


def class_weights(class_weight: Any, classes: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weight of each of the sorted `classes`; `codes` are the classes of the samples, `weights` their weights.

    "balanced" counts the weights of the samples, so that a weight is a repetition.
    """
    from sklearn.utils.class_weight import compute_class_weight

    if isinstance(class_weight, str):
        one_of("class_weight", class_weight, ["balanced", None])
        totals = np.bincount(codes, weights, len(classes))
        return np.divide(totals.sum(), len(classes) * totals, out=np.zeros_like(totals), where=totals > 0)
    if class_weight is not None and not isinstance(class_weight, dict):
        raise ValueError(f"class_weight must be 'balanced', a dict or None; got {class_weight!r}")
    of_classes = compute_class_weight(class_weight, classes=classes, y=classes[codes])
    if not np.isfinite(of_classes).all() or (of_classes < 0).any():
        raise ValueError(f"class_weight must hold finite weights >= 0; got {class_weight!r}")
    return of_classes
