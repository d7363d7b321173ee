"""Losses: one file each, with value, slope and, where it is smooth, curvature per sample.

A loss file has `task` ("classification": y = ±1, or "regression"), and `value(y, z, epsilon)` and
`slope(y, z, epsilon)`, the derivative by the score z, written so that they work on arrays and inside kernels.
A smooth loss adds `curvature` and `steepest`, the largest curvature; a loss of bounded slope `slope_bound(epsilon)`.
A loss for several classes at once adds functions of the scores z of a sample, of which `top` is the largest and
`chosen` is that of its class less top: `joint_part(z, top)` of each class; with their sum `total`, `joint_value(chosen,
total)` and, of each class, `joint_slope(y, part, total)` (y = 1 for that of the sample, else 0); and `joint_steepest`.
A new file in this folder is a new loss.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from lifecycle._check import one_of

__all__ = ["Loss", "find_loss", "list_losses"]


@dataclass(frozen=True)
class Loss:
    """What a loss file offers."""

    name: str
    task: str
    value: Callable
    slope: Callable
    curvature: Callable | None = None
    steepest: float | None = None
    joint_part: Callable | None = None
    joint_value: Callable | None = None
    joint_slope: Callable | None = None
    joint_steepest: float | None = None
    slope_bound: Callable | None = None

    @property
    def smooth(self) -> bool:
        """Whether the loss has a curvature (the slope is continuous)."""
        return self.curvature is not None

    def functions(self, joint: bool) -> tuple:
        """What a kernel is made of; `joint`: that which sees the scores of all classes of a sample at once."""
        return (self.joint_part, self.joint_slope, self.joint_value) if joint else (self.slope, self.value)


@cache
def list_losses() -> dict[str, Loss]:
    """All losses by name."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        room = import_module(f"{__name__}.{info.name}")
        offers: dict[str, Any] = {k: getattr(room, k) for k in Loss.__dataclass_fields__ if hasattr(room, k)}
        found[info.name] = Loss(**{**offers, "name": info.name})
    return found


def find_loss(name: Any, task: str) -> Loss:
    """The loss of that name and task ("classification" or "regression"); a ValueError that lists the names if none."""
    losses = list_losses()
    return losses[one_of("loss", name, [k for k, loss in losses.items() if loss.task == task])]
