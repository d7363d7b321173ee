"""The objective of one model over a few rows in memory: value, gradient and Hessian, for Newton's method."""

from dataclasses import dataclass, replace

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
        return gradient[: self.variables], self._hessian(scores)

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """In the precision of X."""
        return self._hessian(self._scores(theta.astype(self.X.dtype)))

    def in_single(self) -> "Dense":
        """In single precision, where a guess will do."""
        X, targets, weights = (a.astype(np.float32) for a in (self.X, self.targets, self.weights))
        return replace(self, X=X, targets=targets, weights=weights)

    def _hessian(self, scores: np.ndarray) -> np.ndarray:
        hessian = self._of_softmax(scores) if self.joint else self._of_outputs(scores)
        hessian[np.arange(self.size), np.arange(self.size)] += self.ridge
        return hessian

    def _of_outputs(self, scores: np.ndarray) -> np.ndarray:
        """Hessian of a loss that sees the outputs one by one."""
        p = self.features
        hessian = np.zeros((self.variables, self.variables), self.X.dtype)
        for k in range(self.outputs):
            bend = self.loss.curvature(self.targets[k], scores[k], self.epsilon) * self.share  # type: ignore[misc]
            weighted = self.X * bend[:, None]
            here = slice(k * p, (k + 1) * p)
            hessian[here, here] = weighted.T @ self.X
            if self.fit_intercept:
                own = self.size + k
                hessian[own, here] = hessian[here, own] = weighted.sum(axis=0)
                hessian[own, own] = bend.sum()
        return hessian

    def _of_softmax(self, scores: np.ndarray) -> np.ndarray:
        """Hessian of the cross-entropy: diag(p) - p pᵀ of each row, times the products of its features."""
        k, p, n = self.outputs, self.features + int(self.fit_intercept), len(self.X)
        X = np.hstack([self.X, np.ones((n, 1), self.X.dtype)]) if self.fit_intercept else self.X
        chances = self._slopes(scores) + self.targets  # the slope of the cross-entropy is p - y
        root = np.sqrt(self.share)[:, None] * X
        by_row = (chances.T[:, :, None] * root[:, None, :]).reshape(n, k * p)
        hessian = -(by_row.T @ by_row)
        for j in range(k):
            here = slice(j * p, (j + 1) * p)
            hessian[here, here] += (root * chances[j][:, None]).T @ root
        # from class after class, each with its intercept, to all coefficients and then the intercepts
        order = np.arange(k * p).reshape(k, p)
        order = np.concatenate([order[:, : self.features].ravel(), order[:, self.features :].ravel()])
        return hessian[np.ix_(order, order)]

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
