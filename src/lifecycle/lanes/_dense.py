"""The objective of one model over a few rows in memory: value, gradient and Hessian, for Newton's method."""

from dataclasses import dataclass, replace

import numpy as np

from ..loops.minibatch import row_of
from ..losses import Loss


@dataclass
class Dense:
    """Losses times their shares + ridge/2 ‖coefficients‖² of theta: coefficients (outputs, features), then intercepts.

    X is (n, features); targets (outputs, n): ±1, one-hot or real; share (n,).
    """

    X: np.ndarray
    targets: np.ndarray
    share: np.ndarray
    loss: Loss
    joint: bool
    ridge: float
    epsilon: float
    fit_intercept: bool

    def __post_init__(self) -> None:
        self.outputs, self.features = len(self.targets), self.X.shape[1]
        self.size = self.outputs * self.features
        self.variables = self.size + (self.outputs if self.fit_intercept else 0)

    def _scores(self, theta: np.ndarray) -> np.ndarray:
        coef = theta[: self.size].reshape(self.outputs, self.features)
        intercept = theta[self.size :] if self.fit_intercept else np.zeros(self.outputs)
        return coef @ self.X.T + intercept[:, None]

    def value(self, theta: np.ndarray) -> float:
        """The objective."""
        scores = self._scores(theta)
        losses = (
            self._joint(scores)[0] if self.joint else self.loss.value(self.targets, scores, self.epsilon).sum(axis=0)
        )
        return float(losses @ self.share) + 0.5 * self.ridge * float((theta[: self.size] ** 2).sum())

    def _slopes(self, scores: np.ndarray) -> np.ndarray:
        return self._joint(scores)[1] if self.joint else self.loss.slope(self.targets, scores, self.epsilon)

    def _joint(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses and slopes."""
        slopes = np.empty_like(scores)
        return row_of(self.loss.functions(True))(self.targets, scores, self.epsilon, slopes), slopes

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        return self._gradient(theta, self._scores(theta))

    def derivatives(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and Hessian."""
        scores = self._scores(theta)
        return self._gradient(theta, scores), self.with_ridge(self._curvature(scores))

    def _gradient(self, theta: np.ndarray, scores: np.ndarray) -> np.ndarray:
        pushes = self._slopes(scores) * self.share
        gradient = np.concatenate([(pushes @ self.X).ravel() + self.ridge * theta[: self.size], pushes.sum(axis=1)])
        return gradient[: self.variables]

    def curvature(self, theta: np.ndarray) -> np.ndarray:
        """Hessian of the losses, of a problem of one part."""
        return self._curvature(self._scores(theta))

    def with_ridge(self, curvature: np.ndarray) -> np.ndarray:
        """Hessian of the objective."""
        hessian = curvature.copy()
        hessian[np.arange(self.size), np.arange(self.size)] += self.ridge
        return hessian

    def _curvature(self, scores: np.ndarray) -> np.ndarray:
        if self.joint:
            return self._of_softmax(scores)
        bend = self.loss.curvature(self.targets[0], scores[0], self.epsilon) * self.share  # type: ignore[misc]
        X = np.column_stack([self.X, np.ones(len(self.X))]) if self.fit_intercept else self.X
        return (X * bend[:, None]).T @ X

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

    def parts(self) -> list[tuple["Dense", np.ndarray]]:
        """Problems whose variables do not meet in a loss, and where in theta these are."""
        if self.joint or self.outputs == 1:
            return [(self, np.arange(self.variables))]
        p, own = self.features, int(self.fit_intercept)
        where = [np.r_[k * p : (k + 1) * p, self.size + k : self.size + k + own] for k in range(self.outputs)]
        return [(replace(self, targets=self.targets[[k]]), mine) for k, mine in enumerate(where)]
