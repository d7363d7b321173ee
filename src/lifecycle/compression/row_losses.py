"""Losses of single rows whose mean can be certified: they are bounded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

ACCURACY = "accuracy"
_CLIP_QUANTILE = 0.99  # of the losses of the original model on the search rows


@dataclass(frozen=True)
class RowLoss:
    """A loss from 0 to `largest` for each row; its mean rises when a model gets worse."""

    name: str
    function: Callable[[np.ndarray, np.ndarray], np.ndarray]
    largest: float
    is_zero_one: bool = False

    def __call__(self, y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        losses = np.asarray(self.function(y, predicted), dtype=float)
        if losses.shape != (len(y),) or not (np.isfinite(losses).all() and (losses >= 0).all()):
            raise ValueError(f"scoring must give a finite loss of 0 or more for each row; got the shape {losses.shape}")
        if (losses > self.largest).any():
            raise ValueError(f"scoring must give losses of at most {self.largest:g}; got {losses.max():g}")
        return losses


def row_loss(scoring: Any, is_classifier: bool, y: np.ndarray, predicted: np.ndarray) -> RowLoss:
    """The loss that `scoring` names, for a model whose predictions of the search rows are given.

    Parameters
    ----------
    scoring : None, "accuracy", or callable (y_true, y_pred) -> losses in [0, 1]

    Raises
    ------
    ValueError
        The score is no mean of bounded losses of rows.
    """
    if callable(scoring):
        return RowLoss(getattr(scoring, "__name__", "scoring"), scoring, 1.0)
    if scoring not in (None, ACCURACY):
        raise ValueError(
            f"scoring={scoring!r} is no mean of bounded losses of rows, and cannot be certified; what can: None, "
            f'"{ACCURACY}", or a callable (y_true, y_pred) that gives each row a loss from 0 to 1'
        )
    if is_classifier:
        return RowLoss("error rate", lambda true, labels: (true != labels).astype(float), 1.0, is_zero_one=True)
    if scoring == ACCURACY:
        raise ValueError('scoring="accuracy" is of classes, and the model predicts values: leave scoring out')
    return _squared_error(y, predicted)


def _squared_error(y: np.ndarray, predicted: np.ndarray) -> RowLoss:
    """Squared errors over the variance of the targets, so that their mean is 1 − R²; large ones are clipped.

    The clip is at least the variance: a useless model loses much, however good the original is.
    """
    variance = float(np.var(y, axis=0).sum()) or 1.0

    def relative(true: np.ndarray, values: np.ndarray) -> np.ndarray:
        if true.shape != values.shape:
            raise ValueError(f"the model predicts values of shape {values.shape} for targets of shape {true.shape}")
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.square(true - values).reshape(len(true), -1).sum(axis=1) / variance)

    losses = relative(y, predicted)
    if not np.isfinite(losses).all():
        raise ValueError("the model predicts NaN or infinite values for some of the rows")
    clip = max(float(np.quantile(losses, _CLIP_QUANTILE)), 1.0)

    def clipped(true: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = relative(true, values)
        return np.where(found < clip, found, clip)  # NaN of a candidate counts as the worst

    return RowLoss(f"squared error over the variance {variance:.4g}, clipped at {clip:.4g}", clipped, clip)
