"""From estimators and the rows that each of them trains on to tasks of many models, and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from lifecycle._check import random_state
from lifecycle.linear.data.design_matrix import Rows
from lifecycle.linear.data.problem import Task
from lifecycle.linear.data.sample_weights import Weights
from lifecycle.linear.epochs import by_epochs, is_proximal
from lifecycle.linear.exact import in_closed_form
from lifecycle.linear.newton import by_newton
from lifecycle.linear.outcome import Outcome, Settings
from lifecycle.losses import find_loss
from lifecycle.optim import Optimizer
from lifecycle.penalties import find_penalty

_BATCHES = {"gd": None, "sgd": 1}  # batch_size="auto"; None: all rows
_OTHER_BATCH = 64
_MOST_VARIABLES = 20_000  # of Newton's method: a Hessian of 3 GB
_LARGEST = 1e100
_SMALL = 1 << 20  # elements


@dataclass(eq=False)
class Sample:
    """The rows that some models train on, and what their y is made of.

    counts : (n,), how much each row counts, zero for those that are not among them
    base : (n,), of which the counts are a multiple where not zero, or None: ones
    codes : (n,), numbers, or places in `classes`
    """

    counts: np.ndarray
    base: np.ndarray | None
    codes: np.ndarray
    classes: np.ndarray | None = None


@dataclass
class Data:
    """Checked X, and the sample of each model; `alone`: there is one, and `fit` asks for it."""

    X: Any
    samples: list[Sample]
    strata: bool
    watch: Callable | None = None
    advance: Callable[[int], Any] = lambda n: None
    alone: bool = False
    errors: dict[int, Exception] = field(default_factory=dict)


def check_values(X: Any, y: np.ndarray | None) -> None:
    """Refuse numbers whose squares overflow."""
    values = X.data if not isinstance(X, np.ndarray) else X
    parts = [(-values.min(initial=0.0), values.max(initial=0.0))] + ([(np.abs(y).max(),)] if y is not None else [])
    largest = max(float(v) for part in parts for v in part)
    limit = _LARGEST if values.dtype == np.float64 else 1e15
    if largest > limit:
        raise ValueError(
            f"the data hold a value of {largest:.2g}, and above {limit:g} squares overflow: scale the data"
        )


def train(models: Sequence[Any], data: Data) -> None:
    """Fit the models in place, those of one kind together; what one of them could not do is in data.errors."""
    kinds: dict[tuple, list[int]] = {}
    for i, model in enumerate(models):
        if i not in data.errors:
            kinds.setdefault(_kind(model, data.samples[i]), []).append(i)
    waiting = sum(map(len, kinds.values()))
    for members in kinds.values():
        for some in _shares(models[members[0]], members):
            waiting -= len(some)
            seeds = random_state(models[some[0]].random_state).randint(np.iinfo(np.int32).max, size=2)
            held = _set_aside(models[some[0]], some, data, seeds[0])
            some = [i for i in some if i not in data.errors]
            if not some:
                continue
            try:
                _train_kind([models[i] for i in some], some, data, held, seeds[1], waiting)
            except ValueError as error:
                data.errors.update(dict.fromkeys(some, error))


def _shares(model: Any, members: list[int]) -> list[list[int]]:
    """The models that are trained together: all, but for those that go on from where they are."""
    return [[i] for i in members] if model._continues() else [members]


def _kind(model: Any, sample: Sample) -> tuple:
    """What two models must have in common to be trained together."""
    params = {name: getattr(model, name) for name in model._get_param_names()}
    varies = {"alpha", "l1_ratio", "epsilon", "class_weight", "lr", "optimizer", "random_state", "progress"}
    kink = params["alpha"] * find_penalty(params["penalty"]).l1_weight(params["l1_ratio"]) > 0
    optimizer: Any = params["optimizer"]
    if optimizer not in ("newton", "exact"):
        made = model._resolved()
        hyper = made.get_params()
        flags = tuple((k, v) for k, v in hyper.items() if isinstance(v, bool))
        scheduled = isinstance(optimizer, str) and params["lr"] is None
        optimizer = (made.rule.name, made.rule.variant(hyper).update, flags, scheduled)
    fixed = tuple((k, v) for k, v in sorted(params.items()) if k not in varies)
    classes = None if sample.classes is None else (sample.classes.dtype.str, tuple(sample.classes.tolist()))
    return type(model), fixed, kink, optimizer, _seed(params["random_state"]), classes


def _seed(seed: Any) -> Any:
    """What two random states that will give the same numbers have in common; clones of an estimator copy them."""
    if isinstance(seed, np.random.Generator):
        return repr(seed.bit_generator.state)
    return repr(seed.get_state(legacy=False)) if isinstance(seed, np.random.RandomState) else seed


def _set_aside(model: Any, members: list[int], data: Data, seed: int) -> dict[Sample, np.ndarray] | None:
    """The rows that early_stopping holds out of each sample; who has too few goes to data.errors."""
    if not model.early_stopping:
        return None
    found: dict[Sample, np.ndarray] = {}
    for i in members:
        sample = data.samples[i]
        try:
            if sample not in found:
                found[sample] = _held_out(model, sample, data.strata, seed)
        except ValueError as error:
            data.errors[i] = error
    return found


def _train_kind(models: list[Any], members: list[int], data: Data, aside: dict[Sample, np.ndarray] | None,
                order_seed: int, waiting: int) -> None:  # fmt: skip
    """`waiting`: how many models come after these."""
    first = models[0]
    X = data.X
    if X.dtype == np.float32 and X.size <= _SMALL and isinstance(X, np.ndarray) and first.optimizer != "newton":
        X = X.astype(np.float64)  # costs nothing, and rounding that grows stays below what is promised of float32
    rows = Rows(X)
    loss, penalty = find_loss(first.loss, first._task), find_penalty(first.penalty)
    samples = list(dict.fromkeys(data.samples[i] for i in members))
    place = {sample: k for k, sample in enumerate(samples)}
    held = None if aside is None else np.stack([aside[sample] for sample in samples], axis=1)
    counts = np.stack([s.counts for s in samples], axis=1)
    classes = samples[0].classes
    outputs = 1 if classes is None or len(classes) == 2 else len(classes)
    codes = samples[0].codes
    column = np.array([place[data.samples[i]] for i in members])

    def numbers(name: str) -> np.ndarray:
        return np.array([getattr(model, name) for model in models], np.float64)

    task = Task(
        rows, codes, outputs, Weights(counts if held is None else np.where(held, 0, counts), X.dtype), loss,
        penalty, bool(first.fit_intercept), column, numbers("alpha"), numbers("l1_ratio"), numbers("epsilon"),
        samples[0].base,
    )  # fmt: skip
    settings = Settings(
        first.max_iter, first.tol, first.n_iter_no_change, bool(first.shuffle), int(first.average),
        np.random.RandomState(order_seed), advance=lambda left: data.advance(waiting + left), alone=data.alone,
        held_out=None if held is None else Weights(np.where(held, counts, 0), X.dtype),
    )  # fmt: skip
    if first._continues():
        settings.start = _from_coefficients(first, task)
    if data.watch is not None:
        for model in models:  # which are not the user's before they are fitted
            model.__dict__.update({} if classes is None else {"classes_": classes})
        settings.watch = partial(data.watch, members)
    for model, i, outcome in zip(models, members, _outcomes(models, task, settings), strict=True):
        if outcome.error is not None:
            data.errors[i] = outcome.error
            continue
        model._keep(outcome, task.center[column[members.index(i)]], classes)


def _outcomes(models: list[Any], task: Task, settings: Settings) -> list[Outcome]:
    first = models[0]
    if first.optimizer == "exact":
        return in_closed_form(task)
    if first.optimizer == "newton":
        free = (task.outputs if task.joint else 1) * (task.rows.features + 1)
        if free > _MOST_VARIABLES:
            others = "'gd' or 'sgd'" if task.rows.sparse else "'gd', 'sgd' or 'adam'"
            raise ValueError(
                f"optimizer='newton' solves for {free} variables at once, and more than {_MOST_VARIABLES} "
                f"need too much memory: use {others}"
            )
        return by_newton(task, settings)
    optimizers = [model._resolved() for model in models]
    batch = batch_of(first, optimizers[0], task.rows.n)
    if task.rows.sparse and batch < task.rows.n:
        check_sparse(first, optimizers[0], task, batch)
    scheduled = isinstance(first.optimizer, str) and first.lr is None
    return by_epochs(task, settings, optimizers, scheduled, batch)


def batch_of(model: Any, optimizer: Optimizer, n: int) -> int:
    """Rows in a step."""
    if not isinstance(model.batch_size, str):
        return min(model.batch_size, n)
    auto = _BATCHES.get(optimizer.rule.name, _OTHER_BATCH)
    return n if auto is None else min(auto, n)


def check_sparse(model: Any, optimizer: Optimizer, task: Task, batch: int) -> None:
    """On sparse X a step of one row may touch the columns of that row only."""
    asked = f"optimizer={model.optimizer!r}"
    if not is_proximal(optimizer):
        reason = f"{asked} moves every coefficient at every step"
    elif (task.alpha * [task.penalty.l1_weight(r) for r in task.l1_ratio] > 0).any():
        reason = f"penalty={model.penalty!r} is not a factor of the coefficients"
    elif batch > 1 or model.average:
        what = "average" if model.average else f"batch_size={batch}"
        reason = f"{what} goes through all coefficients at every step"
    else:
        return
    raise ValueError(
        f"X is sparse, and {reason}, which would make it dense: use optimizer='gd', which takes all rows at once, "
        "'sgd' with penalty 'l2' or None, without average and with batch_size 1, or X.toarray()"
    )


def _held_out(model: Any, sample: Sample, stratify: bool, seed: int) -> np.ndarray:
    """(n,) bool: the rows that early_stopping sets aside."""
    rows = np.flatnonzero(sample.counts)
    held = np.zeros(len(sample.counts), bool)
    try:
        held[train_test_split(rows, test_size=model.validation_fraction, random_state=seed,
                              stratify=sample.codes[rows] if stratify else None)[1]] = True  # fmt: skip
    except ValueError as fault:
        raise ValueError(
            f"early_stopping cannot set validation_fraction={model.validation_fraction} aside: {fault}"
        ) from None
    return held


def _from_coefficients(model: Any, task: Task) -> tuple[np.ndarray, np.ndarray]:
    coef = np.array(model.coef_, np.float64).reshape(1, task.outputs, -1)
    intercept = np.array(model.intercept_, np.float64).reshape(1, -1)
    return coef, intercept + coef @ task.center[task.column[0]] if task.fit_intercept else 0.0 * intercept
