"""Training on rows that come in parts: what `partial_fit` keeps from call to call."""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lifecycle._check import random_state
from lifecycle.linear.data.design_matrix import Rows
from lifecycle.linear.data.problem import Task
from lifecycle.linear.data.sample_weights import Weights
from lifecycle.linear.epochs import first_rates, one_epoch
from lifecycle.linear.outcome import Settings
from lifecycle.linear.training import Sample, batch_of, check_sparse
from lifecycle.losses import find_loss
from lifecycle.penalties import find_penalty


@dataclass
class Stream:
    """The centre of the features and the step size, of the first part, and the state of the optimizer."""

    center: np.ndarray
    lr: float | None
    rng: np.random.RandomState
    calls: int = 0
    state: dict[str, Any] = field(default_factory=dict)


def train_on(model: Any, X: Any, sample: Sample) -> None:
    """One epoch over these rows, going on from where the model is.

    A step size that lr=None found in the first part shrinks with the root of the number of parts.
    """
    outputs = 1 if sample.classes is None or len(sample.classes) == 2 else len(sample.classes)
    alpha, l1_ratio, epsilon = (np.array([getattr(model, k)], np.float64) for k in ("alpha", "l1_ratio", "epsilon"))
    task = Task(
        Rows(X), sample.codes, outputs, Weights(sample.counts[:, None], X.dtype, np.ones(1)),
        find_loss(model.loss, model._task), find_penalty(model.penalty), bool(model.fit_intercept), np.zeros(1, int),
        alpha, l1_ratio, epsilon, sample.base,
    )  # fmt: skip
    optimizer = model._resolved()
    batch = batch_of(model, optimizer, task.rows.n)
    if task.rows.sparse:
        check_sparse(model, optimizer, task, batch)
    kept = model.__dict__.get("_stream")
    if kept is None:
        lr = None
        if isinstance(model.optimizer, str) and model.lr is None:
            lr = float(first_rates(task, optimizer, False)[0])
        kept = Stream(task.center[0], lr, np.random.RandomState(random_state(model.random_state).randint(2**31 - 1)))
    # what does not come to its end changes nothing
    stream = replace(kept, calls=kept.calls + 1, rng=deepcopy(kept.rng))
    if task.rows.sparse:  # which cannot be centred: neither this part nor those that follow
        stream.center = np.zeros_like(stream.center)
    if stream.lr is not None:
        optimizer.set_params(lr=stream.lr / stream.calls**0.5)
    task.__dict__["center"] = stream.center[None]
    coef, intercept = task.start()
    if hasattr(model, "coef_"):
        coef = np.array(model.coef_, np.float64).reshape(coef.shape)
        intercept = np.array(model.intercept_, np.float64).reshape(intercept.shape) + coef @ stream.center
    settings = Settings(1, None, 1, bool(model.shuffle), int(model.average), stream.rng, alone=True)
    outcome, stream.state = one_epoch(task, settings, optimizer, batch, coef, intercept, stream.state)
    if outcome.error is not None:
        raise outcome.error
    history = model.__dict__.get("history_", []) if stream.calls > 1 else []
    model._keep(outcome, stream.center, sample.classes)
    model.history_ = [*history, {"epoch": stream.calls, "train_loss": outcome.curve[0]}]
    model.n_iter_, model._stream = stream.calls, stream
