"""Training on rows that come in parts: what `partial_fit` keeps from call to call."""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lifecycle._check import random_state
from lifecycle.linear.capabilities import check_data
from lifecycle.linear.data.design_matrix import DesignMatrix
from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.sample_weights import SampleWeights
from lifecycle.linear.epochs import fit_one_epoch
from lifecycle.linear.learning_rate import initial_step_sizes, part_step_size
from lifecycle.linear.solver_choice import resolve_batch_size, rule_capabilities
from lifecycle.linear.training import ModelSpec, TrainingSet, finds_lr, make_problem
from lifecycle.linear.training_options import TrainingOptions


@dataclass
class PartialFitState:
    """The centre of the features and the step size, of the first part, and the state of the optimizer."""

    center: np.ndarray
    lr: float | None
    random_state: np.random.RandomState
    n_calls: int = 0
    optimizer: dict[str, Any] = field(default_factory=dict)


def partial_fit(model: Any, X: Any, training_set: TrainingSet, spec: ModelSpec) -> None:
    """One epoch over these rows, going on from where the model is."""
    counts, train_set = training_set.counts[:, None], np.zeros(1, int)
    # means and step sizes do not depend on a factor of the weights, the length of a step does
    statistics = SampleWeights(counts if counts.any() else np.ones_like(counts), X.dtype)
    problem = make_problem([model], spec, DesignMatrix(X), training_set, statistics, train_set)
    problem = replace(problem, weights=SampleWeights(counts, X.dtype, np.ones(1)))
    optimizer, n_rows = spec.optimizer, problem.design.n_samples
    assert optimizer is not None
    batch_size = resolve_batch_size(model, optimizer, n_rows)
    # a part is never all rows: there is no step on a full batch
    check_data(rule_capabilities(model, optimizer, batch_size, n_rows + 1), model, optimizer, problem, batch_size)
    previous = model.__dict__.get("_partial_fit_state")
    if previous is None:
        lr = float(initial_step_sizes(problem, optimizer, False)[0]) if finds_lr(model) else None
        seed = random_state(model.random_state).randint(2**31 - 1)
        previous = PartialFitState(problem.features.center[0], lr, np.random.RandomState(seed))
    # a copy, so that an error changes nothing
    state = replace(previous, n_calls=previous.n_calls + 1, random_state=deepcopy(previous.random_state))
    if problem.design.sparse:  # which cannot be centred: neither this part nor those that follow
        state.center = np.zeros_like(state.center)
    if state.lr is not None:
        optimizer.set_params(lr=part_step_size(state.lr, state.n_calls))
    frame = CentredFrame(state.center[None], np.zeros_like(state.center))
    coef, intercept = problem.initial_coefficients()
    if hasattr(model, "coef_"):
        coef = np.array(model.coef_, np.float64).reshape(coef.shape)
        raw = np.array(model.intercept_, np.float64).reshape(intercept.shape)
        intercept = frame.to_centred(coef, raw, train_set)
    options = TrainingOptions(1, None, 1, bool(model.shuffle), int(model.average), state.random_state, is_single=True)
    result, state.optimizer = fit_one_epoch(
        problem, frame, options, optimizer, batch_size, coef, intercept, state.optimizer
    )
    if result.error is not None:
        raise result.error
    history = model.__dict__.get("history_", []) if state.n_calls > 1 else []
    model._store_result(result, state.center, training_set.classes, spec.solver)
    model.history_ = [*history, {"epoch": state.n_calls, "train_loss": result.objectives[0]}]
    model.n_iter_, model._partial_fit_state = state.n_calls, state
