"""The base class of the linear estimators: their arguments, and how one or many of them are fitted."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cache, partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lifecycle._check import ModelsFailed, integer, number, one_of
from lifecycle._progress import progress_bar
from lifecycle.linear.capabilities import check_arguments
from lifecycle.linear.fit_result import FitResult, describe_models, warn_not_converged
from lifecycle.linear.incremental import partial_fit
from lifecycle.linear.row_sets import RowSets
from lifecycle.linear.scoring import TestScores
from lifecycle.linear.solver_choice import WITHOUT_STEPS, choose_solver
from lifecycle.linear.training import FitRequest, ModelSpec, TrainingSet, fit_models
from lifecycle.linear.usable_rows import describe_unusable_row, find_unusable_rows, without_rows
from lifecycle.losses import find_loss
from lifecycle.optim import resolve
from lifecycle.penalties import find_penalty
from lifecycle.rules import list_rules

__all__ = ["LinearEstimator"]

_IMMUTABLE = str | bool | int | float | None


class LinearEstimator(BaseEstimator, ABC):
    """Base of LinearClassifier and LinearRegressor."""

    _task: str

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:  # type: ignore[override]
        """As scikit-learn finds them; looked up once, as a grid asks for them thousands of times."""
        return super()._get_param_names()

    def _set_arguments(self, arguments: dict[str, Any]) -> None:
        """Set the arguments of `__init__` as attributes of their names."""
        self.__dict__.update({name: value for name, value in arguments.items() if name != "self"})

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        self._check_arguments()  # before the data
        X, y, weights = self._check_data(X, y, sample_weight, reset=not self._is_warm_start())
        spec = self._check_arguments(X)
        unusable, max_abs = find_unusable_rows(X, y, weights)
        if unusable is not None:
            raise ValueError(describe_unusable_row(X, y, weights, unusable[0]))
        training_set = self._make_training_set(self._encode_targets(y), weights, np.arange(len(y)))
        with progress_bar(self.max_iter, type(self).__name__, self.progress) as bar:
            request = FitRequest(X, [training_set], [spec], max_abs, on_progress=lambda n: bar.update(), is_single=True)
            fit_models([self], request)
        if request.errors:
            raise request.errors[0]
        warn_not_converged([self], request.unconverged, [""])
        return self

    def fit_many(
        self,
        X: Any,
        y: Any = None,
        *,
        train: Sequence[Any],
        params: Sequence[dict[str, Any]],
        test: Sequence[Any] | None = None,
        scoring: Any = None,
        curves: bool = True,
        callback: Callable[[int, int], Any] | None = None,
        sample_weight: Any = None,
    ) -> list[Any]:
        """Fit many models in one pass over X: model i is a clone with params[i], fitted on the rows train[i].

        Models that differ in alpha, l1_ratio, epsilon, lr, the numbers of an optimizer, class weights and rows are
        trained together; other differences make other passes. "sgd", "adam" and their like draw the order of the rows
        once, over all of X: model i is what `fit(X, y, sample_weight=mask)` gives, while `fit(X[rows], y[rows])` draws
        another order.

        Parameters
        ----------
        X : array-like, CSR matrix or memmap, shape (n_samples, n_features)
            Not copied if it is float32 or float64, C-contiguous, and not a small table of float32.
        y : array-like, shape (n_samples,)
        train : list of arrays of row numbers or of bool, one a model
        params : list of dicts, one a model
        test : list of arrays of row numbers of X or of bool, one a model, optional
            Each model is scored on these rows: test_score_, and where it has epochs test_scores_, one an epoch; NaN
            where the scorer fails.
        scoring : None, str, callable, list or dict, default=None
            As in cross_validate; with several, scores are dicts by name.
        curves : bool, default=True
            With test, score the models after each epoch too.
        callback : callable, callback(models that are done, models), optional
            After each epoch of a pass, and at the end; the first number never falls.
        sample_weight : array-like, shape (n_samples,), optional

        Returns
        -------
        list of fitted estimators

        Raises
        ------
        ModelsFailed
            If some cannot be fitted; its `models` holds the others, its `errors` what went wrong with each.
        """
        if isinstance(params, Mapping) or not all(isinstance(p, Mapping) for p in params):
            raise TypeError('params must be a list of dicts, one a model, such as [{"alpha": 1e-3}, {"alpha": 1e-2}]')
        models = [model.set_params(**p) for model, p in zip(_clones(self, len(params)), params, strict=True)]
        for name, sets in (("train", train), ("test", test)):
            if sets is not None and len(sets) != len(models):
                raise ValueError(f"{name} has rows for {len(sets)} models, params are of {len(models)}: one for each")
        template = clone(self)
        X, y, weights = template._check_data(X, y, sample_weight, reset=True, finite_targets=False)
        unusable, max_abs = find_unusable_rows(X, y, weights)
        given_X, given_y, describe = X, y, partial(describe_unusable_row, X, y, weights)
        X, y, weights = without_rows(X, y, weights, unusable)
        learned = {k: v for k, v in template.__dict__.items() if k in ("n_features_in_", "feature_names_in_")}
        n_models, row_sets, encoded = len(models), RowSets(len(y)), template._encode_targets(y)
        request = FitRequest(X, [None] * n_models, [None] * n_models, max_abs)  # type: ignore[list-item]
        training_sets: dict[tuple, TrainingSet] = {}
        for i, model in enumerate(models):
            model.__dict__.update(learned)
            try:
                request.specs[i] = model._check_arguments(X)
                number, rows = row_sets(train[i])
                if unusable is not None and np.isin(unusable, rows).any():
                    request.discarded[i] = ValueError(describe(unusable[np.isin(unusable, rows)][0]))
                key = number, repr(getattr(model, "class_weight", None))
                if key not in training_sets:
                    training_sets[key] = model._make_training_set(encoded, weights, rows)
                request.training_sets[i] = training_sets[key]
            except (ValueError, TypeError) as error:
                request.errors[i] = error
        scores = None
        if test is not None and models:
            tests = [row_sets(rows) for rows in test]
            keys = [number for number, _ in tests]
            scores = TestScores(given_X, given_y, dict(tests), keys, models, scoring, unusable)
            request.on_epoch = scores.score_epoch if curves else None
        n_done, callback_errors = 0, []
        with progress_bar(self.max_iter, f"{n_models} × {type(self).__name__}", self.progress) as bar:

            def on_progress(n_left: int) -> None:
                nonlocal n_done
                bar.update()
                n_done = max(n_done, n_models - n_left)
                if callback is not None:
                    try:
                        callback(n_done, n_models)
                    except Exception as error:  # it ends the training, and is no failure of these models
                        callback_errors.append(error)
                        raise

            request.on_progress = on_progress
            if len(request.errors.keys() | request.discarded.keys()) < n_models:
                fit_models(models, request)
        request.errors.update(request.discarded)
        if callback_errors:
            raise callback_errors[0]
        if callback is not None and n_done < n_models:
            callback(n_models, n_models)
        if request.unconverged:
            sets = [
                row_sets(rows) if request.training_sets[i] is not None else ("", []) for i, rows in enumerate(train)
            ]
            warn_not_converged(models, request.unconverged, list(describe_models(params, *zip(*sets, strict=True))))
        if scores is not None:
            scores.score_fitted([i for i in range(n_models) if i not in request.errors])
        if request.errors:
            raise ModelsFailed([None if i in request.errors else m for i, m in enumerate(models)], request.errors)
        return models

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Any:
        spec = self._check_arguments()
        if self.early_stopping:
            raise ValueError(
                "partial_fit sees a part of the rows, and early_stopping=True needs all: leave it at False"
            )
        X, y, weights = self._check_data(X, y, sample_weight, reset=not hasattr(self, "n_features_in_"))
        unusable, _ = find_unusable_rows(X, y, weights)
        if unusable is not None:
            raise ValueError(describe_unusable_row(X, y, weights, unusable[0]))
        weights = np.ones(len(y)) if weights is None else weights
        partial_fit(self, X, self._make_partial_training_set(y, weights, classes), spec)
        return self

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, reset: bool, finite_targets: bool = True
    ) -> tuple[Any, np.ndarray, np.ndarray | None]:
        """X, y and the weights as arrays, in which `find_unusable_rows` looks for NaN and infinity.

        `finite_targets`: they are refused here in targets.
        """
        is_regressor = self._task == "regression"
        checks: dict[str, Any] = {
            "accept_sparse": "csr",
            "dtype": (np.float64, np.float32),
            "order": "C",
            "reset": reset,
            "ensure_all_finite": False,
        }
        if finite_targets:
            X, y = validate_data(self, X, y, y_numeric=is_regressor, **checks)
        else:
            if y is not None:  # None is refused with X
                y = column_or_1d(y, warn=True)
                if not is_regressor:
                    assert_all_finite(y, input_name="y")
            X = validate_data(self, X, **({} if y is not None else {"y": y}), **checks)
            check_consistent_length(X, y)
        y = self._check_targets(y)
        if sample_weight is None:
            return X, y, None
        weights = np.asarray(sample_weight, dtype=np.float64)
        # NaN and infinity are refused with the rows that they belong to
        finite: Any = np.where(np.isnan(weights) | (weights == np.inf), 0.0, weights)
        finite = finite if weights.ndim else float(finite)
        checked = _check_sample_weight(finite, X, dtype=np.float64, ensure_non_negative=True)
        return X, y, np.where(np.isfinite(weights), checked, weights)

    @abstractmethod
    def _check_targets(self, y: np.ndarray) -> np.ndarray:
        """y after the checks of the task."""

    @abstractmethod
    def _encode_targets(self, y: np.ndarray) -> Any:
        """What all models share of y, such as class codes."""

    @abstractmethod
    def _make_training_set(self, encoded: Any, weights: np.ndarray | None, rows: np.ndarray) -> TrainingSet:
        """The training set of a model with these rows."""

    @abstractmethod
    def _make_partial_training_set(self, y: np.ndarray, weights: np.ndarray, classes: Any) -> TrainingSet:
        """The training set of one call of partial_fit."""

    @abstractmethod
    def _set_coefficients(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        """Set coef_ and intercept_ from coefficients (n_outputs, n_features) and intercepts (n_outputs,)."""

    def _check_arguments(self, X: Any = None) -> ModelSpec:
        """The checked arguments; optimizer="auto" is what fits the rows X, or "sgd" where these are not known."""
        loss, penalty = find_loss(self.loss, self._task), find_penalty(self.penalty)
        number("alpha", self.alpha, low=0.0)
        number("l1_ratio", self.l1_ratio, low=0.0, high=1.0)
        number("epsilon", self.epsilon, low=0.0)
        if self.loss == "huber" and self.epsilon == 0:
            raise ValueError("loss='huber' needs epsilon > 0; got 0")
        integer("max_iter", self.max_iter, low=1)
        integer("n_iter_no_change", self.n_iter_no_change, low=1)
        if self.tol is not None:
            number("tol", self.tol, low=0.0)
        if self.lr is not None:
            number("lr", self.lr, above=0.0)
        number("validation_fraction", self.validation_fraction, above=0.0, below=1.0)
        for name in ("fit_intercept", "shuffle", "early_stopping", "warm_start"):
            one_of(name, getattr(self, name), (True, False))
        one_of("progress", self.progress, (None, True, False))
        if not isinstance(self.average, (bool, np.bool_)):
            integer("average", self.average, low=0)
        if isinstance(self.batch_size, str):
            one_of("batch_size", self.batch_size, ["auto"])
        else:
            integer("batch_size", self.batch_size, low=1)
        if isinstance(self.optimizer, str):
            others = ["auto", *sorted(WITHOUT_STEPS, reverse=True)]
            one_of("optimizer", self.optimizer, [*sorted(list_rules()), *others])
        solver = self.optimizer
        if isinstance(solver, str) and solver == "auto":
            solver = "sgd" if X is None else choose_solver(self, loss, penalty, X)
        if isinstance(solver, str) and solver in WITHOUT_STEPS:
            check_arguments(WITHOUT_STEPS[solver], self, loss, penalty)
            return ModelSpec(loss, penalty, None, solver)
        optimizer = resolve(solver, lr=self.lr)
        hyper = optimizer.get_params()
        if isinstance(self.optimizer, str) and "weight_decay" in hyper:
            optimizer.set_params(weight_decay=0.0)  # the objective of a name does not depend on the rule
        if hyper.get("maximize"):
            raise ValueError(f"{self.optimizer!r} would maximize the loss: leave maximize out")
        return ModelSpec(loss, penalty, optimizer, optimizer.rule.name)

    def _store_result(self, result: FitResult, center: np.ndarray, classes: np.ndarray | None, solver: str) -> None:
        """Set the fitted attributes; `center` (n_features,): what the features of the result are centred by."""
        self.solver_ = solver
        if classes is not None:
            self.classes_ = classes
        self._set_coefficients(result.coef.copy(), result.intercept - result.coef @ center)
        self.__dict__.pop("_partial_fit_state", None)
        self.__dict__.pop("_coef_scales", None)  # of quantized coefficients, which these are not
        self.n_iter_ = len(result.objectives)
        self.history_ = [{"epoch": i, "train_loss": value} for i, value in enumerate(result.objectives, 1)]
        for record, value in zip(self.history_, result.validation_losses, strict=False):
            record["valid_loss"] = value

    def _copy_with(self, coef: np.ndarray, intercept: np.ndarray) -> Any:
        """A copy that predicts with these coefficients."""
        model = clone(self)
        model.__dict__.update({k: v for k, v in self.__dict__.items() if k.endswith("_")})
        model._set_coefficients(coef, intercept)
        return model

    def _is_warm_start(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "coef_")

    def _decision_scores(self, X: Any) -> np.ndarray:
        """(n_samples, n_outputs)"""
        check_is_fitted(self, "coef_")
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        return X @ np.atleast_2d(self.coef_).T + self.intercept_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def has_steps(model: Any) -> bool:
    """Whether the optimizer is an update rule, which partial_fit can go on with."""
    if isinstance(model.optimizer, str) and model.optimizer in WITHOUT_STEPS:
        raise AttributeError(
            f"optimizer={model.optimizer!r} needs all rows: partial_fit is for update rules such as 'sgd'"
        )
    return True


def row_counts(weights: np.ndarray | None, rows: np.ndarray, n_samples: int) -> np.ndarray:
    """(n_samples,): how much these rows count, zero elsewhere; a row that is given twice counts twice.

    Where float32 could not hold the weights, they are multiplied by a power of two that depends on these rows only.
    """
    if not rows.size:
        raise ValueError("there is no row to train on")
    counts = np.bincount(rows, minlength=n_samples)
    if weights is None:
        return counts.astype(np.min_scalar_type(counts.max(initial=0)))
    weights = np.where(counts > 0, weights, 0.0)
    largest = weights.max()
    if not largest:
        raise ValueError("all sample weights are zero: there is nothing to fit")
    return counts * (weights if 1e-20 < largest < 1e20 else np.ldexp(weights, -int(np.frexp(largest)[1])))


def common_weights(weights: np.ndarray | None) -> np.ndarray | None:
    """Weights that sums of several training sets can share; None where their sums could overflow or vanish."""
    if weights is None or not weights.any():
        return None
    return weights if weights.max() < 1e100 and weights[weights > 0].min() > 1e-100 else None


def _clones(model: Any, n: int) -> list[Any]:
    """`clone` n times, which takes scikit-learn longer than some fits."""
    template = clone(model)
    mutable = {k: v for k, v in vars(template).items() if not isinstance(v, _IMMUTABLE)}
    clones = [copy(template) for _ in range(n)]
    for estimator in clones if mutable else ():
        vars(estimator).update({k: clone(v, safe=False) for k, v in mutable.items()})
    return clones
