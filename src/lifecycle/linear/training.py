"""From estimators and their training sets to problems of many models, and back to fitted estimators."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import random_state
from lifecycle.linear.capabilities import check_data
from lifecycle.linear.coordinate_descent import fit_coordinate_descent
from lifecycle.linear.data.design_matrix import DesignMatrix
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.data.sample_weights import SampleWeights
from lifecycle.linear.data.statistics import FeatureStatistics, TargetStatistics
from lifecycle.linear.early_stopping import hold_out
from lifecycle.linear.epochs import fit_by_epochs
from lifecycle.linear.exact import fit_exact
from lifecycle.linear.fit_result import FitResult
from lifecycle.linear.newton import fit_newton
from lifecycle.linear.solver_choice import WITHOUT_STEPS, resolve_batch_size, rule_capabilities
from lifecycle.linear.training_options import TrainingOptions
from lifecycle.losses import Loss
from lifecycle.optim import Optimizer
from lifecycle.penalties import Penalty

_SMALL_TABLE = 1 << 20  # elements of X up to which float32 is trained in float64
# arguments in which models that are trained together may differ
_PER_MODEL = {"alpha", "l1_ratio", "epsilon", "class_weight", "lr", "optimizer", "random_state", "progress"}


class ModelSpec(NamedTuple):
    """The checked arguments of an estimator as objects; optimizer is None for a solver that takes no steps.

    `solver`: the name of the solver or rule, which optimizer="auto" leaves to the arguments and the data.
    """

    loss: Loss
    penalty: Penalty
    optimizer: Optimizer | None
    solver: str


@dataclass(eq=False)
class TrainingSet:
    """The rows that some models train on, with the targets that they see.

    counts : (n_samples,)
        How much each row counts; zero for those that are not in the set.
    sample_weight : (n_samples,) or None
        Weights of which the counts are a multiple where they are not zero; None: ones.
    y : (n_samples,)
        Numbers, or codes of `classes`.
    """

    counts: np.ndarray
    sample_weight: np.ndarray | None
    y: np.ndarray
    classes: np.ndarray | None = None

    @property
    def n_outputs(self) -> int:
        """Scores of a model: 1, or the number of classes if there are more than two."""
        return 1 if self.classes is None or len(self.classes) == 2 else len(self.classes)


@dataclass
class FitRequest:
    """Checked X with a training set and a spec for each model, and the callbacks of the training.

    `max_abs`: a bound of |x| in X. `is_single`: `fit` asks for the only model. The errors of models that
    cannot be fitted are in `errors`, by the index of the model, the results of those that have not converged in
    `unconverged`. Models that train on rows with NaN are in `discarded`:
    they are trained with zeros in place of these rows, because the last bits of sums that training sets share depend on
    how many take part, and their results are not kept.
    """

    X: Any
    training_sets: list[TrainingSet]
    specs: list[ModelSpec]
    max_abs: float = np.inf
    on_epoch: Callable | None = None
    on_progress: Callable[[int], Any] = lambda n: None
    is_single: bool = False
    errors: dict[int, Exception] = field(default_factory=dict)
    unconverged: dict[int, FitResult] = field(default_factory=dict)
    discarded: dict[int, Exception] = field(default_factory=dict)


def make_problem(models: Sequence[Any], spec: ModelSpec, design: DesignMatrix, training_set: TrainingSet,
                 weights: SampleWeights, train_set: np.ndarray) -> Problem:  # fmt: skip
    """The problem of estimators of one kind; `train_set` (models,): the column of `weights` of each."""
    alpha, l1_ratio, epsilon = (
        np.array([getattr(model, name) for model in models], np.float64) for name in ("alpha", "l1_ratio", "epsilon")
    )
    y, fit_intercept = training_set.y, bool(models[0].fit_intercept)
    features, targets = FeatureStatistics(design, weights, fit_intercept), TargetStatistics(y, weights)
    return Problem(
        design, y, training_set.n_outputs, weights, spec.loss, spec.penalty, fit_intercept, train_set, alpha, l1_ratio,
        epsilon, training_set.sample_weight, features, targets,
    )  # fmt: skip


def fit_models(models: Sequence[Any], request: FitRequest) -> None:
    """Fit the models in place, those of one kind together; what one of them could not do is in request.errors."""
    groups: dict[tuple, list[int]] = {}
    for i, model in enumerate(models):
        if i not in request.errors:
            key = _group_key(model, request.specs[i], request.training_sets[i])
            # a warm start goes on from where the model is
            groups.setdefault((*key, i) if model._is_warm_start() else key, []).append(i)
    n_waiting = sum(map(len, groups.values()))
    for group in groups.values():
        n_waiting -= len(group)
        first = models[group[0]]
        seeds = random_state(first.random_state).randint(np.iinfo(np.int32).max, size=2)
        held_out = _hold_out(first, group, request, seeds[0]) if first.early_stopping else None
        group = [i for i in group if i not in request.errors]
        if not group:
            continue
        try:
            _fit_group([models[i] for i in group], group, request, held_out, seeds[1], n_waiting)
        except ValueError as error:
            request.errors.update(dict.fromkeys(group, error))


def _group_key(model: Any, spec: ModelSpec, training_set: TrainingSet) -> tuple:
    """What two models must have in common to be trained together."""
    params = {name: getattr(model, name) for name in model._get_param_names()}
    has_l1 = params["alpha"] * spec.penalty.l1_weight(params["l1_ratio"]) > 0
    optimizer: Any = spec.solver
    if spec.optimizer is not None:
        hyper = spec.optimizer.get_params()
        flags = tuple((k, v) for k, v in hyper.items() if isinstance(v, bool))
        optimizer = (spec.optimizer.rule.name, spec.optimizer.rule.variant(hyper).update, flags, finds_lr(model))
    shared = tuple((k, v) for k, v in sorted(params.items()) if k not in _PER_MODEL)
    classes = training_set.classes
    labels = None if classes is None else (classes.dtype.str, tuple(classes.tolist()))
    return type(model), shared, has_l1, optimizer, _random_key(params["random_state"]), labels


def finds_lr(model: Any) -> bool:
    """Whether the step size is found from the data."""
    return isinstance(model.optimizer, str) and model.lr is None


def _random_key(seed: Any) -> Any:
    """What two random states that give the same numbers have in common; clones of an estimator copy them."""
    if isinstance(seed, np.random.Generator):
        return repr(seed.bit_generator.state)
    return repr(seed.get_state(legacy=False)) if isinstance(seed, np.random.RandomState) else seed


def _hold_out(model: Any, group: list[int], request: FitRequest, seed: int) -> dict[TrainingSet, np.ndarray]:
    """The rows that early stopping holds out of each training set; a model with too few goes to request.errors."""
    held_out: dict[TrainingSet, np.ndarray] = {}
    for i in group:
        training_set = request.training_sets[i]
        try:
            if training_set not in held_out:
                rows, stratify = np.flatnonzero(training_set.counts), training_set.classes is not None
                held_out[training_set] = hold_out(rows, training_set.y, model.validation_fraction, stratify, seed)
        except ValueError as error:
            request.errors[i] = error
    return held_out


def _fit_group(models: list[Any], group: list[int], request: FitRequest,
               held_out: dict[TrainingSet, np.ndarray] | None, order_seed: int, n_waiting: int) -> None:  # fmt: skip
    """Fit models of one kind; `n_waiting`: how many models come after these."""
    first, spec, X = models[0], request.specs[group[0]], request.X
    if X.dtype == np.float32 and X.size <= _SMALL_TABLE and isinstance(X, np.ndarray) and spec.solver != "newton":
        X = X.astype(np.float64)  # costs nothing, and rounding that grows stays below what is promised of float32
    training_sets = list(dict.fromkeys(request.training_sets[i] for i in group))
    counts, validation = np.stack([s.counts for s in training_sets], axis=1), None
    if held_out is not None:
        is_held_out = np.stack([held_out[s] for s in training_sets], axis=1)
        validation = SampleWeights(np.where(is_held_out, counts, 0), X.dtype)
        counts = np.where(is_held_out, 0, counts)
    place = {training_set: k for k, training_set in enumerate(training_sets)}
    train_set = np.array([place[request.training_sets[i]] for i in group])
    design = DesignMatrix(X, request.max_abs)
    problem = make_problem(models, spec, design, training_sets[0], SampleWeights(counts, X.dtype), train_set)
    options = TrainingOptions(
        first.max_iter, first.tol, first.n_iter_no_change, bool(first.shuffle), int(first.average),
        np.random.RandomState(order_seed), validation=validation, is_single=request.is_single,
        on_progress=lambda left: request.on_progress(n_waiting + left),
    )  # fmt: skip
    if first._is_warm_start():
        options.initial = _current_coefficients(first, problem)
    classes = training_sets[0].classes
    if request.on_epoch is not None:
        for model in models:  # which are not the user's before they are fitted
            model.__dict__.update({} if classes is None else {"classes_": classes})
        options.on_epoch = partial(request.on_epoch, group)
    results = _solve(models, spec.solver, [request.specs[i].optimizer for i in group], problem, options)
    for i, model, result, k in zip(group, models, results, train_set, strict=True):
        if result.error is not None:
            request.errors[i] = result.error
        elif i not in request.discarded:
            model._store_result(result, problem.features.center[k], classes, spec.solver)
            if result.warning is not None and model.tol is not None:
                request.unconverged[i] = result


def _solve(
    models: list[Any], solver: str, optimizers: list[Any], problem: Problem, options: TrainingOptions
) -> list[FitResult]:
    first = models[0]
    if solver in WITHOUT_STEPS:
        check_data(WITHOUT_STEPS[solver], first, None, problem, problem.design.n_samples)
        if solver == "coordinate_descent":
            return fit_coordinate_descent(problem, options)
        return fit_exact(problem) if solver == "exact" else fit_newton(problem, options)
    batch_size = resolve_batch_size(first, optimizers[0], problem.design.n_samples)
    capabilities = rule_capabilities(first, optimizers[0], batch_size, problem.design.n_samples)
    check_data(capabilities, first, optimizers[0], problem, batch_size)
    return fit_by_epochs(problem, options, optimizers, finds_lr(first), batch_size)


def _current_coefficients(model: Any, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (1, n_outputs, n_features) and intercepts (1, n_outputs) of centred features, for a warm start."""
    coef = np.array(model.coef_, np.float64).reshape(1, problem.n_outputs, -1)
    intercept = np.array(model.intercept_, np.float64).reshape(1, -1)
    if not problem.fit_intercept:
        return coef, 0.0 * intercept
    return coef, problem.features.frame.to_centred(coef, intercept, problem.train_set)
