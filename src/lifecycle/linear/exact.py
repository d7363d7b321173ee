"""Ridge and least squares in closed form for all penalties and training sets, from Gram matrices that these share.

The Gram matrix of a training set is Z̃ᵀ diag(v) Z̃ for the rows z̃ = (x, y, 1) and weights v.
"""

from contextlib import nullcontext
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
    grams = _gram_matrices(problem) if problem.design.n_features <= problem.design.n_samples else {}
    for k in np.unique(problem.train_set):
        models = np.flatnonzero(problem.train_set == k)
        solutions = ridge.from_gram(grams[k], l2_weight[models], problem.fit_intercept) if k in grams else None
        if solutions is None:  # few rows, or features so collinear that a Gram matrix does not tell them apart
            rows = problem.weights.rows_of_set(k)
            X, y = problem.design.take(rows) - problem.features.center[k], problem.y[rows]
            weights = problem.weights.of_set(k, rows)
            solutions = ridge.from_svd(X, y.astype(np.float64), weights, l2_weight[models], problem.fit_intercept)
        for m, w, loss in zip(models, *solutions, strict=True):
            coef[m, 0], objective[m] = w, 0.5 * loss + 0.5 * l2_weight[m] * float(w @ w)
        if problem.design.sparse and problem.fit_intercept:
            # features that are not centred: at their means the model gives the mean of y
            x_sum = problem.weights.of_set(k) @ problem.design.X
            intercept[models, 0] -= coef[models, 0] @ x_sum / problem.design.n_samples
    return [FitResult(c, b, [value]) for c, b, value in zip(coef, intercept, objective.tolist(), strict=True)]


def _gram_matrices(problem: Problem) -> dict[int, np.ndarray]:
    """(features + 2, features + 2) for each training set."""
    # the mean of y of the rows that are trained on
    y_shift = problem.initial_coefficients()[1].mean() if problem.fit_intercept else 0.0
    return sums_by_train_set(problem.weights.counts, problem.sample_weight, partial(_gram_matrix, problem, y_shift))


def _gram_matrix(problem: Problem, y_shift: float, rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """That of some rows, less the shift of the features and of y."""
    p, shift = problem.design.n_features, problem.features.shift if problem.features.shift.any() else None
    size = max(64, p, _CHUNK_ELEMENTS // (p + 2))

    def chunk_gram(begin: int) -> np.ndarray:
        chunk = rows[begin : begin + size]
        X, y_and_one = problem.design.take(chunk), np.column_stack([problem.y[chunk] - y_shift, np.ones(len(chunk))])
        X = X if shift is None else X - shift
        if weights is not None:
            root = np.sqrt(weights[chunk])[:, None]
            X, y_and_one = X * root, y_and_one * root
        gram = np.empty((p + 2, p + 2))
        gram[:p, :p], gram[:p, p:], gram[p:, p:] = X.T @ X, X.T @ y_and_one, y_and_one.T @ y_and_one
        gram[p:, :p] = gram[:p, p:].T
        return gram

    # large matrices may not wait in memory to be added, and BLAS uses threads for each of them
    run = partial(map_ordered, size=len(rows) * (p + 2) ** 2) if p <= FEW_FEATURES else map
    total = np.zeros((p + 2, p + 2))
    for gram in run(chunk_gram, range(0, len(rows), size)):
        total += gram
    return total
