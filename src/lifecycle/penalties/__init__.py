"""Penalties: one file each, per coefficient, written so that they work on arrays and inside kernels.

A penalty file has `value(w, l1_ratio)`; `slope(w, l1_ratio)`, the derivative of its smooth part; `kink(l1_ratio)`,
the weight of |w| in it (0 where it is smooth); and its proximal step: `prox(w, s)`, the minimizer over u of
t · value(u) + (u - w)²/2, s being the coefficients `step(t, l1_ratio)`, a tuple of numbers; without a kink it must be a
factor of w. A new file in this folder is a new penalty.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from lifecycle._check import one_of

__all__ = ["Penalty", "find_penalty", "list_penalties"]


@dataclass(frozen=True)
class Penalty:
    """What a penalty file offers."""

    name: str
    value: Callable
    slope: Callable
    kink: Callable
    step: Callable
    prox: Callable


@cache
def list_penalties() -> dict[str, Penalty]:
    """All penalties by name; "none" is the one that `penalty=None` stands for."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        room = import_module(f"{__name__}.{info.name}")
        found[info.name] = Penalty(info.name, room.value, room.slope, room.kink, room.step, room.prox)
    return found


def find_penalty(name: Any) -> Penalty:
    """The penalty of that name, or of None; a ValueError that lists the names if there is none."""
    penalties = list_penalties()
    found = one_of("penalty", name, [*(k for k in penalties if k != "none"), None])
    return penalties["none" if found is None else found]
