"""Objectives of linear models, in float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp


def penalties(coef: np.ndarray, alpha: np.ndarray | float, l1_ratio: float = 0.0) -> np.ndarray:
    """(models,): elastic-net penalties of coefficients (models, outputs, features)."""
    coef = coef.astype(np.float64)
    l1, l2 = np.abs(coef).sum(axis=(1, 2)), np.square(coef).sum(axis=(1, 2))
    return alpha * (l1_ratio * l1 + (1 - l1_ratio) / 2 * l2)


def log_loss(
    X: Any, codes: np.ndarray, coef: np.ndarray, intercept: np.ndarray, alpha: np.ndarray, l1_ratio: float = 0.0
) -> np.ndarray:
    """(models,): mean logistic loss plus the penalty, of models (models, outputs, features) on the same rows."""
    m, k, p = coef.shape
    z = (X @ coef.reshape(m * k, p).T.astype(np.float64)).reshape(-1, m, k) + intercept
    if k == 1:
        loss = np.logaddexp(0.0, np.where(codes > 0, -1.0, 1.0)[:, None] * z[:, :, 0])
    else:
        loss = logsumexp(z, axis=2) - np.take_along_axis(z, codes[:, None, None], axis=2)[:, :, 0]
    return loss.mean(axis=0) + penalties(coef, alpha, l1_ratio)


def of_folds(
    X: np.ndarray,
    y: np.ndarray,
    folds: Sequence,
    alphas: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    l1_ratio: float = 0.0,
) -> np.ndarray:
    """(folds, alphas) of log_loss, from coefficients (folds, alphas, outputs, features)."""
    codes = np.unique(y, return_inverse=True)[1]
    return np.array(
        [
            log_loss(X[train], codes[train], coef[f], intercept[f], alphas, l1_ratio)
            for f, (train, _) in enumerate(folds)
        ]
    )


def squares(
    X: np.ndarray, y: np.ndarray, coef: np.ndarray, intercept: float, alpha: float, l1_ratio: float = 0.0
) -> float:
    """Half the mean square of the errors plus the penalty."""
    error = X @ coef.astype(np.float64) + intercept - y
    return float((error**2).mean() / 2 + penalties(coef[None, None], alpha, l1_ratio)[0])
