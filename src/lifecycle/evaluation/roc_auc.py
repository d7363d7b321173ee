"""Area under the ROC curve, with an interval that does not collapse where every pair is in order."""

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from lifecycle.evaluation.proportion import no_interval, wilson_interval
from lifecycle.evaluation.result import Estimate

METHOD = "score interval of Newcombe, widened to DeLong's on the logit scale"


def roc_auc(
    codes: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[Any],
    confidence_level: float,
    on_class: Callable[[], Any] = lambda: None,
) -> Estimate:
    """Area of two classes, or the mean of the one-vs-rest areas of the classes that have rows and others beside them.

    The distances of the ends of the classes' intervals are added with the correlations of their placement values
    (MOVER: Zou & Donner, 2008; DeLong, DeLong & Clarke-Pearson, 1988). `on_class` is called after each class.
    """
    counts = np.bincount(codes, minlength=probabilities.shape[1])
    classes = [1] if len(counts) == 2 else [k for k in range(len(counts)) if 0 < counts[k] < len(codes)]
    if len(np.flatnonzero(counts)) < 2:
        return no_interval(np.nan, f"all rows have the class {labels[int(counts.argmax())]!r}")
    areas = []
    # correlated distances of the ends, and those of areas of 1, whose correlation the rows do not tell: taken as 1
    correlated, other = np.zeros((2, len(codes))), np.zeros(2)
    for k in classes:
        area, influence = _placements(probabilities[:, k], codes == k)
        low, high = _interval(area, influence, codes == k, confidence_level)
        distances = np.array([area - low, high - area])
        norm = float(np.sqrt((influence**2).sum()))
        if norm > 0:
            correlated += np.outer(distances, influence / norm)
        else:
            other += distances
        areas.append(area)
        on_class()
    value = float(np.mean(areas))
    if counts.min() < 2:
        k = int(counts.argmin())
        found = "one row has" if counts[k] else "no row has"
        return no_interval(value, f"{found} the class {labels[k]!r}, two are needed")
    below, above = (np.sqrt((correlated**2).sum(axis=1)) + other) / len(areas)
    return Estimate(value, max(value - float(below), 0.0), min(value + float(above), 1.0), METHOD)


def _placements(scores: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray]:
    """The area, and each row's part in its error: its placement value less the area, over the rows of its class."""
    from scipy.stats import rankdata

    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    ranks, placement = rankdata(scores), np.empty(len(scores))
    placement[positive] = (ranks[positive] - rankdata(scores[positive])) / n_negative
    placement[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / n_positive
    area = float(placement[positive].mean())
    return area, (placement - area) / np.where(positive, n_positive, n_negative)


def _interval(area: float, influence: np.ndarray, positive: np.ndarray, confidence_level: float) -> tuple[float, float]:
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    low, high = _newcombe(area, n_positive, n_negative, confidence_level)
    if min(n_positive, n_negative) < 2 or not 0 < area < 1:
        return low, high
    delong_low, delong_high = _delong(area, influence, positive, confidence_level)
    # the variance of the area is at most that of a proportion of the smaller class (Van Dantzig, 1951)
    widest_low, widest_high = wilson_interval(area, min(n_positive, n_negative), confidence_level)
    return min(low, max(delong_low, widest_low)), max(high, min(delong_high, widest_high))


def _newcombe(area: float, n_positive: int, n_negative: int, confidence_level: float) -> tuple[float, float]:
    """Areas whose own standard error reaches the one seen (Newcombe, 2006, part 2, method 5; Hanley & McNeil, 1982)."""
    from scipy.optimize import brentq

    z, n = NormalDist().inv_cdf(0.5 + confidence_level / 2), (n_positive + n_negative) / 2

    def excess(x: float) -> float:
        variance = x * (1 - x) * (1 + (n - 1) * ((1 - x) / (2 - x) + x / (1 + x))) / (n_positive * n_negative)
        return abs(area - x) - z * np.sqrt(variance)

    inside = min(max(area, 1e-9), 1 - 1e-9)  # at 0 and 1 the variance vanishes
    low = 0.0 if area <= 1e-9 else float(brentq(excess, 0.0, inside))
    high = 1.0 if area >= 1 - 1e-9 else float(brentq(excess, inside, 1.0))
    return low, high


def _delong(area: float, influence: np.ndarray, positive: np.ndarray, confidence_level: float) -> tuple[float, float]:
    """DeLong's variance on the logit scale, with Student's t and the degrees of freedom of Welch (1947)."""
    from scipy.special import expit, logit, stdtrit

    parts, degrees = [], []
    for rows in (influence[positive], influence[~positive]):
        n = len(rows)
        parts.append(float((rows**2).sum()) * n / (n - 1))
        degrees.append(n - 1)
    variance = sum(parts)
    if variance == 0:
        return area, area
    df = variance**2 / sum(part**2 / degree for part, degree in zip(parts, degrees, strict=True))
    half_width = float(stdtrit(df, 0.5 + confidence_level / 2)) * np.sqrt(variance) / (area * (1 - area))
    return float(expit(logit(area) - half_width)), float(expit(logit(area) + half_width))
