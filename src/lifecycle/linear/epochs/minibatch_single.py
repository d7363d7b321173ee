"""Epochs of mini-batches for one model: SIMD runs across its features."""

from typing import Any

import numpy as np

from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.epochs.row_order import RowOrder, first_averaged_step, n_steps
from lifecycle.linear.epochs.solver import EpochSolver
from lifecycle.linear.learning_rate import is_proximal
from lifecycle.linear.training_options import TrainingOptions
from lifecycle.loops.linear_minibatch_single import BatchRows, Model, ModelState, single_minibatch_epoch
from lifecycle.loops.linear_update import update_kind
from lifecycle.optim import Optimizer


class SingleModel(EpochSolver):
    """One model, the only one of the problem."""

    def __init__(self, problem: Problem, frame: CentredFrame, coef: np.ndarray, intercept: np.ndarray,
                 optimizer: Optimizer, batch_size: int, options: TrainingOptions):  # fmt: skip
        self.problem, self.frame, self.optimizer, self.batch_size = problem, frame, optimizer, batch_size
        rule, hyper = optimizer.rule, optimizer.get_params()
        update, slots = rule.variant(hyper)
        self.kernel = single_minibatch_epoch(
            update, len(slots), rule.step, len(rule.scalars), problem.loss, problem.multinomial, problem.penalty
        )
        theta = np.concatenate([coef.ravel(), intercept.ravel()])
        initial = np.array([rule.initial(hyper, name) for name in slots], np.float64)
        scalars = np.array(list(rule.scalars.values()), np.float64)
        slots_of_theta = np.repeat(initial[:, None], theta.size, axis=1)
        self.state, self.t = ModelState(theta, slots_of_theta, np.zeros_like(theta), scalars), 0
        self.average_from = first_averaged_step(options.average, batch_size)
        self.order = RowOrder(problem.design, options.shuffle, options.random_state)
        self.targets = np.ascontiguousarray(problem.encode_targets(problem.y.astype(np.float64)).T)
        k = problem.train_set[0]
        self.fraction = problem.weights.fraction[k]
        self.weights = problem.weights.of_set(k) * self.fraction
        alpha, l1_ratio = float(problem.alpha[0] * self.fraction), float(problem.l1_ratio[0])
        preconditioned = options.preconditioned and bool(problem.features.is_preconditioned[k])
        kind = update_kind(is_proximal(optimizer), alpha * problem.penalty.l1_weight(l1_ratio), preconditioned)
        factors = problem.features.preconditioner[k] if preconditioned else np.empty(0)
        epsilon, fit_intercept = float(problem.epsilon[0]), bool(problem.fit_intercept)
        self.model = Model(frame.center[k], factors, epsilon, alpha, l1_ratio, kind, fit_intercept, ())

    def epoch(self, models: np.ndarray) -> np.ndarray:
        problem, hyper, total = self.problem, self.optimizer.get_params(), 0.0
        model = self.model._replace(hyper=tuple(hyper[name] for name in self.optimizer.rule.defaults))
        for begin, end, order in self.order:
            piece = slice(begin, end)
            X = problem.design.read(begin, end)
            rows = BatchRows(X, self.targets[piece], self.weights[piece], order, self.batch_size)
            total += self.kernel(rows, model, self.state, self.t, self.average_from)
            self.t += n_steps(len(order), self.batch_size)
        coef, _ = self._split(self.state.theta)
        return np.array([total / self.fraction / problem.design.n_samples]) + problem.penalty_value(coef)

    def _split(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copies of coefficients (1, n_outputs, n_features) and intercepts (1, n_outputs)."""
        size = theta.size - self.problem.n_outputs
        return theta[:size].reshape(1, self.problem.n_outputs, -1).copy(), theta[size:].reshape(1, -1).copy()

    def coefficients(self, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._split(self.state.mean if self.average_from and self.t >= self.average_from else self.state.theta)

    def _signature(self) -> tuple:
        """What two optimizers must have in common for one to take the state of the other."""
        rule = self.optimizer.rule
        slots = tuple(rule.variant(self.optimizer.get_params()).slots)
        return rule.name, slots, self.state.theta.size, self.average_from

    def optimizer_state(self) -> dict[str, Any]:
        """What the optimizer has to keep to go on later."""
        kept = {"signature": self._signature(), "slots": self.state.slots, "scalars": self.state.scalars, "t": self.t}
        return {**kept, "mean": self.state.mean, "theta": self.state.theta} if self.average_from else kept

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Go on from `optimizer_state()` of such an optimizer with as many coefficients; else begin anew."""
        if state.get("signature") != self._signature():
            return
        arrays = {k: value.copy() for k, value in state.items() if k in ModelState._fields}
        self.state, self.t = self.state._replace(**arrays), state["t"]
