"""Balanced accuracy and macro F1, with intervals made of those of the classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle.evaluation.proportion import no_interval, proportion_interval
from lifecycle.evaluation.result import Estimate

BALANCED_ACCURACY = "intervals of the recalls, combined by MOVER"
F1_MACRO = "intervals of each class's TP/(TP + FP + FN), combined by MOVER"


def balanced_accuracy(recalls: Sequence[Estimate], labels: Sequence[Any]) -> Estimate:
    """Mean of the recalls of the classes that have rows.

    Recalls of different classes are independent, so the distances of the ends of their intervals from the value add as
    squares (MOVER: Newcombe, 1998; Zou & Donner, 2008).
    """
    value, low, high = np.array([recall[:3] for recall in recalls]).T
    mean = float(np.nanmean(value))
    missing = np.flatnonzero(np.isnan(value))
    if missing.size:
        return no_interval(mean, f"no row has the class {labels[missing[0]]!r}")
    k = len(value)
    below, above = np.sqrt(((value - low) ** 2).sum()) / k, np.sqrt(((high - value) ** 2).sum()) / k
    return Estimate(mean, max(mean - below, 0.0), min(mean + above, 1.0), BALANCED_ACCURACY)


def f1_macro(matrix: np.ndarray, labels: Sequence[Any], confidence_level: float) -> Estimate:
    """Mean F1 of the classes that occur in the rows or the predictions.

    F1 = 2J/(1 + J), where J = TP/(TP + FP + FN) is a proportion, whose interval is mapped (Lam, Gopal & Qian, 2023,
    arXiv 2309.14621). The classes share their errors; the distances of the ends are added with the correlations of the
    delta method, as in MOVER (Zou & Donner, 2008).
    """
    hits = np.diag(matrix)
    trials = matrix.sum(axis=0) + matrix.sum(axis=1) - hits
    counts = zip(hits.tolist(), trials.tolist(), strict=True)
    jaccard = np.array([proportion_interval(hit, n, confidence_level)[:3] for hit, n in counts])
    value, low, high = (2 * jaccard / (1 + jaccard)).T
    mean = float(np.nanmean(value))
    missing = np.flatnonzero(matrix.sum(axis=1) == 0)
    if missing.size:
        return no_interval(mean, f"no row has the class {labels[missing[0]]!r}")
    below, above = (_combined_distance(matrix, d) for d in (value - low, high - value))
    return Estimate(mean, max(mean - below, 0.0), min(mean + above, 1.0), F1_MACRO)


def _combined_distance(matrix: np.ndarray, distances: np.ndarray) -> float:
    """√(Σ dᵢ dⱼ rᵢⱼ) / k, with the correlations rᵢⱼ of the classes' F1 where the rows are multinomial."""
    k = len(matrix)
    # without a further row, spread over all cells, there would be no correlation where no prediction is wrong
    share = (matrix + 1 / matrix.size) / (matrix.sum() + 1)
    of_class = share.sum(axis=0) + share.sum(axis=1)
    # derivatives of F1 = 2 TP / of_class: a cell of the class's row or column, and besides its diagonal cell
    off, diagonal = 2 * np.diag(share) / of_class**2, 2 / of_class
    outside = of_class - 2 * np.diag(share)
    spread = np.sqrt(outside * off**2 + np.diag(share) * (diagonal - 2 * off) ** 2)
    scale = distances / spread
    derivative = -(scale * off)[:, None] - (scale * off)[None, :] + np.diag(scale * diagonal)
    return float(np.sqrt((share * derivative**2).sum())) / k
