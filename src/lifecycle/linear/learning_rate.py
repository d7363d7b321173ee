"""Step sizes where lr=None: how large they begin and how they shrink.

The step sizes of gradient rules come from the curvature of the loss (Nesterov, 2004: 1/L for smooth functions), those
of adaptive rules from the scale of the features. On a plateau a step size on all rows shrinks to a fifth. Those of
mini-batches decay to zero, so that the noise of single rows fades (Defazio et al., 2023), over stages that grow and
each of which begins anew (Loshchilov & Hutter, 2017): training can end with any of them.
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from lifecycle.linear.data.problem import Problem
from lifecycle.optim import Optimizer

_SHRINKAGE = 0.2  # factor of the step size on a plateau
_SMALLEST_FACTOR = 1e-3  # below it, a plateau ends training


def is_gradient_rule(optimizer: Optimizer) -> bool:
    """Whether a step is proportional to the gradient (else to lr)."""
    return optimizer.rule.name in ("gd", "sgd")


def is_proximal(optimizer: Optimizer) -> bool:
    """Whether a step is -lr * gradient and nothing else, so that the penalty's proximal step can follow it."""
    return is_gradient_rule(optimizer) and not optimizer.rule.variant(optimizer.get_params()).slots


def _first_step_is_linear(optimizer: Optimizer) -> bool:
    """Whether the first step is proportional to the gradient, like that of RAdam, which adapts only later."""
    rule, hyper = optimizer.rule, optimizer.get_params()
    update, slots = rule.variant(hyper)
    s = rule.advance(1, hyper, dict(rule.scalars))
    initial = [np.float64(rule.initial(hyper, name)) for name in slots]
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (float(update(np.float64(0.0), np.float64(g), *initial, s)[0]) for g in (1.0, 2.0))
    return bool(np.isclose(two, 2.0 * one, rtol=1e-9, atol=0.0))


def initial_step_sizes(
    problem: Problem, optimizer: Optimizer, full_batch: bool, preconditioned: bool = False
) -> np.ndarray:
    """(n_models,): the step sizes with which lr=None begins; `preconditioned`: of features of equal scales."""
    kinds = {is_gradient_rule(optimizer), _first_step_is_linear(optimizer)}
    of_kind = [
        _of_gradient_rule(problem, full_batch, preconditioned) if k else _of_adaptive_rule(problem) for k in kinds
    ]
    return np.min(of_kind, axis=0)


def _mean_squared_norm(problem: Problem, preconditioned: bool = False) -> np.ndarray:
    """(n_models,): of the centred features, with the 1 of the intercept."""
    squares = problem.features.variance
    if preconditioned:
        squares = squares * problem.features.preconditioner
    return squares[problem.train_set].sum(axis=1) + problem.fit_intercept


def _target_std(problem: Problem) -> np.ndarray:
    """(n_models,): the scale of y for regression, else 1."""
    if problem.loss.task != "regression":
        return np.ones(problem.n_models)
    mean, std = problem.targets.mean[problem.train_set], problem.targets.std[problem.train_set]
    std = std if problem.fit_intercept else np.sqrt(std**2 + mean**2)
    return np.where(std > 0, std, 1.0)


def _of_adaptive_rule(problem: Problem) -> np.ndarray:
    """0.1 std(y) over the root mean square of the features: the rule's steps are as long as lr."""
    rms = np.sqrt(_mean_squared_norm(problem) / (problem.design.n_features + problem.fit_intercept))
    return 0.1 * _target_std(problem) / np.where(rms > 0, rms, 1.0)


def _of_gradient_rule(problem: Problem, full_batch: bool, preconditioned: bool) -> np.ndarray:
    """1/L, or 1 over the curvature along the largest or the mean row."""
    k, curvature = problem.train_set, problem.max_curvature
    if full_batch and problem.loss.smooth:
        lipschitz = np.maximum(curvature * problem.features.max_eigenvalue, curvature * problem.fit_intercept)
        return 1.0 / lipschitz[k]
    if problem.loss.dloss_bound is None:  # the step of no single row may overshoot
        features = problem.features
        largest = features.preconditioned_max_squared_norm if preconditioned else features.max_squared_norm
        norm2 = largest[k] * (1.0 if full_batch else problem.weights.fraction[k])
        return 1.0 / (curvature * np.where(norm2 > 0, norm2, 1.0))
    norm2, target_scale = _mean_squared_norm(problem, preconditioned), np.ones(problem.n_models)
    # steps of bounded length do not grow with y; those of a smooth loss may not overshoot where it is quadratic
    if problem.loss.task == "regression" and not problem.loss.smooth:
        bound = np.array([problem.loss.dloss_bound(epsilon) for epsilon in problem.epsilon])
        target_scale = np.maximum(_target_std(problem) / bound, 1.0)
    return target_scale / (curvature * np.where(norm2 > 0, norm2, 1.0))


def part_step_size(first: float, n_parts: int) -> float:
    """The step size of `partial_fit` on the n-th part of the rows, from that of the first."""
    return first / n_parts**0.5


def stage_ends(first: int, max_iter: int) -> list[int]:
    """The epochs at which step sizes have decayed to zero: first, 3 first, 9 first, … and max_iter.

    The last stage is at least half of all epochs.
    """
    ends, end = [], first
    while 2 * end <= max_iter:
        ends.append(end)
        end *= 3
    return [*ends, max_iter]


class StepSizeSchedule:
    """The step sizes of many optimizers, epoch after epoch.

    Parameters
    ----------
    optimizers : one a model; their lr are changed in place
    stage_ends : list of int
        The last epochs of the stages over which step sizes decay.
    shrinks_on_plateau : bool
        Else `shrink` does nothing.
    decay_power : int
        Epoch e of a stage of n takes (1 - (e - 1) / n)**decay_power of a step size; 0: no decay.
    """

    def __init__(
        self, optimizers: Sequence[Optimizer], stage_ends: list[int], shrinks_on_plateau: bool, decay_power: int
    ):
        self.optimizers, self.stage_ends = optimizers, stage_ends
        self.shrinks_on_plateau, self.decay_power = shrinks_on_plateau, decay_power
        self._first = np.array([optimizer.get_params()["lr"] for optimizer in optimizers])
        self._factor = np.ones(len(optimizers))

    def begin_epoch(self, models: np.ndarray, epoch: int) -> None:
        """Set the step sizes of these models for an epoch, counted from 1."""
        if not self.decay_power:
            return
        k = bisect_left(self.stage_ends, epoch)
        begin = self.stage_ends[k - 1] if k else 0
        self._set(models, (1.0 - (epoch - begin - 1) / (self.stage_ends[k] - begin)) ** self.decay_power)

    def shrink(self, m: int) -> bool:
        """Shrink the step size of a model on a plateau; False where it may not become smaller."""
        if not self.shrinks_on_plateau or self._factor[m] * _SHRINKAGE < _SMALLEST_FACTOR:
            return False
        self._factor[m] *= _SHRINKAGE
        self._set(np.array([m]), 1.0)
        return True

    def _set(self, models: np.ndarray, decay: float) -> None:
        for m in models:
            self.optimizers[m].set_params(lr=float(self._first[m] * self._factor[m] * decay))
