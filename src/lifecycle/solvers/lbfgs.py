"""L-BFGS for many functions at once, from an approximation of their inverse Hessians.

With s_k = x_{k+1} − x_k, y_k = ∇f(x_{k+1}) − ∇f(x_k) and ρ_k = 1 / y_kᵀs_k of the last steps, and a preconditioner
H⁰ in place of the usual γI, the direction is p = −H ∇f(x), where H is H⁰ after the updates

    H ← (I − ρ_k s_k y_kᵀ) H (I − ρ_k y_k s_kᵀ) + ρ_k s_k s_kᵀ.

A pair of no curvature, y_kᵀs_k ≤ 1e-10 ‖s_k‖ ‖y_k‖, is left out. The step predicts a decrease of −½ ∇f(x)ᵀp; a
function has converged where this and ½ ∇f(x)ᵀH⁰∇f(x) are small. Sources:
Nocedal (1980); Nocedal & Wright, Numerical Optimization (2006), algorithms 7.4 and 7.5.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from lifecycle.solvers.convergence import Tolerances
from lifecycle.solvers.line_search import Points, backtracking

_MEMORY = 8  # pairs (s_k, y_k)
_WINDOW = 3  # iterations over which predicted decreases are compared
_SLOW_RATE = 0.4  # of the predicted decrease from one iteration to the next

Pair = tuple[np.ndarray, np.ndarray, np.ndarray]  # s_k, y_k (m, variables) and ρ_k (m,), zero: left out


class Iteration(NamedTuple):
    """The functions that took part (m,), their values after the step, which of them are done and have converged, which
    are done because no step gains anything, and which of the others are slow: their predicted decrease shrinks to more
    than two fifths in an iteration."""

    functions: np.ndarray
    value: np.ndarray
    converged: np.ndarray
    failed: np.ndarray
    slow: np.ndarray


def minimize(
    evaluate: Callable, precondition: Callable, x: np.ndarray, functions: np.ndarray, tolerances: Tolerances
) -> Iterator[Iteration]:
    """Yield after each iteration, until all functions are done.

    They are done by `tolerances`, or where the predicted decrease is below the rounding of the value and no longer
    shrinks, or where the line search finds no step. They have converged then if their gradients are small enough.

    Parameters
    ----------
    evaluate : (points (m, variables), functions (m,)) -> values (m,), gradients (m, variables)
    precondition : (gradients (m, variables), functions (m,)) -> H⁰ times the gradients
        May change between two iterations: the pairs stay true.
    x : float64, (all functions, variables)
        The start, changed in place, except where a function is not finite.
    functions : numbers of those that are minimized
    """
    points = Points(functions, x[functions], *evaluate(x[functions], functions))
    points = points.select(np.isfinite(points.value))
    per_function = tolerances.predicted_decrease, tolerances.rounding, tolerances.gradient_norm
    tolerance, rounding, gradient_norm = (np.broadcast_to(t, len(x)) for t in per_function)
    pairs: deque[Pair] = deque(maxlen=_MEMORY)
    history: deque[np.ndarray] = deque(maxlen=_WINDOW)  # of predicted decreases
    while points.functions.size:
        functions, noise = points.functions, tolerances.value_error * np.abs(points.value)
        # direction
        direction = -two_loop_recursion(points, pairs, precondition)
        slope = (points.gradient * direction).sum(axis=1)
        uphill = ~(slope < 0)
        if uphill.any():
            direction[uphill] = -precondition(points.gradient[uphill], functions[uphill])
            slope = (points.gradient * direction).sum(axis=1)
        # convergence
        decrease = -0.5 * slope
        stagnant = slow = np.zeros(len(functions), bool)
        if len(history) == _WINDOW:
            stagnant = (decrease <= 0.1 * noise) & (decrease > 0.5 * np.min(history, axis=0))
            slow = decrease > _SLOW_RATE**_WINDOW * history[0]
        history.append(decrease)
        # a norm of inf takes no time
        flat = np.isinf(gradient_norm[functions])
        if not flat.all():
            flat = np.linalg.norm(points.gradient, axis=1) <= gradient_norm[functions]
        exhausted = decrease <= rounding[functions]
        # pairs of long steps hold more curvature than there is near the minimum, and then predict too little
        without_pairs = 0.5 * (points.gradient * precondition(points.gradient, functions)).sum(axis=1)
        small = np.maximum(decrease, without_pairs) <= tolerance[functions]
        done = (small & flat) | ((decrease <= tolerance[functions]) & stagnant) | exhausted
        # a function that is done needs no further step
        going, values, failed = ~done, points.value.copy(), np.zeros(len(functions), bool)
        if done.any():
            points, direction = points.select(going), direction[going]
            pairs = deque(((s[going], y[going], rho[going]) for s, y, rho in pairs), _MEMORY)
            history = deque((decrease[going] for decrease in history), _WINDOW)
        accepted = np.ones(len(direction), bool)
        if len(direction):
            end, s, accepted = backtracking(evaluate, points, direction, accepted, tolerances.value_error)
            pairs.append(curvature_pair(s, end.gradient - points.gradient))
            points, x[points.functions] = end, end.x
            values[going], failed[going] = end.value, ~accepted
        done |= failed
        yield Iteration(functions, values, done & flat, done & ~flat, slow & ~done)
        if not accepted.all():
            points = points.select(accepted)
            pairs = deque(((s[accepted], y[accepted], rho[accepted]) for s, y, rho in pairs), _MEMORY)
            history = deque((decrease[accepted] for decrease in history), _WINDOW)


def curvature_pair(s: np.ndarray, y: np.ndarray) -> Pair:
    """(s, y, ρ) of a step and the difference of gradients, with ρ = 0 where the curvature is not positive."""
    ys = (s * y).sum(axis=1)
    positive = ys > 1e-10 * np.sqrt((s * s).sum(axis=1) * (y * y).sum(axis=1))
    return s, y, np.divide(1.0, ys, out=np.zeros_like(ys), where=positive)


def two_loop_recursion(points: Points, pairs: deque[Pair], precondition: Callable) -> np.ndarray:
    """H ∇f(x) of each function (algorithm 7.4)."""
    q, alphas = points.gradient.copy(), []
    for s, y, rho in reversed(pairs):
        alphas.append(rho * (s * q).sum(axis=1))
        q -= alphas[-1][:, None] * y
    r = precondition(q, points.functions)
    for s, y, rho in pairs:
        beta = rho * (y * r).sum(axis=1)
        r += (alphas.pop() - beta)[:, None] * s
    return r
