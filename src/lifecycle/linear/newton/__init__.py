"""Newton's method for many linear models at once.

On a dense X models whose Hessians cost little take Newton steps together. Others that differ only in their training
sets share a preconditioner, the Hessian over a sample of their rows, for L-BFGS on all rows; a model of few rows that
shares a penalty with no other takes Newton steps on these rows. Models of many variables, and those that have not
converged otherwise, take truncated Newton steps.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lifecycle._threads import single_threaded_blas
from lifecycle.linear.capabilities import Capabilities
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.data.statistics import FEW_FEATURES
from lifecycle.linear.fit_result import NOT_CONVERGED, FitResult
from lifecycle.linear.newton.batched import fit_batched, is_affordable
from lifecycle.linear.newton.dense_objective import run_newton
from lifecycle.linear.newton.preconditioner import DAMPING, Preconditioner
from lifecycle.linear.newton.regularization_path import RegularizationPath
from lifecycle.linear.newton.shared_preconditioner import FullObjective, run_lbfgs
from lifecycle.linear.newton.subsample import Subsample, group_by_penalty
from lifecycle.linear.newton.truncated import SAFETY, fit_truncated
from lifecycle.linear.training_options import TrainingOptions
from lifecycle.solvers.convergence import Tolerances

_LEAST_SAFETY = 1e-4  # of tol, where a decrease is predicted from a Hessian with damping

CAPABILITIES = Capabilities(losses="smooth", penalties="without l1", sparse_penalties="without l1", takes_steps=False)


def fit_newton(problem: Problem, options: TrainingOptions) -> list[FitResult]:
    """Minimize until a step is predicted to lower the objective by less than a tenth of tol."""
    # BLAS threads keep spinning after their work, on cores that other threads need
    with single_threaded_blas() if problem.n_joint_variables <= FEW_FEATURES else nullcontext():
        groups = problem.features.similar_sets()
        # the cost of a Hessian grows with the square of the variables, that of its product with a vector does not
        minimize = fit_truncated if problem.n_joint_variables > FEW_FEATURES else _minimize
        if len(groups) == 1:
            return minimize(problem, options)
        # models share digits and curvature only with those whose features have similar means
        results: dict[int, FitResult] = {}
        for sets in groups:
            models = np.flatnonzero(np.isin(problem.train_set, sets))
            n_others = problem.n_models - len(results) - len(models)
            of_group = replace(options, on_progress=partial(_report_progress, options.on_progress, n_others))
            results.update(zip(models.tolist(), minimize(problem.isolate(models), of_group), strict=True))
        return [results[m] for m in range(problem.n_models)]


def _report_progress(on_progress: Callable[[int], Any], n_others: int, n_left: int) -> None:
    on_progress(n_others + n_left)


def _minimize(problem: Problem, options: TrainingOptions) -> list[FitResult]:
    # without a penalty a Hessian may be singular
    together = np.flatnonzero(problem.l2_weight > 0) if is_affordable(problem) else np.zeros(0, int)
    if not together.size:
        return _minimize_by_sample(problem, options)
    n_steps = -(-options.max_iter // 2)  # the others are kept for the methods that take more care
    quiet = replace(options, max_iter=n_steps, on_progress=lambda n: None)
    results = dict(zip(together.tolist(), fit_batched(problem.subset(together), quiet), strict=True))
    left = [m for m, result in results.items() if result.warning]
    without_penalty = [m for m in range(problem.n_models) if m not in results]
    options.on_progress(len(left) + len(without_penalty))
    # each goes on alone from where it is: one that never converges must not have used the rows of others
    for m in left if n_steps < options.max_iter else []:
        initial = results[m].coef[None], results[m].intercept[None]
        of_one = replace(quiet, max_iter=options.max_iter - n_steps, initial=initial)
        (result,) = _minimize_by_sample(problem.isolate(np.array([m])), of_one)
        result.objectives[:0] = results[m].objectives
        results[m] = result
    if without_penalty:
        others = problem.isolate(np.array(without_penalty))
        results.update(zip(without_penalty, _minimize_by_sample(others, options), strict=True))
    for m in left:
        results[m].warning = results[m].warning and NOT_CONVERGED.format(options.max_iter)
    return [results[m] for m in range(problem.n_models)]


def _minimize_by_sample(problem: Problem, options: TrainingOptions) -> list[FitResult]:
    # setup: θ of each model, the decrease at which it has converged, and how it is solved
    objective, subsample = FullObjective(problem, np.float64), Subsample(problem)
    coef, intercept = problem.initial_coefficients() if options.initial is None else options.initial
    frame, train_set = problem.features.shared_frame, problem.train_set
    theta = objective.pack(coef, frame.to_shifted(coef, intercept, train_set))
    tolerance = np.zeros(problem.n_models) if options.tol is None else options.tol * problem.null_loss
    # a penalty below the damping of a Hessian, or none: decreases along flat directions are predicted too small
    damping = DAMPING * problem.max_curvature * problem.features.variance.max(axis=1, initial=0.0)[train_set]
    tolerance *= SAFETY
    newton_tolerance = tolerance * np.clip(problem.l2_weight / np.where(damping > 0, 10.0 * damping, 1.0), 1e-3, 1.0)
    lbfgs_tolerance = tolerance * np.clip(problem.l2_weight / np.where(damping > 0, damping, 1.0), _LEAST_SAFETY, 1.0)
    curves, converged = dict[int, list[float]](), np.zeros(problem.n_models, bool)
    single, groups = _split(problem, subsample)
    n_steps = -(-options.max_iter // 2)  # the others are kept for the truncated method

    # single models: Newton steps, along the regularization path of each training set and epsilon
    paths: dict[tuple, RegularizationPath] = {}
    for i, m in enumerate(single, 1):
        on_rows, tolerances = subsample.objective([m]), Tolerances(newton_tolerance[m])
        alpha, start = objective.l2_weight[m], theta[m]
        path = paths.setdefault((train_set[m], problem.epsilon[m]), RegularizationPath())
        # without a penalty there may be many minima, or none, and which one is reached depends on the start
        if options.initial is None and alpha > 0:
            start = path.extrapolate(alpha, default=start)
        theta[m], curves[m], converged[m] = run_newton(on_rows, start, tolerances, n_steps)
        path.points += [(alpha, theta[m])] if alpha > 0 else []
        options.on_progress(problem.n_models - i)

    # the others: L-BFGS on all rows, with preconditioners from the subsample
    if groups:
        preconditioner = Preconditioner(subsample, groups, theta, lbfgs_tolerance, options.max_iter)
        lbfgs_options = replace(options, max_iter=n_steps if problem.n_models == 1 else options.max_iter)
        shared_curves, done = run_lbfgs(problem, lbfgs_options, preconditioner, theta, lbfgs_tolerance)
        curves, converged = curves | shared_curves, converged | done

    coef, intercept = objective.unpack(theta)
    if problem.multinomial:  # softmax does not depend on what all classes share, and the penalty is least without it
        coef, intercept = coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean(axis=1, keepdims=True)
    intercept, warning = frame.from_shifted(coef, intercept, train_set), NOT_CONVERGED.format(options.max_iter)

    # fallback: truncated steps; a model with the preconditioner of others is first solved again without them
    solved_again: dict[int, FitResult] = {}
    quiet = replace(options, on_progress=lambda n: None)
    for m in np.flatnonzero(~converged).tolist():
        alone = problem.isolate(np.array([m]))
        if m not in single and problem.n_models > 1:
            (solved_again[m],) = _minimize(alone, quiet)
        elif n_steps < options.max_iter:
            # from the start, because where Newton's steps became short so would these
            (result,) = fit_truncated(alone, replace(quiet, max_iter=options.max_iter - n_steps))
            result.objectives[:0] = curves[m]
            result.warning = result.warning and warning
            solved_again[m] = result
    return [
        solved_again.get(m) or FitResult(coef[m], intercept[m], curves[m], warning=None if converged[m] else warning)
        for m in range(problem.n_models)
    ]


def _split(problem: Problem, subsample: Subsample) -> tuple[list[int], list[list[int]]]:
    """Models that are single, and groups of those that share a preconditioner, both along the path of penalties."""
    # few rows leave directions open, in which a Hessian of other rows would mislead
    few_rows = np.flatnonzero(~subsample.has_enough_rows(problem.weights.counts)[problem.train_set])
    groups = group_by_penalty(problem, range(problem.n_models), separate=set(few_rows.tolist()))
    n_rows = problem.weights.n_rows()[problem.train_set]
    is_single = [len(group) == 1 and n_rows[group[0]] <= subsample.n_rows for group in groups]
    single = [group[0] for group, alone in zip(groups, is_single, strict=True) if alone]
    return single, [group for group, alone in zip(groups, is_single, strict=True) if not alone]
