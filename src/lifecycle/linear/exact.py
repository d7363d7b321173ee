"""Ridge and least squares for all penalties and all training sets, from products that training sets share."""

from contextlib import nullcontext
from functools import partial

import numpy as np

from lifecycle._threads import in_order, one_thread_each
from lifecycle.linear.capabilities import Capabilities
from lifecycle.linear.data.fold_sums import sums_by_column
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.data.statistics import FEW_FEATURES
from lifecycle.linear.fit_result import FitResult
from lifecycle.solvers import ridge as ridge_solver

_CHUNK = 1 << 17  # elements


CAPABILITIES = Capabilities(
    losses="squared_error", penalties="without l1", sparse_penalties="without l1", takes_steps=False
)


def fit_exact(problem: Problem) -> list[FitResult]:
    """The minimizers, and the objective there."""
    with one_thread_each() if problem.design.n_features <= FEW_FEATURES else nullcontext():
        return _solved(problem)


def _solved(problem: Problem) -> list[FitResult]:
    ridge = problem.alpha * np.array([problem.penalty.gradient(1.0, ratio) for ratio in problem.l1_ratio])
    coef, intercept = problem.initial_coefficients()
    curve = np.empty(problem.n_models)
    products = _products(problem) if problem.design.n_features <= problem.design.n_samples else {}
    for k in np.unique(problem.train_set):
        models = np.flatnonzero(problem.train_set == k)
        found = ridge_solver.from_products(products[k], ridge[models], problem.fit_intercept) if k in products else None
        if found is None:  # few rows, or features so alike that products of them lose what tells them apart
            rows = problem.weights.rows_of_set(k)
            y, weights = problem.y[rows].astype(np.float64), problem.weights.of_set(k, rows)
            found = ridge_solver.solve(
                problem.design.take(rows) - problem.features.center[k], y, weights, ridge[models], problem.fit_intercept
            )
        for m, w, loss in zip(models, *found, strict=True):
            coef[m, 0], curve[m] = w, 0.5 * loss + 0.5 * ridge[m] * float(w @ w)
        if (
            problem.design.sparse and problem.fit_intercept
        ):  # the features are not centred, but at their means is that of y
            intercept[models, 0] -= (
                coef[models, 0] @ (problem.weights.of_set(k) @ problem.design.X) / problem.design.n_samples
            )
    return [FitResult(c, b, [value]) for c, b, value in zip(coef, intercept, curve.tolist(), strict=True)]


def _products(problem: Problem) -> dict[int, np.ndarray]:
    """(features + 2, features + 2) for each column of weights: weighted products of the features, y and 1."""
    y_shift = (
        problem.initial_coefficients()[1].mean() if problem.fit_intercept else 0.0
    )  # of the rows that are trained on
    return sums_by_column(
        problem.weights.counts, problem.sample_weight, lambda rows, base: _of_rows(problem, rows, base, y_shift)
    )


def _of_rows(problem: Problem, rows: np.ndarray, base: np.ndarray | None, y_shift: float) -> np.ndarray:
    p, shift = problem.design.n_features, problem.features.shift if problem.features.shift.any() else None
    size = max(64, p, _CHUNK // (p + 2))

    def products(begin: int) -> np.ndarray:
        some = rows[begin : begin + size]
        X, others = problem.design.take(some), np.column_stack([problem.y[some] - y_shift, np.ones(len(some))])
        X = X if shift is None else X - shift
        if base is not None:
            root = np.sqrt(base[some])[:, None]
            X, others = X * root, others * root
        found = np.empty((p + 2, p + 2))
        found[:p, :p], found[:p, p:], found[p:, p:] = X.T @ X, X.T @ others, others.T @ others
        found[p:, :p] = found[:p, p:].T
        return found

    total = np.zeros((p + 2, p + 2))
    # where one fills memory, several may not wait to be added, and BLAS has threads of its own
    run = partial(in_order, size=len(rows) * (p + 2) ** 2) if p <= FEW_FEATURES else map
    for part in run(products, range(0, len(rows), size)):
        total += part
    return total
