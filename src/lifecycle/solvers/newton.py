"""Newton's method with Levenberg-Marquardt damping, for convex functions of a few thousand variables at most.

At x with gradient g and Hessian H, the step s solves

    (H + λ D) s = −g,    D diagonal, λ the damping.

It is accepted if f(x) − f(x + s) is at least 1e-4 of the predicted decrease, that of the quadratic model of f:

    m(0) − m(s) = −gᵀs − ½ sᵀHs    (without damping ½ gᵀH⁻¹g, half the squared Newton decrement).

Otherwise λ grows tenfold; it falls tenfold after a step that brings half of what was predicted. Sources: Levenberg
(1944); Marquardt (1963); Nocedal & Wright, Numerical Optimization (2006), sections 4.1 and 10.3.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lifecycle.solvers.convergence import Tolerances

_MIN_DAMPING, _MAX_DAMPING = 1e-10, 1e10
_UNDAMPED = 1e-6  # damping up to which a step counts as a Newton step
_SUFFICIENT_DECREASE = 1e-4


class Point(NamedTuple):
    """A place, with the value, the gradient and a function () -> the Hessian there."""

    x: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: Callable[[], np.ndarray]


class NewtonResult(NamedTuple):
    """The last place; the values after each step, or at the start if there was none; the predicted decrease of the last
    step, infinite if it was damped; and whether it converged within `max_iter` steps."""

    x: np.ndarray
    values: list[float]
    predicted_decrease: float
    converged: bool


def minimize(
    evaluate: Callable, solve: Callable, x: np.ndarray, scale: np.ndarray, tolerances: Tolerances, max_iter: int
) -> NewtonResult:
    """Newton steps until one is small, without damping, or until none decreases the value.

    Parameters
    ----------
    evaluate : x -> value, gradient, and a function () -> the Hessian, or a generalized one where f is smooth only once
    solve : (matrix, vector) -> the solution, or None where the matrix is not positive definite
    x : float64, (variables,)
    scale : float64, (variables,), positive
        The diagonal of D: a bound of that of H.
    """
    point, values, damping = Point(x, *evaluate(x)), list[float](), _MIN_DAMPING
    predicted = newton_decrease = np.inf
    for _ in range(max_iter):
        if predicted <= tolerances.value_error * abs(point.value):
            break
        accepted = _damped_step(evaluate, solve, point, damping, scale, tolerances)
        if accepted is None or not accepted[0].value <= point.value:  # rounding hides what the step brings
            break
        trial, damping, predicted = accepted
        newton_decrease = predicted if damping <= _UNDAMPED else np.inf
        if point.value - trial.value >= 0.5 * predicted:
            damping = max(damping / 10.0, _MIN_DAMPING) if damping > _UNDAMPED else _MIN_DAMPING
        point = trial
        values.append(point.value)
        if newton_decrease <= tolerances.predicted_decrease:
            break
    else:
        return NewtonResult(point.x, values, newton_decrease, converged=False)
    return NewtonResult(point.x, values or [point.value], newton_decrease, converged=True)


def _damped_step(
    evaluate: Callable, solve: Callable, point: Point, damping: float, scale: np.ndarray, tolerances: Tolerances
) -> tuple[Point, float, float] | None:
    """The place after the step with the first damping that suffices, this damping, and the predicted decrease."""
    x, value, gradient, hessian = *point[:3], point.hessian()
    while damping <= _MAX_DAMPING:
        damped = hessian.copy()
        damped.ravel()[:: len(x) + 1] += damping * scale
        step = solve(damped, -gradient)
        if step is None:
            damping = max(10.0 * damping, 1e-8)
            continue
        predicted = -(gradient @ step) - 0.5 * (step @ hessian @ step)
        end = x + step
        trial = Point(end, *evaluate(end))
        sufficient = np.isfinite(trial.value) and value - trial.value >= _SUFFICIENT_DECREASE * predicted
        if sufficient or predicted <= tolerances.value_error * abs(value):
            return trial, damping, predicted
        damping = max(10.0 * damping, 1e-3)
    return None
