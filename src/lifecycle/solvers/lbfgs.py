"""L-BFGS (Nocedal, 1980) for many functions at once, from a first guess of their inverse Hessians."""

from collections.abc import Callable, Iterator

import numpy as np

_PAIRS = 8  # steps that are remembered
_HALVINGS = 40
_SLOW_AFTER, _SLOW = 3, 0.4**3


def descend(
    gradients: Callable, precondition: Callable, x: np.ndarray, which: np.ndarray, limits: np.ndarray, step: float,
    rounding: np.ndarray, noise: float, lead: int | None = None,
) -> Iterator[tuple[dict[int, float], list[int], list[int]]]:  # fmt: skip
    """Yield, after each turn, the values of the functions that took a step, those that have arrived, and those of the
    others that are slow: their promises shrink to more than two fifths a turn, so that a better guess would pay.

    Parameters
    ----------
    gradients : (points (m, variables), which (m,)) -> values (m,), gradients (m, variables)
    precondition : (gradients (m, variables), which (m,)) -> about the inverse Hessians times them
        May change between two turns: what steps have shown of the Hessians stays true.
    x : float64, (functions, variables), where to start, changed in place, but where a function is not finite
    which : the functions that are minimized
    limits, step, rounding : (functions,), number, (functions,)
        One arrives with a step that promises a decrease of no more than `limits` and changes x by no more than `step`
        times its largest element, or where promises below the noise no longer shrink, or that promises no more than
        `rounding`, or where no step is seen to go down.
    noise : relative error of a value; an increase of no more counts as none
    lead : how many of the first elements a step is measured by, None: all
    """
    steps: list[np.ndarray] = []
    turns: list[np.ndarray] = []
    promises: list[np.ndarray] = []
    value, gradient = np.full(len(x), np.inf), np.zeros_like(x)
    value[which], gradient[which] = gradients(x[which], which)
    which = which[np.isfinite(value[which])]
    while which.size:
        direction = -_solved(gradient[which], [s[which] for s in steps], [y[which] for y in turns],
                             lambda g, which=which: precondition(g, which))  # fmt: skip
        slope = (gradient[which] * direction).sum(axis=1)
        uphill = ~(slope < 0)
        if uphill.any():
            direction[uphill] = -precondition(gradient[which][uphill], which[uphill])
            slope = (gradient[which] * direction).sum(axis=1)
        moves = np.abs(direction).max(axis=1)
        small = moves <= (step * largest(x[which], lead) if np.isfinite(step) else np.inf)
        promise = -0.5 * slope
        # what no value could show, and stays as large as it was for a few turns, is made of rounding
        stays = promise <= 0.1 * noise * np.abs(value[which])
        stays &= promise > 0.5 * np.min([p[which] for p in promises[-3:]], axis=0) if len(promises) > 2 else False
        arrived = (promise <= limits[which]) & (small | stays) | (promise <= rounding[which])
        latest = np.full(len(x), np.inf)
        latest[which] = promise
        promises.append(latest)
        moved, pulled = np.zeros_like(x), np.zeros_like(x)
        length, waiting = np.ones(len(x)), np.ones(len(which), bool)
        for _ in range(_HALVINGS):
            now = which[waiting]
            if not now.size:
                break
            move = length[now, None] * direction[waiting]
            new_value, new_gradient = gradients(x[now] + move, now)
            slack = 1e-4 * length[now] * slope[waiting] + noise * np.abs(value[now])
            good = np.isfinite(new_value) & (new_value <= value[now] + slack)
            taken = now[good]
            x[taken] += move[good]
            moved[taken], pulled[taken] = move[good], (new_gradient - gradient[now])[good]
            value[taken], gradient[taken] = new_value[good], new_gradient[good]
            back = now[~good]
            length[back] *= _shorter(value[back], slope[waiting][~good] * length[back], new_value[~good],
                                     (new_gradient[~good] * move[~good]).sum(axis=1))  # fmt: skip
            waiting[np.flatnonzero(waiting)[good]] = False
            # a decrease that rounding hides cannot be looked for
            hidden = waiting & (arrived | (-slope * length[which] <= 10.0 * noise * np.abs(value[which])))
            arrived |= hidden
            waiting &= ~hidden
        arrived |= waiting
        steps, turns = [*steps, moved][-_PAIRS:], [*turns, pulled][-_PAIRS:]
        before = promises[-1 - _SLOW_AFTER][which] if len(promises) > _SLOW_AFTER else np.inf
        slow = ~arrived & (promise > _SLOW * before)
        yield {int(m): float(value[m]) for m in which}, which[arrived].tolist(), which[slow].tolist()
        which = which[~arrived]


def largest(x: np.ndarray, lead: int | None) -> np.ndarray:
    """(functions,): the largest of the leading elements, of all where these are zero."""
    first = np.abs(x[:, :lead]).max(axis=1, initial=0.0)
    return np.where(first > 0, first, np.abs(x).max(axis=1))


def _shorter(value: np.ndarray, slope: np.ndarray, new_value: np.ndarray, new_slope: np.ndarray) -> np.ndarray:
    """Of steps that went too far, the parts that lead to the least of the cubics through values and slopes at both ends
    (Nocedal & Wright, 2006, 3.59); a tenth at least and half at most."""
    with np.errstate(all="ignore"):
        d = slope + new_slope - 3.0 * (new_value - value)
        root = np.sqrt(d * d - slope * new_slope)
        part = 1.0 - (new_slope + root - d) / (new_slope - slope + 2.0 * root)
    return np.clip(np.where(np.isfinite(part), part, 0.5), 0.1, 0.5)


def _solved(gradient: np.ndarray, steps: list[np.ndarray], turns: list[np.ndarray], guess: Callable) -> np.ndarray:
    """The two loops: products with the inverse Hessians that remembered steps and their changes of slope tell of."""
    q, kept = gradient.copy(), []
    for s, y in zip(reversed(steps), reversed(turns), strict=True):
        bend = (s * y).sum(axis=1)
        use = bend > 1e-10 * np.sqrt((s * s).sum(axis=1) * (y * y).sum(axis=1))
        rho = np.divide(1.0, bend, out=np.zeros_like(bend), where=use)
        a = rho * (s * q).sum(axis=1)
        q -= a[:, None] * y
        kept.append((s, y, rho, a))
    q = guess(q)
    for s, y, rho, a in reversed(kept):
        q += (a - rho * (y * q).sum(axis=1))[:, None] * s
    return q
