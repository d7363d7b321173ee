"""Which option each layer gets: the least damage that a number of bytes allows (SPDY; Frantar & Alistarh, 2022)."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

_BUCKETS = 2000
T = TypeVar("T")


def frontier(found: Iterable[T], cost: Callable[[T], float], damage: Callable[[T], float]) -> list[T]:
    """From the most to the least costly those that damage less than all that cost no more."""
    best: list[T] = []
    for one in sorted(found, key=lambda one: (cost(one), damage(one))):
        if not best or damage(one) < damage(best[-1]):
            best.append(one)
    return best[::-1]


def least_damage(costs: list[np.ndarray], damages: list[np.ndarray], budgets: np.ndarray) -> list[list[int] | None]:
    """For each budget the option of every layer, with the least sum of damages; None if no choice is known to fit it.

    A dynamic programme over the layers. Costs are rounded up to 1/2000 of the sum of the largest ones: no choice
    exceeds its budget, and one that fits it barely may be missed.

    Parameters
    ----------
    costs, damages : list of ndarray of shape (n_options,)
        Of each layer.
    budgets : ndarray
    """
    unit = max(sum(float(c.max()) for c in costs), 1.0) / _BUCKETS
    steps = [np.ceil(c / unit - 1e-9).astype(int) for c in costs]
    size = sum(int(s.max()) for s in steps) + 1
    least = np.zeros(size)  # least[b]: of the layers so far, with b units at most
    choices = []
    for step, damage in zip(steps, damages, strict=True):
        found = np.full((len(step), size), np.inf)
        for option, (units, hurt) in enumerate(zip(step, damage, strict=True)):
            found[option, units:] = least[: size - units] + hurt
        choices.append(found.argmin(axis=0))
        least = found.min(axis=0)
    plans: list[list[int] | None] = []
    for budget in budgets:
        b = min(int(budget / unit + 1e-9), size - 1)
        if b < 0 or not np.isfinite(least[b]):
            plans.append(None)
            continue
        plan = []
        for choice, step in zip(reversed(choices), reversed(steps), strict=True):
            plan.append(int(choice[b]))
            b -= int(step[plan[-1]])
        plans.append(plan[::-1])
    return plans
