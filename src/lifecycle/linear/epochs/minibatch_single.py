"""Epochs of a step for each batch of rows, in a new order each time, of one model by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle.linear.data.problem import Task
from lifecycle.linear.epochs.minibatch_many import Order
from lifecycle.linear.epochs.solver import Steps
from lifecycle.linear.outcome import Settings
from lifecycle.loops import linear_single
from lifecycle.optim import Optimizer


class Single(Steps):
    """One model."""

    def __init__(self, task: Task, coef: np.ndarray, intercept: np.ndarray, optimizers: Sequence[Optimizer],
                 proximal: bool, batch: int, settings: Settings):  # fmt: skip
        self.task, self.coef, self.intercept, self.batch = task, coef, intercept, batch
        self.optimizer = optimizers[0]
        rule = self.optimizer.rule
        update, slots = rule.variant(self.optimizer.get_params())
        self.kernel = linear_single.compiled(update, len(slots), rule.step, len(rule.scalars), task.loss, task.joint,
                                         task.penalty)  # fmt: skip
        self.theta = np.concatenate([coef.ravel(), intercept.ravel()])
        starts = [rule.initial(self.optimizer.get_params(), name) for name in slots]
        self.slots = np.repeat(np.array(starts, np.float64)[:, None], self.theta.size, axis=1)
        self.carried = np.array(list(rule.scalars.values()), np.float64)
        self.order = Order(task, settings)
        self.targets = np.ascontiguousarray(task.targets(task.y.astype(np.float64)).T)
        self.share = task.weights.share[task.column[0]]
        self.weights = task.weights.column(task.column[0]) * self.share
        self.center = task.center[task.column[0]]
        self.first = 0 if not settings.average else max(1, -(-settings.average // batch))
        self.t, self.mean = 0, np.zeros_like(self.theta)
        self.settings = (float(task.epsilon[0]), float(task.alpha[0] * self.share), float(task.l1_ratio[0]), proximal,
                         bool(task.fit_intercept))  # fmt: skip

    def epoch(self, which: np.ndarray) -> np.ndarray:
        task, hyper = self.task, self.optimizer.get_params()
        arguments = tuple(hyper[name] for name in self.optimizer.rule.defaults)
        total = 0.0
        for begin, end, order in self.order:
            here = slice(begin, end)
            total += self.kernel(task.rows.read(begin, end), self.targets[here], self.weights[here], order, self.center,
                                 self.batch, self.theta, self.slots, self.mean, arguments, self.carried, self.settings,
                                 self.t, self.first)  # fmt: skip
            self.t += -(-len(order) // self.batch)
        self.coef, self.intercept = self._parts(self.theta)
        return np.array([total / self.share / task.rows.n]) + task.penalty_value(self.coef)

    def _parts(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = theta.size - self.task.outputs
        return theta[:size].reshape(1, self.task.outputs, -1).copy(), theta[size:].reshape(1, -1).copy()

    def result(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._parts(self.mean if self.first and self.t >= self.first else self.theta)

    def _remembers(self) -> tuple:
        rule = self.optimizer.rule
        return rule.name, tuple(rule.variant(self.optimizer.get_params()).slots), self.theta.size, self.first

    def state(self) -> dict[str, Any]:
        """What the optimizer remembers."""
        kept = {"of": self._remembers(), "slots": self.slots, "carried": self.carried, "t": self.t}
        return {**kept, "mean": self.mean, "theta": self.theta} if self.first else kept

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from there, if it is the state of such an optimizer of so many coefficients; else begin anew."""
        if state.get("of") != self._remembers():
            return
        state = {name: value for name, value in state.items() if name != "of"}
        self.__dict__.update(
            {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in state.items()}
        )
