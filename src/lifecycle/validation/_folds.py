"""One fold: fit on its training rows, score and predict its test rows."""

import numbers
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np


class FoldResult(NamedTuple):
    """Scores and predictions of one fold.

    `failure` is the traceback of a fit that failed, `no_prediction` that of a `predict` that failed.
    """

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
    curves: Any = None  # `test_scores_` of the model, if fit_many gave them

    @classmethod
    def of_failure(cls, failure: str, fit_time: float, estimator: Any = None) -> "FoldResult":
        """Of a fit that failed."""
        return cls(None, None, fit_time, 0.0, estimator, None, None, None, failure, [])


class Scoring(NamedTuple):
    """How folds are scored; `error_score` is a number for failed scores, or "raise"."""

    scorer: Callable
    params: dict
    return_train_score: bool
    error_score: Any


# by name, since their packages may be absent: loky's, those of concurrent.futures, and dask.distributed's
_DEAD_WORKER_ERRORS = {"TerminatedWorkerError", "BrokenProcessPool", "KilledWorker", "FutureCancelledError"}


@contextmanager
def explain_dead_workers() -> Iterator[None]:
    """Raise one error for whatever a joblib backend raises when a worker of it dies."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in _DEAD_WORKER_ERRORS:
            raise
        raise RuntimeError(
            f"a worker ended while it fitted a model ({type(error).__name__}), as it does for want of memory or by a "
            "crash in native code: try fewer n_jobs, or n_jobs=1 to see the crash"
        ) from error


def warn_of_failed_fits(failures: Sequence[str | None], error_score: Any) -> None:
    """Warn of the fits that failed, given their tracebacks; raise if all did. What went wrong stands first, and once.

    Raises
    ------
    ValueError
        If all failed.
    """
    from sklearn.exceptions import FitFailedWarning

    failed = [k for k, failure in enumerate(failures) if failure is not None]
    if not failed:
        return
    texts = [_sentence_and_traceback(str(failures[k])) for k in failed]
    counts = Counter(sentence for sentence, _ in texts)
    reasons = "\n".join(sentence if len(counts) == 1 else f"{sentence} ({n} fits)" for sentence, n in counts.items())
    first = "error_score='raise' stops at the first fit that fails"
    first += f"; its traceback:\n{texts[0][1]}" if texts[0][1] else "."  # models of fit_many may fail without one
    # "All the n fits failed" and "n fits failed out of a total of m" are scikit-learn's: warning filters match them
    if len(failed) == len(failures):
        raise ValueError(f"{reasons}\n\nAll the {len(failed)} fits failed. {first}")
    folds = f": folds {', '.join(map(str, failed))}" if len(failures) < 100 else ""
    warnings.warn(
        f"{len(failed)} fits failed out of a total of {len(failures)}{folds}. The score on these train-test partitions "
        f"for these parameters will be set to {error_score}:\n{reasons}\n\n{first}",
        FitFailedWarning,
        stacklevel=3,
    )


def _sentence_and_traceback(text: str) -> tuple[str, str]:
    """A formatted traceback as the error that it ends with, and what stands before it."""
    lines = text.rstrip().splitlines()
    last_frame = max((i for i, line in enumerate(lines) if line.startswith('  File "')), default=-1)
    start = next((i for i in range(last_frame + 1, len(lines)) if not lines[i].startswith(" ")), 0)
    return "\n".join(lines[start:]), "\n".join(lines[:start])


def take_rows(values: Any, rows: np.ndarray, n: int) -> Any:
    """Those rows of `values` if it has n of them, else `values` unchanged."""
    from sklearn.utils import _safe_indexing

    if isinstance(values, str | bytes | Mapping) or not (hasattr(values, "shape") or hasattr(values, "__len__")):
        return values
    length = values.shape[0] if getattr(values, "shape", ()) else len(values) if hasattr(values, "__len__") else -1
    return _safe_indexing(values, rows) if length == n else values


class FoldData:
    """Training and test rows of one fold, indexed when they are first used; `transform` is applied to rows of X."""

    def __init__(
        self,
        X: Any,
        y: Any,
        train: np.ndarray,
        test: np.ndarray,
        *,
        pairwise: bool = False,
        transform: Callable | None = None,
    ):
        self.X, self.y, self.train, self.test, self.pairwise, self.transform = X, y, train, test, pairwise, transform
        self.n = X.shape[0] if hasattr(X, "shape") else len(X)

    def _rows_of_X(self, rows: np.ndarray) -> Any:
        from sklearn.utils import _safe_indexing

        if self.pairwise:  # a column per training row
            return self.X[np.ix_(rows, self.train)]
        X = _safe_indexing(self.X, rows)
        return X if self.transform is None else self.transform(X)

    @cached_property
    def X_train(self) -> Any:
        return self._rows_of_X(self.train)

    @cached_property
    def X_test(self) -> Any:
        return self._rows_of_X(self.test)

    @cached_property
    def y_train(self) -> Any:
        return take_rows(self.y, self.train, self.n)

    @cached_property
    def y_test(self) -> Any:
        return take_rows(self.y, self.test, self.n)

    def split_params(self, params: dict) -> tuple[dict, dict]:
        """Arguments for the training and for the test rows: values with a row for each of X are indexed."""
        train, test = ({k: take_rows(v, rows, self.n) for k, v in params.items()} for rows in (self.train, self.test))
        return train, test


def fit_and_score(
    estimator: Any,
    X: Any,
    y: Any,
    train: np.ndarray,
    test: np.ndarray,
    fit_params: dict,
    scoring: Scoring,
    return_estimator: bool,
) -> FoldResult:
    """Fit the estimator itself, not a clone, on the training rows."""
    from sklearn.utils import get_tags

    data = FoldData(X, y, train, test, pairwise=get_tags(estimator).input_tags.pairwise)
    targets = () if y is None else (data.y_train,)
    X_train, fit_params = data.X_train, data.split_params(fit_params)[0]
    started = time.perf_counter()
    try:
        estimator.fit(X_train, *targets, **fit_params)
    except Exception:
        if scoring.error_score == "raise":
            raise
        return FoldResult.of_failure(traceback.format_exc(), time.perf_counter() - started, estimator)
    fit_time = time.perf_counter() - started
    return score_and_predict(estimator, estimator if return_estimator else None, data, scoring, fit_time)


def score_and_predict(estimator: Any, returned: Any, data: FoldData, scoring: Scoring, fit_time: float) -> FoldResult:
    """The result of a fitted estimator; `returned` is the estimator that the result holds."""
    train_params, test_params = data.split_params(scoring.params)
    failures: list[str] = []
    X_test = data.X_test
    started = time.perf_counter()
    test_scores = _scores(estimator, X_test, data.y_test, test_params, scoring, failures)
    score_time = time.perf_counter() - started
    train_scores = None
    if scoring.return_train_score:
        train_scores = _scores(estimator, data.X_train, data.y_train, train_params, scoring, failures)
    prediction, probability, no_prediction = None, None, None
    try:
        prediction = estimator.predict(X_test) if hasattr(estimator, "predict") else None
        probability = estimator.predict_proba(X_test) if hasattr(estimator, "predict_proba") else None
    except Exception:
        if scoring.error_score == "raise":
            raise
        no_prediction = traceback.format_exc()
    if isinstance(probability, list):  # one table per target: there is no single one
        probability = None
    classes = None if probability is None else getattr(estimator, "classes_", None)
    outputs = (returned, prediction, probability, classes)
    return FoldResult(test_scores, train_scores, fit_time, score_time, *outputs, None, failures, no_prediction)


def _scores(estimator: Any, X: Any, y: Any, params: dict, scoring: Scoring, failures: list) -> dict[str, float]:
    """Scores by name, empty if all failed; a failed one is `error_score`, its traceback is added to `failures`."""
    try:
        scored = scoring.scorer(estimator, X, *(() if y is None else (y,)), **params)
    except Exception:
        if scoring.error_score == "raise":
            raise
        failures.append(traceback.format_exc())
        return {}
    scores: dict[str, Any] = {}
    for name, value in (scored if isinstance(scored, dict) else {"score": scored}).items():
        if isinstance(value, str):  # scikit-learn's scorer of several metrics gives the traceback of one that failed
            failures.append(value)
            value = scoring.error_score
        value = value.item() if hasattr(value, "item") else value
        if not isinstance(value, numbers.Number):
            raise ValueError(f"scoring must return a number, or a dict of them; got {value!r} for {name!r}")
        scores[name] = value
    return scores
