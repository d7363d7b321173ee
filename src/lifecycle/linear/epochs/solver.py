"""What every way of making epochs offers to those who look at the models between two of them."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from lifecycle.linear.data.problem import Task


class Steps(ABC):
    """Models that are trained by epochs."""

    task: Task

    @abstractmethod
    def epoch(self, which: np.ndarray) -> np.ndarray:
        """One epoch of these models; their objectives."""

    @abstractmethod
    def result(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (models, outputs, features) and intercepts (models, outputs) of centred features, until the next
        epoch."""

    def raw(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same of features as they are."""
        coef, intercept = self.result(which)
        return coef, intercept - np.einsum("mkp,mp->mk", coef, self.task.center[self.task.column[which]])

    def products(self, X: Any, which: np.ndarray) -> np.ndarray:
        """Scores of rows of X, (models, outputs, rows)."""
        return products(X, *self.raw(which))


def products(X: Any, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Scores of rows of X, (models, outputs, rows)."""
    m, k, p = coef.shape
    if not isinstance(X, np.ndarray):  # of which each product wants a copy of the coefficients
        return np.stack([(X @ own.T.astype(X.dtype) + b).T for own, b in zip(coef, intercept, strict=True)])
    z = (X @ coef.reshape(m * k, p).T.astype(X.dtype, copy=False)).T
    return (z + intercept.reshape(-1, 1)).reshape(m, k, -1)
