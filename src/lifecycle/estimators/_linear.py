"""What the two linear estimators share: arguments, and how `fit` runs on checked data."""

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted, validate_data

from .._check import integer, number, one_of, random_state
from .._progress import progress_bar
from ..losses import find_loss
from ..optim import Optimizer, resolve
from ..penalties import find_penalty
from ..rules import list_rules
from ._problem import Problem
from ._training import Outcome, Plan, begins_by_slope, by_epochs, by_newton, in_closed_form, moves_by_slope

__all__ = ["Linear"]

_BATCHES = {"gd": None, "sgd": 1}  # batch_size="auto"; None: all rows
_OTHER_BATCH = 64
_MOST_VARIABLES = 20_000  # of Newton's method: a Hessian of 3 GB
_LARGEST = 1e100


class Linear(BaseEstimator):
    """Base of LinearClassifier and LinearRegressor."""

    _task: str

    def _fit(
        self, X: np.ndarray, Y: np.ndarray, weights: np.ndarray, strata: np.ndarray | None, **learned: np.ndarray
    ) -> Any:
        """Train on checked data; Y is (n, outputs), the weights have any scale.

        `learned`: attributes that are set together with the coefficients, so that a fit that fails sets none.
        """
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
        self.__dict__.update(learned)
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
                kinds = {moves_by_slope(optimizer), begins_by_slope(optimizer)}
                optimizer.set_params(lr=min(problem.first_lr(kind, batch >= len(problem.X)) for kind in kinds))
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
        self.__dict__.pop("_coef_scales", None)  # the grid of quantized coefficients, which these are not
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
        check_is_fitted(self, "coef_")
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return X @ np.atleast_2d(self.coef_).T + self.intercept_
