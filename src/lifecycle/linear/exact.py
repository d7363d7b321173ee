"""Ridge and least squares for all penalties and all training sets, from products that training sets share."""

from contextlib import nullcontext
from functools import partial

import numpy as np

from lifecycle._threads import map_ordered, single_threaded_blas
from lifecycle.linear.data.fold_sums import sums_by_column
from lifecycle.linear.data.problem import SMALL, Task
from lifecycle.linear.outcome import Outcome
from lifecycle.solvers import ridge as ridge_solver

_CHUNK = 1 << 17  # elements


def in_closed_form(task: Task) -> list[Outcome]:
    """The minimizers, and the objective there."""
    with single_threaded_blas() if task.rows.features <= SMALL else nullcontext():
        return _solved(task)


def _solved(task: Task) -> list[Outcome]:
    ridge = task.alpha * np.array([task.penalty.gradient(1.0, ratio) for ratio in task.l1_ratio])
    coef, intercept = task.start()
    curve = np.empty(task.models)
    products = _products(task) if task.rows.features <= task.rows.n else {}
    for k in np.unique(task.column):
        models = np.flatnonzero(task.column == k)
        found = ridge_solver.from_products(products[k], ridge[models], task.fit_intercept) if k in products else None
        if found is None:  # few rows, or features so alike that products of them lose what tells them apart
            rows = task.weights.rows(k)
            y, weights = task.y[rows].astype(np.float64), task.weights.column(k, rows)
            found = ridge_solver.solve(
                task.rows.take(rows) - task.center[k], y, weights, ridge[models], task.fit_intercept
            )
        for m, w, loss in zip(models, *found, strict=True):
            coef[m, 0], curve[m] = w, 0.5 * loss + 0.5 * ridge[m] * float(w @ w)
        if task.rows.sparse and task.fit_intercept:  # the features are not centred, but at their means is that of y
            intercept[models, 0] -= coef[models, 0] @ (task.weights.column(k) @ task.rows.X) / task.rows.n
    return [Outcome(c, b, [value]) for c, b, value in zip(coef, intercept, curve.tolist(), strict=True)]


def _products(task: Task) -> dict[int, np.ndarray]:
    """(features + 2, features + 2) for each column of weights: weighted products of the features, y and 1."""
    y_shift = task.start()[1].mean() if task.fit_intercept else 0.0  # of the rows that are trained on
    return sums_by_column(task.weights.counts, task.base, lambda rows, base: _of_rows(task, rows, base, y_shift))


def _of_rows(task: Task, rows: np.ndarray, base: np.ndarray | None, y_shift: float) -> np.ndarray:
    p, shift = task.rows.features, task.shift if task.shift.any() else None
    size = max(64, p, _CHUNK // (p + 2))

    def products(begin: int) -> np.ndarray:
        some = rows[begin : begin + size]
        X, others = task.rows.take(some), np.column_stack([task.y[some] - y_shift, np.ones(len(some))])
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
    run = partial(map_ordered, size=len(rows) * (p + 2) ** 2) if p <= SMALL else map
    for part in run(products, range(0, len(rows), size)):
        total += part
    return total
