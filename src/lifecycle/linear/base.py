"""What the two linear estimators share: arguments, and how one or many of them are fitted."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cache
from hashlib import blake2b
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lifecycle._check import ModelsFailed, integer, number, one_of
from lifecycle._progress import progress_bar
from lifecycle.linear.incremental import train_on
from lifecycle.linear.outcome import Outcome
from lifecycle.linear.scoring import TestScores
from lifecycle.linear.training import Data, Sample, check_values, train
from lifecycle.losses import find_loss
from lifecycle.optim import Optimizer, resolve
from lifecycle.penalties import find_penalty
from lifecycle.rules import list_rules

__all__ = ["Linear"]

_PLAIN = str | bool | int | float | None


class Linear(BaseEstimator):
    """Base of LinearClassifier and LinearRegressor."""

    _task: str

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:  # type: ignore[override]
        """As scikit-learn finds them; looked up once, as a grid asks for them thousands of times."""
        return super()._get_param_names()

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        self._check_arguments()
        X, y, weights = self._checked(X, y, sample_weight, reset=not self._continues())
        sample = self._sample(self._targets(y), weights, np.arange(len(y)))
        with progress_bar(self.max_iter, type(self).__name__, self.progress) as bar:
            data = Data(X, [sample], sample.classes is not None, advance=lambda n: bar.update(), alone=True)
            train([self], data)
        if data.errors:
            raise data.errors[0]
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
            Each model is scored on these rows: test_score_, and where it has epochs test_scores_, one an epoch.
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
        for name, rows in (("train", train), ("test", test)):
            if rows is not None and len(rows) != len(models):
                raise ValueError(f"{name} has rows for {len(rows)} models, params are of {len(models)}: one for each")
        template = clone(self)
        X, y, weights = template._checked(X, y, sample_weight, reset=True)
        seen = {k: v for k, v in template.__dict__.items() if k in ("n_features_in_", "feature_names_in_")}
        data = Data(X, [None] * len(models), self._task == "classification")  # type: ignore[list-item]
        samples: dict[tuple, Sample] = {}
        targets, sets = template._targets(y), _RowSets(len(y))
        for i, model in enumerate(models):
            model.__dict__.update(seen)
            try:
                model._check_arguments()
                own, digest = sets(train[i])
                key = (digest, repr(getattr(model, "class_weight", None)))
                if key not in samples:
                    samples[key] = model._sample(targets, weights, own)
                data.samples[i] = samples[key]
            except (ValueError, TypeError) as error:
                data.errors[i] = error
        scores = None
        if test is not None and models:
            tests = [sets(rows) for rows in test]
            rows_of = {digest: rows for rows, digest in tests}
            scores = TestScores(X, y, rows_of, [digest for _, digest in tests], models, scoring)
            data.watch = scores.watch if curves else None
        done = 0
        with progress_bar(self.max_iter, f"{len(models)} × {type(self).__name__}", self.progress) as bar:

            def advance(left: int) -> None:
                nonlocal done
                bar.update()
                done = max(done, len(models) - left)
                if callback is not None:
                    callback(done, len(models))

            data.advance = advance
            _train(models, data)
        if callback is not None and done < len(models):
            callback(len(models), len(models))
        if scores is not None:
            scores.finish([i for i in range(len(models)) if i not in data.errors])
        if data.errors:
            raise ModelsFailed([None if i in data.errors else model for i, model in enumerate(models)], data.errors)
        return models

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Any:
        self._check_arguments()
        if self.early_stopping:
            raise ValueError(
                "partial_fit sees a part of the rows, and early_stopping=True needs all: leave it at False"
            )
        X, y, weights = self._checked(X, y, sample_weight, reset=not hasattr(self, "n_features_in_"))
        train_on(self, X, self._part(y, np.ones(len(y)) if weights is None else weights, classes))
        return self

    def _checked(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Any, np.ndarray, np.ndarray | None]:
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=(np.float64, np.float32), order="C", reset=reset,
                             y_numeric=self._task == "regression")  # fmt: skip
        y = self._checked_targets(y)
        check_values(X, y if self._task == "regression" else None)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            if not 1e-100 < weights.max() < 1e100 and weights.any():
                weights = weights / weights.max()  # of which sums would overflow or vanish
        return X, y, weights

    def _checked_targets(self, y: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _targets(self, y: np.ndarray) -> Any:
        """What is found out of y once, for all models."""
        raise NotImplementedError

    def _sample(self, targets: Any, weights: np.ndarray | None, rows: np.ndarray) -> Sample:
        """What a model sees of the rows that it trains on."""
        raise NotImplementedError

    def _part(self, y: np.ndarray, weights: np.ndarray, classes: Any) -> Sample:
        """What partial_fit sees of some rows."""
        raise NotImplementedError

    @staticmethod
    def _within(weights: np.ndarray | None, rows: np.ndarray, n: int) -> np.ndarray:
        """How much these rows count, zero elsewhere; a row that stands there twice counts twice."""
        if not rows.size:
            raise ValueError("there is no row to train on")
        inside = np.bincount(rows, minlength=n)
        if weights is None:
            return inside.astype(np.min_scalar_type(inside.max(initial=0)))
        inside = weights * inside
        if not inside.any():
            raise ValueError("all sample weights are zero: there is nothing to fit")
        return inside

    def _resolved(self) -> Optimizer:
        optimizer = resolve(self.optimizer, lr=self.lr)
        if isinstance(self.optimizer, str) and "weight_decay" in optimizer.get_params():
            optimizer.set_params(weight_decay=0.0)  # a name stands for the same objective whichever it is
        return optimizer

    def _check_arguments(self) -> None:
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
            one_of("optimizer", self.optimizer, [*sorted(list_rules()), "newton", "exact"])
        if self.optimizer in ("newton", "exact"):
            self._check_without_epochs(loss, penalty)
        elif self._resolved().get_params().get("maximize"):
            raise ValueError(f"{self.optimizer!r} would maximize the loss: leave maximize out")

    def _check_without_epochs(self, loss: Any, penalty: Any) -> None:
        if self.optimizer == "newton" and not loss.smooth:
            raise ValueError(
                f"optimizer='newton' needs a smooth loss, which {self.loss!r} is not: use 'gd', 'sgd' or 'adam'"
            )
        if self.optimizer == "exact" and self.loss != "squared_error":
            raise ValueError(f"optimizer='exact' needs loss='squared_error'; with {self.loss!r} use another optimizer")
        if penalty.l1_weight(self.l1_ratio) > 0:
            raise ValueError(
                f"optimizer={self.optimizer!r} needs penalty='l2' or None; "
                f"with {self.penalty!r} use 'gd', 'sgd' or 'adam'"
            )
        for name, unset in (("lr", None), ("early_stopping", False), ("average", False), ("batch_size", "auto")):
            if getattr(self, name) != unset:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} has no meaning with optimizer={self.optimizer!r}, "
                    f"which takes all rows at once: leave it at {unset!r}"
                )

    def _keep(self, outcome: Outcome, center: np.ndarray, classes: np.ndarray | None) -> None:
        if classes is not None:
            self.classes_ = classes
        self._set(outcome.coef.copy(), outcome.intercept - outcome.coef @ center)
        self.__dict__.pop("_stream", None)
        self.__dict__.pop("_coef_scales", None)  # the grid of quantized coefficients, which these are not
        self.n_iter_ = len(outcome.curve)
        self.history_ = [
            {"epoch": i + 1, "train_loss": value, **({"valid_loss": outcome.held_out[i]} if outcome.held_out else {})}
            for i, value in enumerate(outcome.curve)
        ]
        if outcome.fault is not None and self.tol is not None:
            warnings.warn(f"{type(self).__name__} {outcome.fault}", ConvergenceWarning, stacklevel=6)

    def _with(self, coef: np.ndarray, intercept: np.ndarray) -> Any:
        """A copy that predicts with these coefficients."""
        model = clone(self)
        model.__dict__.update({k: v for k, v in self.__dict__.items() if k.endswith("_")})
        model._set(coef, intercept)
        return model

    def _continues(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "coef_")

    def _set(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        raise NotImplementedError

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "coef_")
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        return X @ np.atleast_2d(self.coef_).T + self.intercept_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


_train = train  # an argument of fit_many bears the name


def has_epochs(model: Any) -> bool:
    """Whether the optimizer is an update rule, which can go on from where it is."""
    if isinstance(model.optimizer, str) and model.optimizer in ("newton", "exact"):
        raise AttributeError(
            f"optimizer={model.optimizer!r} needs all rows: partial_fit is for update rules such as 'sgd'"
        )
    return True


def _clones(model: Any, n: int) -> list[Any]:
    """`clone` n times, which takes scikit-learn longer than some fits."""
    template = clone(model)
    own = {k: v for k, v in vars(template).items() if not isinstance(v, _PLAIN)}
    clones = [copy(template) for _ in range(n)]
    for one in clones if own else ():
        vars(one).update({k: clone(v, safe=False) for k, v in own.items()})
    return clones


class _RowSets:
    """Arrays of rows as numbers, with a digest, each looked at once: models that share rows often share the array."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.known: dict[int, tuple[Any, tuple[np.ndarray, bytes]]] = {}

    def __call__(self, rows: Any) -> tuple[np.ndarray, bytes]:
        if id(rows) not in self.known:
            numbers = np.ascontiguousarray(_row_numbers(rows, self.n))
            # with the array, so that no other gets its id
            self.known[id(rows)] = rows, (numbers, blake2b(numbers.data).digest())
        return self.known[id(rows)][1]


def _row_numbers(rows: Any, n: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype == bool:
        if len(rows) != n:
            raise ValueError(f"a mask of rows must have as many elements as X has rows, {n}; it has {len(rows)}")
        return np.flatnonzero(rows)
    if rows.size and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n):
        raise ValueError(
            f"rows must be numbers of rows of X, from 0 to {n - 1}, or a mask of dtype bool; got {rows.min()} to "
            f"{rows.max()}, {rows.dtype}"
        )
    if len(rows) == n > 2 and rows.max() <= 1:
        raise ValueError(f"rows of {n} zeros and ones look like a mask, which must be of dtype bool; got {rows.dtype}")
    return rows.astype(np.intp, copy=False)
