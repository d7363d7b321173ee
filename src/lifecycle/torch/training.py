"""The loop over epochs that trains a module on tensors."""

import copy
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers

from lifecycle.torch.batches import Rows, Sequences
from lifecycle.torch.optimizers import warn_of_a_young_average

__all__ = ["Loss", "Part", "Plan", "outputs", "seeded", "train"]

_FEWEST = 512  # rows of a batch where there is nothing to train


class _Turn:
    """Threads train in turn: they share torch's generators."""

    lock = threading.RLock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Turn.renew)  # whoever held it is not there in the child


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's generators start from `seed` inside the block and are put back behind it."""
    others = [] if device.type == "cpu" else [device.index or 0]
    with _Turn.lock, torch.random.fork_rng(others, device_type=device.type if others else "cuda"):
        torch.default_generator.manual_seed(seed)
        if others:
            getattr(torch, device.type).manual_seed(seed)
        yield


class Loss:
    """A loss of outputs and targets as one number, weighted where there are weights.

    `default(out, y, reduction=…)` is what None stands for; `target(out, y)` puts y into the form that a loss takes.
    """

    def __init__(self, loss: Any, default: Callable, target: Callable, weighted: bool):
        self.target, self.summed = target, False
        if loss is None:
            reduction = "none" if weighted else "mean"
            self.function: Any = lambda out, y: default(out, y, reduction=reduction)
            return
        self.function = loss() if isinstance(loss, type) else copy.deepcopy(loss)
        if not callable(self.function):
            raise TypeError(f"loss must be None, a torch loss or a callable of outputs and targets; got {loss!r}")
        if isinstance(self.function, nn.Module):
            self.summed = getattr(self.function, "reduction", None) == "sum"
            if weighted and hasattr(self.function, "reduction"):
                self.function.reduction = "none"  # type: ignore[assignment]

    def to(self, device: torch.device) -> "Loss":
        """Move the tensors of a loss module."""
        if isinstance(self.function, nn.Module):
            self.function.to(device)
        return self

    def __call__(self, out: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        values = self.function(out, self.target(out, y))
        if not isinstance(values, torch.Tensor):
            raise TypeError(f"loss must return a tensor; it returned {type(values).__name__}")
        if weights is not None:
            if values.ndim == 0 or len(values) != len(weights):
                raise ValueError(
                    "sample_weight and class_weight need a loss that gives a value per sample; this one gives one "
                    "number for the batch: return the values without their mean"
                )
            values = values * weights.reshape(-1, *[1] * (values.ndim - 1))
        if values.ndim == 0:
            return values
        return values.sum() if self.summed else values.mean()

    def over(self, n: int, loss: torch.Tensor) -> float:
        """The sum over a batch of n samples whose loss is this."""
        return loss.item() if self.summed else loss.item() * n


class Batch(NamedTuple):
    """Input of the module and its keyword arguments, targets, weights."""

    x: torch.Tensor
    extra: dict[str, torch.Tensor]
    y: torch.Tensor
    weights: torch.Tensor | None


@dataclass
class Part:
    """Samples to train or to validate on: rows of the data, targets and weights of all rows."""

    data: Rows | Sequences
    y: torch.Tensor
    weights: torch.Tensor | None
    rows: torch.Tensor

    def __post_init__(self) -> None:
        if self.weights is not None:
            mean = self.weights[self.rows].double().mean()
            if not mean > 0:
                raise ValueError("all sample weights are zero in the part that is trained or validated on")
            self.weights = self.weights / mean

    def only(self, rows: Any) -> "Part":
        """Some of the rows."""
        return replace(self, rows=torch.as_tensor(rows).to(self.rows))

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows once, in a new order."""
        chunks = list(self.rows[torch.randperm(len(self.rows)).to(self.rows.device)].split(size))
        if len(chunks) > 1 and size > 1 == len(chunks[-1]):
            chunks[-2:] = [torch.cat(chunks[-2:])]  # batch normalization fails on a single row
        for rows in chunks:
            weights = None if self.weights is None else self.weights.index_select(0, rows)
            yield Batch(*self.data.take(rows), self.y.index_select(0, rows), weights)


@dataclass
class Plan:
    """How to train, checked."""

    optimizer: torch.optim.Optimizer
    scheduler: Any
    loss: Loss
    shaped: Callable[[torch.Tensor], torch.Tensor]
    score: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], float]
    batch_size: int
    max_epochs: int
    patience: int
    max_grad_norm: float | None
    ema_decay: float | None


class _Average:
    """Exponential moving average of the weights, from the first step on."""

    def __init__(self, params: list[torch.Tensor], decay: float | None):
        self.params, self.decay = params, decay
        self.means: list[torch.Tensor] = []
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        if self.decay is None:
            return
        self.steps += 1
        if self.means:
            torch._foreach_lerp_(self.means, self.params, 1.0 - self.decay)
        else:
            self.means = [p.detach().clone() for p in self.params]

    @torch.no_grad()
    def swap(self) -> None:
        """Averages into the module, weights out of it; or back."""
        for p, mean in zip(self.params, self.means, strict=False):
            kept = p.clone()
            p.copy_(mean)
            mean.copy_(kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages are in the module inside the block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()


def train(net: nn.Module, part: Part, held_out: Part | None, plan: Plan,
          on_epoch: Callable[[dict[str, Any]], bool]) -> int | None:  # fmt: skip
    """Train in place; `on_epoch` gets each epoch's record and says whether to stop.

    Returns the number of the best epoch, whose weights the module has then; None without `held_out`.
    """
    params = [p for group in plan.optimizer.param_groups for p in group["params"]]
    average = _Average(params, plan.ema_decay)
    best_loss, best_state, best_epoch = math.inf, None, None
    for epoch in range(1, plan.max_epochs + 1):
        start = time.perf_counter()
        record: dict[str, Any] = {"lr": float(plan.optimizer.param_groups[0]["lr"])}
        record["train_loss"] = _finite(_epoch(net, part, plan, params, average), "training", record["lr"])
        with average.in_place():
            if held_out is not None:
                loss, record["valid_score"] = _validate(net, held_out, plan)
                record["valid_loss"] = _finite(loss, "validation", record["lr"])
                if loss < best_loss:
                    best_loss, best_epoch = loss, epoch
                    best_state = copy.deepcopy(net.state_dict())
            if isinstance(plan.scheduler, schedulers.ReduceLROnPlateau):
                plan.scheduler.step(record.get("valid_loss", record["train_loss"]))
            elif plan.scheduler is not None:
                plan.scheduler.step()
            record["seconds"] = time.perf_counter() - start
            stop = on_epoch(record)
        if stop or (best_epoch is not None and epoch - best_epoch >= plan.patience):
            break
    if plan.ema_decay is not None:
        warn_of_a_young_average(plan.ema_decay, average.steps)
    if best_state is not None:
        net.load_state_dict(best_state)
    else:
        average.swap()
    net.zero_grad(set_to_none=True)
    net.eval()
    if not all(bool(torch.isfinite(p).all()) for p in params):
        _finite(math.nan, "training", record["lr"])
    return best_epoch


def _epoch(net: nn.Module, part: Part, plan: Plan, params: list[torch.Tensor], average: _Average) -> float:
    # torch's optimizers call it once, LBFGS as often as it likes
    def closure() -> Any:
        plan.optimizer.zero_grad()
        loss = plan.loss(plan.shaped(net(batch.x, **batch.extra)), batch.y, batch.weights)
        loss.backward()
        if plan.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(params, plan.max_grad_norm)
        return loss

    net.train()
    total = 0.0
    for batch in part.batches(plan.batch_size):
        loss: Any = plan.optimizer.step(closure)
        average.update()
        total += plan.loss.over(len(batch.y), loss)
    return total / len(part.rows)


def outputs(net: nn.Module, data: Rows | Sequences, rows: torch.Tensor, batch_size: int) -> Iterator[tuple]:
    """(rows, output) of batches, in eval mode and without gradients."""
    net.eval()
    for chunk in rows.split(max(batch_size, _FEWEST)):
        with torch.no_grad():  # not across the yield: whoever takes the outputs keeps a mode of their own
            x, extra = data.take(data.filled(chunk))
            out = net(x, **extra)[: len(chunk)]
        yield chunk, out


@torch.no_grad()
def _validate(net: nn.Module, part: Part, plan: Plan) -> tuple[float, float]:
    total, found = 0.0, []
    for rows, raw in outputs(net, part.data, part.rows, plan.batch_size):
        out = plan.shaped(raw)
        weights = None if part.weights is None else part.weights[rows]
        total += plan.loss.over(len(out), plan.loss(out, part.y[rows], weights))
        found.append(out)
    weights = None if part.weights is None else part.weights[part.rows]
    return total / len(part.rows), plan.score(torch.cat(found), part.y[part.rows], weights)


def _finite(loss: float, what: str, lr: float) -> float:
    if not math.isfinite(loss):
        raise ValueError(
            f"the {what} loss is not finite, with lr={lr:g}: use a smaller lr, set max_grad_norm, or scale the "
            "features, e.g. with StandardScaler"
        )
    return loss
