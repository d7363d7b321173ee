"""Penalties: one file for each, with functions of one coefficient that run on arrays and in kernels.

A new file in this package is a new penalty (docs/add-a-penalty.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from lifecycle._check import one_of
from lifecycle._registry import read, registry

__all__ = ["Penalty", "find_penalty", "list_penalties"]


@dataclass(frozen=True)
class Penalty:
    """What the file of a penalty defines: its value is a smooth part and `l1_weight` times |w|.

    `prox(w, prox_params(step_size, l1_ratio))` is the proximal step, the minimizer over u of
    step_size · value(u) + (u - w)² / 2. Where `l1_weight` is zero it must be a factor of w.
    """

    name: str
    value: Annotated[Callable, "w", "l1_ratio"]
    gradient: Annotated[Callable, "w", "l1_ratio"]  # of the smooth part
    l1_weight: Annotated[Callable, "l1_ratio"]
    prox_params: Annotated[Callable, "step_size", "l1_ratio"]  # a tuple of numbers
    prox: Annotated[Callable, "w", "params"]


@cache
def list_penalties() -> dict[str, Penalty]:
    """All penalties by name; "none" is the one that `penalty=None` stands for."""
    return registry(__name__, lambda module: read(module, Penalty))


def find_penalty(name: Any) -> Penalty:
    """The penalty of that name, or of None; a ValueError that lists the names if there is none."""
    penalties = list_penalties()
    return penalties[one_of("penalty", name, [*(k for k in penalties if k != "none"), None]) or "none"]
