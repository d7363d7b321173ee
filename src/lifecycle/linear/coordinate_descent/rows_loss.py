"""Any smooth loss over the rows of a training set, with quadratic models of it.

With the gradient g and the Hessian H_i = s_i (diag(h_i) or diag(π_i) − π_i π_iᵀ) of the loss of row i by its scores,
the model of a change d of all scores is Σ g_iᵀ d_i + ½ d_iᵀ H_i d_i.
"""

from typing import NamedTuple

import numpy as np

from lifecycle.linear.coordinate_descent.columns import Columns
from lifecycle.linear.data.problem import Problem
from lifecycle.loops.linear_loss import loss_dloss_hessian
from lifecycle.loops.linear_softmax import multinomial_loss_dloss
from lifecycle.solvers.coordinate_descent import Quadratic, minimize_gram
from lifecycle.solvers.proximal_newton import Step

_MAX_GRAM = 1500  # coordinates whose Hessian is computed
_MAX_SWEEPS = 200  # over columns, for one quadratic model
_CHUNK_ELEMENTS = 1 << 19
_INTERCEPT_STEPS = 30
_ROUNDING = 1e-12  # of a variance


class Direction(NamedTuple):
    """Changes of the scores (outputs, rows) and of the intercepts (outputs,)."""

    scores: np.ndarray
    intercept: np.ndarray


class RowsLoss:
    """The mean loss of one model, or of one of its outputs if these are one versus rest: a `SmoothLoss`.

    Coordinates are (output, feature). Where the loss is linear, so that it has no second derivative, the model takes
    dloss / (z − y) in part: with all of it, the curvature of a parabola above the loss (Huber, 1981).

    Parameters
    ----------
    model : number of the model in the problem
    outputs : those that the loss takes together
    coef : (coordinates,);  intercept : (outputs,), the start
    """

    def __init__(self, problem: Problem, columns: Columns, model: int, outputs: slice, coef: np.ndarray,
                 intercept: np.ndarray):  # fmt: skip
        self.columns, self.fit_intercept, self.multinomial = columns, problem.fit_intercept, problem.multinomial
        self.is_quadratic = problem.loss.name == "squared_error"
        self.epsilon = float(problem.epsilon[model])
        self.targets = np.ascontiguousarray(problem.encode_targets(columns.y)[outputs], np.float64)
        kernel = multinomial_loss_dloss if self.multinomial else loss_dloss_hessian
        self.kernel, self.codes = kernel(problem.loss), columns.y.astype(np.float64)
        self.max_curvature = problem.max_curvature
        self.n_outputs, self.secant_share = len(self.targets), 1.0
        self.intercept = intercept.copy()
        self.scores = np.zeros(self.targets.shape) + intercept[:, None]
        if coef.any():
            self.scores += columns.scores(coef.reshape(self.n_outputs, -1))
        self._set(self._evaluate(self.scores))
        if not coef.any():
            self._fit_intercept()

    def _fit_intercept(self) -> None:
        """Newton steps of the intercepts alone, so that the first working set is not that of a poor start."""
        nothing = np.zeros(0)
        for _ in range(_INTERCEPT_STEPS):
            if not self.intercept_gap() > 1e-12 * self.value:
                break
            step = self.model_step(nothing, nothing.astype(np.intp), nothing, Quadratic(0.0, 0.0, 0.0, 0.0))
            if not self.evaluate(step.direction, 1.0) < self.value:
                break
            self.accept(step.direction, 1.0)

    def _evaluate(self, scores: np.ndarray) -> tuple:
        """Value, derivatives and second derivatives (for many classes: probabilities), weighted."""
        dloss, weights = np.empty_like(scores), self.columns.weights
        if self.multinomial:
            total = np.zeros(1)
            self.kernel(scores, self.codes, weights[None], np.zeros(1, np.intp), total, dloss)
            return float(total[0]), dloss, np.clip(dloss / weights + self.targets, 0.0, 1.0)
        z, hessian = scores.copy(), np.empty_like(scores)
        total = self.kernel(z, self.targets, weights, self.epsilon, dloss, hessian)
        return float(total), dloss, hessian

    def _set(self, evaluated: tuple) -> None:
        self.value, self.dloss, self.second = evaluated
        if self.multinomial:
            self.probabilities = self.second
            self.curvature = self.probabilities * self.columns.weights
        else:
            self.probabilities = np.zeros_like(self.second)
            linear = (self.second == 0.0) & (self.dloss != 0.0)
            self.curvature = self.second
            self.has_linear = bool(linear.any())
            if self.has_linear:
                distance = np.where(linear, np.abs(self.scores - self.targets), 1.0)
                self.curvature = np.where(linear, self.secant_share * np.abs(self.dloss) / distance, self.second)
        self.by_intercept = self.dloss.sum(axis=1) if self.fit_intercept else np.zeros(self.n_outputs)
        self.intercept_hessian = np.diag(self.curvature.sum(axis=1))
        if self.multinomial:
            self.intercept_hessian -= self.curvature @ self.probabilities.T

        squares: np.ndarray = self.dloss**2
        self.smooth_value = float((squares / self.columns.weights).sum()) / (2.0 * self.max_curvature)
        curvature = self.curvature * (1.0 - self.probabilities)
        self.model_value = 0.5 * float(np.divide(squares, curvature, out=squares, where=curvature > 0).sum())

    def gradient(self) -> np.ndarray:
        return self.columns.products(self.dloss).ravel()

    def intercept_gap(self) -> float:
        if not self.by_intercept.any():
            return 0.0
        return float(self.by_intercept @ self._solve_intercept(self.by_intercept))

    def _solve_intercept(self, right: np.ndarray) -> np.ndarray:
        """The inverse Hessian of the intercepts times (outputs, …); zero where there are no intercepts."""
        if not self.fit_intercept:
            return np.zeros_like(right)
        if self.n_outputs == 1:
            h = self.intercept_hessian[0, 0]
            return right / h if h > 0 else np.where(right != 0, np.inf, 0.0) if right.ndim == 1 else 0.0 * right
        # softmax does not depend on what all classes share, and rounding must not pass for a curvature there
        shared = np.full((self.n_outputs, self.n_outputs), np.trace(self.intercept_hessian) / self.n_outputs**2)
        return np.linalg.pinv(self.intercept_hessian + shared, rcond=1e-13, hermitian=True) @ right

    def model_step(self, x: np.ndarray, working_set: np.ndarray, gradient: np.ndarray, quadratic: Quadratic) -> Step:
        outputs, features = np.divmod(working_set, self.columns.p)
        at, slopes = x[working_set], gradient[working_set]
        if self.columns.prefers_gram(features, _MAX_GRAM):
            new, direction = self._gram_step(at, outputs, features, slopes, quadratic)
        else:
            new, direction = self._column_step(at, outputs, features, slopes, quadratic)
        slope = float(slopes @ (new - at)) + float(self.by_intercept @ direction.intercept)
        return Step(new, slope, direction)

    def _gram_step(self, at, outputs, features, slopes, quadratic) -> tuple[np.ndarray, Direction]:
        hessian, mixed = self._hessian(outputs, features)
        # the best intercepts follow the coordinates
        solved = self._solve_intercept(mixed.T)
        before = hessian.diagonal().copy()
        hessian -= mixed @ solved
        constant = hessian.diagonal() <= _ROUNDING * before
        if constant.any():
            hessian[constant] = hessian[:, constant] = 0.0
        by_intercept = self._solve_intercept(self.by_intercept)
        by_intercept = np.where(np.isfinite(by_intercept), by_intercept, 0.0)
        new = at.copy()
        reduced = np.where(constant, 0.0, slopes - mixed @ by_intercept)
        minimize_gram(hessian, reduced, new, quadratic)
        change = new - at
        intercept = -by_intercept - solved @ change
        scores = np.zeros_like(self.scores) + intercept[:, None]
        for k in range(self.n_outputs):
            moved = np.flatnonzero((outputs == k) & (change != 0))
            if moved.size:
                scores[k] += self.columns.take(features[moved]) @ change[moved]
        return new, Direction(scores, intercept)

    def _hessian(self, outputs: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Second derivatives by pairs of coordinates (m, m), and by coordinates and intercepts (m, outputs)."""
        m, n = len(features), self.columns.n
        hessian, mixed = np.zeros((m, m)), np.zeros((m, self.n_outputs))
        matrix, size = self.columns.take(features), max(256, _CHUNK_ELEMENTS // max(1, m))
        blocks = [(k, slice(*np.searchsorted(outputs, (k, k + 1)))) for k in range(self.n_outputs)]
        for begin in range(0, n, size):
            rows = slice(begin, begin + size)
            part, curvature = matrix[rows], self.curvature[:, rows]
            for k, block in blocks:
                scaled = part[:, block] * curvature[k][:, None]
                hessian[block, block] += scaled.T @ part[:, block]
                mixed[block, k] += scaled.sum(axis=0)
            if self.multinomial:
                probabilities, weights = self.probabilities[:, rows], self.columns.weights[rows]
                scaled = part * (probabilities * np.sqrt(weights))[outputs].T
                hessian -= scaled.T @ scaled
                mixed -= scaled.T @ (probabilities * np.sqrt(weights)).T
        return hessian, mixed

    def _column_step(self, at, outputs, features, slopes, quadratic) -> tuple[np.ndarray, Direction]:
        new, change, shared = at.copy(), np.zeros_like(self.scores), np.zeros(self.columns.n)
        weights = self.curvature * (1.0 - self.probabilities)
        mixed, diagonal = self.columns.sums(features, outputs, weights)
        intercept_diagonal = weights.sum(axis=1) * self.fit_intercept
        if self.n_outputs == 1 and intercept_diagonal[0] > 0:
            diagonal = np.maximum(diagonal - mixed**2 / intercept_diagonal[0], _ROUNDING * diagonal)
        self.columns.sweep(
            features, outputs, self.curvature, self.probabilities, change, shared, slopes, diagonal, mixed, new,
            self.by_intercept, intercept_diagonal, *quadratic, _MAX_SWEEPS,
        )  # fmt: skip
        intercept = np.zeros(self.n_outputs)
        if self.fit_intercept:  # what the coefficients leave of the scores
            by_coef = (new - at) * self.columns.means[features]
            intercept = change.mean(axis=1) - np.bincount(outputs, by_coef, self.n_outputs)
        return new, Direction(change, intercept)

    def evaluate(self, direction: Direction, length: float) -> float:
        self._trial = self._evaluate(self.scores + length * direction.scores)
        return self._trial[0]

    def accept(self, direction: Direction, length: float) -> None:
        self.scores += length * direction.scores
        self.intercept += length * direction.intercept
        # steps that suffice by themselves need less of the parabola
        self.secant_share = self.secant_share * 0.25 if length == 1.0 else min(1.0, 4.0 * self.secant_share)
        self._set(self._trial)
