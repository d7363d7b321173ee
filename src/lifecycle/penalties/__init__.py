"""Penalties: one file each, per coefficient, written so that they work on arrays and inside kernels.

A penalty file has `value(w, l1_ratio)`; `gradient(w, l1_ratio)`, the derivative of its smooth part; `l1_weight(l1_ratio)`,
the weight of |w| in it (0 where it is smooth); and its proximal step: `prox(w, s)`, the minimizer over u of
t · value(u) + (u - w)²/2, s being the coefficients `prox_params(t, l1_ratio)`, a tuple of numbers; without a l1_weight it must be a
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
    gradient: Callable
    l1_weight: Callable
    prox_params: Callable
    prox: Callable


@cache
def list_penalties() -> dict[str, Penalty]:
    """All penalties by name; "none" is the one that `penalty=None` stands for."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        room = import_module(f"{__name__}.{info.name}")
        found[info.name] = Penalty(info.name, room.value, room.gradient, room.l1_weight, room.prox_params, room.prox)
    return found


def find_penalty(name: Any) -> Penalty:
    """The penalty of that name, or of None; a ValueError that lists the names if there is none."""
    penalties = list_penalties()
    found = one_of("penalty", name, [*(k for k in penalties if k != "none"), None])
    return penalties["none" if found is None else found]
