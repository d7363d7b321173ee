"""Training by epochs of an update rule: step sizes that shrink, models that leave when they are done."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lifecycle._threads import single_threaded_blas
from lifecycle.linear.data.problem import Task
from lifecycle.linear.epochs.full_batch import Accelerated, AllRows
from lifecycle.linear.epochs.minibatch_many import Blocks
from lifecycle.linear.epochs.minibatch_single import Single
from lifecycle.linear.epochs.solver import Steps
from lifecycle.linear.objective import Objective
from lifecycle.linear.outcome import UNFINISHED, Outcome, Settings
from lifecycle.optim import Optimizer

_SHRINK, _FEWEST = 0.2, 1e-3  # lr=None: by how much a step size shrinks on a plateau, and below what it ends


def by_epochs(
    task: Task, settings: Settings, optimizers: Sequence[Optimizer], scheduled: bool, batch: int
) -> list[Outcome]:
    """Train with one optimizer a model, all of one rule; `scheduled`: lr=None, the step sizes are found here."""
    all_rows = batch >= task.rows.n
    optimizers = [type(o)(**o.get_params()) for o in optimizers]
    if scheduled:
        rates = first_rates(task, optimizers[0], all_rows)
        for optimizer, lr in zip(optimizers, rates, strict=True):
            optimizer.set_params(lr=float(lr))
    coef, intercept = (a.astype(np.float64) for a in settings.start) if settings.start else task.start()
    keeps_rate = all_rows and task.loss.smooth and moves_by_slope(optimizers[0])
    run: Steps
    if keeps_rate and scheduled and optimizers[0].rule.name == "gd" and not settings.average:
        run = Accelerated(task, coef, intercept)
    elif all_rows:
        run = AllRows(task, coef, intercept, optimizers, is_proximal(optimizers[0]), settings)
    elif settings.alone and not task.rows.sparse:
        run = Single(task, coef, intercept, optimizers, is_proximal(optimizers[0]), batch, settings)
    else:
        run = Blocks(task, coef, intercept, optimizers, is_proximal(optimizers[0]), batch, settings)
    with single_threaded_blas():  # a thread of BLAS that has worked waits for more, on a core that the kernels need
        return _Epochs(task, settings, optimizers, run, scheduled, keeps_rate, coef, intercept).run()


def first_rates(task: Task, optimizer: Optimizer, all_rows: bool) -> np.ndarray:
    """(models,): the step sizes with which lr=None begins."""
    kinds = {moves_by_slope(optimizer), begins_by_slope(optimizer)}
    return np.min([task.first_lr(kind, all_rows) for kind in kinds], axis=0)


def one_epoch(task: Task, settings: Settings, optimizer: Optimizer, batch: int, coef: np.ndarray, intercept: np.ndarray,
              state: dict) -> tuple[Outcome, dict]:  # fmt: skip
    """An epoch of one model, and the state of its optimizer, from that of the epoch before ({}: there was none)."""
    kind = Blocks if task.rows.sparse else Single
    steps = kind(task, coef, intercept, [optimizer], is_proximal(optimizer), batch, settings)
    steps.resume(state)
    which = np.zeros(1, int)
    with np.errstate(over="ignore", invalid="ignore"):
        value = float(steps.epoch(which)[0])
    (coef,), (intercept,) = steps.result(which)
    error = None if np.isfinite(value) else _diverged(1, optimizer)
    return Outcome(coef, intercept, [value], error=error), steps.state()


def _diverged(epoch: int, optimizer: Optimizer) -> ValueError:
    return ValueError(
        f"the coefficients grew without bound in epoch {epoch} with lr={optimizer.get_params()['lr']:g}: "
        "use a smaller lr (lr=None finds one) or scale the features, e.g. with StandardScaler"
    )


class _Epochs:
    def __init__(self, task: Task, settings: Settings, optimizers: Sequence[Optimizer], run: Steps, scheduled: bool,
                 keeps_rate: bool, coef: np.ndarray, intercept: np.ndarray):  # fmt: skip
        self.task, self.settings, self.optimizers, self.steps = task, settings, optimizers, run
        self.scheduled, self.decays = scheduled, scheduled and not keeps_rate
        # steps of batches carry noise, which only ever smaller steps leave behind; where no row may overshoot, they
        # are small from the first
        self.fades = 0 if not self.decays or isinstance(run, AllRows) else 2 if task.loss.dloss_bound is not None else 1
        self.held = None
        if settings.held_out is not None:
            held = replace(task, weights=settings.held_out)
            held.__dict__["center"] = task.center
            self.held = Objective(held)
        self.first_lr = np.array([o.get_params()["lr"] for o in optimizers])
        self.factor, self.best, self.waited = (
            np.ones(task.models),
            np.full(task.models, np.inf),
            np.zeros(task.models, int),
        )
        if self.held is not None:  # the start, should no epoch be better
            coef, intercept = coef.copy(), intercept.copy()
        self.outcomes = [Outcome(c, b, fault=UNFINISHED.format(settings.max_iter))
                         for c, b in zip(coef, intercept, strict=True)]  # fmt: skip
        self.lowest = np.full(task.models, np.inf)

    def run(self) -> list[Outcome]:
        which = np.arange(self.task.models)
        for epoch in range(1, self.settings.max_iter + 1):
            if self.fades:
                self._set_rates(which, (1.0 - (epoch - 1) / self.settings.max_iter) ** self.fades)
            with np.errstate(over="ignore", invalid="ignore"):
                values = self.steps.epoch(which)
            which, values = self._without_diverged(which, values, epoch)
            if not which.size:
                break
            for m, value in zip(which, values, strict=True):
                self.outcomes[m].curve.append(float(value))
            if self.held is not None:
                coef, intercept = self.steps.result(which)
                values = self.held.losses(coef, intercept, which)
                for i, m in enumerate(which):
                    self.outcomes[m].held_out.append(float(values[i]))
                    if values[i] < self.lowest[m]:
                        self.lowest[m] = values[i]
                        self.outcomes[m].coef, self.outcomes[m].intercept = coef[i].copy(), intercept[i].copy()
            if self.settings.watch is not None:
                self.settings.watch(which, self.steps)
            ended = self._plateaus(which, values)
            self._keep(which[ended])
            which = which[~ended]
            self.settings.advance(len(which))
            if not which.size:
                break
        self._keep(which)
        if self.fades:  # what no longer moves has arrived
            for m in which[self.waited[which] > 0]:
                self.outcomes[m].fault = None
        if self.held is None and self.settings.tol is not None and not self.scheduled:
            self._tell_overshoot()
        return self.outcomes

    def _set_rates(self, which: np.ndarray, share: float) -> None:
        for m in which:
            self.optimizers[m].set_params(lr=float(self.first_lr[m] * self.factor[m] * share))

    def _tell_overshoot(self) -> None:
        # batches are noisy: of them only what a constant could do is asked (which for perceptron is no measure)
        all_rows = isinstance(self.steps, AllRows)
        for outcome, unit in zip(self.outcomes, self.task.scale, strict=True):
            if not outcome.curve:
                continue
            bound = min(outcome.curve) if all_rows else np.inf if self.task.loss.name == "perceptron" else unit
            if outcome.curve[-1] > bound + self.settings.tol * unit:
                outcome.fault = (
                    f"ended with a loss of {outcome.curve[-1]:.3g}, where {bound:.3g} was reached or is reached by a "
                    "constant: use a smaller lr (lr=None finds one) or scale the features"
                )

    def _keep(self, which: np.ndarray) -> None:
        if self.held is None and which.size:
            for m, c, b in zip(which, *self.steps.result(which), strict=True):
                self.outcomes[m].coef, self.outcomes[m].intercept = c, b

    def _without_diverged(self, which: np.ndarray, values: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        finite = np.isfinite(values)  # which hold the penalty: if a coefficient is not, they are not
        for m in which[~finite]:
            self.outcomes[m].error = _diverged(epoch, self.optimizers[m])
        return which[finite], values[finite]

    def _plateaus(self, which: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Which of them end: where a value has stalled, a step size shrinks, or training ends if it may no more."""
        tol = 0.0 if self.settings.tol is None else self.settings.tol * self.task.scale[which]
        self.waited[which] = np.where(values < self.best[which] - tol, 0, self.waited[which] + 1)
        self.best[which] = np.minimum(self.best[which], values)
        if isinstance(self.steps, Accelerated):
            self.steps.fresh[which[self.waited[which] == 0]] = False
        ended = np.zeros(len(which), bool)
        for i, m in enumerate(which):
            if self.waited[m] < self.settings.n_iter_no_change:
                continue
            self.waited[m] = 0
            if isinstance(self.steps, Accelerated) and self.steps.begin_anew(m):
                continue
            if self.decays and self.factor[m] * _SHRINK >= _FEWEST:
                self.factor[m] *= _SHRINK
                self._set_rates(which[[i]], 1.0)
            elif self.settings.tol is not None:
                self.outcomes[m].fault = None
                ended[i] = True
        return ended


def moves_by_slope(optimizer: Optimizer) -> bool:
    """Whether a step is proportional to the slope (else to lr)."""
    return optimizer.rule.name in ("gd", "sgd")


def begins_by_slope(optimizer: Optimizer) -> bool:
    """Whether its first step is proportional to the slope, as that of RAdam is, which adapts only later."""
    rule, hyper = optimizer.rule, optimizer.get_params()
    update, slots = rule.variant(hyper)
    s = rule.advance(1, hyper, dict(rule.scalars))
    starts = [rule.initial(hyper, name) for name in slots]
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (float(update(np.float64(0.0), np.float64(g), *map(np.float64, starts), s)[0]) for g in (1.0, 2.0))
    return bool(np.isclose(two, 2.0 * one, rtol=1e-9, atol=0.0))


def is_proximal(optimizer: Optimizer) -> bool:
    """Whether a step is -lr * slope and nothing else, so that the penalty's proximal step with lr follows it."""
    return moves_by_slope(optimizer) and not optimizer.rule.variant(optimizer.get_params()).slots
