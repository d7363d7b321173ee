"""One fold: fit on its training rows, score and predict its test rows."""

import numbers
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np


class Fold(NamedTuple):
    """What one fold gives back; `failure` is the traceback where the fit failed, `no_prediction` where predict did."""

    test_scores: dict[str, float] | None
    train_scores: dict[str, float] | None
    fit_time: float
    score_time: float
    estimator: Any
    prediction: Any
    probability: np.ndarray | None
    classes: np.ndarray | None
    failure: str | None
    score_failures: list[str]
    no_prediction: str | None = None
    curves: Any = None  # `test_scores_` of the model, where fit_many gave them


@contextmanager
def workers() -> Iterator[None]:
    """One sentence for whatever a joblib backend raises when a worker of it dies."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in _OF_DEAD_WORKERS:
            raise
        raise RuntimeError(
            f"a worker ended while it fitted a model ({type(error).__name__}), as it does for want of memory or by a "
            "crash in native code: try fewer n_jobs, or n_jobs=1 to see the crash"
        ) from error


# by name, for their packages need not be there: loky's, those of concurrent.futures, and dask.distributed's
_OF_DEAD_WORKERS = {"TerminatedWorkerError", "BrokenProcessPool", "KilledWorker", "FutureCancelledError"}


def rows_of(values: Any, rows: np.ndarray, n: int) -> Any:
    """Those rows of `values` if it has n of them, else all of it."""
    from sklearn.utils import _safe_indexing

    if isinstance(values, str | bytes | Mapping) or not (hasattr(values, "shape") or hasattr(values, "__len__")):
        return values
    length = values.shape[0] if getattr(values, "shape", ()) else len(values) if hasattr(values, "__len__") else -1
    return _safe_indexing(values, rows) if length == n else values


class Rows:
    """A fold's rows of X and y, cut when they are asked for; X as `transform` of the rows, if that is given."""

    def __init__(self, X: Any, y: Any, train: np.ndarray, test: np.ndarray, *, pairwise: bool = False,
                 transform: Callable | None = None):  # fmt: skip
        self.n = X.shape[0] if hasattr(X, "shape") else len(X)
        self._X, self._y, self._rows, self._pairwise, self._transform = X, y, (train, test), pairwise, transform

    def _cut(self, which: np.ndarray) -> Any:
        from sklearn.utils import _safe_indexing

        if self._pairwise:  # a column per training row
            return self._X[np.ix_(which, self._rows[0])]
        rows = _safe_indexing(self._X, which)
        return rows if self._transform is None else self._transform(rows)

    @cached_property
    def train(self) -> Any:
        return self._cut(self._rows[0])

    @cached_property
    def test(self) -> Any:
        return self._cut(self._rows[1])

    @cached_property
    def y_train(self) -> Any:
        return self.cut(self._y)[0]

    @cached_property
    def y_test(self) -> Any:
        return self.cut(self._y)[1]

    @property
    def n_test(self) -> int:
        return len(self._rows[1])

    def cut(self, values: Any) -> tuple[Any, Any]:
        """(training, test) rows of values that have a row for each of X; others as they are."""
        return tuple(rows_of(values, which, self.n) for which in self._rows)  # type: ignore[return-value]

    def cut_all(self, params: dict) -> tuple[dict, dict]:
        """`cut` of each of the arguments."""
        parts = {key: self.cut(value) for key, value in params.items()}
        return {k: train for k, (train, _) in parts.items()}, {k: test for k, (_, test) in parts.items()}


def fit_and_score(estimator: Any, X: Any, y: Any, train: np.ndarray, test: np.ndarray, scorer: Callable,
                   fit_params: dict, score_params: dict, return_train_score: bool, return_estimator: bool,
                   error_score: float | str) -> Fold:  # fmt: skip
    from sklearn.utils import get_tags

    rows = Rows(X, y, train, test, pairwise=get_tags(estimator).input_tags.pairwise)
    targets = () if y is None else (rows.y_train,)
    X_train, fit_params = rows.train, rows.cut_all(fit_params)[0]
    started = time.perf_counter()
    try:
        estimator.fit(X_train, *targets, **fit_params)
    except Exception:
        if error_score == "raise":
            raise
        return failed(estimator, time.perf_counter() - started, traceback.format_exc())
    took = time.perf_counter() - started
    return score_and_predict(estimator, estimator if return_estimator else None, rows, scorer, score_params,
                             return_train_score, error_score, took)  # fmt: skip


def failed(estimator: Any, fit_time: float, failure: str) -> Fold:
    return Fold(None, None, fit_time, 0.0, estimator, None, None, None, failure, [])


def score_and_predict(estimator: Any, kept: Any, rows: Rows, scorer: Callable, score_params: dict,
                      return_train_score: bool, error_score: float | str, fit_time: float) -> Fold:  # fmt: skip
    there, here = rows.cut_all(score_params)
    failures: list[str] = []
    X_test = rows.test
    started = time.perf_counter()
    test_scores = _score(scorer, estimator, X_test, rows.y_test, here, error_score, failures)
    scored = time.perf_counter()
    train_scores = None
    if return_train_score:
        train_scores = _score(scorer, estimator, rows.train, rows.y_train, there, error_score, failures)
    prediction, probability, no_prediction = None, None, None
    try:
        prediction = estimator.predict(X_test) if hasattr(estimator, "predict") else None
        probability = estimator.predict_proba(X_test) if hasattr(estimator, "predict_proba") else None
    except Exception:
        if error_score == "raise":
            raise
        no_prediction = traceback.format_exc()
    if isinstance(probability, list):  # one table per target: there is no single one
        probability = None
    classes = None if probability is None else getattr(estimator, "classes_", None)
    return Fold(test_scores, train_scores, fit_time, scored - started, kept, prediction, probability, classes,
                None, failures, no_prediction)  # fmt: skip


def _score(scorer: Callable, estimator: Any, X: Any, y: Any, params: dict, error_score: Any, failures: list) -> dict:
    """Scores by name; a failed one is `error_score`, its traceback goes to `failures`; none if all failed."""
    try:
        found = scorer(estimator, X, **params) if y is None else scorer(estimator, X, y, **params)
    except Exception:
        if error_score == "raise":
            raise
        failures.append(traceback.format_exc())
        return {}
    scores = {}
    for name, value in (found if isinstance(found, dict) else {"score": found}).items():
        if isinstance(value, str):  # how scikit-learn's scorer of several metrics reports the failure of one
            failures.append(value)
            value = error_score
        value = value.item() if hasattr(value, "item") else value
        if not isinstance(value, numbers.Number):
            raise ValueError(f"scoring must return a number, or a dict of them; got {value!r} for {name!r}")
        scores[name] = value
    return scores
