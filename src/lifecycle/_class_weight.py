"""The argument `class_weight` of a classifier."""

import numbers
from typing import Any

import numpy as np

from lifecycle._check import one_of


def class_weights(class_weight: Any, classes: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weight of each of the sorted `classes`; `codes` are the classes of the samples, `weights` their weights.

    "balanced" counts the weights of the samples, so that a weight is a repetition.
    """
    if isinstance(class_weight, str):
        one_of("class_weight", class_weight, ["balanced", None])
        totals = np.bincount(codes, weights, len(classes))
        return np.divide(totals.sum(), len(classes) * totals, out=np.zeros_like(totals), where=totals > 0)
    if class_weight is None:
        return np.ones(len(classes))
    if not isinstance(class_weight, dict):
        raise ValueError(f"class_weight must be 'balanced', a dict or None; got {class_weight!r}")
    labels = classes.tolist()
    unknown, unweighted = [k for k in class_weight if k not in labels], [k for k in labels if k not in class_weight]
    if unknown and unweighted:  # as in scikit-learn: without the second, rows may only lack a class
        raise ValueError(
            f"class_weight has weights of {unknown}, which are not among the classes {labels}, and none of {unweighted}"
        )
    for label, weight in class_weight.items():
        if isinstance(weight, bool) or not isinstance(weight, numbers.Real) or not 0 <= float(weight) < np.inf:
            raise ValueError(f"class_weight must hold finite weights >= 0; the one of {label!r} is {weight!r}")
    return np.array([float(class_weight.get(label, 1.0)) for label in labels])
