"""Newton's method with a line search for many functions at once; directions from preconditioned conjugate gradients.

At x with gradient g and Hessian H, a direction s solves H s = −g. It predicts a decrease of −½ gᵀs, and a backtracking
line search shortens the step where it brings less. Conjugate gradients with a preconditioner M (a truncated Newton
method) stop at a residual r with

    rᵀM⁻¹r ≤ η² gᵀM⁻¹g.

They store no Hessian: each iteration takes one product with it, for all functions together. Sources: Dembo & Steihaug
(1983); Nocedal & Wright, Numerical Optimization (2006), algorithms 3.2, 5.3 and 7.1.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from lifecycle.solvers.convergence import Tolerances
from lifecycle.solvers.line_search import Points, backtracking

_RESIDUAL, _RESIDUAL_AT_FIRST = 0.1, 0.3  # η; a looser one first saves up to half of the products
_NEAR = 1e2  # predicted decrease, in tolerances, from which on directions are computed to the smaller residual
_MAX_INNER = 500  # conjugate gradients for one direction


class Hessian(Protocol):
    """The Hessians of some functions where these are.

    is_accurate : bool, (m,), whether they are about those of the functions, and not larger to shorten steps
    is_exact : whether directions are solved exactly, whatever residual is asked for
    """

    is_accurate: np.ndarray
    is_exact: bool

    def newton_direction(self, gradient: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """About −H⁻¹ g of each function, (m, variables), and whether it is as near as asked for, (m,)."""
        ...


class HessianProducts(Protocol):
    """Products with Hessians, and preconditioners; `places` are numbers within the functions."""

    def multiply(self, v: np.ndarray, places: np.ndarray) -> np.ndarray:
        """H v, (len(places), variables)."""
        ...

    def precondition(self, r: np.ndarray, places: np.ndarray) -> np.ndarray:
        """M⁻¹ r, (len(places), variables)."""
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
    is_near = np.zeros(len(x), bool)
    while points.functions.size:
        functions = points.functions
        there = hessian(points.x, functions)
        residual = np.where(is_near[functions], _RESIDUAL, _RESIDUAL_AT_FIRST)
        direction, solved = there.newton_direction(points.gradient, residual)
        decrease = -0.5 * (points.gradient * direction).sum(axis=1)
        noise = 0.1 * tolerances.value_error * np.abs(points.value)
        # a direction that is far from solved predicts too little
        is_proof = there.is_accurate & solved & (is_near[functions] | there.is_exact)
        converged = ((decrease <= tolerance[functions]) & is_proof) | (np.abs(decrease) <= noise)
        is_near[functions] |= decrease <= _NEAR * tolerance[functions]
        values, going = points.value.copy(), ~converged
        failed, shortened = np.zeros((2, len(functions)), bool)
        points, direction = points.select(going), direction[going]
        if len(direction):
            points, steps, accepted = backtracking(
                evaluate, points, direction, np.ones(len(direction), bool), tolerances.value_error
            )
            x[points.functions], values[going] = points.x, points.value
            failed[going], shortened[going] = ~accepted, (steps != direction).any(axis=1)
            points = points.select(accepted)
        yield Iteration(functions, values, converged, failed, shortened, decrease)


def conjugate_gradients(
    hessian: HessianProducts, gradient: np.ndarray, residual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """About −H⁻¹ g of each function, (m, variables), and whether the residual is as small as `residual`, (m,), asks."""
    places = np.arange(len(gradient))
    r = hessian.precondition(-gradient, places)
    direction = np.zeros_like(r)
    r, z = (-gradient).astype(r.dtype), r
    p, rz = z.copy(), _dot(r, z)
    limit = residual**2 * rz
    places = np.flatnonzero(rz > 0)
    if len(places) < len(gradient):
        r, p, rz, limit = r[places], p[places], rz[places], limit[places]
    for _ in range(_MAX_INNER):
        if not places.size:
            break
        product = hessian.multiply(p, places)
        curvature = _dot(p, product)
        positive = curvature > 0
        length = np.divide(rz, curvature, out=np.zeros_like(rz), where=positive).astype(r.dtype)[:, None]
        if len(places) == len(direction):
            direction += length * p
        else:
            direction[places] += length * p
        r -= length * product
        z = hessian.precondition(r, places)
        before, rz = rz, _dot(r, z)
        going = positive & (rz > limit)
        p *= (rz / before).astype(p.dtype)[:, None]
        p += z
        if not going.all():
            places, r, p, rz, limit = places[going], r[going], p[going], rz[going], limit[going]
    solved = np.ones(len(direction), bool)
    solved[places] = False
    return direction.astype(np.float64), solved


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(m,): inner products of rows."""
    return np.array([np.dot(u, v) for u, v in zip(a, b, strict=True)], np.float64)
