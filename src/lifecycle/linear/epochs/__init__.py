"""Training by epochs of an update rule: which solver fits, and the loop over epochs until models stop."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lifecycle._threads import single_threaded_blas
from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.epochs.accelerated_gradient import AcceleratedGradient
from lifecycle.linear.epochs.full_batch import FullBatch
from lifecycle.linear.epochs.minibatch_many import ManyModels
from lifecycle.linear.epochs.minibatch_single import SingleModel
from lifecycle.linear.epochs.solver import EpochSolver
from lifecycle.linear.epochs.stopping import Accelerated, DecayToZero, Plateau, StoppingRule
from lifecycle.linear.fit_result import NOT_CONVERGED, FitResult
from lifecycle.linear.learning_rate import (
    StepSizeSchedule,
    initial_step_sizes,
    is_gradient_rule,
    is_proximal,
    stage_ends,
)
from lifecycle.linear.objective import Objective
from lifecycle.linear.training_options import TrainingOptions
from lifecycle.optim import Optimizer

_STALLED = "stopped where steps gained little: scale the features, or try another optimizer"

__all__ = ["fit_by_epochs", "fit_one_epoch"]


def fit_by_epochs(
    problem: Problem, options: TrainingOptions, optimizers: Sequence[Optimizer], finds_lr: bool, batch_size: int
) -> list[FitResult]:
    """Train with one optimizer a model, all of one rule; `finds_lr`: lr=None, step sizes come from the data."""
    full_batch = batch_size >= problem.design.n_samples
    optimizers = [type(o)(**o.get_params()) for o in optimizers]
    if finds_lr:
        preconditioned = is_proximal(optimizers[0]) and not full_batch and not problem.design.sparse
        options = replace(options, preconditioned=preconditioned)
        step_sizes = initial_step_sizes(problem, optimizers[0], full_batch, preconditioned)
        for optimizer, lr in zip(optimizers, step_sizes, strict=True):
            optimizer.set_params(lr=float(lr))
    initial = options.initial or problem.initial_coefficients()
    coef, intercept = (a.astype(np.float64) for a in initial)
    # 1/L of a smooth loss needs no smaller steps
    keeps_lr = not finds_lr or (full_batch and problem.loss.smooth and is_gradient_rule(optimizers[0]))
    frame = problem.features.frame
    solver: EpochSolver
    if full_batch and finds_lr and keeps_lr and optimizers[0].rule.name == "gd" and not options.average:
        solver = AcceleratedGradient(problem, coef, intercept)
    elif full_batch:
        solver = FullBatch(problem, coef, intercept, optimizers, options.average)
    elif options.is_single and not problem.design.sparse:
        solver = SingleModel(problem, frame, coef, intercept, optimizers[0], batch_size, options)
    else:
        solver = ManyModels(problem, frame, coef, intercept, optimizers, batch_size, options)
    # the noise of mini-batches fades only as steps do; where no row may overshoot, steps are small from the first
    decay_power = 0 if keeps_lr or full_batch else 2 if problem.loss.dloss_bound is not None else 1
    is_staged = decay_power and options.tol is not None
    first = options.n_iter_no_change if decay_power == 1 else -(-options.n_iter_no_change // 2)
    ends = stage_ends(first, options.max_iter) if is_staged else [options.max_iter]
    schedule = StepSizeSchedule(optimizers, ends, not keeps_lr and full_batch, decay_power)
    n_rows = problem.weights.n_rows()[problem.train_set]
    tolerance = (options.tol or 0.0) * problem.null_loss
    rule: StoppingRule
    if isinstance(solver, AcceleratedGradient):
        rule = Accelerated(tolerance, options.n_iter_no_change, solver)
    elif is_staged:
        rule = DecayToZero(tolerance, options.n_iter_no_change, ends, n_rows)
    else:
        rule = Plateau(tolerance, options.n_iter_no_change, schedule.shrink)
    with single_threaded_blas():  # BLAS threads keep spinning after their work, on cores that the kernels need
        return _EpochLoop(problem, options, solver, schedule, rule, finds_lr, full_batch, coef, intercept).run()


def fit_one_epoch(
    problem: Problem, frame: CentredFrame, options: TrainingOptions, optimizer: Optimizer, batch_size: int,
    coef: np.ndarray, intercept: np.ndarray, optimizer_state: dict[str, Any],
) -> tuple[FitResult, dict[str, Any]]:  # fmt: skip
    """An epoch of one model, and the state of its optimizer, from that of the epoch before ({}: there was none)."""
    solver: SingleModel | ManyModels
    if problem.design.sparse:  # the steps that sparse rows allow have no state
        solver = ManyModels(problem, frame, coef, intercept, [optimizer], batch_size, options)
    else:
        solver = SingleModel(problem, frame, coef, intercept, optimizer, batch_size, options)
        solver.load_optimizer_state(optimizer_state)
    models = np.zeros(1, int)
    with np.errstate(over="ignore", invalid="ignore"):
        objective = float(solver.epoch(models)[0])
    (coef,), (intercept,) = solver.coefficients(models)
    error = None if np.isfinite(objective) else _divergence(1, optimizer)
    state = solver.optimizer_state() if isinstance(solver, SingleModel) else {}
    return FitResult(coef, intercept, [objective], error=error), state


def _divergence(epoch: int, optimizer: Optimizer) -> ValueError:
    return ValueError(
        f"the coefficients grew without bound in epoch {epoch} with lr={optimizer.get_params()['lr']:g}: "
        "use a smaller lr (lr=None finds one) or scale the features, e.g. with StandardScaler"
    )


class _EpochLoop:
    """Epochs of a solver until each model has converged, diverged, or made max_iter of them."""

    def __init__(self, problem: Problem, options: TrainingOptions, solver: EpochSolver, schedule: StepSizeSchedule,
                 rule: StoppingRule, finds_lr: bool, full_batch: bool, coef: np.ndarray,
                 intercept: np.ndarray):  # fmt: skip
        self.problem, self.options, self.solver, self.schedule = problem, options, solver, schedule
        self.rule = rule
        self.finds_lr, self.full_batch = finds_lr, full_batch
        self.validation: Objective | None = None
        if options.validation is not None:
            self.validation = Objective(problem, problem.features.frame, weights=options.validation)
            coef, intercept = coef.copy(), intercept.copy()  # the result, should no epoch be better
        self.best_validation = np.full(problem.n_models, np.inf)
        warning = NOT_CONVERGED.format(options.max_iter)
        self.results = [FitResult(c, b, warning=warning) for c, b in zip(coef, intercept, strict=True)]

    def run(self) -> list[FitResult]:
        models = np.arange(self.problem.n_models)
        for epoch in range(1, self.options.max_iter + 1):
            self.schedule.begin_epoch(models, epoch)
            with np.errstate(over="ignore", invalid="ignore"):
                objectives = self.solver.epoch(models)
            models, objectives = self._drop_diverged(models, objectives, epoch)
            if not models.size:
                break
            for m, objective in zip(models, objectives, strict=True):
                self.results[m].objectives.append(float(objective))
            monitored = objectives if self.validation is None else self._validate(models)
            if self.options.on_epoch is not None:
                self.options.on_epoch(models, self.solver)
            has_converged = self.rule.has_converged(models, epoch, monitored)
            if self.options.tol is None:
                has_converged[:] = False
            for m in models[has_converged]:
                self.results[m].warning = None
            self._keep(models[has_converged])
            models = models[~has_converged]
            self.options.on_progress(len(models))
            if not models.size:
                break
        self._keep(models)
        self._tell_gaps()
        if self.validation is None and self.options.tol is not None and not self.finds_lr:
            self._warn_of_overshoot()
        return self.results

    def _validate(self, models: np.ndarray) -> np.ndarray:
        """Losses on the held-out rows; the coefficients of the best epoch are kept."""
        assert self.validation is not None
        coef, intercept = self.solver.coefficients(models)
        losses = self.validation.losses(coef, intercept, models)
        for i, m in enumerate(models):
            self.results[m].validation_losses.append(float(losses[i]))
            if losses[i] < self.best_validation[m]:
                self.best_validation[m] = losses[i]
                self.results[m].coef, self.results[m].intercept = coef[i].copy(), intercept[i].copy()
        return losses

    def _keep(self, models: np.ndarray) -> None:
        if self.validation is None and models.size:
            for m, coef, intercept in zip(models, *self.solver.coefficients(models), strict=True):
                self.results[m].coef, self.results[m].intercept = coef, intercept

    def _drop_diverged(self, models: np.ndarray, objectives: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        finite = np.isfinite(objectives)  # they contain the penalty, and with it every coefficient
        for m in models[~finite]:
            self.results[m].error = _divergence(epoch, self.schedule.optimizers[m])
        return models[finite], objectives[finite]

    def _tell_gaps(self) -> None:
        """Add what is left to gain, and the feature that makes steps short; such a model has not converged."""
        for m, (result, gap, null_loss) in enumerate(
            zip(self.results, self.rule.gap, self.problem.null_loss, strict=True)
        ):
            if not np.isnan(gap) and result.objectives:  # no objective is below zero
                result.gap = float(min(gap, result.objectives[-1]))
            result.null_loss = float(null_loss)
            if not is_gradient_rule(self.schedule.optimizers[0]) or self.options.tol is None:
                continue
            is_certain = isinstance(self.rule, Accelerated) and self.rule.solver.gap_bound[m] <= self.rule.tolerance[m]
            k = self.problem.train_set[m]
            is_preconditioned = self.options.preconditioned and self.problem.features.is_preconditioned[k]
            if not (is_certain or is_preconditioned):
                result.large_feature = self.problem.features.large_feature(k)
                if result.warning is None and result.large_feature is not None:
                    result.gap, result.warning = None, _STALLED

    def _warn_of_overshoot(self) -> None:
        """Warn where a constant lr was so large that the loss ended above what was reached before."""
        for result, null_loss in zip(self.results, self.problem.null_loss, strict=True):
            if not result.objectives:
                continue
            # mini-batches are noisy: they are compared with the null model (for perceptron it is no measure)
            reached = min(result.objectives) if self.full_batch else null_loss
            if not self.full_batch and self.problem.loss.name == "perceptron":
                reached = np.inf
            if result.objectives[-1] > reached + self.options.tol * null_loss:
                result.warning = (
                    f"ended with a loss of {result.objectives[-1]:.3g}, where {reached:.3g} was reached or is reached "
                    "by a constant: use a smaller lr (lr=None finds one) or scale the features"
                )
