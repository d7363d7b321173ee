"""Newton's method with a line search for many functions at once; directions from preconditioned conjugate gradients.

At x with gradient g and Hessian H, a direction s solves H s = −g. It predicts a decrease of −½ gᵀs, and a backtracking
line search shortens the step where it brings less. Conjugate gradients with a preconditioner M (a truncated Newton
method) end with a residual r at iteration i, which lowers the quadratic model from q(i − 1) to q(i), where

    rᵀM⁻¹r ≤ η² gᵀM⁻¹g    or    q(i − 1) − q(i) ≤ −ν q(i) / i    or    ½ rᵀH⁻¹r ≤ tolerance.

The second holds where the model falls by less than a share ν of its mean fall so far: an ill-conditioned Hessian would
take many more iterations for the first, which lower the function hardly. The share is ½ at first, and a quarter of it
after each step that brought what the model predicted, so that quadratic functions are solved to the first. It shows no
minimum: where the decrease is within the tolerance one of the others decides. The third, of which an estimate from
above is computed, is what the model could fall further; a function without such an estimate may have no minimum, and
its directions are solved to the first. No Hessian is stored: each iteration takes one product with it, for all
functions together. Sources: Dembo & Steihaug (1983); Nash & Sofer (1990), Assessing a search direction within a
truncated-Newton method; Nocedal & Wright, Numerical Optimization (2006), algorithms 3.2, 5.3 and 7.1.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from lifecycle.solvers.convergence import Tolerances
from lifecycle.solvers.line_search import Points, backtracking

_RESIDUAL = 0.1  # η
_PROGRESS = 0.5  # ν at first
_QUADRATIC = 1e-2  # relative error of a predicted decrease, up to which the model is trusted further and ν is quartered
_MAX_INNER = 500  # conjugate gradients for one direction


class Hessian(Protocol):
    """The Hessians of some functions where these are.

    is_accurate : bool, (m,), whether they are about those of the functions, and not larger to shorten steps
    """

    is_accurate: np.ndarray

    def newton_direction(
        self, gradient: np.ndarray, tolerance: np.ndarray, progress: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """About −H⁻¹ g of each function, (m, variables), and whether it shows by its predicted decrease that the
        function has a minimum within the tolerance, or has none there, (m,).

        tolerance : (m,), of the decrease
        progress : (m,), ν
        """
        ...


class HessianProducts(Protocol):
    """Products with Hessians, preconditioners and estimates; `places` are numbers within the functions."""

    def multiply(self, v: np.ndarray, places: np.ndarray) -> np.ndarray:
        """H v, (len(places), variables)."""
        ...

    def precondition(self, r: np.ndarray, places: np.ndarray) -> np.ndarray:
        """M⁻¹ r, (len(places), variables)."""
        ...

    def estimate_decrease(self, r: np.ndarray, places: np.ndarray) -> np.ndarray:
        """An estimate of ½ rᵀH⁻¹r from above, (len(places),), which may be infinite."""
        ...


class Iteration(NamedTuple):
    """The functions that took part (m,), their values, which have converged, which are done because no step gains
    anything, which took a step that was shortened, and the decreases that are predicted from where they were."""

    functions: np.ndarray
    value: np.ndarray
    converged: np.ndarray
    failed: np.ndarray
    shortened: np.ndarray
    predicted_decrease: np.ndarray


def minimize(
    evaluate: Callable, hessian: Callable[..., Hessian], x: np.ndarray, functions: np.ndarray, tolerances: Tolerances
) -> Iterator[Iteration]:
    """Yield after each iteration, until all functions are done: by `tolerances`, which x then meets without a further
    step, or where rounding hides what a step gains.

    Parameters
    ----------
    evaluate : (points (m, variables), functions (m,)) -> values (m,), gradients (m, variables)
    hessian : (points, functions) -> Hessian
    x : float64, (all functions, variables)
        The start, changed in place, except where a function is not finite.
    functions : numbers of those that are minimized
    """
    points = Points(functions, x[functions], *evaluate(x[functions], functions))
    points = points.select(np.isfinite(points.value))
    tolerance = np.broadcast_to(tolerances.predicted_decrease, len(x))
    progress = np.full(len(x), _PROGRESS)
    while points.functions.size:
        functions = points.functions
        there = hessian(points.x, functions)
        direction, solved = there.newton_direction(points.gradient, tolerance[functions], progress[functions])
        decrease = -0.5 * (points.gradient * direction).sum(axis=1)
        noise = 0.1 * tolerances.value_error * np.abs(points.value)
        converged = ((decrease <= tolerance[functions]) & there.is_accurate & solved) | (np.abs(decrease) <= noise)
        values, going = points.value.copy(), ~converged
        failed, shortened = np.zeros((2, len(functions)), bool)
        points, direction = points.select(going), direction[going]
        if len(direction):
            points, steps, accepted = backtracking(
                evaluate, points, direction, np.ones(len(direction), bool), tolerances.value_error
            )
            error = np.abs(values[going] - points.value - decrease[going])
            progress[points.functions] *= np.where(error < _QUADRATIC * decrease[going], 0.25, 1.0)
            x[points.functions], values[going] = points.x, points.value
            failed[going], shortened[going] = ~accepted, (steps != direction).any(axis=1)
            points = points.select(accepted)
        yield Iteration(functions, values, converged, failed, shortened, decrease)


def conjugate_gradients(
    hessian: HessianProducts, gradient: np.ndarray, tolerance: np.ndarray, progress: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """About −H⁻¹ g of each function, (m, variables), and whether the first or the third end was reached, (m,)."""
    places, solved = np.arange(len(gradient)), np.ones(len(gradient), bool)
    r = hessian.precondition(-gradient, places)
    direction = np.zeros_like(r)
    r, z = (-gradient).astype(r.dtype), r
    p, rz = z.copy(), _dot(r, z)
    limit, decrease = _RESIDUAL**2 * rz, np.zeros(len(rz))
    places = np.flatnonzero(rz > 0)
    if len(places) < len(gradient):
        r, p, rz = r[places], p[places], rz[places]
        limit, decrease, tolerance, progress = limit[places], decrease[places], tolerance[places], progress[places]
    for i in range(1, _MAX_INNER + 1):
        if not places.size:
            break
        product = hessian.multiply(p, places)
        curvature = _dot(p, product)
        positive = curvature > 0
        length = np.divide(rz, curvature, out=np.zeros_like(rz), where=positive)
        gain = 0.5 * length * rz
        decrease += gain
        length = length.astype(r.dtype)[:, None]
        if len(places) == len(direction):
            direction += length * p
        else:
            direction[places] += length * p
        r -= length * product
        z = hessian.precondition(r, places)
        before, rz = rz, _dot(r, z)
        left = hessian.estimate_decrease(r, places)
        going = positive & (rz > limit) & (left > tolerance)
        is_stalled = going & (i * gain <= progress * decrease) & (decrease > tolerance) & np.isfinite(left)
        solved[places[is_stalled]] = False
        going &= ~is_stalled
        p *= (rz / before).astype(p.dtype)[:, None]
        p += z
        if not going.all():
            places, r, p, rz = places[going], r[going], p[going], rz[going]
            limit, decrease, tolerance, progress = limit[going], decrease[going], tolerance[going], progress[going]
    solved[places] = False
    return direction.astype(np.float64), solved


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(m,): inner products of rows."""
    return np.array([np.dot(u, v) for u, v in zip(a, b, strict=True)], np.float64)
