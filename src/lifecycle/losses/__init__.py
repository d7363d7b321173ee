"""Losses: one file each, with value, dloss and, where it is smooth, hessian per sample.

A loss file has `task` ("classification": y = ±1, or "regression"), and `value(y, z, epsilon)` and
`dloss(y, z, epsilon)`, the derivative by the score z, written so that they work on arrays and inside kernels.
A smooth loss adds `hessian` and `max_curvature`, the largest hessian; a loss of bounded dloss `dloss_bound(epsilon)`.
A loss for several classes at once adds functions of the scores z of a sample, of which `top` is the largest and
`chosen` is that of its class less top: `multinomial_exp(z, top)` of each class; with their sum `total`, `multinomial_value(chosen,
total)` and, of each class, `multinomial_dloss(y, part, total)` (y = 1 for that of the sample, else 0); and `multinomial_max_curvature`.
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
    dloss: Callable
    hessian: Callable | None = None
    max_curvature: float | None = None
    multinomial_exp: Callable | None = None
    multinomial_value: Callable | None = None
    multinomial_dloss: Callable | None = None
    multinomial_max_curvature: float | None = None
    dloss_bound: Callable | None = None

    @property
    def smooth(self) -> bool:
        """Whether the loss has a hessian (the dloss is continuous)."""
        return self.hessian is not None

    def functions(self, joint: bool) -> tuple:
        """What a kernel is made of; `joint`: that which sees the scores of all classes of a sample at once."""
        return (
            (self.multinomial_exp, self.multinomial_dloss, self.multinomial_value)
            if joint
            else (self.dloss, self.value)
        )


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
