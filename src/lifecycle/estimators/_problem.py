"""The objective of a linear model over all rows: value, gradient, Hessian and the step sizes that it allows."""

from dataclasses import dataclass

import numpy as np

from ..losses import Loss
from ..penalties import Penalty

_SMALL = 1000  # features or rows up to which all singular values are cheaper than a few by Lanczos


@dataclass
class Problem:
    """Weighted mean loss + alpha * penalty of theta: coefficients (outputs, features), then an intercept per output.

    X is (n, features); Y (n, outputs): ±1, one-hot or real; weights (n,), with mean 1.
    """

    X: np.ndarray
    Y: np.ndarray
    weights: np.ndarray
    loss: Loss
    penalty: Penalty
    alpha: float
    l1_ratio: float
    epsilon: float
    fit_intercept: bool

    def __post_init__(self) -> None:
        self.outputs, self.features = self.Y.shape[1], self.X.shape[1]
        self.size = self.outputs * self.features
        # one score per class, seen by the loss at once: only log_loss with more than two classes
        self.joint = self.loss.joint_value is not None and self.outputs > 1
        self.targets = np.ascontiguousarray(self.Y.T)
        self.share = self.weights / self.weights.sum()
        steepest = self.loss.joint_steepest if self.joint else self.loss.steepest
        self.steepest = 1.0 if steepest is None else steepest

    def start(self) -> np.ndarray:
        """Zero coefficients; for regression, the mean of y as intercept."""
        theta = np.zeros(self.size + self.outputs)
        if self.fit_intercept and self.loss.task == "regression":
            theta[self.size :] = self.share @ self.Y
        return theta

    def scale(self) -> float:
        """The loss of the best constant that is known without a fit; the unit of tol."""
        theta = np.zeros(self.size + self.outputs)
        if self.loss.task == "regression":
            theta[self.size :] = self.share @ self.Y
        return self.data_loss(self.scores(theta)) or 1.0

    def scores(self, theta: np.ndarray) -> np.ndarray:
        coef = theta[: self.size].reshape(self.outputs, self.features)
        return coef @ self.X.T + theta[self.size :, None]

    def data_loss(self, scores: np.ndarray) -> float:
        if self.joint:
            assert self.loss.joint_value is not None
            return float(self.loss.joint_value(self.targets, scores) @ self.share)
        return float((self.loss.value(self.targets, scores, self.epsilon) @ self.share).sum())

    def penalty_value(self, theta: np.ndarray) -> float:
        return self.alpha * float(self.penalty.value(theta[: self.size], self.l1_ratio).sum())

    def value(self, theta: np.ndarray) -> float:
        return self.data_loss(self.scores(theta)) + self.penalty_value(theta)

    def _slopes(self, scores: np.ndarray) -> np.ndarray:
        if self.joint:
            out = np.empty_like(scores)
            assert self.loss.joint_slope is not None
            self.loss.joint_slope(self.targets, scores, out)
            return out
        return self.loss.slope(self.targets, scores, self.epsilon)

    def data_gradient(self, scores: np.ndarray) -> np.ndarray:
        pushes = self._slopes(scores) * self.share
        intercept = pushes.sum(axis=1) if self.fit_intercept else np.zeros(self.outputs)
        return np.concatenate([(pushes @ self.X).ravel(), intercept])

    def derivatives(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and Hessian over the coefficients, then the intercepts that are fitted (l2 or no penalty)."""
        scores = self.scores(theta)
        ridge = self.alpha * self.penalty.slope(1.0, self.l1_ratio)
        gradient = self.data_gradient(scores)
        gradient[: self.size] += ridge * theta[: self.size]
        n_free, p = self.size + (self.outputs if self.fit_intercept else 0), self.features
        hessian = np.zeros((n_free, n_free))
        for j in range(self.outputs):
            for k in range(j + 1) if self.joint else (j,):
                cross = self._crossed(scores, j, k)
                weighted = self.X * cross[:, None]
                rows, columns = slice(j * p, (j + 1) * p), slice(k * p, (k + 1) * p)
                hessian[rows, columns] = weighted.T @ self.X
                if self.fit_intercept:
                    hessian[self.size + j, columns] = hessian[self.size + k, rows] = weighted.sum(axis=0)
                    hessian[self.size + j, self.size + k] = cross.sum()
        lower = np.tril(hessian)
        hessian = lower + np.tril(lower, -1).T
        hessian[np.arange(self.size), np.arange(self.size)] += ridge
        return gradient[:n_free], hessian

    def _crossed(self, scores: np.ndarray, j: int, k: int) -> np.ndarray:
        """Second derivative of every sample's weighted loss by the scores j and k."""
        if not self.joint:
            assert self.loss.curvature is not None
            return self.loss.curvature(self.targets[j], scores[j], self.epsilon) * self.share
        p = self._slopes(scores) + self.targets  # the slope of the cross-entropy is p - y
        return p[j] * ((j == k) - p[k]) * self.share

    def metric(self) -> np.ndarray:
        """Bound of the diagonal of the Hessian."""
        ridge = self.alpha * self.penalty.slope(1.0, self.l1_ratio)
        features = self.steepest * (self.share @ self.X**2) + ridge
        metric = np.tile(np.where(features > 0, features, 1.0), self.outputs)
        return np.concatenate([metric, np.full(self.outputs if self.fit_intercept else 0, self.steepest)])

    def column(self, k: int) -> "Problem":
        """The problem of output k alone."""
        return Problem(self.X, self.Y[:, [k]], self.weights, self.loss, self.penalty, self.alpha, self.l1_ratio,
                       self.epsilon, self.fit_intercept)  # fmt: skip

    def largest_curvature(self) -> float:
        """L, the largest eigenvalue of the Hessian of the mean loss, or a bound of it; X must be centred."""
        A = np.sqrt(self.share)[:, None] * self.X
        if min(A.shape) <= _SMALL:
            top = np.linalg.eigvalsh(A.T @ A if A.shape[1] <= A.shape[0] else A @ A.T)[-1]
        else:
            from scipy.sparse.linalg import svds

            top = svds(A, k=1, return_singular_vectors=False, v0=np.ones(min(A.shape)))[0] ** 2
        return self.steepest * max(float(top), 1.0 if self.fit_intercept else 0.0, np.finfo(np.float64).tiny)

    def first_lr(self, by_slope: bool, all_rows: bool) -> float:
        """Where lr=None begins; `by_slope`: the rule's step is proportional to the slope, else to lr."""
        regression = self.loss.task == "regression"
        at_start = self.Y - self.start()[self.size :]
        spread = float(np.sqrt((self.share @ at_start**2).max())) or 1.0 if regression else 1.0
        if not by_slope:
            squares = np.append(self.share @ self.X**2, 1.0 if self.fit_intercept else [])
            return 0.1 * spread / (float(np.sqrt(squares.mean())) or 1.0)
        if all_rows and self.loss.smooth:
            return 1.0 / self.largest_curvature()
        lengths = self.weights * ((self.X**2).sum(axis=1) + self.fit_intercept)
        lengths = lengths[self.weights > 0]
        if self.loss.slope_bound is None:  # no single row may overshoot
            return 1.0 / (self.steepest * (float(lengths.max()) or 1.0))
        # steps of bounded length do not grow with y
        away = max(spread / self.loss.slope_bound(self.epsilon), 1.0) if regression else 1.0
        return away / (self.steepest * (float(lengths.mean()) or 1.0))
