"""How theta is found: by epochs of an update rule, by Newton's method, or in closed form."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..loops import minibatch
from ..optim import Optimizer
from ..solvers import least_squares, newton
from ._problem import Problem

_SHRINK, _FEWEST = 0.2, 1e-3  # lr=None: by how much a step size shrinks on a plateau, and below what it ends
_UNFINISHED = (
    "stopped at max_iter={} before the loss stopped falling: increase max_iter, scale the features, "
    "or pass tol=None to make exactly max_iter epochs"
)


@dataclass
class Outcome:
    """theta, the objective in each epoch, the held-out loss after it, and what went wrong (a half-sentence)."""

    theta: np.ndarray
    curve: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    fault: str | None = None


@dataclass
class Plan:
    """The arguments of the estimator that say how it is trained, checked."""

    max_iter: int
    tol: float | None
    n_iter_no_change: int
    shuffle: bool
    average: int
    rng: np.random.RandomState
    advance: Callable[[], Any]


class _Plateau:
    """Counts the epochs in which a number did not fall by more than tol."""

    def __init__(self, tol: float | None, patience: int):
        self.tol, self.patience, self.best, self.waited = tol, patience, np.inf, 0

    def reached(self, value: float) -> bool:
        self.waited = 0 if value < self.best - (self.tol or 0.0) else self.waited + 1
        self.best = min(self.best, value)
        if self.waited < self.patience:
            return False
        self.waited = 0
        return True


def by_epochs(problem: Problem, theta: np.ndarray, optimizer: Optimizer, scheduled: bool, batch: int, plan: Plan,
              held_out: Problem | None) -> Outcome:  # fmt: skip
    """Train with an update rule; `scheduled`: the step size shrinks on a plateau, and the last plateau is the end."""
    all_rows = batch >= len(problem.X)
    optimizer = type(optimizer)(**optimizer.get_params())
    theta = theta.copy()
    run = (_AllRows if all_rows else _MiniBatches)(problem, theta, optimizer, batch, plan)
    decays = scheduled and not (all_rows and problem.loss.smooth and moves_by_slope(optimizer))
    factor, first_lr = 1.0, optimizer.get_params()["lr"]
    unit = problem.scale()
    tol = None if plan.tol is None else plan.tol * unit
    plateau = _Plateau(tol, plan.n_iter_no_change)
    outcome = Outcome(theta, fault=_UNFINISHED.format(plan.max_iter))
    best, kept = np.inf, theta
    for epoch in range(1, plan.max_iter + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            value = run.epoch()
        if not np.isfinite(value) or not np.isfinite(theta).all():
            raise ValueError(
                f"the coefficients grew without bound in epoch {epoch} "
                f"with lr={optimizer.get_params()['lr']:g}: "
                "use a smaller lr (lr=None finds one) or scale the features, e.g. with StandardScaler"
            )
        outcome.curve.append(value)
        if held_out is not None:
            now = run.result()
            value = held_out.data_loss(held_out.scores(now))
            outcome.held_out.append(value)
            if value < best:
                best, kept = value, now.copy()
        plan.advance()
        if plateau.reached(value):
            if decays and factor * _SHRINK >= _FEWEST:
                factor *= _SHRINK
                optimizer.set_params(lr=first_lr * factor)
            elif plan.tol is not None:
                outcome.fault = None
                break
    outcome.theta = run.result() if held_out is None else kept
    # batches are noisy: of them only what a constant could do is asked (which for perceptron is no measure)
    bound = min(outcome.curve) if all_rows else np.inf if problem.loss.name == "perceptron" else unit
    if not scheduled and held_out is None and tol is not None and outcome.curve[-1] > bound + tol:
        outcome.fault = (
            f"ended with a loss of {outcome.curve[-1]:.3g}, where {bound:.3g} was reached or is reached by a constant: "
            "use a smaller lr (lr=None finds one) or scale the features"
        )
    return outcome


def moves_by_slope(optimizer: Optimizer) -> bool:
    """Whether a step is proportional to the slope (else to lr)."""
    return optimizer.rule.name in ("gd", "sgd")


def begins_by_slope(optimizer: Optimizer) -> bool:
    """Whether its first step is proportional to the slope, as that of RAdam is, which adapts only later."""
    rule, hyper = optimizer.rule, optimizer.get_params()
    update, slots = rule.variant(hyper)
    s = rule.advance(1, hyper, dict(rule.scalars))
    starts = [rule.initial(hyper, name) for name in slots]
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (float(update(np.float64(0.0), np.float64(g), *map(np.float64, starts), s)[0]) for g in (1.0, 2.0))
    return bool(np.isclose(two, 2.0 * one, rtol=1e-9, atol=0.0))


def _is_proximal(optimizer: Optimizer) -> bool:
    """Whether a step is -lr * slope and nothing else, so that the penalty's proximal step with lr follows it."""
    return moves_by_slope(optimizer) and not optimizer.rule.variant(optimizer.get_params()).slots


class _AllRows:
    """Epochs of one step each, on the gradient of all rows."""

    def __init__(self, problem: Problem, theta: np.ndarray, optimizer: Optimizer, batch: int, plan: Plan):
        self.problem, self.theta, self.optimizer = problem, theta, optimizer
        self.state = optimizer.init(theta)
        self.proximal = _is_proximal(optimizer)
        # `average` counts samples, here n a step
        self.start = 0 if not plan.average else max(1, -(-plan.average // len(problem.X)))
        self.t, self.mean = 0, np.zeros_like(theta)

    def epoch(self) -> float:
        problem, size = self.problem, self.problem.size
        scores = problem.scores(self.theta)
        value = problem.data_loss(scores) + problem.penalty_value(self.theta)
        gradient, coef = problem.data_gradient(scores), self.theta[:size].copy()
        kink = problem.alpha * problem.penalty.kink(problem.l1_ratio)
        if not self.proximal:
            gradient[:size] += problem.alpha * problem.penalty.slope(coef, problem.l1_ratio)
            if kink:
                gradient[:size] = minibatch.pull(coef, gradient[:size], kink)
        intercept = self.theta[size:].copy()
        self.optimizer.step(self.theta, gradient, self.state)
        if self.proximal:
            reach = self.optimizer.get_params()["lr"] * problem.alpha
            self.theta[:size] = problem.penalty.prox(self.theta[:size], reach, problem.l1_ratio)
        elif kink:
            self.theta[:size] = minibatch.land(self.theta[:size], coef, gradient[:size])
        if not problem.fit_intercept:
            self.theta[size:] = intercept
        self.t += 1
        if self.start and self.t >= self.start:
            self.mean += (self.theta - self.mean) / (self.t - self.start + 1)
        return value

    def result(self) -> np.ndarray:
        return self.mean if self.start and self.t >= self.start else self.theta


class _MiniBatches:
    """Epochs of a step per batch of rows, in a new order each time."""

    def __init__(self, problem: Problem, theta: np.ndarray, optimizer: Optimizer, batch: int, plan: Plan):
        self.problem, self.theta, self.optimizer, self.batch, self.plan = problem, theta, optimizer, batch, plan
        rule, loss = optimizer.rule, problem.loss
        update, slots = rule.variant(optimizer.get_params())
        slope: Any = loss.joint_slope if problem.joint else loss.slope
        value: Any = loss.joint_value if problem.joint else loss.value
        self.kernel = minibatch.compiled(update, len(slots), rule.step, len(rule.scalars), slope, value,
                                         problem.joint, problem.penalty)  # fmt: skip
        starts = [rule.initial(optimizer.get_params(), name) for name in slots]
        self.slots = np.repeat(np.array(starts, np.float64)[:, None], theta.size, axis=1)
        self.carried = np.array(list(rule.scalars.values()), np.float64)
        self.order = np.arange(len(problem.X))
        self.start = 0 if not plan.average else max(1, -(-plan.average // batch))
        self.t, self.mean = 0, np.zeros_like(theta)
        self.settings = (float(problem.epsilon), float(problem.alpha), float(problem.l1_ratio),
                         _is_proximal(optimizer), bool(problem.fit_intercept))  # fmt: skip

    def epoch(self) -> float:
        problem = self.problem
        if self.plan.shuffle:
            self.plan.rng.shuffle(self.order)
        hyper = self.optimizer.get_params()
        arguments = tuple(hyper[name] for name in self.optimizer.rule.defaults)
        total = self.kernel(problem.X, problem.Y, problem.weights, self.order, self.batch, self.theta, self.slots,
                            self.mean, arguments, self.carried, self.settings, self.t, self.start)  # fmt: skip
        self.t += -(-len(self.order) // self.batch)
        return total / float(problem.weights.sum()) + problem.penalty_value(self.theta)

    def result(self) -> np.ndarray:
        return self.mean if self.start and self.t >= self.start else self.theta


def by_newton(problem: Problem, theta: np.ndarray, plan: Plan) -> Outcome:
    """Newton steps until the next one promises less than tol times the loss of a constant; outputs one by one."""
    if problem.outputs == 1:
        return _newton(problem, theta, plan)
    p, size = problem.features, problem.size
    if problem.joint:
        outcome = _newton(problem, theta, plan)
        # softmax does not see what all classes share, and the penalty wants none of it: what is there is rounding
        coef, intercept = outcome.theta[:size].reshape(-1, p), outcome.theta[size:]
        outcome.theta = np.concatenate([(coef - coef.mean(axis=0)).ravel(), intercept - intercept.mean()])
        return outcome
    outcome = Outcome(theta.copy())
    curves = []
    for k in range(problem.outputs):
        part = _newton(problem.column(k), np.append(theta[k * p : (k + 1) * p], theta[size + k]), plan)
        outcome.theta[k * p : (k + 1) * p], outcome.theta[size + k] = part.theta[:p], part.theta[p]
        outcome.fault = outcome.fault or part.fault
        curves.append(part.curve)
    # an output that is done stays where it is while the others go on
    outcome.curve = [float(sum(c[min(i, len(c) - 1)] for c in curves)) for i in range(max(map(len, curves)))]
    return outcome


def _newton(problem: Problem, theta: np.ndarray, plan: Plan) -> Outcome:
    metric = problem.metric()
    free = metric.size
    fixed = theta[free:]

    def whole(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, fixed])

    limit = 0.0 if plan.tol is None else plan.tol * problem.scale()
    steps = newton.descend(lambda x: problem.value(whole(x)), lambda x: problem.derivatives(whole(x)),
                           theta[:free], metric)  # fmt: skip
    outcome = Outcome(theta)
    for x, value, promised in steps:
        outcome.theta = whole(x)
        outcome.curve.append(value)
        plan.advance()
        if plan.tol is not None and promised <= limit:
            break
        if len(outcome.curve) == plan.max_iter:
            outcome.fault = _UNFINISHED.format(plan.max_iter)
            break
    outcome.curve = outcome.curve or [problem.value(theta)]  # the start was the minimum
    return outcome


def in_closed_form(problem: Problem) -> Outcome:
    """Least squares, with or without ridge."""
    ridge = problem.alpha * problem.penalty.slope(1.0, problem.l1_ratio)
    coef, intercept = least_squares.solve(problem.X, problem.Y, problem.weights, ridge, problem.fit_intercept)
    theta = np.concatenate([coef.T.ravel(), intercept])
    return Outcome(theta, [problem.value(theta)])
