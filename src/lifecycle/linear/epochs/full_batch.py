"""Epochs of one step each, on the gradient of all rows."""

from collections.abc import Sequence

import numpy as np

from lifecycle.linear.data.problem import Task
from lifecycle.linear.epochs.solver import Steps
from lifecycle.linear.objective import Objective
from lifecycle.linear.outcome import Settings
from lifecycle.loops import linear_single
from lifecycle.optim import Optimizer


class Accelerated(Steps):
    """Proximal gradient steps 1/L with momentum that starts anew where it points uphill (Beck & Teboulle, 2009;
    O'Donoghue & Candès, 2015).

    Coefficients and intercept have an L each, as they do not mix where features are centred: small features would
    else be moved by steps that suit the intercept.
    """

    def __init__(self, task: Task, coef: np.ndarray, intercept: np.ndarray):
        self.task, self.objective = task, Objective(task)
        self.coef, self.intercept = coef, intercept
        steepest = task.curvatures_of_coef[task.column]
        self.lr = 1.0 / steepest, 1.0 / (steepest if task.rows.sparse else np.full(task.models, task.steepest))
        self.last = coef.copy(), intercept.copy()
        self.inertia, self.fresh = np.ones(len(coef)), np.zeros(len(coef), bool)

    def begin_anew(self, m: int) -> bool:
        """Give model m, which has stalled, a chance without its momentum; False if it had that already."""
        if self.fresh[m]:
            return False
        self.inertia[m], self.fresh[m] = 1.0, True
        return True

    def epoch(self, which: np.ndarray) -> np.ndarray:
        """One step of these models; their objectives where it is made from."""
        task, here = self.task, (self.coef[which], self.intercept[which])
        after = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * self.inertia[which] ** 2))
        ahead = (self.inertia[which] - 1.0) / after
        points = [x + _wide(ahead, x) * (x - last[which]) for x, last in zip(here, self.last, strict=True)]
        losses, *slopes = self.objective.gradients(points[0], points[1], which)
        rates = [lr[which] for lr in self.lr]
        new = [x - _wide(lr, x) * g for x, lr, g in zip(points, rates, slopes, strict=True)]
        new[0] = task.penalty.prox(new[0], _paces(task, which, rates[0]))
        uphill = sum(((x - n) * (n - x0)).reshape(len(which), -1).sum(axis=1) / lr
                     for x, n, x0, lr in zip(points, new, here, rates, strict=True))  # fmt: skip
        self.inertia[which] = np.where(uphill > 0, 1.0, after)
        for last, x, n in zip(self.last, (self.coef, self.intercept), new, strict=True):
            last[which], x[which] = x[which], n
        return losses + task.some(which).penalty_value(points[0])

    def result(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.coef[which], self.intercept[which]


class AllRows(Steps):
    """Steps of any rule."""

    def __init__(self, task: Task, coef: np.ndarray, intercept: np.ndarray, optimizers: Sequence[Optimizer],
                 proximal: bool, settings: Settings):  # fmt: skip
        self.task, self.objective, self.optimizers, self.proximal = task, Objective(task), optimizers, proximal
        self.coef, self.intercept = coef, intercept
        rule = optimizers[0].rule
        slots = rule.variant(optimizers[0].get_params()).slots
        starts = [[rule.initial(o.get_params(), name) for o in optimizers] for name in slots]
        self.slots = [[np.full_like(x, 1.0) * _wide(np.array(s), x) for s in starts] for x in (coef, intercept)]
        self.scalars = [dict(rule.scalars) for _ in optimizers]
        # `average` counts samples, here all of the model's in a step
        rows = np.count_nonzero(task.weights.counts, axis=0)[task.column]
        self.first = np.maximum(1, -(-settings.average // rows)) if settings.average else np.full(task.models, np.inf)
        self.t, self.mean = 0, (np.zeros_like(coef), np.zeros_like(intercept))

    def epoch(self, which: np.ndarray) -> np.ndarray:
        """One step of these models; their objectives before it."""
        task, coef = self.task.some(which), self.coef[which]
        losses, slope, of_intercept = self.objective.gradients(coef, self.intercept[which], which)
        value = losses + task.penalty_value(coef)
        self.t += 1
        hypers = [self.optimizers[m].get_params() for m in which]
        rule = self.optimizers[0].rule
        s = np.array([rule.advance(self.t, h, self.scalars[m]) for m, h in zip(which, hypers, strict=True)])
        update = rule.variant(hypers[0]).update
        kink = (task.alpha * np.array([task.penalty.l1_weight(r) for r in task.l1_ratio]))[:, None, None]
        if not self.proximal:
            slope = slope + task.alpha[:, None, None] * task.penalty.gradient(coef, task.l1_ratio[:, None, None])
            slope = linear_single.pull(coef, slope, kink) if kink.any() else slope
        with np.errstate(over="ignore", invalid="ignore"):
            new = self._moved(update, coef, slope, self.slots[0], s, which)
            if self.proximal:
                new = task.penalty.prox(new, _paces(self.task, which, np.array([h["lr"] for h in hypers])))
            elif kink.any():
                new = np.where(kink > 0, linear_single.land(new, coef, slope), new)
            moved = self._moved(update, self.intercept[which], of_intercept, self.slots[1], s, which)
        self.coef[which] = new
        if task.fit_intercept:
            self.intercept[which] = moved
        late = which[self.t >= self.first[which]]
        for mean, x in zip(self.mean, (self.coef, self.intercept), strict=True):
            mean[late] += (x[late] - mean[late]) / _wide(self.t - self.first[late] + 1, x)
        return value

    @staticmethod
    def _moved(update, x: np.ndarray, g: np.ndarray, slots: list, s: np.ndarray, which: np.ndarray) -> np.ndarray:
        new, *kept = update(x, g, *(slot[which] for slot in slots), tuple(_wide(c, x) for c in s.T))
        for slot, value in zip(slots, kept, strict=True):
            slot[which] = value
        return new

    def result(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        late = self.t >= self.first[which]
        pairs = zip(self.mean, (self.coef, self.intercept), strict=True)
        coef, intercept = (np.where(_wide(late, x), mean[which], x[which]) for mean, x in pairs)
        return coef, intercept


def _wide(numbers: np.ndarray, like: np.ndarray) -> np.ndarray:
    """One number a model, for arrays whose first axis are the models."""
    return numbers.reshape(-1, *[1] * (like.ndim - 1))


def _paces(task: Task, which: np.ndarray, lr: np.ndarray) -> tuple:
    """Coefficients of the penalty's proximal step, each (models, 1, 1)."""
    found = [task.penalty.prox_params(a, r) for a, r in zip(lr * task.alpha[which], task.l1_ratio[which], strict=True)]
    return tuple(np.array(c)[:, None, None] for c in zip(*found, strict=True))
