"""Proximal Newton's method with working sets, for a convex loss with an l1 and an l2 penalty.

Minimizes F(x, b) = f(x, b) + λ₁ ‖x‖₁ + λ₂ ‖x‖²/2, where b are intercepts without a penalty. In an iteration, the
working set are the coordinates that are not zero and those whose gradient exceeds λ₁, or nearly; on it, coordinate
descent minimizes the quadratic model of f plus the penalty, and a line search along the way to that minimum demands

    F(x + t d) ≤ F(x) + 1e-4 t Δ,    Δ = ∇fᵀd + penalty(x + d) − penalty(x) < 0.

Sources: Yuan, Ho & Lin (2012); Lee, Sun & Saunders (2014); Massias, Gramfort & Salmon (2018).
"""

from typing import Any, NamedTuple, Protocol

import numpy as np

from lifecycle.solvers.coordinate_descent import Quadratic, penalty_gap

_ARMIJO = 1e-4
_MAX_TRIALS = 40
_ROUNDING = 4e-16  # relative error of a value
_NEARLY = 0.9  # of λ₁: smaller gradients are not in the working set
_FEW = 64  # coordinates that may always enter the working set
_WITHOUT_BOUND = 1e-4  # of the tolerance: the largest predicted decrease where there is no bound
_INEXACT = 0.1  # gap of the quadratic model, relative to that of the function


class Step(NamedTuple):
    """The working set's new coordinates, the slope of f on the way there, and what the objective needs to go it."""

    x: np.ndarray
    slope: float
    direction: Any


class SmoothLoss(Protocol):
    """A loss f at a point, with its quadratic models.

    value : f there;  smooth_value : see `penalty_gap`;  is_quadratic : whether the model is f itself
    model_value : how far the quadratic model is above its minimum
    """

    value: float
    smooth_value: float
    model_value: float
    is_quadratic: bool

    def gradient(self) -> np.ndarray:
        """∇f by the coordinates."""

    def intercept_gap(self) -> float:
        """How far f can about fall by the intercepts alone."""

    def model_step(self, x: np.ndarray, working_set: np.ndarray, gradient: np.ndarray, quadratic: Quadratic) -> Step:
        """To the minimum of the quadratic model with penalty over the working set and the intercepts."""

    def evaluate(self, direction: Any, length: float) -> float:
        """f after a part of a step."""

    def accept(self, direction: Any, length: float) -> None:
        """Go to the point that was evaluated last."""


class Minimum(NamedTuple):
    """The coordinates, the values after each iteration, the gap's bound at the end, and whether it suffices."""

    x: np.ndarray
    values: list[float]
    gap: float
    converged: bool


def minimize(loss: SmoothLoss, x: np.ndarray, l1: float, l2: float, tolerance: float, max_iter: int) -> Minimum:
    """Iterate until the gap is at most `tolerance`, or rounding hides what a step brings.

    The gap is that of `penalty_gap` plus that of the intercepts. Without a penalty there is no bound: it is then
    estimated by the decrease that the quadratic model predicts, which must be far below the tolerance.

    Parameters
    ----------
    loss : at the point of x
    x : float64, (variables,), not changed
    """
    x, values = x.copy(), list[float]()
    if l1 + l2 == 0.0:
        tolerance *= _WITHOUT_BOUND
    value = loss.value + _penalty(x, l1, l2)
    while True:
        gradient = loss.gradient()
        gap = np.inf
        if l1 + l2 > 0.0:
            gap = penalty_gap(x, gradient, l1, l2, loss.value, loss.smooth_value) + loss.intercept_gap()
        if gap <= tolerance or len(values) >= max_iter:
            break
        working_set = find_working_set(x, gradient, l1)
        accuracy = (0.3 if loss.is_quadratic else 0.1) * tolerance
        if not loss.is_quadratic and np.isfinite(gap):
            accuracy = max(accuracy, _INEXACT * gap)
        step = loss.model_step(x, working_set, gradient, Quadratic(l1, l2, loss.model_value, accuracy))
        at = x[working_set]
        slope = step.slope + _penalty(step.x, l1, l2) - _penalty(at, l1, l2)
        if l1 + l2 == 0.0:
            gap = -0.5 * slope
        if not -slope > _ROUNDING * abs(value):
            return Minimum(x, values or [value], gap, converged=abs(slope) <= _ROUNDING * abs(value))
        length = _line_search(loss, step, at, value - _penalty(at, l1, l2), slope, l1, l2)
        if length == 0.0:
            return Minimum(x, values or [value], gap, converged=-slope <= 1e3 * _ROUNDING * abs(value))
        loss.accept(step.direction, length)
        x[working_set] = step.x if length == 1.0 else at + length * (step.x - at)
        value = loss.value + _penalty(x, l1, l2)
        values.append(value)
        if l1 + l2 == 0.0 and gap <= tolerance:
            return Minimum(x, values, gap, converged=True)
    return Minimum(x, values or [value], gap, gap <= tolerance)


def _line_search(
    loss: SmoothLoss, step: Step, at: np.ndarray, rest: float, slope: float, l1: float, l2: float
) -> float:
    """The length of the step, 0 if none is accepted; `rest`: the value without the penalty of the working set."""
    value, length = rest + _penalty(at, l1, l2), 1.0
    for _ in range(_MAX_TRIALS):
        trial = loss.evaluate(step.direction, length) + (rest - loss.value)
        trial += _penalty(at + length * (step.x - at), l1, l2)
        if trial <= value + _ARMIJO * length * slope + _ROUNDING * abs(value):
            return length
        length *= 0.5
    return 0.0


def find_working_set(x: np.ndarray, gradient: np.ndarray, l1: float) -> np.ndarray:
    """Coordinates that are not zero, and of the others those of the largest gradients that λ₁ does not or hardly hold
    at zero, at most twice as many."""
    if l1 == 0.0:
        return np.arange(len(x))
    size, support = np.abs(gradient), x != 0
    candidates = np.flatnonzero((size > _NEARLY * l1) & ~support)
    most = max(_FEW, 2 * int(np.count_nonzero(support)))
    if len(candidates) > most:
        candidates = candidates[np.argpartition(-size[candidates], most)[:most]]
    support[candidates] = True
    return np.flatnonzero(support)


def _penalty(x: np.ndarray, l1: float, l2: float) -> float:
    return float(l1 * np.abs(x).sum() + 0.5 * l2 * (x @ x))
