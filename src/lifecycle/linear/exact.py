"""Ridge and least squares in closed form for all penalties and training sets, from Gram matrices that these share.

The Gram matrix of a training set is Z̃ᵀ diag(v) Z̃ for the rows z̃ = (x, y, 1) and weights v.
"""

from contextlib import nullcontext
from functools import partial

import numpy as np

from lifecycle._threads import in_order, one_thread_each
from lifecycle.linear.data.fold_sums import sums_by_train_set
from lifecycle.linear.data.problem import SMALL, Task
from lifecycle.linear.outcome import Outcome
from lifecycle.solvers import ridge

_CHUNK_ELEMENTS = 1 << 17


def in_closed_form(task: Task) -> list[Outcome]:
    """The minimizers, and the objective there."""
    with one_thread_each() if task.rows.features <= SMALL else nullcontext():
        return _solve(task)


def _solve(task: Task) -> list[Outcome]:
    l2_weight = task.alpha * np.array([task.penalty.gradient(1.0, ratio) for ratio in task.l1_ratio])
    coef, intercept = task.start()
    objective = np.empty(task.models)
    grams = _gram_matrices(task) if task.rows.features <= task.rows.n else {}
    for k in np.unique(task.column):
        models = np.flatnonzero(task.column == k)
        solutions = ridge.from_gram(grams[k], l2_weight[models], task.fit_intercept) if k in grams else None
        if solutions is None:  # few rows, or features so collinear that a Gram matrix does not tell them apart
            rows = task.weights.rows(k)
            X, y, weights = task.rows.take(rows) - task.center[k], task.y[rows], task.weights.column(k, rows)
            solutions = ridge.from_svd(X, y.astype(np.float64), weights, l2_weight[models], task.fit_intercept)
        for m, w, loss in zip(models, *solutions, strict=True):
            coef[m, 0], objective[m] = w, 0.5 * loss + 0.5 * l2_weight[m] * float(w @ w)
        if task.rows.sparse and task.fit_intercept:  # the features are not centred, but at their means is that of y
            intercept[models, 0] -= coef[models, 0] @ (task.weights.column(k) @ task.rows.X) / task.rows.n
    return [Outcome(c, b, [value]) for c, b, value in zip(coef, intercept, objective.tolist(), strict=True)]


def _gram_matrices(task: Task) -> dict[int, np.ndarray]:
    """(features + 2, features + 2) for each training set."""
    y_shift = task.start()[1].mean() if task.fit_intercept else 0.0  # of the rows that are trained on
    return sums_by_train_set(task.weights.counts, task.base, partial(_gram_matrix, task, y_shift))


def _gram_matrix(task: Task, y_shift: float, rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """That of some rows, less the shift of the features and of y."""
    p, shift = task.rows.features, task.shift if task.shift.any() else None
    size = max(64, p, _CHUNK_ELEMENTS // (p + 2))

    def chunk_gram(begin: int) -> np.ndarray:
        chunk = rows[begin : begin + size]
        X, y_and_one = task.rows.take(chunk), np.column_stack([task.y[chunk] - y_shift, np.ones(len(chunk))])
        X = X if shift is None else X - shift
        if weights is not None:
            root = np.sqrt(weights[chunk])[:, None]
            X, y_and_one = X * root, y_and_one * root
        gram = np.empty((p + 2, p + 2))
        gram[:p, :p], gram[:p, p:], gram[p:, p:] = X.T @ X, X.T @ y_and_one, y_and_one.T @ y_and_one
        gram[p:, :p] = gram[:p, p:].T
        return gram

    # large matrices may not wait in memory to be added, and BLAS uses threads for each of them
    run = partial(in_order, size=len(rows) * (p + 2) ** 2) if p <= SMALL else map
    total = np.zeros((p + 2, p + 2))
    for gram in run(chunk_gram, range(0, len(rows), size)):
        total += gram
    return total
