"""Coordinate descent for penalties with an l1 term: coefficients that are exactly zero, for any smooth loss.

Each model takes the steps of `solvers.proximal_newton`. Models that differ in alpha only follow one another from the
strongest penalty to the weakest, each from the minimum of the one before; training sets run on threads. With squared
error and few features, the products of the features (their moments) replace the rows: training sets share their sums.
"""

from collections.abc import Iterator

import numpy as np

from lifecycle._threads import map_ordered, single_threaded_blas
from lifecycle.linear.capabilities import Capabilities
from lifecycle.linear.coordinate_descent.columns import Columns
from lifecycle.linear.coordinate_descent.moments_loss import MomentsLoss
from lifecycle.linear.coordinate_descent.rows_loss import RowsLoss
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.exact import Moments, moments_by_train_set
from lifecycle.linear.fit_result import NOT_CONVERGED, FitResult
from lifecycle.linear.training_options import TrainingOptions
from lifecycle.solvers.proximal_newton import Minimum, minimize

_MAX_MOMENTS = 2000  # features; their products take 32 MB

CAPABILITIES = Capabilities(losses="smooth", penalties="any", sparse_penalties="any", takes_steps=False)


def fit_coordinate_descent(problem: Problem, options: TrainingOptions) -> list[FitResult]:
    """Minimize until the duality gap of each model is at most tol times the loss of zero coefficients."""
    tolerance = np.zeros(problem.n_models) if options.tol is None else options.tol * problem.null_loss
    initial = problem.initial_coefficients() if options.initial is None else options.initial
    results: dict[int, FitResult] = {}
    with single_threaded_blas():
        moments = moments_by_train_set(problem) if _is_served_by_moments(problem) else {}
        problem.features.center, problem.targets.mean  # noqa: B018  computed once, before the threads start

        def solve(train_set: int) -> list[tuple[int, FitResult]]:
            with np.errstate(over="ignore", invalid="ignore"):
                return list(_solve_train_set(problem, options, train_set, moments.get(train_set), tolerance, initial))

        size = problem.n_models * problem.n_outputs * problem.design.n_stored
        for solved in map_ordered(solve, np.unique(problem.train_set).tolist(), size):
            for m, result in solved:
                results[m] = result
                options.on_progress(problem.n_models - len(results))
    return [results[m] for m in range(problem.n_models)]


def _is_served_by_moments(problem: Problem) -> bool:
    n, p = problem.design.n_samples, problem.design.n_features
    return problem.loss.name == "squared_error" and p <= min(n, _MAX_MOMENTS)


def _solve_train_set(
    problem: Problem, options: TrainingOptions, train_set: int, moments: Moments | None, tolerance: np.ndarray,
    initial: tuple[np.ndarray, np.ndarray],
) -> Iterator[tuple[int, FitResult]]:  # fmt: skip
    """The models of one training set, which differ in their numbers only."""
    columns = None if moments is not None else Columns(problem, train_set)
    for models in _paths(problem, np.flatnonzero(problem.train_set == train_set)):
        # one versus rest: each output is a problem of its own
        outputs = [slice(None)] if problem.multinomial else [slice(k, k + 1) for k in range(problem.n_outputs)]
        coef, intercept = (a[models].astype(np.float64) for a in initial)
        minima: list[list[Minimum]] = [[] for _ in models]
        for of_output in outputs:
            start = coef[0, of_output].ravel(), intercept[0, of_output]
            loss: MomentsLoss | RowsLoss
            if moments is not None:
                loss = MomentsLoss(moments, problem.features.center[train_set], start[0])
            else:
                assert columns is not None
                loss = RowsLoss(problem, columns, models[0], of_output, *start)
            x = start[0]
            for i, m in enumerate(models):
                l1, l2 = float(problem.l1_weight[m]), float(problem.l2_weight[m])
                minimum = minimize(loss, x, l1, l2, tolerance[m] / len(outputs), options.max_iter)
                minima[i].append(minimum)
                x = minimum.x
                coef[i, of_output] = x.reshape(-1, coef.shape[2])
                intercept[i, of_output] = loss.intercept
        if problem.multinomial:  # softmax does not depend on what all classes share
            intercept -= intercept.mean(axis=1, keepdims=True)
        for i, m in enumerate(models):
            yield int(m), _result(problem, options, m, coef[i], intercept[i], minima[i])


def _paths(problem: Problem, models: np.ndarray) -> list[np.ndarray]:
    """Models that differ in alpha only, from the strongest penalty to the weakest."""
    paths: dict[tuple, list[int]] = {}
    for m in models[np.argsort(-problem.alpha[models], kind="stable")]:
        paths.setdefault((problem.l1_ratio[m], problem.epsilon[m]), []).append(m)
    return [np.array(path) for path in paths.values()]


def _result(problem: Problem, options: TrainingOptions, m: int, coef: np.ndarray, intercept: np.ndarray,
            minima: list[Minimum]) -> FitResult:  # fmt: skip
    length = max(len(minimum.values) for minimum in minima)
    curves = [minimum.values + minimum.values[-1:] * (length - len(minimum.values)) for minimum in minima]
    converged = all(minimum.converged for minimum in minima)
    return FitResult(
        coef, intercept, [sum(values) for values in zip(*curves, strict=True)],
        warning=None if converged else NOT_CONVERGED.format(options.max_iter),
        gap=float(sum(minimum.gap for minimum in minima)), null_loss=float(problem.null_loss[m]),
    )  # fmt: skip
