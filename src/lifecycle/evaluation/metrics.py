"""Metrics as functions of how often each row counts, so that one formula gives the value and its bootstrap."""

from collections.abc import Callable
from typing import Any

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]  # counts (m, n) of m resamples to metrics (m,) or (m, metrics)


def confusion_metrics(true: np.ndarray, predicted: np.ndarray, n_classes: int) -> Statistic:
    """Balanced accuracy and macro F1 from the counts of the cells (true, predicted) of a confusion matrix."""
    from scipy.sparse import csr_array

    cells = np.arange(len(true))

    def indicator(classes: np.ndarray, mask: Any = True) -> csr_array:
        """(n_classes, cells): which cells belong to a class."""
        return csr_array((np.ones(len(cells)) * mask, (classes, cells)), shape=(n_classes, len(cells)))

    by_true, by_predicted, on_diagonal = indicator(true), indicator(predicted), indicator(true, true == predicted)

    def statistic(counts: np.ndarray) -> np.ndarray:
        true_positives, n_true, n_predicted = on_diagonal @ counts.T, by_true @ counts.T, by_predicted @ counts.T
        recall = np.where(n_true > 0, true_positives / np.maximum(n_true, 1), np.nan)
        f1 = np.where(n_true + n_predicted > 0, 2 * true_positives / np.maximum(n_true + n_predicted, 1), np.nan)
        return np.stack([np.nanmean(recall, axis=0), np.nanmean(f1, axis=0)], axis=1)

    return statistic


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> Statistic:
    """Area under the ROC curve; NaN where the positive or the negative class has no row."""
    order = np.argsort(scores, kind="stable")
    sorted_scores, is_positive = scores[order], positive[order].astype(float)
    starts = np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])  # ties share a group

    def statistic(counts: np.ndarray) -> np.ndarray:
        counts = counts[:, order]
        positives = np.add.reduceat(counts * is_positive, starts, axis=1)
        negatives = np.add.reduceat(counts * (1 - is_positive), starts, axis=1)
        correct_pairs = (positives * (np.cumsum(negatives, axis=1) - negatives / 2)).sum(axis=1)
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        return np.where(pairs > 0, correct_pairs / np.maximum(pairs, 1), np.nan)

    return statistic


def probability_metrics(codes: np.ndarray, probabilities: np.ndarray) -> Statistic:
    """Log loss and ROC AUC (two classes) or the mean of its one-vs-rest values; `codes` are the true columns."""
    eps = np.finfo(probabilities.dtype).eps if probabilities.dtype.kind == "f" else np.finfo(float).eps
    losses = -np.log(np.clip(probabilities[np.arange(len(codes)), codes], eps, 1 - eps).astype(float))
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = [roc_auc(probabilities[:, k], codes == k) for k in classes]

    def statistic(counts: np.ndarray) -> np.ndarray:
        area = np.stack([area_of(counts) for area_of in areas])
        defined = np.isfinite(area)
        mean = np.where(defined, area, 0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
        mean[~defined.any(axis=0)] = np.nan
        return np.stack([counts @ losses / counts.sum(axis=1), mean], axis=1)

    return statistic


def regression_metrics(y: np.ndarray, predicted: np.ndarray) -> Statistic:
    """R², RMSE and MAE of targets (n, targets), each the mean over the targets."""
    error, centred = y - predicted, y - y.mean(axis=0)

    def statistic(counts: np.ndarray) -> np.ndarray:
        n = counts.sum(axis=1, keepdims=True)
        squared, absolute = counts @ error**2, counts @ np.abs(error)
        total = counts @ centred**2 - (counts @ centred) ** 2 / n
        # a target that is constant up to rounding has no R²
        constant = total <= 1e-12 * (counts @ centred**2) + np.finfo(float).tiny
        r2 = np.where(constant, np.nan, 1 - squared / np.where(constant, 1, total))
        rmse = np.sqrt(squared / n)
        return np.stack([r2.mean(axis=1), rmse.mean(axis=1), (absolute / n).mean(axis=1)], axis=1)

    return statistic
