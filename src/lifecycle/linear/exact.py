"""Ridge and least squares in closed form for all penalties and training sets, from moments of rows that these share.

The moments of rows z = (x, y) with weights v are V = Σ v_i, the mean m = Σ v_i z_i / V, and the scatter matrix
S = Σ v_i (z_i − m)(z_i − m)ᵀ. Those of two groups of rows give those of both, with the difference d of their means:
V = V₁ + V₂, m = m₁ + d V₂/V, S = S₁ + S₂ + d dᵀ V₁V₂/V (Chan, Golub & LeVeque, 1983). Each group is centred by its own
mean, so that nothing of other rows, not even a rounding error, enters the moments of a training set.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np

from lifecycle._threads import map_ordered, single_threaded_blas
from lifecycle.linear.capabilities import Capabilities
from lifecycle.linear.data.fold_sums import sums_by_train_set
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.data.statistics import FEW_FEATURES
from lifecycle.linear.fit_result import FitResult
from lifecycle.solvers import ridge

_CHUNK_ELEMENTS = 1 << 17
_FEW_ROWS = 64
_FAR_FROM_ZERO = 16.0  # squared mean by variance: beyond it, rows are centred before they are multiplied

CAPABILITIES = Capabilities(
    losses="squared_error", penalties="without l1", sparse_penalties="without l1", takes_steps=False
)


def fit_exact(problem: Problem) -> list[FitResult]:
    """The minimizers, and the objective there."""
    with single_threaded_blas() if problem.design.n_features <= FEW_FEATURES else nullcontext():
        return _solve(problem)


def _solve(problem: Problem) -> list[FitResult]:
    l2_weight = problem.l2_weight
    coef, intercept = problem.initial_coefficients()
    objective = np.empty(problem.n_models)
    moments = moments_by_train_set(problem) if problem.design.n_features <= problem.design.n_samples else {}
    from_moments = []
    for k in np.unique(problem.train_set):
        models = np.flatnonzero(problem.train_set == k)
        solutions = ridge.from_covariance(moments[k].covariance, l2_weight[models]) if k in moments else None
        if solutions is not None:
            from_moments.append(k)
        else:  # few rows, or features so collinear that their covariance does not tell them apart
            rows = problem.weights.rows_of_set(k)
            X, y = _without_rounding(problem.design.take(rows), problem.features.center[k]), problem.y[rows]
            weights = problem.weights.of_set(k, rows)
            solutions = ridge.from_svd(X, y.astype(np.float64), weights, l2_weight[models], problem.fit_intercept)
        for m, w, loss in zip(models, *solutions, strict=True):
            coef[m, 0], objective[m] = w, 0.5 * loss + 0.5 * l2_weight[m] * float(w @ w)
        if problem.design.sparse and problem.fit_intercept:
            # features that are not centred: at their means the model gives the mean of y
            x_sum = problem.weights.of_set(k) @ problem.design.X
            intercept[models, 0] -= coef[models, 0] @ x_sum / problem.design.n_samples
    if from_moments and not problem.design.sparse:
        # without a second pass over the rows; of each training set by itself, or others would change its last bit
        means = {k: moments[k].mean[:-1] if k in from_moments else problem.features.center[k] for k in moments}
        problem.features.center = np.stack([means[k] for k in range(problem.weights.n_sets)])
    return [FitResult(c, b, [value]) for c, b, value in zip(coef, intercept, objective.tolist(), strict=True)]


def _without_rounding(X: np.ndarray, center: np.ndarray) -> np.ndarray:
    """X less the centre, and zero where what is left of a feature is the rounding of a constant."""
    centred = X - center
    rounding = len(X) * np.finfo(np.float64).eps * np.abs(X).max(axis=0)
    centred[:, np.abs(centred).max(axis=0) <= rounding] = 0.0
    return centred


@dataclass(eq=False)
class Moments:
    """Of the columns of (features, y): weight V, mean (features + 1,), scatter (features + 1, features + 1)."""

    weight: float
    mean: np.ndarray
    scatter: np.ndarray

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both groups of rows."""
        if not self.weight or not other.weight:
            return self if self.weight else other
        weight, difference = self.weight + other.weight, other.mean - self.mean
        between = np.outer(difference, difference * (self.weight * other.weight / weight))
        mean = self.mean + difference * (other.weight / weight)
        return Moments(weight, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> np.ndarray:
        """(features + 1, features + 1)"""
        return self.scatter / self.weight


def moments_by_train_set(problem: Problem) -> dict[int, Moments]:
    return sums_by_train_set(problem.weights.counts, problem.sample_weight, partial(_moments, problem))


def _moments(problem: Problem, rows: np.ndarray, weights: np.ndarray | None) -> Moments:
    """Those of some rows; without an intercept, about zero."""
    p = problem.design.n_features
    size = max(64, p, _CHUNK_ELEMENTS // (p + 2))

    far_from_zero = problem.fit_intercept and _is_far_from_zero(problem.design.take(rows[:_FEW_ROWS]))

    def chunk_moments(begin: int) -> Moments:
        chunk = rows[begin : begin + size]
        X, y = problem.design.take(chunk), problem.y[chunk].astype(np.float64)
        v = np.ones(len(chunk)) if weights is None else weights[chunk]
        total, mean = float(v.sum()), np.zeros(p + 1)
        root = None if weights is None else np.sqrt(v)
        if not problem.fit_intercept:
            return Moments(total, mean, _gram(X, y, root))
        mean[:p], mean[p] = v @ X / total, v @ y / total
        y -= mean[p]
        if far_from_zero:
            return Moments(total, mean, _gram(X - mean[:p], y, root))
        from_zero = np.append(mean[:p], 0.0)
        scatter = _gram(X, y, root) - np.outer(from_zero, from_zero * total)
        if (total * from_zero**2 > _FAR_FROM_ZERO * scatter.diagonal()).any():
            scatter = _gram(X - mean[:p], y, root)
        return Moments(total, mean, scatter)

    # large matrices may not wait in memory to be added, and BLAS uses threads for each of them
    run = partial(map_ordered, size=len(rows) * (p + 2) ** 2) if p <= FEW_FEATURES else map
    nothing = Moments(0.0, np.zeros(p + 1), np.zeros((p + 1, p + 1)))
    return sum(run(chunk_moments, range(0, len(rows), size)), start=nothing)


def _is_far_from_zero(X: np.ndarray) -> bool:
    """Whether rows like these are better centred before they are multiplied."""
    return len(X) > 0 and bool((X.mean(axis=0) ** 2 > _FAR_FROM_ZERO * X.var(axis=0)).any())


def _gram(X: np.ndarray, y: np.ndarray, root: np.ndarray | None) -> np.ndarray:
    """Products of the columns of (X, y), with rows multiplied by the root of their weights."""
    p = X.shape[1]
    if root is not None:
        X, y = X * root[:, None], y * root
    gram = np.empty((p + 1, p + 1))
    gram[:p, :p], gram[:p, p], gram[p, p] = X.T @ X, X.T @ y, y @ y
    gram[p, :p] = gram[:p, p]
    return gram
