"""The objective of one model over a few rows in memory: value, gradient and Hessian, for Newton's method."""

from dataclasses import dataclass

import numpy as np

from ..losses import Loss


@dataclass
class Dense:
    """Weighted mean loss + ridge/2 ‖coefficients‖² of theta: coefficients (outputs, features), then the intercepts.

    X is (n, features); targets (outputs, n): ±1, one-hot or real; weights (n,), of any scale.
    """

    X: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    loss: Loss
    joint: bool
    ridge: float
    epsilon: float
    fit_intercept: bool

    def __post_init__(self) -> None:
        self.outputs, self.features = len(self.targets), self.X.shape[1]
        self.size = self.outputs * self.features
        self.variables = self.size + (self.outputs if self.fit_intercept else 0)
        self.share = self.weights / self.weights.sum()

    def _scores(self, theta: np.ndarray) -> np.ndarray:
        coef = theta[: self.size].reshape(self.outputs, self.features)
        intercept = theta[self.size :] if self.fit_intercept else np.zeros(self.outputs)
        return coef @ self.X.T + intercept[:, None]

    def value(self, theta: np.ndarray) -> float:
        """The objective."""
        scores = self._scores(theta)
        if self.joint:
            losses = self.loss.joint_value(self.targets, scores)  # type: ignore[misc]
        else:
            losses = self.loss.value(self.targets, scores, self.epsilon).sum(axis=0)
        return float(losses @ self.share) + 0.5 * self.ridge * float((theta[: self.size] ** 2).sum())

    def _slopes(self, scores: np.ndarray) -> np.ndarray:
        if not self.joint:
            return self.loss.slope(self.targets, scores, self.epsilon)
        out = np.empty_like(scores)
        self.loss.joint_slope(self.targets, scores, out)  # type: ignore[misc]
        return out

    def derivatives(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and Hessian."""
        scores = self._scores(theta)
        pushes = self._slopes(scores) * self.share
        gradient = np.concatenate([(pushes @ self.X).ravel() + self.ridge * theta[: self.size], pushes.sum(axis=1)])
        p = self.features
        hessian = np.zeros((self.variables, self.variables))
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
        hessian[np.arange(self.size), np.arange(self.size)] += self.ridge
        return gradient[: self.variables], hessian

    def _crossed(self, scores: np.ndarray, j: int, k: int) -> np.ndarray:
        """Second derivative of every sample's weighted loss by the scores j and k."""
        if not self.joint:
            return self.loss.curvature(self.targets[j], scores[j], self.epsilon) * self.share  # type: ignore[misc]
        p = self._slopes(scores) + self.targets  # the slope of the cross-entropy is p - y
        return p[j] * ((j == k) - p[k]) * self.share

    def metric(self) -> np.ndarray:
        """Bound of the diagonal of the Hessian."""
        steepest = self.loss.joint_steepest if self.joint else self.loss.steepest
        features = steepest * (self.share @ self.X**2) + self.ridge
        metric = np.tile(np.where(features > 0, features, 1.0), self.outputs)
        return np.concatenate([metric, np.full(self.variables - self.size, steepest)])

    def output(self, k: int) -> "Dense":
        """The problem of output k alone."""
        return Dense(self.X, self.targets[[k]], self.weights, self.loss, False, self.ridge, self.epsilon,
                     self.fit_intercept)  # fmt: skip
