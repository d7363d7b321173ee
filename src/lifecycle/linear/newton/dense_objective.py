"""The objective of one model over a few rows in memory: value, gradient and Hessian, for Newton's method."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from lifecycle._threads import map_ordered
from lifecycle.linear.data.problem import SMALL
from lifecycle.loops.linear_loss import bends
from lifecycle.loops.linear_single import row_of
from lifecycle.losses import Loss

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

    def varied(self, **changes: Any) -> "Dense":
        """A problem of the same rows and shares, which keeps what was made of the features."""
        made = replace(self, **changes)
        made.__dict__.update({name: self.__dict__[name] for name in ("table", "squares") if name in self.__dict__})
        return made

    @cached_property
    def table(self) -> np.ndarray:
        """The features, and a column of ones for an intercept."""
        if not self.fit_intercept:
            return self.X
        table = np.column_stack([self.X, np.ones(len(self.X))])
        self.X = table[:, :-1]  # instead of two copies
        return table

    @cached_property
    def squares(self) -> np.ndarray:
        """(features,): of each, weighted."""
        return self.share @ self.X**2

    def look(self, theta: np.ndarray) -> tuple[float, np.ndarray, Callable[[], np.ndarray]]:
        """Value, gradient and, when called for, the Hessian of the objective."""
        value, pushes, curvature = self._look(theta)
        coef = theta[: self.size]
        gradient = np.concatenate([(pushes @ self.X).ravel() + self.ridge * coef, pushes.sum(axis=1)])
        return (value + 0.5 * self.ridge * float(coef @ coef), gradient[: self.variables],
                lambda: self.with_ridge(curvature()))  # fmt: skip

    def value(self, theta: np.ndarray) -> float:
        """The objective."""
        coef = theta[: self.size]
        return self._look(theta)[0] + 0.5 * self.ridge * float(coef @ coef)

    def curvature(self, theta: np.ndarray) -> np.ndarray:
        """Hessian of the losses, of a problem of one part."""
        return self._look(theta)[2]()

    def _look(self, theta: np.ndarray) -> tuple[float, np.ndarray, Callable[[], np.ndarray]]:
        """Of the losses: their sum, the slopes by the scores (outputs, n), and a function for the Hessian."""
        coef = theta[: self.size].reshape(self.outputs, self.features)
        scores = coef @ self.X.T + (theta[self.size :, None] if self.fit_intercept else 0.0)
        pushes = np.empty_like(scores)
        if self.joint:
            losses = row_of(self.loss.functions(True))(self.targets, scores, self.epsilon, pushes)
            chances = pushes + self.targets  # the slope of the cross-entropy is p - y
            return float(losses @ self.share), pushes * self.share, partial(self._summed, self._of_softmax, chances)
        bend = np.empty_like(scores)
        value = bends(self.loss)(scores, self.targets, self.share, self.epsilon, pushes, bend)
        return value, pushes, partial(self._summed, self._of_scores, bend)

    def with_ridge(self, curvature: np.ndarray) -> np.ndarray:
        """Hessian of the objective."""
        hessian = curvature.copy()
        hessian[np.arange(self.size), np.arange(self.size)] += self.ridge
        return hessian

    def _summed(self, part: Callable, seen: np.ndarray) -> np.ndarray:
        """Hessians of pieces of the rows, which `seen` (outputs, n) says something of."""
        chunks = [slice(begin, begin + _ROWS) for begin in range(0, len(self.X), _ROWS)]
        if len(chunks) == 1:
            return part(self.table, seen, self.share)
        # where one fills memory, several may not wait to be added, and BLAS has threads of its own
        run = partial(map_ordered, size=len(self.X) * self.variables**2) if self.variables <= SMALL else map
        found = np.zeros((self.variables, self.variables))
        for hessian in run(lambda rows: part(self.table[rows], seen[:, rows], self.share[rows]), chunks):
            found += hessian
        return found

    def _of_scores(self, table: np.ndarray, bend: np.ndarray, share: np.ndarray) -> np.ndarray:
        table = table * np.sqrt(bend[0])[:, None]
        return table.T @ table

    def _of_softmax(self, table: np.ndarray, chances: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Hessian of the cross-entropy: diag(p) - p pᵀ of each row, times the products of its features."""
        k, p = self.outputs, table.shape[1]
        root = table * np.sqrt(share)[:, None]
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
        steepest = self.loss.multinomial_max_curvature if self.joint else self.loss.max_curvature
        features = steepest * self.squares + self.ridge
        metric = np.tile(np.where(features > 0, features, 1.0), self.outputs)
        return np.concatenate([metric, np.full(self.variables - self.size, steepest)])

    def parts(self) -> list[tuple["Dense", np.ndarray]]:
        """Problems whose variables do not meet in a loss, and where in theta these are."""
        if self.joint or self.outputs == 1:
            return [(self, np.arange(self.variables))]
        p, own = self.features, int(self.fit_intercept)
        where = [np.r_[k * p : (k + 1) * p, self.size + k : self.size + k + own] for k in range(self.outputs)]
        return [(self.varied(targets=self.targets[[k]]), mine) for k, mine in enumerate(where)]
