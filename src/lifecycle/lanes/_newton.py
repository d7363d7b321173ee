"""Newton's method for many models at once.

Models that differ in their rows only share one Hessian, from a sample of the rows that they train on: it preconditions
full-gradient steps, until each has its own minimum. A model that is alone, on rows that all fit into the sample, makes
Newton steps to the end.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..solvers import newton, quasi_newton
from ._dense import Dense
from ._objective import Objective
from ._outcome import UNFINISHED, Outcome, Settings
from ._rows import Rows
from ._task import Task
from ._weights import Weights

_SAMPLE, _PER_VARIABLE = 4096, 4  # rows from which models start, or so many for each variable if that is more
_PRODUCTS = 1 << 29  # multiplications of a Hessian that is made for those who are slow
_FEW = 3  # rows for each variable
_WORTH, _APPROACH = 4, 20  # rows for each sampled one from which they are worth a start; steps at most
_RENEWALS = 2  # new Hessians; from then on L-BFGS may remember
# a last step is this small beside the coefficients: the answer then does not depend on the way to it
_STEP = {"float64": 3e-9, "float32": 1e-5}
_ROUNDING = {"float64": 1e-18, "float32": 1e-13}  # decrease, in losses of a constant, that no step can be seen to bring
_NOISE = {"float64": 1e-14, "float32": 1e-6}  # relative error of a value


def by_newton(task: Task, settings: Settings) -> list[Outcome]:
    """Steps until one promises to bring less than tol, and to change no more than the last digits."""
    solved = _Solved(task)
    coef, intercept = task.start() if settings.start is None else settings.start
    starts = solved.joined(coef, intercept - np.einsum("mkp,mp->mk", coef, task.offset[task.column]))
    limits = np.zeros(task.models) if settings.tol is None else settings.tol * task.scale
    outcomes = [Outcome(c, b) for c, b in zip(coef, intercept, strict=True)]
    groups: dict[tuple, list[int]] = {}
    few = _few_rows(task)
    for m in range(task.models):
        key = float(task.alpha[m]), float(task.l1_ratio[m]), float(task.epsilon[m]), m if few[m] else -1
        groups.setdefault(key, []).append(m)
    samples, before = _Samples(task), None
    solves: list[tuple[list[int], Callable]] = []
    for key in sorted(groups, reverse=True):  # along the path, from the strongest penalty to the weakest
        models = groups[key]
        problem, whole = samples.of(models, samples.small)
        alone = whole and len(models) == 1
        # a model that is alone begins by itself: the minimum of others has seen rows that it must not know of
        start = starts[models[0]] if alone or settings.start is not None or before is None else before
        # where the sample is not the problem, what it has to say is said with a promise of tol
        theta, curve, done = _steps(problem, start, limits[models].min(), _STEP["float64"] if alone else np.inf,
                                    settings.max_iter)  # fmt: skip
        if alone:
            starts[models] = theta
            outcomes[models[0]].curve = curve
            outcomes[models[0]].fault = None if done else UNFINISHED.format(settings.max_iter)
            settings.advance(1)
        else:  # of what the others have found, these models get the curvature and no coefficient
            before = theta
            solves.append((models, _preconditioner(problem, theta)))
    rest = np.array(sorted(m for models, _ in solves for m in models), int)
    turns, unfinished = 0, set[int]()
    if rest.size:
        _approach(task, samples.rows, rest, starts, solves, limits)
    for dtype in dict.fromkeys([task.rows.dtype, np.dtype(np.float64)]):  # who rounding stops goes on in double
        solved = _Solved(task, dtype)
        while rest.size and turns < settings.max_iter:
            if solved.renewed:
                left = [[m for m in models if m in rest] for models, _ in solves]
                solves = [(models, _preconditioner(samples.of(models, samples.large)[0], starts[models].mean(axis=0)))
                          for models in left if models]  # fmt: skip
            rest, made = solved.minimize(rest, starts, solves, limits, settings, outcomes, settings.max_iter - turns)
            turns += made
        unfinished |= set(rest.tolist())
        rest = np.array(sorted(solved.stuck), int)
    for m in unfinished:
        outcomes[m].fault = UNFINISHED.format(settings.max_iter)
    again = unfinished if task.models > 1 else set()
    for m in sorted(again):  # a model that does not arrive among others goes its own way, as if alone
        outcomes[m] = by_newton(task.some(np.array([m])), replace(settings, advance=lambda n: None))[0]
    for m, outcome in enumerate(outcomes):
        if m in again:
            continue
        coef, intercept = solved.parted(starts[[m]])
        if task.joint:  # softmax does not see what all classes share, and the penalty wants none of it: it is rounding
            coef, intercept = coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean()
        outcome.coef, outcome.intercept = coef[0], intercept[0] + coef[0] @ task.offset[task.column[m]]
    return outcomes


def _few_rows(task: Task) -> np.ndarray:
    """(models,): those whose few rows leave directions open, in which a Hessian of other rows would lead them."""
    rows = np.count_nonzero(task.weights.counts, axis=0)[task.column]
    return rows <= _FEW * (task.rows.features + 1)


class _Solved:
    """The objectives of a task as functions of one vector a model: coefficients, then intercepts that are fitted."""

    def __init__(self, task: Task, dtype: Any = None):
        self.task, self.size = task, task.outputs * task.rows.features
        self.objective = Objective(task, np.zeros_like(task.offset), dtype)
        self.renewed = 0
        self.stuck: set[int] = set()  # who rounding has stopped on the way
        self.ridge = task.alpha * np.array([task.penalty.slope(1.0, ratio) for ratio in task.l1_ratio])

    def joined(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        parts = [coef.reshape(len(coef), -1), *([intercept] if self.task.fit_intercept else [])]
        return np.hstack(parts).astype(np.float64)

    def parted(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = self.task.outputs
        coef = theta[:, : self.size].reshape(len(theta), k, -1)
        return coef, theta[:, self.size :] if self.task.fit_intercept else np.zeros((len(theta), k))

    def gradients(self, theta: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        losses, by_coef, by_intercept = self.objective.gradients(*self.parted(theta), which)
        if self.task.joint:  # softmax does not see what all classes share: its slope is rounding
            by_coef = by_coef - by_coef.mean(axis=1, keepdims=True)
            by_intercept = by_intercept - by_intercept.mean(axis=1, keepdims=True)
        ridge, coef = self.ridge[which], theta[:, : self.size]
        gradient = self.joined(by_coef, by_intercept)
        gradient[:, : self.size] += ridge[:, None] * coef
        return losses + 0.5 * ridge * (coef**2).sum(axis=1), gradient

    def minimize(self, rest: np.ndarray, starts: np.ndarray, solves: list, limits: np.ndarray, settings: Settings,
                 outcomes: list[Outcome], most: int) -> tuple[np.ndarray, int]:  # fmt: skip
        """Steps of `rest` from `starts`, in place, until one is slow or `most` are made; who is left, and how many."""
        kind = str(self.objective.dtype)
        steps = quasi_newton.descend(self.gradients, _precondition(solves), starts, rest, limits, _STEP[kind],
                                     _ROUNDING[kind] * self.task.scale, _NOISE[kind])  # fmt: skip
        left = set(rest.tolist())
        for turn, (values, gone, stuck, slow) in enumerate(steps, 1):
            for m, value in values.items():
                outcomes[m].curve.append(value)
            left -= set(gone)
            self.stuck |= set(stuck)
            settings.advance(len(left))
            if turn == most or (slow and self.renewed < _RENEWALS):
                self.renewed += 1
                break
        return np.array(sorted(left), int), turn


def _precondition(solves: list) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def solved(gradient: np.ndarray, which: np.ndarray) -> np.ndarray:
        step, place = np.empty_like(gradient), {m: i for i, m in enumerate(which)}
        for models, solve in solves:
            here = [place[m] for m in models if m in place]
            if here:
                step[here] = solve(gradient[here])
        return step

    return solved


def _approach(task: Task, rows: np.ndarray, which: np.ndarray, starts: np.ndarray, solves: list,
              limits: np.ndarray) -> None:  # fmt: skip
    """From `starts`, in place, to near the minimum of each model over those of the sampled rows that are its own."""
    counts = task.weights.counts[rows]
    if len(rows) * _WORTH > task.rows.n or np.count_nonzero(counts, axis=0).min() <= _FEW * (task.rows.features + 1):
        return
    few = replace(task, rows=Rows(task.rows.take(rows)), y=task.y[rows], weights=Weights(counts, np.float64), base=None)
    few.__dict__["center"] = task.center  # the same coordinates
    solved = _Solved(few)
    steps = quasi_newton.descend(solved.gradients, _precondition(solves), starts, which, limits, np.inf,
                                 np.zeros(task.models), _NOISE["float64"])  # fmt: skip
    for _ in zip(range(_APPROACH), steps, strict=False):
        pass


class _Samples:
    """Problems over some of the rows that a few models train on."""

    def __init__(self, task: Task):
        variables = (task.rows.features + 1) * (task.outputs if task.joint else 1)
        self.task, self.small = task, max(_SAMPLE, _PER_VARIABLE * (task.rows.features + 1))
        self.large = max(self.small, _PRODUCTS // variables**2)
        self.drawn: dict[tuple, tuple] = {}
        trained = np.flatnonzero(task.weights.counts.any(axis=1))
        self.rows = _some(trained, self.small)

    def of(self, models: list[int], size: int) -> tuple[Dense, bool]:
        """The problem of models that differ in their rows only, on `size` rows, and whether these are all of them."""
        task, m = self.task, models[0]
        columns = tuple(np.unique(task.column[models]))
        if (columns, size) not in self.drawn:
            self.drawn[columns, size] = self._draw(list(columns), size)
        X, targets, weights, whole = self.drawn[columns, size]
        ridge = float(task.alpha[m] * task.penalty.slope(1.0, task.l1_ratio[m]))
        problem = Dense(X, targets, weights, task.loss, task.joint, ridge, float(task.epsilon[m]), task.fit_intercept)
        return problem, whole

    def _draw(self, columns: list[int], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        task = self.task
        rows = np.flatnonzero((task.weights.counts[:, columns] != 0).any(axis=1))
        whole = len(rows) <= size
        rows = _some(rows, size)
        targets = task.targets(task.y[rows]).astype(np.float64)
        weights = np.mean([task.weights.column(k, rows) for k in columns], axis=0)
        return task.rows.take(rows) - task.shift, targets, weights, whole


def _some(rows: np.ndarray, size: int) -> np.ndarray:
    # RandomState(0), the seed of so many splitters, would draw the very rows that a fold holds out
    return rows if len(rows) <= size else np.sort(np.random.default_rng(0).choice(rows, size, replace=False))


def _steps(
    problem: Dense, theta: np.ndarray, limit: float, step: float, max_iter: int
) -> tuple[np.ndarray, list[float], bool]:
    """Newton steps; outputs that do not meet in the loss one by one."""
    k, p, size = problem.outputs, problem.features, problem.size
    if k == 1 or problem.joint:
        curve: list[float] = []
        for new, value, promised in newton.descend(problem.value, problem.derivatives, theta, problem.metric()):
            moved, theta = np.abs(new - theta).max(), new
            curve.append(value)
            if promised <= limit and (np.isinf(step) or moved <= step * np.abs(theta).max()):
                break
            if len(curve) == max_iter:
                return theta, curve, False
        return theta, curve or [problem.value(theta)], True  # the start was the minimum
    theta, curves, done = theta.copy(), [], True
    for j in range(k):
        mine = np.r_[j * p : (j + 1) * p, [size + j] if problem.fit_intercept else []].astype(int)
        theta[mine], own, ended = _steps(problem.output(j), theta[mine], limit, step, max_iter)
        curves.append(own)
        done &= ended
    # an output that is done stays where it is while the others go on
    length = max(map(len, curves))
    return theta, [float(sum(c[min(i, len(c) - 1)] for c in curves)) for i in range(length)], done


def _preconditioner(problem: Dense, theta: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """gradients (models, variables) -> their solutions with the Hessian."""
    k, p, size = problem.outputs, problem.features, problem.size
    problem = problem.in_single()
    if k == 1 or problem.joint:
        factor = _factor(problem, theta)
        return lambda gradient: cho_solve(factor, gradient.T, check_finite=False).T
    mine = [np.r_[j * p : (j + 1) * p, [size + j] if problem.fit_intercept else []].astype(int) for j in range(k)]
    factors = [_factor(problem.output(j), theta[mine[j]]) for j in range(k)]

    def solve(gradient: np.ndarray) -> np.ndarray:
        step = np.empty_like(gradient)
        for columns, factor in zip(mine, factors, strict=True):
            step[:, columns] = cho_solve(factor, gradient[:, columns].T, check_finite=False).T
        return step

    return solve


def _factor(problem: Dense, theta: np.ndarray) -> tuple:
    hessian, metric, damping = problem.hessian(theta).astype(np.float64), problem.metric(), 1e-7
    while True:
        try:
            return cho_factor(hessian + np.diag(damping * metric), check_finite=False)
        except np.linalg.LinAlgError:
            damping *= 10.0
