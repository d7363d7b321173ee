"""The objective of one model over a few rows in memory: value, gradient and Hessian, for Newton's method."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .._threads import in_order
from ..loops.minibatch import row_of
from ..losses import Loss
from ._task import SMALL

_ROWS = 1024  # of which the products are made at once


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
        part = self._of_softmax if self.joint else self._of_scores
        chunks = [slice(begin, begin + _ROWS) for begin in range(0, len(self.X), _ROWS)]
        # where one fills memory, several may not wait to be added, and BLAS has threads of its own
        run = partial(in_order, size=len(self.X) * self.variables**2) if self.variables <= SMALL else map
        found = np.zeros((self.variables, self.variables), self.X.dtype)
        for hessian in run(lambda rows: part(rows, scores[:, rows]), chunks):
            found += hessian
        return found

    def _with_ones(self, rows: slice) -> np.ndarray:
        return np.column_stack([self.X[rows], np.ones_like(self.share[rows])]) if self.fit_intercept else self.X[rows]

    def _of_scores(self, rows: slice, scores: np.ndarray) -> np.ndarray:
        bend = self.loss.curvature(self.targets[0, rows], scores[0], self.epsilon) * self.share[rows]  # type: ignore[misc]
        X = self._with_ones(rows) * np.sqrt(bend)[:, None]
        return X.T @ X

    def _of_softmax(self, rows: slice, scores: np.ndarray) -> np.ndarray:
        """Hessian of the cross-entropy: diag(p) - p pᵀ of each row, times the products of its features."""
        k, p = self.outputs, self.features + int(self.fit_intercept)
        y, chances = self.targets[:, rows], np.empty_like(scores)
        row_of(self.loss.functions(True))(y, scores, self.epsilon, chances)
        chances += y  # the slope of the cross-entropy is p - y
        root = self._with_ones(rows) * np.sqrt(self.share[rows])[:, None]
        by_row = (chances.T[:, :, None] * root[:, None, :]).reshape(len(root), k * p)
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
