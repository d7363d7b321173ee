"""The interface of the solvers that train models by epochs: early stopping reads the models between two epochs."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.problem import Problem


class EpochSolver(ABC):
    """Models that are trained by epochs, in the coordinates of `frame`."""

    problem: Problem
    frame: CentredFrame

    @abstractmethod
    def epoch(self, models: np.ndarray) -> np.ndarray:
        """Train these models for one epoch; returns their objectives, (len(models),)."""

    @abstractmethod
    def coefficients(self, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (models, n_outputs, n_features) and intercepts (models, n_outputs), until the next epoch."""

    def raw_coefficients(self, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for features as they are in X."""
        coef, intercept = self.coefficients(models)
        return coef, self.frame.to_raw(coef, intercept, self.problem.train_set[models])

    def decision_scores(self, X: Any, models: np.ndarray) -> np.ndarray:
        """Scores of rows of X, (models, n_outputs, rows)."""
        return decision_scores(X, *self.raw_coefficients(models))


def decision_scores(X: Any, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Scores of rows of X by models with these raw coefficients, (models, n_outputs, rows)."""
    m, k, p = coef.shape
    if not isinstance(X, np.ndarray):  # each sparse product copies the coefficients
        return np.stack([(X @ w.T.astype(X.dtype) + b).T for w, b in zip(coef, intercept, strict=True)])
    z = coef.reshape(m * k, p).astype(X.dtype, copy=False) @ X.T  # rows of a model lie together for the metrics
    return (z + intercept.reshape(-1, 1)).reshape(m, k, -1)


def per_model(numbers: np.ndarray, like: np.ndarray) -> np.ndarray:
    """One number a model, to be multiplied with an array whose first axis are the models."""
    return numbers.reshape(-1, *[1] * (like.ndim - 1))


def prox_params(problem: Problem, models: np.ndarray, step_sizes: np.ndarray) -> tuple:
    """Parameters of the penalty's proximal step of some models, each (models, 1, 1)."""
    lengths = zip(step_sizes * problem.alpha[models], problem.l1_ratio[models], strict=True)
    params = [problem.penalty.prox_params(length, ratio) for length, ratio in lengths]
    return tuple(np.array(p)[:, None, None] for p in zip(*params, strict=True))
