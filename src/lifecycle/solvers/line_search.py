"""Backtracking line search for many functions at once.

Along a direction p with slope φ′(0) = gᵀp < 0, find a step length t ≤ 1 that meets the Armijo condition

    f(x + t p) ≤ f(x) + c₁ t gᵀp + ε |f(x)|,    c₁ = 1e-4, ε the rounding error of a value.

While it does not hold, t shrinks to the minimizer of the cubic through values and slopes at 0 and t (Nocedal & Wright,
Numerical Optimization, 2006, equations 3.4 and 3.59), to a tenth at least and to half at most.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_ARMIJO = 1e-4
_MAX_TRIALS = 40


class Points(NamedTuple):
    """Numbers of functions (m,), and where they are: x (m, variables), the values (m,) and gradients there."""

    functions: np.ndarray
    x: np.ndarray
    value: np.ndarray
    gradient: np.ndarray

    def select(self, keep: np.ndarray) -> "Points":
        return Points(*(a[keep] for a in self))


def backtracking(
    evaluate: Callable, start: Points, direction: np.ndarray, shorten: np.ndarray, value_error: float
) -> tuple[Points, np.ndarray, np.ndarray]:
    """The points after a step along each direction, the steps, and (m,) whether an acceptable one was found.

    Parameters
    ----------
    evaluate : (x (k, variables), functions (k,)) -> values (k,), gradients (k, variables)
    shorten : bool, (m,), whether step lengths below 1 are tried
    value_error : ε; a search ends where it hides the decrease
    """
    end, steps, accepted = Points(*(a.copy() for a in start)), np.zeros_like(direction), np.zeros(len(direction), bool)
    slope, noise = (start.gradient * direction).sum(axis=1), value_error * np.abs(start.value)
    length, pending = np.ones(len(direction)), np.arange(len(direction))
    for _ in range(_MAX_TRIALS):
        if not pending.size:
            break
        now, step = start.select(pending), length[pending, None] * direction[pending]
        trial = Points(now.functions, now.x + step, *evaluate(now.x + step, now.functions))
        expected = length[pending] * slope[pending]
        good = np.isfinite(trial.value) & (trial.value <= now.value + (_ARMIJO * expected + noise[pending]))
        done, failed = pending[good], pending[~good]
        steps[done], accepted[done] = step[good], True
        for a, new in zip(end, trial, strict=True):
            a[done] = new[good]
        slope_at_trial = (trial.gradient[~good] * step[~good]).sum(axis=1)
        length[failed] *= cubic_minimizer(now.value[~good], expected[~good], trial.value[~good], slope_at_trial)
        visible = -slope[failed] * length[failed] > 10.0 * noise[failed]
        pending = failed[shorten[failed] & visible]
    return end, steps, accepted


def cubic_minimizer(value: np.ndarray, slope: np.ndarray, new_value: np.ndarray, new_slope: np.ndarray) -> np.ndarray:
    """Where on [0, 1] the cubic with these values and slopes at 0 and 1 is least, within [0.1, 0.5]."""
    with np.errstate(all="ignore"):
        d = slope + new_slope - 3.0 * (new_value - value)
        root = np.sqrt(d * d - slope * new_slope)
        t = 1.0 - (new_slope + root - d) / (new_slope - slope + 2.0 * root)
    return np.clip(np.where(np.isfinite(t), t, 0.5), 0.1, 0.5)
