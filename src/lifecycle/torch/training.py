"""The loop over epochs that trains a module on tensors."""

import copy
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers

from lifecycle._threads import uninterrupted
from lifecycle.torch.averaged_weights import WeightAverage
from lifecycle.torch.batches import Sequences, TensorRows
from lifecycle.torch.intra_op_threads import intra_op_threads
from lifecycle.torch.optimizers import RuleOptimizer

_MIN_BATCH = 512  # rows of a batch where nothing is trained


_generator_lock = threading.RLock()  # threads share torch's generators, so they train one after the other


def _renew_lock() -> None:
    global _generator_lock
    _generator_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)  # the thread that held it does not exist in the child


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's generators start from `seed` inside the block and are restored behind it."""
    others = [] if device.type == "cpu" else [device.index or 0]
    with _generator_lock, torch.random.fork_rng(others, device_type=device.type if others else "cuda"):
        torch.default_generator.manual_seed(seed)
        if others:
            getattr(torch, device.type).manual_seed(seed)
        yield


class Loss:
    """A loss of outputs and targets as one number, weighted where there are weights.

    `default(out, y, reduction=…)` is used for None; `target(out, y)` is y in the form that a loss takes.
    """

    def __init__(self, loss: Any, default: Callable, target: Callable, weighted: bool, device: torch.device):
        self.target, self.summed = target, False
        if loss is None:
            reduction = "none" if weighted else "mean"
            self.function: Any = lambda out, y: default(out, y, reduction=reduction)
            return
        self.function = loss() if isinstance(loss, type) else copy.deepcopy(loss)
        if not callable(self.function):
            raise TypeError(f"loss must be None, a torch loss or a callable of outputs and targets; got {loss!r}")
        if isinstance(self.function, nn.Module):
            self.function.to(device)
            self.summed = getattr(self.function, "reduction", None) == "sum"
            if weighted and hasattr(self.function, "reduction"):
                self.function.reduction = "none"  # type: ignore[assignment]

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

    def batch_sum(self, n: int, loss: torch.Tensor) -> float:
        """The sum over the n samples of a batch, from the batch's loss."""
        return loss.item() if self.summed else loss.item() * n


@dataclass
class Samples:
    """Samples to train or to validate on: some rows of the data, with targets and weights of all its rows."""

    data: TensorRows | Sequences
    y: torch.Tensor
    weights: torch.Tensor | None
    rows: torch.Tensor

    def __post_init__(self) -> None:
        if self.weights is not None:
            mean = self.weights[self.rows].double().mean()
            if not mean > 0:
                raise ValueError("all sample weights are zero in the part that is trained or validated on")
            self.weights = self.weights / mean

    def subset(self, rows: Any) -> "Samples":
        """Only these rows."""
        return replace(self, rows=torch.as_tensor(rows).to(self.rows))

    def shuffled_batches(self, size: int) -> Iterator[tuple[Any, dict[str, Any], torch.Tensor, torch.Tensor | None]]:
        """All rows once, in a new order: input of the module and its keyword arguments, targets, weights."""
        chunks = list(self.rows[torch.randperm(len(self.rows)).to(self.rows.device)].split(size))
        if len(chunks) > 1 and size > 1 == len(chunks[-1]):
            chunks[-2:] = [torch.cat(chunks[-2:])]  # batch normalization fails on a single row
        for rows in chunks:
            weights = None if self.weights is None else self.weights.index_select(0, rows)
            yield *self.data.take(rows), self.y.index_select(0, rows), weights


@dataclass
class TrainingConfig:
    """How to train, checked."""

    optimizer: torch.optim.Optimizer
    scheduler: Any
    loss: Loss
    check_output: Callable[[Any], torch.Tensor]
    inspect_first_output: Callable[[torch.Tensor], None]
    score: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], float]
    batch_size: int
    max_epochs: int
    patience: int
    max_grad_norm: float | None
    ema_decay: float | None

    def __post_init__(self) -> None:
        """Have an optimizer of this library clip and average in its step, which is faster."""
        optimizer: Any = self.optimizer
        self.fused = isinstance(optimizer, RuleOptimizer)
        if self.fused:
            if self.ema_decay is not None and any(group["ema_decay"] is not None for group in optimizer.param_groups):
                raise ValueError(
                    f"ema_decay is set twice: in the optimizer and as ema_decay={self.ema_decay!r}; leave one out"
                )
            if self.max_grad_norm is not None:
                optimizer.max_grad_norm = min(float(self.max_grad_norm), optimizer.max_grad_norm or math.inf)
                self.max_grad_norm = None


@dataclass
class BestEpoch:
    """The epoch with the smallest validation loss, and the weights after it."""

    epoch: int | None = None
    loss: float = math.inf
    state: dict[str, torch.Tensor] | None = None


def train(
    net: nn.Module,
    samples: Samples,
    validation: Samples | None,
    config: TrainingConfig,
    on_epoch: Callable[[dict[str, Any]], None],
    stops: Callable[[], bool],
    best: BestEpoch,
) -> None:
    """Train in place; `on_epoch` gets each epoch's record, then `stops` says whether to stop.

    The module is left in eval mode with the weights that it has reached, also where the keyboard interrupts: their
    average where there is one, and those of the best epoch with `validation`.
    """
    average = WeightAverage(config.optimizer, config.ema_decay, config.fused)
    try:
        _train_epochs(net, samples, validation, config, average, on_epoch, stops, best)
        average.warn_if_short()
        _finish(net, average, best)
    except KeyboardInterrupt:
        _finish(net, average, best)  # which changes nothing where it was done
        raise
    if not all(bool(torch.isfinite(p).all()) for p in average.params):
        _finite(math.nan, "training", float(config.optimizer.param_groups[0]["lr"]))


def _finish(net: nn.Module, average: WeightAverage, best: BestEpoch) -> None:
    with uninterrupted():
        average.finish()
        if best.state is not None:
            net.load_state_dict(best.state)
        net.zero_grad(set_to_none=True)
        net.eval()


def _train_epochs(
    net: nn.Module,
    samples: Samples,
    validation: Samples | None,
    config: TrainingConfig,
    average: WeightAverage,
    on_epoch: Callable[[dict[str, Any]], None],
    stops: Callable[[], bool],
    best: BestEpoch,
) -> None:
    for epoch in range(1, config.max_epochs + 1):
        start = time.perf_counter()
        record: dict[str, Any] = {"lr": float(config.optimizer.param_groups[0]["lr"])}
        record["train_loss"] = _finite(_train_epoch(net, samples, config, average), "training", record["lr"])
        with average.in_model():
            state = None
            if validation is not None:
                loss, record["valid_score"] = _validate(net, validation, config)
                record["valid_loss"] = _finite(loss, "validation", record["lr"])
                if record["valid_loss"] < best.loss:
                    state = copy.deepcopy(net.state_dict())
            if isinstance(config.scheduler, schedulers.ReduceLROnPlateau):
                config.scheduler.step(record.get("valid_loss", record["train_loss"]))
            elif config.scheduler is not None:
                config.scheduler.step()
            record["seconds"] = time.perf_counter() - start
            with uninterrupted():
                if state is not None:
                    best.epoch, best.loss, best.state = epoch, record["valid_loss"], state
                on_epoch(record)
            stop = stops()
        if stop or (best.epoch is not None and epoch - best.epoch >= config.patience):
            break


def _train_epoch(net: nn.Module, samples: Samples, config: TrainingConfig, average: WeightAverage) -> float:
    # torch's optimizers call it once, LBFGS as often as its line search asks
    def closure() -> Any:
        config.optimizer.zero_grad()
        out = config.check_output(net(x, **keywords))
        if is_first:
            config.inspect_first_output(out)
        loss = config.loss(out, y, weights)
        loss.backward()
        if config.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(average.params, config.max_grad_norm)
        return loss

    net.train()
    total, n_rows = 0.0, min(config.batch_size, len(samples.rows))
    with intra_op_threads(net, samples.data, n_rows, training=True):
        for batch in samples.shuffled_batches(config.batch_size):
            x, keywords, y, weights = batch
            is_first = average.steps == 0
            loss: Any = config.optimizer.step(closure)
            average.update()
            total += config.loss.batch_sum(len(y), loss)
    return total / len(samples.rows)


def prediction_threads(
    net: nn.Module, data: TensorRows | Sequences, rows: torch.Tensor, batch_size: int
) -> AbstractContextManager[None]:
    """`intra_op_threads` for the batches of `predict_batches`."""
    return intra_op_threads(net, data, min(max(batch_size, _MIN_BATCH), len(rows)))


def predict_batches(
    net: nn.Module, data: TensorRows | Sequences, rows: torch.Tensor, batch_size: int
) -> Iterator[tuple[torch.Tensor, Any]]:
    """(rows, output) of batches, in eval mode and without gradients."""
    net.eval()
    for chunk in rows.split(max(batch_size, _MIN_BATCH)):
        with torch.no_grad():  # not across the yield: the caller keeps its mode
            x, keywords = data.take(data.pad(chunk))
            out = net(x, **keywords)[: len(chunk)]
        yield chunk, out


@torch.no_grad()
def _validate(net: nn.Module, samples: Samples, config: TrainingConfig) -> tuple[float, float]:
    total, outputs = 0.0, []
    with prediction_threads(net, samples.data, samples.rows, config.batch_size):
        for rows, raw in predict_batches(net, samples.data, samples.rows, config.batch_size):
            out = config.check_output(raw)
            weights = None if samples.weights is None else samples.weights[rows]
            total += config.loss.batch_sum(len(out), config.loss(out, samples.y[rows], weights))
            outputs.append(out)
    weights = None if samples.weights is None else samples.weights[samples.rows]
    return total / len(samples.rows), config.score(torch.cat(outputs), samples.y[samples.rows], weights)


def _finite(loss: float, what: str, lr: float) -> float:
    if not math.isfinite(loss):
        raise ValueError(
            f"the {what} loss is not finite, with lr={lr:g}: use a smaller lr, set max_grad_norm, or scale the "
            "features, e.g. with StandardScaler"
        )
    return loss
