"""Exponential moving average (EMA) of the weights: mean ← mean + (1 − ema_decay) (p − mean), from the first step on.

The optimizers of this library compute it in the kernel of the step (`loops/averaging.py`).
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from lifecycle._threads import uninterrupted
from lifecycle.torch._openmp import serial_in_forked_child


def ema_weight(state: dict[str, Any], decay: float | None) -> float:
    """The weight of the parameter in its average at the next step: 1 at the first step, 0 without an average."""
    first = "ema" not in state or not state.get("step")
    return 0.0 if decay is None else 1.0 if first else 1.0 - decay


def _average_dtype(p: torch.Tensor) -> torch.dtype:
    """float32 for 16-bit parameters, in which small changes would be lost."""
    return torch.float32 if p.dtype in (torch.bfloat16, torch.float16) else p.dtype


def complete_ema(state: dict[str, Any], p: torch.Tensor) -> None:
    """Make the average of a parameter, float32 for 16-bit ones, or bring it into the memory order of `p`."""
    dtype = _average_dtype(p)
    mean = state.get("ema", p)
    if mean is p or mean.dtype is not dtype or mean.stride() != p.stride():
        state["ema"] = torch.empty_like(p, dtype=dtype, requires_grad=False).copy_(mean)


def averages(optimizer: torch.optim.Optimizer) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(parameter, average) of every parameter that an optimizer of this library has averaged."""
    return [(p, state["ema"]) for p, state in optimizer.state.items() if "ema" in state]


@contextmanager
def averages_in_model(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]], keep_changes: bool = False) -> Iterator[None]:
    """Each parameter is its average inside the block; with `keep_changes` what the block writes enters the average."""
    with serial_in_forked_child():
        saved = [(p, mean, p.detach().clone()) for p, mean in pairs]
    try:
        with torch.no_grad(), uninterrupted(), serial_in_forked_child():
            for p, mean, _ in saved:
                p.copy_(mean)
        yield
    finally:
        with torch.no_grad(), uninterrupted(), serial_in_forked_child():
            for p, mean, weight in saved:
                if keep_changes:
                    mean.copy_(torch.where(p == mean.to(p.dtype), mean, p))
                p.copy_(weight)


def warn_if_dominated_by_first_weights(optimizer: Any, steps: int, decay: float | None = None) -> None:
    """Warn where the weights after the first step make up a fifth of the average or more; None: the groups' decay."""
    decay = decay or max(group["ema_decay"] or 0.0 for group in optimizer.param_groups)
    if steps and decay ** (steps - 1) > 0.2:
        warnings.warn(
            f"the average of the weights of {steps} steps with ema_decay={decay:g} still consists to "
            f"{decay ** (steps - 1):.0%} of those after the first step: it averages over {1 / (1 - decay):.0f} steps, "
            "so use a smaller ema_decay or more steps",
            stacklevel=4,
        )


class WeightAverage:
    """The average of the weights in a training loop: computed in the step of our optimizers, after it for the others.

    `decay` is that of all parameters; None: only groups of our optimizers that have an `ema_decay` are averaged.
    `in_step` says whether the optimizer is one of this library. Its step averages the parameters that it moves; those
    that it leaves out, as they have no gradient or the step is skipped, are averaged after it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, decay: float | None, in_step: bool):
        self.optimizer, self.decay, self.in_step, self.steps = optimizer, decay, in_step, 0
        self.params = [p for group in optimizer.param_groups for p in group["params"]]
        self.means: list[torch.Tensor] = []
        self.before_first_step: dict[int, torch.Tensor] = {}  # averages of parameters that did not step, by index
        if in_step and decay is not None:
            for group in optimizer.param_groups:
                group["ema_decay"] = decay
        self.state_steps = [optimizer.state.get(p, {}).get("step", 0) for p in self.params] if in_step else []

    @torch.no_grad()
    def update(self) -> None:
        """Average the weights after a step, as far as the step has not."""
        self.steps += 1
        if self.decay is None:
            return
        if self.in_step:
            self._average_what_did_not_step(1.0 - self.decay)
        elif self.means:
            params = [p.to(mean.dtype) for p, mean in zip(self.params, self.means, strict=True)]
            torch._foreach_lerp_(self.means, params, 1.0 - self.decay)
        else:
            self.means = [p.detach().to(_average_dtype(p), copy=True) for p in self.params]

    def _average_what_did_not_step(self, weight: float) -> None:
        states = [self.optimizer.state.get(p, {}) for p in self.params]
        before, self.state_steps = self.state_steps, [state.get("step", 0) for state in states]
        waiting = self.before_first_step
        for k, (old, new) in enumerate(zip(before, self.state_steps, strict=True)):
            if old != new and k not in waiting:
                continue
            p, ema = self.params[k].detach(), states[k].get("ema")
            if new and ema is not None:  # at its first step the average in the state began anew
                mean = waiting.pop(k, ema)
                ema.copy_(mean.lerp_(p.to(mean.dtype), weight))
            elif k in waiting:
                waiting[k].lerp_(p.to(waiting[k].dtype), weight)
            else:
                waiting[k] = p.to(_average_dtype(p), copy=True)

    def _pairs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        if not self.in_step:
            return list(zip(self.params, self.means, strict=False))
        waiting = [(self.params[k], mean) for k, mean in self.before_first_step.items()]
        ids = {id(p) for p, _ in waiting}
        return [(p, mean) for p, mean in averages(self.optimizer) if id(p) not in ids] + waiting

    def in_model(self) -> AbstractContextManager[None]:
        """The averages are the weights of the model inside the block, and what the block writes enters them."""
        return averages_in_model(self._pairs(), keep_changes=True)

    def warn_if_short(self) -> None:
        """Warn where the first weights make up much of the average."""
        if self._pairs():
            warn_if_dominated_by_first_weights(self.optimizer, self.steps, self.decay)

    @torch.no_grad()
    def finish(self) -> None:
        """Leave the averages in the model."""
        for p, mean in self._pairs():
            p.copy_(mean)
