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
from ._training import Outcome, Plan, by_epochs, by_newton, in_closed_form, moves_by_slope

__all__ = ["LinearClassifier", "LinearRegressor"]

_BATCHES = {"gd": None, "sgd": 1}  # batch_size="auto"; None: all rows
_OTHER_BATCH = 64
_MOST_VARIABLES = 20_000  # of Newton's method: a Hessian of 3 GB
_LARGEST = 1e100


class _Linear(BaseEstimator):
    """What the two estimators share."""

    _task: str

    def _fit(self, X: np.ndarray, Y: np.ndarray, weights: np.ndarray, strata: np.ndarray | None) -> Any:
        """Train on checked data; Y is (n, outputs), the weights have any scale."""
        self._check_arguments()
        if not weights.any():
            raise ValueError("all sample weights are zero: there is nothing to fit")
        largest = max(np.abs(X).max(), np.abs(Y).max())
        if largest > _LARGEST:
            raise ValueError(
                f"the data hold a value of {largest:.2g}, and above {_LARGEST:g} squares overflow: scale the data"
            )
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
        center = self._center(X, weights) if self.fit_intercept else np.zeros(X.shape[1])
        terms = (find_loss(self.loss, self._task), find_penalty(self.penalty), float(self.alpha),
                 float(self.l1_ratio), float(self.epsilon), bool(self.fit_intercept))  # fmt: skip
        problem = Problem(self._centred(X, center), Y, weights, *terms)
        held_out = None if held is None else Problem(self._centred(X_held, center), Y_held, weights_held, *terms)
        outcome = self._train(problem, self._first_theta(problem, center), held_out, rng)
        self._keep(problem, outcome, center)
        return self

    @staticmethod
    def _center(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Means of the features; that of a constant one exactly, or its rounding error would pass for a feature."""
        seen = X if weights.all() else X[weights > 0]
        return np.where((seen == seen[0]).all(axis=0), seen[0], weights @ X / len(X))

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
            optimizer = self._resolved()
            batch = self._batch(optimizer, len(problem.X))
            scheduled = isinstance(self.optimizer, str) and self.lr is None
            if scheduled:
                optimizer.set_params(lr=problem.first_lr(moves_by_slope(optimizer), batch >= len(problem.X)))
            return by_epochs(problem, theta, optimizer, scheduled, batch, plan, held_out)

    def _resolved(self) -> Optimizer:
        optimizer = resolve(self.optimizer, lr=self.lr)
        if isinstance(self.optimizer, str) and "weight_decay" in optimizer.get_params():
            optimizer.set_params(weight_decay=0.0)  # a name stands for the same objective whichever it is
        return optimizer

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
        elif self._resolved().get_params().get("maximize"):
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
        self.n_iter_ = len(outcome.curve)
        self.history_ = [
            {"epoch": i + 1, "train_loss": value, **({"valid_loss": outcome.held_out[i]} if outcome.held_out else {})}
            for i, value in enumerate(outcome.curve)
        ]
        if outcome.fault is not None and self.tol is not None:
            warnings.warn(f"{type(self).__name__} {outcome.fault}", ConvergenceWarning, stacklevel=4)

    def _continues(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "coef_")

    def _set(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        raise NotImplementedError

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return X @ np.atleast_2d(self.coef_).T + self.intercept_


class LinearClassifier(ClassifierMixin, _Linear):
    """Linear classifier, trained by any update rule or by Newton's method.

    Parameters
    ----------
    loss : {"log_loss", "hinge", "squared_hinge", "modified_huber", "perceptron"}, default="log_loss"
        With more than two classes log_loss is the cross-entropy of the softmax, the others are one versus rest.
    penalty : {"l2", "l1", "elasticnet"} or None, default="l2"
        ‖w‖²/2, ‖w‖₁, or l1_ratio of the second and the rest of the first. The intercept is not penalized.
        Where steps take batches, l1 brings coefficients near zero; with "gd" they become zero.
    alpha : float, default=1e-4
        Weight of the penalty; see Notes.
    l1_ratio : float, default=0.15
        Share of "l1" in "elasticnet"; the other penalties do not use it.
    epsilon : float, default=0.1
        Not used by these losses.
    optimizer : str or optimizer, default="sgd"
        "gd", "sgd", "adam" or another of `lc.list_rules()`: epochs of that rule. "newton": a smooth loss (not "hinge",
        "perceptron") with penalty "l2" or None; a few steps.
        An object such as `lc.Adam(lr=0.01)` brings its own hyperparameters; its weight_decay comes on top of the
        penalty, where that of a name is 0.
    lr : float, optional
        Constant step size, for a rule given by name. None: found from the data, as Notes says.
    batch_size : int or "auto", default="auto"
        Rows in a step. "auto": all for "gd", 1 for "sgd", 64 for other rules.
    max_iter : int, default=100
        Largest number of epochs, or of Newton's steps.
    tol : float or None, default=1e-4
        Training stalls when in n_iter_no_change epochs in a row the objective (with early_stopping the validation
        loss) does not fall by more than tol times the loss of zero coefficients; then it ends, or goes on with
        smaller steps (Notes). Newton's method ends with the step that was to bring less. None: exactly max_iter epochs.
    fit_intercept : bool, default=True
    shuffle : bool, default=True
        Take the rows in a new order in each epoch.
    early_stopping : bool, default=False
        Hold out rows, each class in proportion, and keep the coefficients of the epoch with the smallest loss on them.
    validation_fraction : float, default=0.1
        Share of the rows held out by early_stopping.
    n_iter_no_change : int, default=5
    average : bool or int, default=False
        True: the coefficients are the mean over all steps; a number: over the steps after that many rows.
    class_weight : None, "balanced" or a dict from label to weight, default=None
        Factor of the sample weights; "balanced" gives each class the same sum.
    warm_start : bool, default=False
        `fit` starts from the coefficients of the last `fit`.
    random_state : int, RandomState, Generator or None, default=None
        Of the order of the rows and of those held out; the same number gives the same bits.
    progress : bool or None, default=None
        Show a bar; None: in a terminal or notebook only.

    Attributes
    ----------
    coef_ : array, shape (1, n_features) with two classes, else (n_classes, n_features)
    intercept_ : array, shape (1,) with two classes, else (n_classes,)
    classes_ : array, shape (n_classes,)
        Labels, sorted.
    n_iter_ : int
        Epochs, or Newton's steps.
    history_ : list of dicts
        epoch and train_loss, the objective: before the step where an epoch is one step, over the rows as they came
        where it takes batches, at the end of the step for "newton". With early_stopping also
        valid_loss, the mean loss on the held-out rows after the epoch.
    n_features_in_ : int
    feature_names_in_ : array of str, shape (n_features,)
        Only if X has names that are all strings.

    Notes
    -----
    The objective is Σ wᵢ loss(yᵢ, zᵢ) / Σ wᵢ + alpha penalty(coef) for every optimizer, that of scikit-learn's
    SGDClassifier; of the sample weights wᵢ only the ratios count.
    With penalty="l2", loss="log_loss" is LogisticRegression with C = 1 / (n alpha), n being Σ wᵢ.

    The step size of lr=None, with c for the largest curvature of the loss (1 if it has none) and x for a row of the
    centred features with a 1 for the intercept, is

    * "gd" on all rows, with a smooth loss: 1/L, L being the largest eigenvalue of the Hessian of the mean loss or a
      bound of it;
    * "gd" and "sgd" otherwise: 1 / (c max ‖x‖²) for "squared_hinge", whose slope has no bound, else 1 / (c mean ‖x‖²);
    * another rule: 0.1 over the root mean square of the elements of the x.

    1/L is kept. The others shrink to a fifth whenever training stalls, and the fifth stall is the end.
    """

    _task = "classification"
    classes_: np.ndarray

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

        Raises
        ------
        ValueError
            If arguments are unknown or do not fit together, there is NaN, one class only or no weight above zero,
            or the coefficients grow without bound. A ConvergenceWarning says that max_iter or lr did not suffice.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, order="C", reset=not self._continues())
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y has one class only, {classes.tolist()[0]!r}: a classifier needs at least two classes")
        if self._continues() and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start: y has the classes {classes.tolist()}, the last fit had {self.classes_.tolist()}; "
                "fit a clone for other classes"
            )
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        weights = weights * class_weights(self.class_weight, classes, codes, weights)[codes]
        seen = classes[np.unique(codes[weights > 0])]
        if len(seen) == 1:
            raise ValueError(f"only the class {seen.tolist()[0]!r} has a weight above zero: a classifier needs two")
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
    """Linear regression, trained by any update rule, by Newton's method or in closed form.

    Parameters
    ----------
    loss : {"squared_error", "huber", "epsilon_insensitive"}, default="squared_error"
        With r = z - y: r²/2; the same up to |r| = epsilon and linear beyond; max(0, |r| - epsilon).
    penalty : {"l2", "l1", "elasticnet"} or None, default="l2"
        ‖w‖²/2, ‖w‖₁, or l1_ratio of the second and the rest of the first. The intercept is not penalized.
        Where steps take batches, l1 brings coefficients near zero; with "gd" they become zero.
    alpha : float, default=1e-4
        Weight of the penalty; see Notes.
    l1_ratio : float, default=0.15
        Share of "l1" in "elasticnet"; the other penalties do not use it.
    epsilon : float, default=0.1
        Where "huber" turns linear, and how far "epsilon_insensitive" sees no error, in units of y.
    optimizer : str or optimizer, default="sgd"
        "gd", "sgd", "adam" or another of `lc.list_rules()`: epochs of that rule. "newton": a smooth loss (not
        "epsilon_insensitive") with penalty "l2" or None; a few steps. "exact": "squared_error"
        with penalty "l2" or None, in closed form; the solution of least norm where there are many.
        An object such as `lc.Adam(lr=0.01)` brings its own hyperparameters; its weight_decay comes on top of the
        penalty, where that of a name is 0.
    lr : float, optional
        Constant step size, for a rule given by name. None: found from the data, as Notes says.
    batch_size : int or "auto", default="auto"
        Rows in a step. "auto": all for "gd", 1 for "sgd", 64 for other rules.
    max_iter : int, default=100
        Largest number of epochs, or of Newton's steps.
    tol : float or None, default=1e-4
        Training stalls when in n_iter_no_change epochs in a row the objective (with early_stopping the validation
        loss) does not fall by more than tol times the loss of the mean of y; then it ends, or goes on with
        smaller steps (Notes). Newton's method ends with the step that was to bring less. None: exactly max_iter epochs.
    fit_intercept : bool, default=True
    shuffle : bool, default=True
        Take the rows in a new order in each epoch.
    early_stopping : bool, default=False
        Hold out rows and keep the coefficients of the epoch with the smallest loss on them.
    validation_fraction : float, default=0.1
        Share of the rows held out by early_stopping.
    n_iter_no_change : int, default=5
    average : bool or int, default=False
        True: the coefficients are the mean over all steps; a number: over the steps after that many rows.
    warm_start : bool, default=False
        `fit` starts from the coefficients of the last `fit`.
    random_state : int, RandomState, Generator or None, default=None
        Of the order of the rows and of those held out; the same number gives the same bits.
    progress : bool or None, default=None
        Show a bar; None: in a terminal or notebook only.

    Attributes
    ----------
    coef_ : array, shape (n_features,)
    intercept_ : float
    n_iter_ : int
        Epochs, or Newton's steps.
    history_ : list of dicts
        epoch and train_loss, the objective: before the step where an epoch is one step, over the rows as they came
        where it takes batches, at the end of the step for "newton" and "exact". With early_stopping also
        valid_loss, the mean loss on the held-out rows after the epoch.
    n_features_in_ : int
    feature_names_in_ : array of str, shape (n_features,)
        Only if X has names that are all strings.

    Notes
    -----
    The objective is Σ wᵢ loss(yᵢ, zᵢ) / Σ wᵢ + alpha penalty(coef) for every optimizer, that of scikit-learn's
    SGDRegressor; of the sample weights wᵢ only the ratios count.
    With loss="squared_error" and penalty="l2" it is Ridge with alpha_ridge = n alpha, n being Σ wᵢ; with "l1" it is
    Lasso and with "elasticnet" ElasticNet with the same alpha and l1_ratio.

    The step size of lr=None, with c for the largest curvature of the loss (1 if it has none), x for a row of the
    centred features with a 1 for the intercept, and d for the standard deviation of y, is

    * "gd" on all rows, with a smooth loss: 1/L, L being the largest eigenvalue of the Hessian of the mean loss or a
      bound of it;
    * "gd" and "sgd" otherwise: 1 / (c max ‖x‖²) for "squared_error", whose slope has no bound, else
      1 / (c mean ‖x‖²), times d over the bound of the slope where that is more than 1;
    * another rule: 0.1 d over the root mean square of the elements of the x.

    1/L is kept. The others shrink to a fifth whenever training stalls, and the fifth stall is the end.
    """

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

        Raises
        ------
        ValueError
            If arguments are unknown or do not fit together, there is NaN or no weight above zero, or the
            coefficients grow without bound. A ConvergenceWarning says that max_iter or lr did not suffice.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, order="C", y_numeric=True, reset=not self._continues())
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return self._fit(X, np.array(y, dtype=np.float64)[:, None], weights, None)

    def _set(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        self.coef_, self.intercept_ = coef[0], intercept[0]

    def predict(self, X):
        """Predicted values, shape (n_samples,)."""
        return self._scores(X)[:, 0]
