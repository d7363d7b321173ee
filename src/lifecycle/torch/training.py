"""The loop over epochs that trains a module on tensors."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers

from lifecycle.torch.batches import Rows, Sequences

__all__ = ["Loss", "Part", "Plan", "outputs", "train"]

_FEWEST = 512  # rows of a batch where there is nothing to train


class Loss:
    """A loss of outputs and targets as one number, weighted where there are weights.

    `default(out, y, reduction)` is what None stands for; `target(out, y)` puts y into the form that a loss takes.
    """

    def __init__(self, loss: Any, default: Callable, target: Callable, weighted: bool):
        self.target, self.summed = target, False
        if loss is None:
            reduction = "none" if weighted else "mean"
            self.function: Callable = lambda out, y: default(out, y, reduction)
            return
        made = loss() if isinstance(loss, type) else loss
        if isinstance(made, nn.Module):
            made = copy.deepcopy(made)
            if weighted and hasattr(made, "reduction"):
                self.summed = made.reduction == "sum"
                made.reduction = "none"
        if not callable(made):
            raise TypeError(f"loss must be None, a torch loss or a callable of outputs and targets; got {loss!r}")
        self.function = made

    def to(self, device: torch.device) -> "Loss":
        """Move the tensors of a loss module."""
        if isinstance(self.function, nn.Module):
            self.function.to(device)
        return self

    def __call__(self, out: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        values = self.function(out, self.target(out, y))
        if weights is None:
            return values if values.ndim == 0 else values.mean()
        if values.ndim == 0:
            raise ValueError(
                "sample_weight and class_weight need a loss that gives a value per sample; this one gives one number "
                "for the batch: return the values without their mean"
            )
        values = values.reshape(len(weights), -1).mean(dim=1) * weights
        return values.sum() if self.summed else values.mean()


@dataclass
class Part:
    """Samples to train or to validate on: rows of the data, targets and weights of all rows."""

    data: Rows | Sequences
    y: torch.Tensor
    weights: torch.Tensor | None
    rows: torch.Tensor

    def __post_init__(self) -> None:
        if self.weights is not None:
            mean = self.weights[self.rows].mean()
            if not mean > 0:
                raise ValueError("all sample weights are zero in the part that is trained or validated on")
            self.weights = self.weights / mean

    def batches(self, order: torch.Tensor, size: int) -> Iterator[tuple]:
        """(input, its keyword arguments, targets, weights) of consecutive rows of `order`."""
        for rows in order.split(size):
            x, extra = self.data.take(rows)
            weights = None if self.weights is None else self.weights.index_select(0, rows)
            yield x, extra, self.y.index_select(0, rows), weights


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

    @torch.no_grad()
    def update(self) -> None:
        if self.decay is None:
            return
        if self.means:
            torch._foreach_lerp_(self.means, self.params, 1.0 - self.decay)
        else:
            self.means = [p.detach().clone() for p in self.params]

    @torch.no_grad()
    def _swap(self) -> None:
        for p, mean in zip(self.params, self.means, strict=False):
            kept = p.clone()
            p.copy_(mean)
            mean.copy_(kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages are in the module inside the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def leave(self) -> None:
        """The averages stay in the module."""
        self._swap()


def train(net: nn.Module, part: Part, held_out: Part | None, plan: Plan,
          on_epoch: Callable[[dict[str, Any]], bool]) -> int | None:  # fmt: skip
    """Train in place; `on_epoch` gets each epoch's record and says whether to stop.

    Returns the record number of the best epoch, whose weights the module has then; None without `held_out`.
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
                    best_state = {k: copy.deepcopy(v) for k, v in net.state_dict().items()}
            if isinstance(plan.scheduler, schedulers.ReduceLROnPlateau):
                plan.scheduler.step(record.get("valid_loss", record["train_loss"]))
            elif plan.scheduler is not None:
                plan.scheduler.step()
            record["seconds"] = time.perf_counter() - start
            stop = on_epoch(record)
        if stop or (best_epoch is not None and epoch - best_epoch >= plan.patience):
            break
    if best_state is not None:
        net.load_state_dict(best_state)
    else:
        average.leave()
    net.zero_grad(set_to_none=True)
    net.eval()
    if not all(bool(torch.isfinite(p).all()) for p in params):
        _finite(math.nan, "training", record["lr"])
    return best_epoch


def _epoch(net: nn.Module, part: Part, plan: Plan, params: list[torch.Tensor], average: _Average) -> float:
    net.train()
    order = part.rows[torch.randperm(len(part.rows)).to(part.rows.device)]
    total = torch.zeros((), dtype=torch.float64)
    for x, extra, y, weights in part.batches(order, plan.batch_size):

        def closure(x=x, extra=extra, y=y, weights=weights) -> torch.Tensor:
            plan.optimizer.zero_grad()
            loss = plan.loss(plan.shaped(net(x, **extra)), y, weights)
            loss.backward()
            if plan.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(params, plan.max_grad_norm)
            return loss

        # torch's optimizers call it once, LBFGS as often as it likes
        loss: Any = plan.optimizer.step(closure)
        average.update()
        total += loss.detach().cpu() * len(y)
    return float(total) / len(order)


def outputs(net: nn.Module, data: Rows | Sequences, rows: torch.Tensor, batch_size: int) -> Iterator[tuple]:
    """(rows, output) of batches, in eval mode and without gradients."""
    net.eval()
    with torch.no_grad():
        for chunk in rows.split(max(batch_size, _FEWEST)):
            x, extra = data.take(chunk)
            yield chunk, net(x, **extra)


def _validate(net: nn.Module, part: Part, plan: Plan) -> tuple[float, float]:
    total, found = 0.0, []
    for rows, raw in outputs(net, part.data, part.rows, plan.batch_size):
        out = plan.shaped(raw)
        with torch.no_grad():
            total += float(plan.loss(out, part.y[rows], None if part.weights is None else part.weights[rows])) * len(out)
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
