"""What a solver can train, declared in the file of each solver, and the check of a model against it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

# arguments that have a meaning only where a solver takes steps, and their defaults
STEP_ARGUMENTS = (("lr", None), ("early_stopping", False), ("average", False), ("batch_size", "auto"))

Losses = Literal["any", "smooth", "squared_error"]
Penalties = Literal["any", "without l1", "none"]


@dataclass(frozen=True)
class Capabilities:
    """What a solver needs of a model and its data.

    Parameters
    ----------
    losses : "any", "smooth" (with a second derivative) or "squared_error"
    penalties : "any" or "without l1" (penalty="l2" or None)
    sparse_penalties : the same where X is sparse; "none": X must be dense
    takes_steps : bool
        Whether lr, batch_size, early_stopping, average and partial_fit have a meaning.
    """

    losses: Losses
    penalties: Penalties
    sparse_penalties: Penalties
    takes_steps: bool = True


def check_arguments(capabilities: Capabilities, model: Any, loss: Any, penalty: Any) -> None:
    """Refuse an estimator whose arguments a solver cannot serve; raises ValueError."""
    name = f"optimizer={model.optimizer!r}"
    reason = why_not(capabilities, model, loss, penalty)
    if reason is not None:
        raise ValueError(f"{name} {reason}")
    if capabilities.takes_steps:
        return
    for argument, unset in STEP_ARGUMENTS:
        value = getattr(model, argument)
        if value != unset:
            raise ValueError(
                f"{argument}={value!r} has no meaning with {name}, which takes all rows at once: leave it at {unset!r}"
            )


def why_not(capabilities: Capabilities, model: Any, loss: Any, penalty: Any) -> str | None:
    """What a solver needs that the loss and penalty of an estimator are not, and what to use; None: it serves them."""
    if capabilities.losses == "smooth" and not loss.smooth:
        return f"needs a smooth loss, which {model.loss!r} is not: use 'gd', 'sgd' or 'adam'"
    if capabilities.losses == "squared_error" and model.loss != "squared_error":
        return f"needs loss='squared_error'; with {model.loss!r} use another optimizer"
    if capabilities.penalties == "without l1" and model.alpha * penalty.l1_weight(model.l1_ratio) > 0:
        return f"needs penalty='l2' or None; with {model.penalty!r} use 'coordinate_descent', 'gd' or 'sgd'"
    return None


def check_data(capabilities: Capabilities, model: Any, optimizer: Any, problem: Any, batch_size: int) -> None:
    """Refuse a problem whose data a solver cannot serve; raises ValueError."""
    sparse = problem.design.sparse
    has_l1 = bool(np.any(problem.l1_weight > 0))
    if not sparse or capabilities.sparse_penalties == "any":
        return
    if capabilities.sparse_penalties == "without l1" and not has_l1:
        return
    # "gd" that is refused does not see all rows at once: in partial_fit, or by its batch_size
    others = "" if model.optimizer == "gd" else "optimizer='gd', which takes all rows at once with batch_size='auto', "
    others += "optimizer='coordinate_descent', " if has_l1 and problem.loss.smooth else ""
    raise ValueError(
        f"X is sparse, and {_why_dense(model, optimizer, has_l1, batch_size)}, which would make it dense: use "
        f"{others}optimizer='sgd' with penalty 'l2' or None, without average and with batch_size 1, or X.toarray()"
    )


def _why_dense(model: Any, optimizer: Any, has_l1: bool, batch_size: int) -> str:
    """Why a step would change coefficients of columns that its row does not have."""
    from lifecycle.linear.learning_rate import is_proximal

    if not is_proximal(optimizer):
        return f"optimizer={model.optimizer!r} moves every coefficient at every step"
    if has_l1:
        return f"penalty={model.penalty!r} is not a factor of the coefficients"
    argument = "average" if model.average else f"batch_size={batch_size}"
    return f"{argument} goes through all coefficients at every step"
