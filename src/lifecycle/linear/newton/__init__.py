"""Newton's method for many models at once.

Models that differ in their rows only share one Hessian, from a sample of the rows that they train on: it preconditions
full-gradient steps, until each has its own minimum; those that it makes slow get Hessians of their own. A model that is
alone, on rows that all fit into the sample, makes Newton steps to the end.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import log, prod
from typing import Any

import numpy as np
from scipy.linalg import cho_solve
from scipy.linalg.lapack import dposv

from lifecycle._threads import single_threaded_blas
from lifecycle.linear.data.fold_sums import sums_by_column
from lifecycle.linear.data.problem import SMALL, Task
from lifecycle.linear.newton.dense_objective import Dense
from lifecycle.linear.newton.subsample import FEW, Samples
from lifecycle.linear.objective import Objective
from lifecycle.linear.outcome import UNFINISHED, Outcome, Settings
from lifecycle.solvers import lbfgs, newton

_HELD = 1 << 26  # numbers of Hessians that are kept
_APPROACH = 20  # steps on sampled rows at most
_RENEWALS, _PATIENCE = 20, 3  # new Hessians of a model at most, and the turns that each is given
_COARSE = 1e-3  # a step in single precision, beside the largest coefficient, after which double takes over
# a last step is this small beside the coefficients: the answer then does not depend on the way to it
_STEP = {"float64": 1e-8, "float32": 1e-5}
_NOISE = {"float64": 1e-14, "float32": 1e-6}  # relative error of a value
_ROUNDING = {"float64": 1e-18, "float32": 1e-13}  # decrease, in losses of a constant, that no step can be seen to bring


def by_newton(task: Task, settings: Settings) -> list[Outcome]:
    """Steps until one promises to bring less than tol, and to change no more than the last digits."""
    variables = (task.rows.features + 1) * (task.outputs if task.joint else 1)
    # a thread of BLAS that has worked waits for more, on a core that others need
    with single_threaded_blas() if variables <= SMALL else nullcontext():
        return _by_newton(task, settings)


def _by_newton(task: Task, settings: Settings) -> list[Outcome]:
    solved, samples = _Solved(task, np.float64), Samples(task)
    coef, intercept = task.start() if settings.start is None else settings.start
    theta = solved.joined(coef, intercept - np.einsum("mkp,mp->mk", coef, task.offset[task.column]))
    limits = np.zeros(task.models) if settings.tol is None else settings.tol * task.scale
    outcomes = [Outcome(c, b) for c, b in zip(coef, intercept, strict=True)]
    guess = _Guess()
    along: tuple | None = None
    paths: dict[tuple, _Path] = {}  # of a column's rows and an epsilon
    alone = 0
    for models in _groups(task):
        problem, whole = samples.problem(models)
        if whole and len(models) == 1:
            m = models[0]
            path = paths.setdefault((int(task.column[m]), float(task.epsilon[m])), _Path())
            # without a penalty there may be many minima, or none, and which one is found depends on the start
            goes_on = settings.start is None and solved.ridge[m] > 0
            start = path.ahead(theta[m], solved.ridge[m]) if goes_on else theta[m]
            theta[m], outcomes[m].curve, done = _steps(problem, start, limits[m], _STEP["float64"], settings.max_iter)
            outcomes[m].fault = None if done else UNFINISHED.format(settings.max_iter)
            path.points += [(solved.ridge[m], theta[m])] if solved.ridge[m] > 0 else []
            alone += 1
            settings.advance(task.models - alone)
        else:  # of what the others have found, these models get the curvature and no coefficient
            along = _follow(problem, along, theta[models[0]], limits[models].min(), settings.max_iter)
            guess.give(models, along[1])
    together = np.array(sorted(guess.of), int)
    # where the curvature sits in a handful of rows, only Newton's own steps arrive: a model alone has them left
    own = (settings.max_iter // 2) * (task.models == 1 and samples.affords_all)
    most = replace(settings, max_iter=settings.max_iter - own)
    unfinished = _together(task, most, samples, together, theta, limits, guess, outcomes)
    if unfinished and own:
        problem, _ = samples.problem([0], everything=True)
        theta[0], curve, done = _steps(problem, theta[0], limits[0], _STEP[str(task.rows.dtype)], own)
        outcomes[0].curve += curve
        unfinished = set() if done else unfinished
    for m, outcome in enumerate(outcomes):
        if m in unfinished and task.models > 1:  # it did not arrive among others, and goes its own way
            outcomes[m] = _by_newton(task.alone(m), replace(settings, advance=lambda n: None))[0]
            continue
        if m in unfinished:
            outcome.fault = UNFINISHED.format(settings.max_iter)
        coef, intercept = solved.parted(theta[[m]])
        if task.joint:  # softmax does not see what all classes share, and the penalty wants none of it: it is rounding
            coef, intercept = coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean()
        outcome.coef, outcome.intercept = coef[0], intercept[0] + coef[0] @ task.offset[task.column[m]]
    return outcomes


def _groups(task: Task) -> Iterator[list[int]]:
    """Models that differ in their rows only, along the path, from the strongest penalty to the weakest."""
    rows = np.count_nonzero(task.weights.counts, axis=0)[task.column]
    # few rows leave directions open, in which a Hessian of other rows would lead
    few = rows <= FEW * (task.rows.features + 1)
    groups: dict[tuple, list[int]] = {}
    for m in range(task.models):
        key = float(task.alpha[m]), float(task.l1_ratio[m]), float(task.epsilon[m]), m if few[m] else -1
        groups.setdefault(key, []).append(m)
    return (groups[key] for key in sorted(groups, reverse=True))


def _together(
    task: Task, settings: Settings, samples: Samples, models: np.ndarray, theta: np.ndarray, limits: np.ndarray,
    guess: "_Guess", outcomes: list[Outcome],
) -> set[int]:  # fmt: skip
    """Steps of many models at once from theta, in place; those who have not arrived after `max_iter`.

    On the sampled rows of each, then on all rows in single precision, which costs half, and from there in double.
    """
    if not models.size:
        return set()
    few = samples.few() if settings.start is None else None
    if few is not None:
        _run(_Solved(few, np.float64).descend(models, theta, limits, np.inf, guess))
    renewed, left = dict.fromkeys(models.tolist(), 0), set[int]()
    visible = np.maximum(limits, _NOISE["float32"] * task.scale)  # what single precision can promise
    for dtype, limit, step in ((np.float32, visible, _COARSE), (np.float64, limits, _STEP[str(task.rows.dtype)])):
        left, patience, last = set(models.tolist()), _PATIENCE, dtype == np.float64
        turns = _Solved(task, dtype).descend(models, theta, limit, step, guess)
        for turn, (values, gone, slow) in enumerate(turns, 1):
            for m, value in values.items() if last else ():
                outcomes[m].curve.append(value)
            left, patience = left - set(gone), patience - 1
            settings.advance(len(left) if last else len(models))
            if turn == settings.max_iter or not left:
                break
            slow = [m for m in slow if renewed[m] < _RENEWALS]
            if slow and patience <= 0:
                _renew(samples, guess, slow, theta)
                renewed, patience = renewed | {m: renewed[m] + 1 for m in slow}, _PATIENCE
    return left


def _run(turns: Iterator) -> None:
    for _ in zip(range(_APPROACH), turns, strict=False):
        pass


class _Solved:
    """The objectives of a task as functions of one vector a model: coefficients, then intercepts that are fitted."""

    def __init__(self, task: Task, dtype: Any):
        self.task, self.size = task, task.outputs * task.rows.features
        self.objective = Objective(task, np.zeros_like(task.offset), dtype)
        self.ridge = task.alpha * np.array([task.penalty.gradient(1.0, ratio) for ratio in task.l1_ratio])

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

    def descend(self, models: np.ndarray, theta: np.ndarray, limits: np.ndarray, step: float, guess: "_Guess") -> Any:
        """Turns of L-BFGS from theta, in place."""
        kind = str(self.objective.dtype)
        return lbfgs.descend(self.gradients, guess, theta, models, limits, step,
                                    _ROUNDING[kind] * self.task.scale, _NOISE[kind], self.size)  # fmt: skip


class _Guess:
    """Products with about the inverse Hessian of each model."""

    def __init__(self) -> None:
        self.of: dict[int, Callable] = {}

    def give(self, models: list[int], inverse: Callable) -> None:
        self.of.update(dict.fromkeys(models, inverse))

    def __call__(self, gradient: np.ndarray, which: np.ndarray) -> np.ndarray:
        step = np.empty_like(gradient)
        places: dict[Callable, list[int]] = {}
        for i, m in enumerate(which.tolist()):
            places.setdefault(self.of[m], []).append(i)
        for inverse, here in places.items():
            step[here] = inverse(gradient[here])
        return step


def _renew(samples: Samples, guess: "_Guess", models: list[int], theta: np.ndarray) -> None:
    """Give models Hessians of their own rows, at the place where those of one penalty stand on average."""
    task = samples.task
    groups: dict[tuple, list[int]] = {}
    for m in models:
        groups.setdefault((task.alpha[m], task.l1_ratio[m], task.epsilon[m]), []).append(m)
    drawn, weights = samples.draw(samples.trained, samples.most)
    counts, base = task.weights.counts[drawn], task.base
    base = None if base is None else base[drawn]
    X, targets = samples.take(drawn)
    enough = np.count_nonzero(counts, axis=0) > FEW * (task.rows.features + 1)
    for group in groups.values():
        some = [m for m in group if enough[task.column[m]]]
        columns, parts = np.unique(task.column[some]), samples.problem(group)[0].parts()
        size = len(parts[0][1])
        if len(columns) * len(parts) * size**2 > _HELD or not some:
            continue  # all that they share stays as it is
        problem, at = samples.problem(some)[0], theta[some].mean(axis=0)
        own = replace(problem, X=X, targets=targets, share=weights)
        found = sums_by_column(counts[:, columns], base, partial(_curvatures, own, at))
        for i, column in enumerate(columns):
            inverse = _inverse(problem, found[i][:-1].reshape(-1, size, size) / found[i][-1])
            guess.give([m for m in some if task.column[m] == column], inverse)


def _curvatures(problem: Dense, at: np.ndarray, rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Of the problem's parts on those rows, one after another; then the sum of the weights."""
    share = problem.share[rows] if weights is None else problem.share[rows] * weights[rows]
    few = replace(problem, X=problem.X[rows], targets=problem.targets[:, rows], share=share)
    return np.append([part.curvature(at[mine]) for part, mine in few.parts()], share.sum())


def _follow(problem: Dense, along: tuple | None, start: np.ndarray, limit: float, max_iter: int) -> tuple:
    """The minimum of a sample's problem and the inverse of its Hessian there, from those of the problem before."""
    if along is None:
        found, _, _ = _steps(problem, start, limit, np.inf, max_iter)
    else:
        found, inverse = along[0].copy(), along[1]

        def gradients(points: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            value, gradient, _ = problem.look(points[0])
            return np.array([value]), gradient[None]

        _run(lbfgs.descend(gradients, lambda gradient, which: inverse(gradient), found[None], np.zeros(1, int),
                                  np.full(1, limit), np.inf, np.zeros(1), _NOISE["float64"]))  # fmt: skip
    return found, _inverse(problem, [part.curvature(found[mine]) for part, mine in problem.parts()])


class _Path:
    """The minima for one penalty after another, and where it leads: on the parabola through the last three."""

    def __init__(self) -> None:
        self.points: list[tuple[float, np.ndarray]] = []

    def ahead(self, start: np.ndarray, ridge: float) -> np.ndarray:
        """About the minimum for this penalty, which is `start` where there was none before; penalties are positive."""
        last = self.points[-3:]
        at = [log(r) for r in (*(r for r, _ in last), ridge)]
        gaps = [b - a for a, b in pairwise(at)]
        if len(last) < 2 or not all(0 < abs(b) <= 2.0 * abs(a) for a, b in pairwise(gaps)):
            return last[-1][1] if last else start  # it would lead anywhere
        shares = [prod((at[-1] - x) / (at[i] - x) for j, x in enumerate(at[:-1]) if j != i) for i in range(len(last))]
        return np.dot(shares, [theta for _, theta in last])


def _steps(
    problem: Dense, theta: np.ndarray, limit: float, step: float, max_iter: int
) -> tuple[np.ndarray, list[float], bool]:
    """Newton steps; outputs that do not meet in the loss one by one."""
    theta, curves, done = theta.copy(), [], True
    for part, mine in problem.parts():
        now, curve, ended = theta[mine], [], False
        for new, value, promised in newton.descend(part.look, _solved, now, part.metric()):
            moved, now = np.abs(new - now).max(), new
            curve.append(value)
            small = np.isinf(step) or moved <= step * lbfgs.largest(now[None], part.size)[0]
            ended = promised <= limit and small
            if ended or len(curve) == max_iter:
                break
        else:  # no step goes down
            ended = True
        theta[mine] = now
        curves.append(curve or [part.value(now)])  # the start was the minimum
        done &= ended
    # an output that is done stays where it is while the others go on
    length = max(map(len, curves))
    return theta, [float(sum(c[min(i, len(c) - 1)] for c in curves)) for i in range(length)], done


def _solved(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray | None:
    """The solution, or None where the matrix is not positive definite."""
    _, found, failed = dposv(matrix, vector)
    return None if failed else found


def _inverse(problem: Dense, curvatures: Any) -> Callable[[np.ndarray], np.ndarray]:
    """gradients (models, variables) -> their solutions with the Hessians of the problem's parts."""
    parts = [
        (mine, _factor(curvature, part)) for (part, mine), curvature in zip(problem.parts(), curvatures, strict=True)
    ]

    def solve(gradient: np.ndarray) -> np.ndarray:
        step = np.empty_like(gradient)
        for mine, factor in parts:
            step[:, mine] = cho_solve(factor, gradient[:, mine].T, check_finite=False).T
        return step

    return solve


def _factor(curvature: np.ndarray, problem: Dense) -> tuple:
    hessian, metric, damping = problem.with_ridge(curvature), problem.metric(), 1e-7
    while True:
        try:
            return np.linalg.cholesky(hessian + np.diag(damping * metric)), True
        except np.linalg.LinAlgError:
            damping *= 10.0
