"""Losses: one file for each, with functions of one sample that run on arrays and in kernels.

A new file in this package is a new loss (docs/add-a-loss.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from lifecycle._check import one_of
from lifecycle._registry import read, registry

__all__ = ["Loss", "find_loss", "list_losses"]

_SMOOTH = ("hessian", "max_curvature")
_MULTINOMIAL = ("multinomial_exp", "multinomial_value", "multinomial_dloss", "multinomial_max_curvature")


@dataclass(frozen=True)
class Loss:
    """What the file of a loss defines: functions of the target y (±1 in classification), the score z and epsilon.

    A smooth loss has `hessian` and `max_curvature`. A loss of several classes at once has the multinomial functions,
    of the scores of all classes of a sample: z_max is the largest of them, z_true that of the sample's class minus
    z_max, sum_exp the sum of `multinomial_exp` over the classes; y is 1 for the sample's class and 0 for the others.
    """

    name: str
    task: Literal["classification", "regression"]
    value: Annotated[Callable, "y", "z", "epsilon"]
    dloss: Annotated[Callable, "y", "z", "epsilon"]  # derivative by z
    hessian: Annotated[Callable | None, "y", "z", "epsilon"] = None  # second derivative by z
    max_curvature: float | None = None  # the largest hessian
    dloss_bound: Annotated[Callable | None, "epsilon"] = None  # the largest |dloss|
    multinomial_exp: Annotated[Callable | None, "z", "z_max"] = None
    multinomial_value: Annotated[Callable | None, "z_true", "sum_exp"] = None
    multinomial_dloss: Annotated[Callable | None, "y", "exp_z", "sum_exp"] = None  # exp_z: multinomial_exp
    multinomial_max_curvature: float | None = None  # the largest eigenvalue of the hessian by the scores

    def __post_init__(self) -> None:
        for group in (_SMOOTH, _MULTINOMIAL):
            missing = [member for member in group if getattr(self, member) is None]
            if 0 < len(missing) < len(group):
                raise ValueError(
                    f"the loss {self.name!r} has no {missing[0]}; {', '.join(group)} must be defined together"
                )

    @property
    def smooth(self) -> bool:
        """Whether the derivative by the score is continuous."""
        return self.hessian is not None

    def functions(self, multinomial: bool) -> tuple:
        """The functions that a kernel consists of; `multinomial`: of one that sees the scores of all classes."""
        if multinomial:
            return self.multinomial_exp, self.multinomial_dloss, self.multinomial_value
        return self.dloss, self.value


@cache
def list_losses() -> dict[str, Loss]:
    """All losses by name."""
    return registry(__name__, lambda module: read(module, Loss))


def find_loss(name: Any, task: str) -> Loss:
    """The loss of that name and task ("classification" or "regression"); a ValueError that lists the names if none."""
    losses = list_losses()
    return losses[one_of("loss", name, [k for k, loss in losses.items() if loss.task == task])]
