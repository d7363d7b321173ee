"""Epochs of one step of any rule on the gradient of all rows."""

from collections.abc import Sequence

import numpy as np

from lifecycle.linear.capabilities import Capabilities
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.epochs.row_order import first_averaged_step
from lifecycle.linear.epochs.solver import EpochSolver, per_model, prox_params
from lifecycle.linear.learning_rate import is_proximal
from lifecycle.linear.objective import Objective
from lifecycle.loops.averaging import running_mean
from lifecycle.loops.linear_update import ORTHANT, PROXIMAL, coefficient_updates, update_kind
from lifecycle.optim import Optimizer

CAPABILITIES = Capabilities(losses="any", penalties="any", sparse_penalties="any")


class FullBatch(EpochSolver):
    """Steps of a rule, one optimizer a model.

    Parameters
    ----------
    average : int
        Coefficients are averaged over the steps after so many rows; 0: they are those of the last step.
    """

    def __init__(self, problem: Problem, coef: np.ndarray, intercept: np.ndarray, optimizers: Sequence[Optimizer],
                 average: int):  # fmt: skip
        self.problem, self.frame = problem, problem.features.frame
        self.objective, self.optimizers = Objective(problem, self.frame), optimizers
        self.coef, self.intercept = coef, intercept
        rule = optimizers[0].rule
        self.update, slots = rule.variant(optimizers[0].get_params())
        initial = [np.array([rule.initial(o.get_params(), name) for o in optimizers]) for name in slots]
        self.slots = [[np.full_like(x, 1.0) * per_model(start, x) for start in initial] for x in (coef, intercept)]
        self.scalars = [dict(rule.scalars) for _ in optimizers]
        self.l1_weight = problem.l1_weight
        self.kind = update_kind(is_proximal(optimizers[0]), self.l1_weight.max(initial=0.0))
        self.updates = coefficient_updates(self._rule_update, problem.penalty.gradient, problem.penalty.prox)
        # every step takes all rows of the model
        first = [first_averaged_step(average, rows) or np.inf for rows in problem.weights.n_rows()]
        self.average_from = np.array(first)[problem.train_set]
        self.t, self.mean = 0, (np.zeros_like(coef), np.zeros_like(intercept))

    def epoch(self, models: np.ndarray) -> np.ndarray:
        """One step of these models; returns their objectives before it."""
        problem, coef, intercept = self.problem.subset(models), self.coef[models], self.intercept[models]
        losses, gradient, intercept_gradient = self.objective.gradients(coef, intercept, models)
        objectives = losses + problem.penalty_value(coef)
        self.t += 1
        hyper = [self.optimizers[m].get_params() for m in models]
        rule = self.optimizers[0].rule
        s = np.array([rule.advance(self.t, h, self.scalars[m]) for m, h in zip(models, hyper, strict=True)])
        state = self.slots[0], models, s
        alpha, l1_ratio, l1_weight = (
            a[:, None, None] for a in (problem.alpha, problem.l1_ratio, self.l1_weight[models])
        )
        with np.errstate(over="ignore", invalid="ignore"):
            if self.kind == PROXIMAL:
                params = prox_params(self.problem, models, np.array([h["lr"] for h in hyper]))
                self.coef[models] = self.updates.proximal(coef, gradient, *state, params)
            elif self.kind == ORTHANT:
                self.coef[models] = self.updates.orthant(coef, gradient, *state, alpha, l1_ratio, l1_weight)
            else:
                self.coef[models] = self.updates.smooth(coef, gradient, *state, alpha, l1_ratio)
            if problem.fit_intercept:
                moved = self._rule_update(intercept, intercept_gradient, self.slots[1], models, s)
                self.intercept[models] = moved
        averaged = models[self.t >= self.average_from[models]]
        for mean, x in zip(self.mean, (self.coef, self.intercept), strict=True):
            share = per_model(1.0 / (self.t - self.average_from[averaged] + 1), x)
            mean[averaged] = running_mean(mean[averaged], x[averaged], share)
        return objectives

    def _rule_update(self, x: np.ndarray, g: np.ndarray, slots: list, models: np.ndarray, s: np.ndarray) -> np.ndarray:
        """The rule's step of some models, with coefficients s (models, coefficients); their slots change in place."""
        coefficients = tuple(per_model(c, x) for c in s.T)
        new, *new_slots = self.update(x, g, *(slot[models] for slot in slots), coefficients)
        for slot, value in zip(slots, new_slots, strict=True):
            slot[models] = value
        return new

    def coefficients(self, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        averaged = self.t >= self.average_from[models]
        pairs = zip(self.mean, (self.coef, self.intercept), strict=True)
        coef, intercept = (np.where(per_model(averaged, x), mean[models], x[models]) for mean, x in pairs)
        return coef, intercept
