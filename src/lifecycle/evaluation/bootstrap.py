"""Intervals of metrics by the percentile bootstrap over rows (Efron, 1979)."""

from collections.abc import Iterator

import numpy as np

from lifecycle._progress import progress_bar
from lifecycle.evaluation.metrics import Statistic, confusion_metrics
from lifecycle.evaluation.result import Estimate

N_RESAMPLES = 1000
METHOD = f"bootstrap percentile over rows, {N_RESAMPLES} resamples"
_CHUNK = 2_000_000  # counts held in memory at a time; 16 MB


def bootstrap_rows(
    statistic: Statistic, names: list[str], n: int, confidence_level: float, progress: bool | None = None
) -> dict[str, Estimate]:
    """Metrics of `n` rows with intervals; `statistic` maps row counts (m, n) to metrics (m, len(names))."""
    rng = np.random.default_rng(0)
    resampled = []
    with progress_bar(N_RESAMPLES, "evaluate: intervals", progress) as bar:
        for m in _chunks(n):
            drawn = rng.integers(n, size=(m, n)) + np.arange(m)[:, None] * n
            resampled.append(statistic(np.bincount(drawn.ravel(), minlength=m * n).reshape(m, n).astype(float)))
            bar.update(m)
    return _percentile_intervals(statistic(np.ones((1, n)))[0], np.concatenate(resampled), confidence_level, names)


def bootstrap_confusion(matrix: np.ndarray, confidence_level: float) -> dict[str, Estimate]:
    """Balanced accuracy and macro F1 with intervals.

    Both depend on the rows through the confusion matrix only, and that of resampled rows is multinomial: drawing it
    is the same bootstrap at a fraction of the cost.
    """
    true, predicted = np.nonzero(matrix)
    counts, n = matrix[true, predicted].astype(float), int(matrix.sum())
    statistic = confusion_metrics(true, predicted, len(matrix))
    rng = np.random.default_rng(0)
    resampled = [
        statistic(rng.multinomial(n, counts / n, size=m).astype(float)) for m in _chunks(len(matrix) + len(counts))
    ]
    names = ["balanced_accuracy", "f1_macro"]
    return _percentile_intervals(statistic(counts[None])[0], np.concatenate(resampled), confidence_level, names)


def _chunks(width: int) -> Iterator[int]:
    """Numbers of resamples that are drawn at a time, where each holds `width` counts."""
    size = max(1, _CHUNK // width)
    return (min(size, N_RESAMPLES - start) for start in range(0, N_RESAMPLES, size))


def _percentile_intervals(
    values: np.ndarray, resampled: np.ndarray, confidence_level: float, names: list[str]
) -> dict[str, Estimate]:
    """Intervals from resampled metrics (resamples, metrics); resamples without a value are left out."""
    tail = 50 * (1 - confidence_level)
    estimates = {}
    for name, value, column in zip(names, values, resampled.T, strict=True):
        column = column[np.isfinite(column)]
        low, high = np.percentile(column, [tail, 100 - tail]) if column.size else (np.nan, np.nan)
        estimates[name] = Estimate(float(value), float(low), float(high), METHOD)
    return estimates
