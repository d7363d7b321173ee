"""Metrics as functions of how often each row counts, so that one formula gives the value and its bootstrap."""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from lifecycle._progress import progress_bar

N_RESAMPLES = 1000
_CHUNK = 2_000_000  # row counts held at a time; 16 MB
WILSON = "Wilson score interval"
BOOTSTRAP = f"bootstrap percentile over rows, {N_RESAMPLES} resamples"


class Estimate(NamedTuple):
    """A measured value, the ends of its interval, and the name of the method that gave them."""

    value: float
    low: float
    high: float
    method: str

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def wilson(successes: int, n: int, confidence_level: float) -> Estimate:
    """Share of successes with the score interval of Wilson (1927); NaN where there is no trial."""
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, WILSON)
    z = NormalDist().inv_cdf(0.5 + confidence_level / 2)
    share, shrink = successes / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at 0 and at n successes one end is the share itself, which rounding would miss by an ulp
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return Estimate(share, low, high, WILSON)


def percentiles(
    values: np.ndarray, resampled: np.ndarray, confidence_level: float, names: list[str]
) -> dict[str, Estimate]:
    """Percentile intervals from resampled metrics (resamples, metrics); resamples without a value are left out."""
    tail = 50 * (1 - confidence_level)
    found = {}
    for column, (name, value) in enumerate(zip(names, values, strict=True)):
        column_values = resampled[:, column]
        column_values = column_values[np.isfinite(column_values)]
        low, high = np.percentile(column_values, [tail, 100 - tail]) if column_values.size else (np.nan, np.nan)
        found[name] = Estimate(float(value), float(low), float(high), BOOTSTRAP)
    return found


def bootstrap_rows(
    statistic: Callable[[np.ndarray], np.ndarray],
    names: list[str],
    n: int,
    confidence_level: float,
    progress: bool | None = None,
) -> dict[str, Estimate]:
    """Metrics of `n` rows with intervals; `statistic` maps row counts (m, n) to metrics (m, len(names))."""
    rng = np.random.default_rng(0)
    size = max(1, _CHUNK // n)
    resampled = []
    with progress_bar(N_RESAMPLES, "evaluate: intervals", progress) as bar:
        for start in range(0, N_RESAMPLES, size):
            m = min(size, N_RESAMPLES - start)
            drawn = rng.integers(n, size=(m, n)) + np.arange(m)[:, None] * n
            resampled.append(statistic(np.bincount(drawn.ravel(), minlength=m * n).reshape(m, n).astype(float)))
            bar.update(m)
    return percentiles(statistic(np.ones((1, n)))[0], np.concatenate(resampled), confidence_level, names)


def bootstrap_confusion(matrix: np.ndarray, confidence_level: float) -> dict[str, Estimate]:
    """Balanced accuracy and macro F1 with intervals.

    Both depend on the rows through the confusion matrix only, and that of resampled rows is multinomial: drawing it
    is the same bootstrap at a fraction of the price.
    """
    from scipy.sparse import csr_array

    true, predicted = np.nonzero(matrix)
    cells, k, n = matrix[true, predicted].astype(float), len(matrix), int(matrix.sum())

    def indicator(groups: np.ndarray, mask: Any = True) -> csr_array:
        entries = (np.ones(len(cells)) * mask, (groups, np.arange(len(cells))))
        return csr_array(entries, shape=(k, len(cells)))

    by_true, by_predicted, on_diagonal = indicator(true), indicator(predicted), indicator(true, true == predicted)

    def statistic(counts: np.ndarray) -> np.ndarray:
        hit, support, claimed = on_diagonal @ counts.T, by_true @ counts.T, by_predicted @ counts.T
        recall = np.where(support > 0, hit / np.maximum(support, 1), np.nan)
        f1 = np.where(support + claimed > 0, 2 * hit / np.maximum(support + claimed, 1), np.nan)
        return np.stack([np.nanmean(recall, axis=0), np.nanmean(f1, axis=0)], axis=1)

    rng, size = np.random.default_rng(0), max(1, _CHUNK // (k + len(cells)))
    resampled = [
        statistic(rng.multinomial(n, cells / n, size=min(size, N_RESAMPLES - start)).astype(float))
        for start in range(0, N_RESAMPLES, size)
    ]
    names = ["balanced_accuracy", "f1_macro"]
    return percentiles(statistic(cells[None])[0], np.concatenate(resampled), confidence_level, names)


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Area under the ROC curve as a function of row counts (m, n); NaN where one of the two sides has no row."""
    order = np.argsort(scores, kind="stable")
    sorted_scores, is_positive = scores[order], positive[order].astype(float)
    starts = np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])  # ties share a group

    def statistic(counts: np.ndarray) -> np.ndarray:
        counts = counts[:, order]
        above = np.add.reduceat(counts * is_positive, starts, axis=1)
        below = np.add.reduceat(counts * (1 - is_positive), starts, axis=1)
        won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        pairs = above.sum(axis=1) * below.sum(axis=1)
        return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)

    return statistic


def probability_metrics(codes: np.ndarray, probabilities: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Log loss and ROC AUC (two classes) or the mean of its one-against-the-rest values, from row counts."""
    tiny = np.finfo(probabilities.dtype).eps if probabilities.dtype.kind == "f" else np.finfo(float).eps
    losses = -np.log(np.clip(probabilities[np.arange(len(codes)), codes], tiny, 1 - tiny).astype(float))
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = [roc_auc(probabilities[:, k], codes == k) for k in classes]

    def statistic(counts: np.ndarray) -> np.ndarray:
        area = np.stack([f(counts) for f in areas])
        found = np.isfinite(area)
        mean = np.where(found, area, 0).sum(axis=0) / np.maximum(found.sum(axis=0), 1)
        mean[~found.any(axis=0)] = np.nan
        return np.stack([counts @ losses / counts.sum(axis=1), mean], axis=1)

    return statistic


def regression_metrics(y: np.ndarray, predicted: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """R², RMSE and MAE of targets (n, targets), each the mean over the targets, from row counts."""
    error, centred = y - predicted, y - y.mean(axis=0)

    def statistic(counts: np.ndarray) -> np.ndarray:
        n = counts.sum(axis=1, keepdims=True)
        squared, absolute = counts @ error**2, counts @ np.abs(error)
        total = counts @ centred**2 - (counts @ centred) ** 2 / n
        # a target without spread, but for rounding, has no R²
        flat = total <= 1e-12 * (counts @ centred**2) + np.finfo(float).tiny
        r2 = np.where(flat, np.nan, 1 - squared / np.where(flat, 1, total))
        rmse = np.sqrt(squared / n)
        return np.stack([r2.mean(axis=1), rmse.mean(axis=1), (absolute / n).mean(axis=1)], axis=1)

    return statistic
