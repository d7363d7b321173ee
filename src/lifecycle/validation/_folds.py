"""One fold: fit on its training rows, score and predict its test rows."""

import numbers
import time
import traceback
from collections.abc import Callable, Mapping
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


def _rows_of(values: Any, rows: np.ndarray, n: int) -> Any:
    """Those rows of `values` if it has n of them, else all of it."""
    from sklearn.utils import _safe_indexing

    if isinstance(values, str | bytes | Mapping) or not (hasattr(values, "shape") or hasattr(values, "__len__")):
        return values
    length = values.shape[0] if getattr(values, "shape", ()) else len(values) if hasattr(values, "__len__") else -1
    return _safe_indexing(values, rows) if length == n else values


def fit_and_score(estimator: Any, X: Any, y: Any, train: np.ndarray, test: np.ndarray, scorer: Callable,
                   fit_params: dict, score_params: dict, return_train_score: bool, return_estimator: bool,
                   error_score: float | str) -> Fold:  # fmt: skip
    from sklearn.utils import _safe_indexing, get_tags

    n = X.shape[0] if hasattr(X, "shape") else len(X)
    y_train, y_test = (None, None) if y is None else (_safe_indexing(y, train), _safe_indexing(y, test))
    if get_tags(estimator).input_tags.pairwise:
        X_train, X_test = X[np.ix_(train, train)], X[np.ix_(test, train)]
    else:
        X_train, X_test = _safe_indexing(X, train), _safe_indexing(X, test)
    started = time.perf_counter()
    try:
        targets = () if y is None else (y_train,)
        estimator.fit(X_train, *targets, **{k: _rows_of(v, train, n) for k, v in fit_params.items()})
    except Exception:
        if error_score == "raise":
            raise
        took = time.perf_counter() - started
        return Fold(None, None, took, 0.0, estimator, None, None, None, traceback.format_exc(), [])
    fitted = time.perf_counter()
    failures: list[str] = []
    here = {k: _rows_of(v, test, n) for k, v in score_params.items()}
    test_scores = _score(scorer, estimator, X_test, y_test, here, error_score, failures)
    scored = time.perf_counter()
    train_scores = None
    if return_train_score:
        there = {k: _rows_of(v, train, n) for k, v in score_params.items()}
        train_scores = _score(scorer, estimator, X_train, y_train, there, error_score, failures)
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
    kept = estimator if return_estimator else None
    return Fold(test_scores, train_scores, fitted - started, scored - fitted, kept, prediction, probability, classes,
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
