"""Newton's method for many linear models at once.

Models that differ only in their training sets share a preconditioner, the Hessian over a sample of their rows, for
L-BFGS on all rows. A model of few rows that shares a penalty with no other takes Newton steps on these rows.
"""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from lifecycle._threads import one_thread_each
from lifecycle.linear.data.problem import SMALL, Task
from lifecycle.linear.newton import shared_preconditioner, single_model
from lifecycle.linear.newton.preconditioner import Preconditioner
from lifecycle.linear.newton.shared_preconditioner import STEP, FullObjective
from lifecycle.linear.newton.subsample import Subsample, group_by_penalty
from lifecycle.linear.outcome import UNFINISHED, Outcome, Settings
from lifecycle.solvers.convergence import Tolerances


def by_newton(task: Task, settings: Settings) -> list[Outcome]:
    """Minimize until a step is predicted to lower the objective by less than tol, and changes only the last digits."""
    variables = (task.rows.features + 1) * (task.outputs if task.joint else 1)
    # a thread of BLAS that has worked waits for more, on a core that others need
    with one_thread_each() if variables <= SMALL else nullcontext():
        return _minimize(task, settings)


def _minimize(task: Task, settings: Settings) -> list[Outcome]:
    # setup: θ of each model, the decrease at which it has converged, and how it is solved
    objective, subsample = FullObjective(task, np.float64), Subsample(task)
    coef, intercept = task.start() if settings.start is None else settings.start
    theta = objective.pack(coef, intercept - np.einsum("mkp,mp->mk", coef, task.offset[task.column]))
    tolerance = np.zeros(task.models) if settings.tol is None else settings.tol * task.scale
    curves, converged = dict[int, list[float]](), np.zeros(task.models, bool)
    single, groups = _split(task, subsample)

    # single models: Newton steps, along the regularization path of each training set and epsilon
    paths: dict[tuple, single_model.RegularizationPath] = {}
    for i, m in enumerate(single, 1):
        on_rows, tolerances = subsample.objective([m]), Tolerances(tolerance[m], STEP["float64"])
        alpha, start = objective.l2_weight[m], theta[m]
        path = paths.setdefault((task.column[m], task.epsilon[m]), single_model.RegularizationPath())
        # without a penalty there may be many minima, or none, and which one is reached depends on the start
        if settings.start is None and alpha > 0:
            start = path.extrapolate(alpha, default=start)
        theta[m], curves[m], converged[m] = single_model.minimize(on_rows, start, tolerances, settings.max_iter)
        path.points += [(alpha, theta[m])] if alpha > 0 else []
        settings.advance(task.models - i)

    # the others: L-BFGS on all rows, with preconditioners from the subsample
    # where the curvature sits in a handful of rows, only Newton steps converge: a model alone has them left
    newton_steps = settings.max_iter // 2 if groups and task.models == 1 and subsample.affords_all_rows else 0
    if groups:
        preconditioner = Preconditioner(subsample, groups, theta, tolerance, settings.max_iter)
        lbfgs_settings = replace(settings, max_iter=settings.max_iter - newton_steps)
        shared_curves, done = shared_preconditioner.minimize(task, lbfgs_settings, preconditioner, theta, tolerance)
        curves, converged = curves | shared_curves, converged | done

    # fallback: Newton steps on all rows for a model that is alone; one among others is solved again without them
    if newton_steps and not converged[0]:
        on_rows = subsample.objective([0], all_rows=True)
        tolerances = Tolerances(tolerance[0], STEP[str(task.rows.dtype)])
        theta[0], curve, converged[0] = single_model.minimize(on_rows, theta[0], tolerances, newton_steps)
        curves[0] += curve
    failed = [m for group in groups for m in group if not converged[m] and task.models > 1]
    isolated = replace(settings, advance=lambda n: None)
    solved_again = {m: _minimize(task.alone(m), isolated)[0] for m in failed}

    # finalize: features are centred, θ was not
    outcomes = []
    for m in range(task.models):
        coef, intercept = objective.unpack(theta[[m]])
        if task.joint:  # the softmax does not depend on what all classes share, and the penalty is least without it
            coef, intercept = coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean()
        intercept = intercept + coef[0] @ task.offset[task.column[m]]
        fault = None if converged[m] else UNFINISHED.format(settings.max_iter)
        outcomes.append(solved_again.get(m) or Outcome(coef[0], intercept[0], curves[m], fault=fault))
    return outcomes


def _split(task: Task, subsample: Subsample) -> tuple[list[int], list[list[int]]]:
    """Models that are single, and groups of those that share a preconditioner, both along the path of penalties."""
    # few rows leave directions open, in which a Hessian of other rows would mislead
    few_rows = np.flatnonzero(~subsample.has_enough_rows(task.weights.counts)[task.column])
    groups = group_by_penalty(task, range(task.models), separate=set(few_rows.tolist()))
    n_rows = np.count_nonzero(task.weights.counts, axis=0)[task.column]
    is_single = [len(group) == 1 and n_rows[group[0]] <= subsample.n_rows for group in groups]
    single = [group[0] for group, alone in zip(groups, is_single, strict=True) if alone]
    return single, [group for group, alone in zip(groups, is_single, strict=True) if not alone]
