"""LinearClassifier and LinearRegressor."""

import warnings
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._check import integer, number, one_of, random_state
from .._class_weight import class_weights
from .._progress import progress_bar
from ..losses import find_loss
from ..optim import Optimizer, resolve
from ..penalties import find_penalty
from ..rules import list_rules
from ._problem import Problem
from ._training import Outcome, Plan, by_epochs, by_newton, in_closed_form

__all__ = ["LinearClassifier", "LinearRegressor"]

_BATCHES = {"gd": None, "sgd": 1}  # batch_size="auto"; None: all rows
_OTHER_BATCH = 64
_MOST_VARIABLES = 20_000  # of Newton's method: a Hessian of 3 GB


class _Linear(BaseEstimator):
    """What the two estimators share."""

    _task: str

    def _fit(self, X: np.ndarray, Y: np.ndarray, weights: np.ndarray, strata: np.ndarray | None) -> Any:
        """Train on checked data; Y is (n, outputs), the weights have any scale."""
        self._check_arguments()
        if not weights.any():
            raise ValueError("all sample weights are zero: there is nothing to fit")
        rng = random_state(self.random_state)
        held = None
        if self.early_stopping:
            rows = self._split(len(X), strata, rng)
            held = rows[1]
            X, Y, weights, X_held, Y_held, weights_held = (
                X[rows[0]], Y[rows[0]], weights[rows[0]], X[held], Y[held], weights[held])  # fmt: skip
            if not weights.any() or not weights_held.any():
                raise ValueError("early_stopping: all rows on one side of the split have weight zero")
        weights = weights * (len(weights) / weights.sum())
        # an intercept does not mix with centred features: fewer epochs, same objective
        center = weights @ X / len(X) if self.fit_intercept else np.zeros(X.shape[1])
        terms = (find_loss(self.loss, self._task), find_penalty(self.penalty), float(self.alpha),
                 float(self.l1_ratio), float(self.epsilon), bool(self.fit_intercept))  # fmt: skip
        problem = Problem(self._centred(X, center), Y, weights, *terms)
        held_out = None if held is None else Problem(self._centred(X_held, center), Y_held, weights_held, *terms)
        outcome = self._train(problem, self._first_theta(problem, center), held_out, rng)
        self._keep(problem, outcome, center)
        return self

    @staticmethod
    def _centred(X: np.ndarray, center: np.ndarray) -> np.ndarray:
        return np.require(X - center if center.any() else X, np.float64, ["C", "W"])

    def _train(self, problem: Problem, theta: np.ndarray, held_out: Problem | None, rng: Any) -> Outcome:
        if self.optimizer == "exact":
            return in_closed_form(problem)
        with progress_bar(self.max_iter, type(self).__name__, self.progress) as bar:
            plan = Plan(self.max_iter, self.tol, self.n_iter_no_change, bool(self.shuffle), int(self.average), rng,
                        bar.update)  # fmt: skip
            if self.optimizer == "newton":
                free = problem.outputs * (problem.features + 1) if problem.joint else problem.features + 1
                if free > _MOST_VARIABLES:
                    raise ValueError(
                        f"optimizer='newton' solves for {free} variables at once, and more than {_MOST_VARIABLES} "
                        "need too much memory: use 'gd', 'sgd' or 'adam'"
                    )
                return by_newton(problem, theta, plan)
            optimizer = resolve(self.optimizer, lr=self.lr)
            batch = self._batch(optimizer, len(problem.X))
            scheduled = isinstance(self.optimizer, str) and self.lr is None
            if scheduled:
                by_slope = optimizer.rule.name in _BATCHES
                optimizer.set_params(lr=problem.first_lr(by_slope, batch >= len(problem.X)))
            return by_epochs(problem, theta, optimizer, scheduled, batch, plan, held_out)

    def _batch(self, optimizer: Optimizer, n: int) -> int:
        if not isinstance(self.batch_size, str):
            return min(self.batch_size, n)
        auto = _BATCHES.get(optimizer.rule.name, _OTHER_BATCH)
        return n if auto is None else min(auto, n)

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
        if not isinstance(self.average, bool):
            integer("average", self.average, low=0)
        if isinstance(self.batch_size, str):
            one_of("batch_size", self.batch_size, ["auto"])
        else:
            integer("batch_size", self.batch_size, low=1)
        if isinstance(self.optimizer, str):
            one_of("optimizer", self.optimizer, [*sorted(list_rules()), "newton", "exact"])
        if self.optimizer in ("newton", "exact"):
            self._check_without_epochs(loss, penalty)
        elif resolve(self.optimizer, lr=self.lr).get_params().get("maximize"):
            raise ValueError(f"{self.optimizer!r} would maximize the loss: leave maximize out")

    def _check_without_epochs(self, loss: Any, penalty: Any) -> None:
        if self.optimizer == "newton" and not loss.smooth:
            raise ValueError(
                f"optimizer='newton' needs a smooth loss, which {self.loss!r} is not: use 'gd', 'sgd' or 'adam'"
            )
        if self.optimizer == "exact" and self.loss != "squared_error":
            raise ValueError(f"optimizer='exact' needs loss='squared_error'; with {self.loss!r} use another optimizer")
        if penalty.kink(self.l1_ratio) > 0:
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

    def _split(self, n: int, strata: np.ndarray | None, rng: Any) -> tuple[np.ndarray, np.ndarray]:
        try:
            train, held = train_test_split(
                np.arange(n), test_size=self.validation_fraction, stratify=strata, random_state=rng
            )
        except ValueError as fault:
            raise ValueError(
                f"early_stopping cannot set validation_fraction={self.validation_fraction} aside: {fault}"
            ) from None
        return train, held

    def _first_theta(self, problem: Problem, center: np.ndarray) -> np.ndarray:
        if not self._continues():
            return problem.start()
        coef = np.array(self.coef_, dtype=np.float64).reshape(-1, problem.features)
        intercept = np.array(self.intercept_, dtype=np.float64).reshape(-1)
        return np.concatenate([coef.ravel(), intercept + coef @ center if self.fit_intercept else 0.0 * intercept])

    def _keep(self, problem: Problem, outcome: Outcome, center: np.ndarray) -> None:
        coef = outcome.theta[: problem.size].reshape(problem.outputs, problem.features)
        intercept = outcome.theta[problem.size :] - coef @ center
        self._set(coef.copy(), intercept)
        self.n_iter_ = outcome.n_iter
        self.history_ = [
            {"epoch": i + 1, "train_loss": value, **({"valid_loss": outcome.held_out[i]} if outcome.held_out else {})}
            for i, value in enumerate(outcome.curve)
        ]
        if not outcome.converged and self.tol is not None:
            warnings.warn(
                f"{type(self).__name__} stopped at max_iter={self.max_iter} before the loss stopped falling: "
                "increase max_iter, scale the features, or pass tol=None to make exactly max_iter epochs",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _continues(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "coef_")

    def _set(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        raise NotImplementedError

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return X @ np.atleast_2d(self.coef_).T + self.intercept_


class LinearClassifier(ClassifierMixin, _Linear):
    """Linear classifier, trained by any update rule."""

    _task = "classification"

    def __init__(self, loss="log_loss", *, penalty="l2", alpha=1e-4, l1_ratio=0.15, epsilon=0.1, optimizer="sgd",
                 lr=None, batch_size="auto", max_iter=100, tol=1e-4, fit_intercept=True, shuffle=True,
                 early_stopping=False, validation_fraction=0.1, n_iter_no_change=5, average=False, class_weight=None,
                 warm_start=False, random_state=None, progress=None):  # fmt: skip
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.epsilon = epsilon
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.average = average
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.progress = progress

    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
            Class labels.
        sample_weight : array-like, shape (n_samples,), optional

        Returns
        -------
        self
        """
        X, y = validate_data(self, X, y, dtype=np.float64, order="C", reset=not self._continues())
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y has one class only, {classes[0]!r}: a classifier needs at least two classes")
        if self._continues() and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start: y has the classes {classes.tolist()}, the last fit had {self.classes_.tolist()}; "
                "fit a clone for other classes"
            )
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        weights = weights * class_weights(self.class_weight, classes, codes, weights)[codes]
        self.classes_ = classes
        if len(classes) == 2:
            Y = np.where(codes == 1, 1.0, -1.0)[:, None]
        else:
            Y = (codes[:, None] == np.arange(len(classes))) * 1.0
            if find_loss(self.loss, self._task).joint_value is None:
                Y = 2.0 * Y - 1.0
        return self._fit(X, Y, weights, codes)

    def _set(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        self.coef_, self.intercept_ = coef, intercept

    def decision_function(self, X):
        """Scores: shape (n_samples,) with two classes (positive: the second), else (n_samples, n_classes)."""
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X):
        """Class labels, shape (n_samples,)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def _has_probabilities(self) -> bool:
        if self.loss not in ("log_loss", "modified_huber"):
            raise AttributeError(
                f"predict_proba exists for loss='log_loss' and 'modified_huber'; this is {self.loss!r}"
            )
        return True

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Probabilities, shape (n_samples, n_classes); only for log_loss and modified_huber (Zadrozny, Elkan, 2002)."""
        scores = self._scores(X)
        if self.loss == "log_loss":
            if scores.shape[1] > 1:
                return softmax(scores, axis=1)
            return np.hstack([expit(-scores), expit(scores)])
        p = (np.clip(scores, -1.0, 1.0) + 1.0) / 2.0
        if p.shape[1] == 1:
            return np.hstack([1.0 - p, p])
        p[p.sum(axis=1) == 0.0] = 1.0  # no class claims the row: all alike
        return p / p.sum(axis=1, keepdims=True)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X):
        """Logarithms of the probabilities."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class LinearRegressor(RegressorMixin, _Linear):
    """Linear regression, trained by any update rule."""

    _task = "regression"

    def __init__(self, loss="squared_error", *, penalty="l2", alpha=1e-4, l1_ratio=0.15, epsilon=0.1, optimizer="sgd",
                 lr=None, batch_size="auto", max_iter=100, tol=1e-4, fit_intercept=True, shuffle=True,
                 early_stopping=False, validation_fraction=0.1, n_iter_no_change=5, average=False, warm_start=False,
                 random_state=None, progress=None):  # fmt: skip
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.epsilon = epsilon
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.average = average
        self.warm_start = warm_start
        self.random_state = random_state
        self.progress = progress

    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
        y : array-like, shape (n_samples,)
        sample_weight : array-like, shape (n_samples,), optional

        Returns
        -------
        self
        """
        X, y = validate_data(self, X, y, dtype=np.float64, order="C", y_numeric=True, reset=not self._continues())
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return self._fit(X, np.array(y, dtype=np.float64)[:, None], weights, None)

    def _set(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        self.coef_, self.intercept_ = coef[0], intercept[0]

    def predict(self, X):
        """Predicted values, shape (n_samples,)."""
        return self._scores(X)[:, 0]
