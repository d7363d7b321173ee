"""Newton's method with Levenberg-Marquardt damping, for convex functions of a few thousand variables at most."""

from collections.abc import Callable, Iterator

import numpy as np

_LEAST, _MOST = 1e-10, 1e10


def descend(look: Callable, solve: Callable, x: np.ndarray, metric: np.ndarray) -> Iterator[tuple]:
    """Yield (x, value, promised) after each accepted step, for ever or until no step goes down.

    Parameters
    ----------
    look : x -> value, gradient, and a function () -> the Hessian there or, where the function is smooth only once, a
        generalized one
    solve : (matrix, vector) -> the solution, or None where the matrix is not positive definite
    x : float64, (variables,), where to start
    metric : float64, (variables,), positive
        Bound of the diagonal of the Hessian; the damping is in units of it.

    Notes
    -----
    `promised` is the decrease that the quadratic model promised for the step before it was made; it is infinite
    as long as the damping holds the steps back. Levenberg (1944), Marquardt (1963).
    """
    (now, gradient, curve), damping = look(x), _LEAST
    while True:
        hessian = curve()
        while True:
            damped = hessian.copy()
            damped.ravel()[:: len(x) + 1] += damping * metric
            step = solve(damped, -gradient)
            if step is None:
                damping = max(10.0 * damping, 1e-8)
                if damping > _MOST:
                    return
                continue
            promised = -(gradient @ step) - 0.5 * (step @ hessian @ step)
            then, *there = look(x + step)
            if promised <= 1e-15 * abs(now) or (np.isfinite(then) and now - then >= 1e-4 * promised):
                break
            damping = max(10.0 * damping, 1e-3)
            if damping > _MOST:
                return
        if not then <= now:  # the promise is below the rounding of the value
            return
        exact = damping <= 1e-6
        if now - then >= 0.5 * promised:
            damping = max(damping / 10.0, _LEAST) if damping > 1e-6 else _LEAST
        x, now, (gradient, curve) = x + step, then, there
        yield x, now, promised if exact else np.inf
        if promised <= 1e-15 * abs(now):
            return
