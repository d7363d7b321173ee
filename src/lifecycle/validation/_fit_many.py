"""Folds x candidates through an estimator's `fit_many`, for the searches and for cross_validate."""

import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import ModelsFailed
from lifecycle._threads import threads
from lifecycle.validation._folds import FoldData, take_rows


class Fits(NamedTuple):
    """Every candidate (a dict of parameters) is fitted on the training rows of every split, which are row numbers."""

    estimator: Any
    X: Any
    y: Any
    splits: list[tuple[np.ndarray, np.ndarray]]
    candidates: Sequence[dict]
    fit_params: dict


class FittedModel(NamedTuple):
    """One model: the estimator that was asked for, and what a scorer gets: `scored` with the rows of `data`."""

    estimator: Any
    scored: Any
    data: Any
    fit_time: float
    failure: str | None = None  # traceback of a fit that failed
    curves: Any = None  # its `test_scores_`
    score: Any = None  # its `test_score_`


@dataclass(frozen=True)
class FitManyOptions:
    """How many models are fitted and scored."""

    error_score: float | str  # "raise" raises the error of a fit that fails
    bar: Any  # tqdm's, of models
    n_jobs: int | None = None  # threads of the kernels; None leaves them as they are
    score_last_step: bool = True  # whether the scorer may be given the last step of a Pipeline and transformed rows
    scoring: Any = None
    curves: bool = False  # the models are given their test rows and `scoring`, and `test_scores_` is taken from them
    scores: bool = False  # `fit_many` scores the finished models on their test rows, if it can without curves


def can_fit_many(estimator: Any, candidates: Iterable[dict], fit_params: dict) -> bool:
    """Whether these fits can go through `fit_many` of the estimator or of the last step of a Pipeline."""
    from sklearn import get_config
    from sklearn.pipeline import Pipeline
    from sklearn.utils import get_tags

    if get_config()["enable_metadata_routing"] or get_tags(estimator).input_tags.pairwise:
        return False
    if type(estimator) is not Pipeline:  # a subclass may do more between its steps than transform
        return _has_fit_many(estimator)
    name, last = estimator.steps[-1]
    return (
        _has_fit_many(last)
        and all(key.startswith(f"{name}__") for key in fit_params)
        and not any(key in (name, "steps") for candidate in candidates for key in candidate)
    )


def _has_fit_many(estimator: Any) -> bool:
    """Whether `fit_many` and `fit` come from one package: a `fit_many` that is inherited ignores a new `fit`."""
    if isinstance(estimator, type) or not callable(getattr(estimator, "fit_many", None)):
        return False

    def package_of(method: str) -> str | None:
        classes = (kind for kind in type(estimator).__mro__ if method in vars(kind))
        return next((kind.__module__.partition(".")[0] for kind in classes), None)

    return package_of("fit_many") in (package_of("fit"), None)  # None: an attribute of the object


def progress_of(progress: bool | None, verbose: int) -> bool | None:
    """The setting of the bar, which takes the place of joblib's lines: verbose above 0 shows it too."""
    return True if progress is None and verbose > 0 else progress


def uses_predictions_only(scorer: Any) -> bool:
    """Whether a scorer, scikit-learn's own, scores a Pipeline as it scores the last step on transformed rows."""
    scorers = getattr(scorer, "_scorers", None)
    if isinstance(scorers, dict):
        return all(uses_predictions_only(one) for one in scorers.values())
    return type(scorer).__module__ == "sklearn.metrics._scorer"


def run_fit_many(fits: Fits, options: FitManyOptions, finish: Callable[[FittedModel], Any]) -> list[list]:
    """`finish(model)` of every model, as a table candidates x folds."""
    from joblib import effective_n_jobs
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline

    # which names are valid depends on no number: of candidates that differ in floats only, one is tried
    distinct = {
        frozenset((k, None if isinstance(v, float) else _value_key(v)) for k, v in candidate.items()): candidate
        for candidate in fits.candidates
    }
    for candidate in distinct.values():
        clone(fits.estimator).set_params(**clone(candidate, safe=False))  # an unknown name is no failure of a fit
    table: list[list] = [[None] * len(fits.splits) for _ in fits.candidates]
    keep_threads = options.n_jobs is None and effective_n_jobs(None) == 1
    fit = _fit_pipelines if type(fits.estimator) is Pipeline else _fit_estimators
    with nullcontext() if keep_threads else threads(effective_n_jobs(options.n_jobs)):
        for candidate_index, fold, model in fit(fits, options):
            table[candidate_index][fold] = finish(model)
    return table


def _value_key(value: Any) -> Any:
    """A key that differs where parameter values do: the value where it is plain, else the identity of the object."""
    value = value.item() if isinstance(value, np.generic) else value
    return (type(value), value) if isinstance(value, str | bool | int | float | None) else id(value)


def _fit_estimators(fits: Fits, options: FitManyOptions) -> Iterator[tuple[int, int, FittedModel]]:
    """(candidate, fold, model) of all models, which are fitted at once; the rows of one fold are held at a time."""
    from sklearn.base import clone

    jobs = [(c, f) for c in range(len(fits.candidates)) for f in range(len(fits.splits))]
    train, test = ([fits.splits[f][side] for _, f in jobs] for side in (0, 1))
    params = [clone(fits.candidates[c], safe=False) for c, _ in jobs]
    models = _call_fit_many(fits.estimator, fits.X, fits.y, train, test, params, fits.fit_params, options)
    for fold, split in enumerate(fits.splits):
        data = FoldData(fits.X, fits.y, *split)
        for (c, f), model in zip(jobs, models, strict=True):
            if f == fold:
                yield c, f, model._replace(data=data)


def _fit_pipelines(fits: Fits, options: FitManyOptions) -> Iterator[tuple[int, int, FittedModel]]:
    """(candidate, fold, model); the earlier steps are fitted once for each fold and setting of theirs."""
    from sklearn.base import clone

    prefix = f"{fits.estimator.steps[-1][0]}__"
    fit_params = {key.removeprefix(prefix): value for key, value in fits.fit_params.items()}
    groups: dict[Any, list[int]] = {}  # candidates that share the parameters of the earlier steps
    for c, candidate in enumerate(fits.candidates):
        key = frozenset((k, _value_key(v)) for k, v in candidate.items() if not k.startswith(prefix))
        groups.setdefault(key, []).append(c)
    for group in groups.values():
        candidates = [fits.candidates[c] for c in group]
        setting = {k: v for k, v in candidates[0].items() if not k.startswith(prefix)}
        for f, split in enumerate(fits.splits):
            params = [
                {k.removeprefix(prefix): clone(v, safe=False) for k, v in candidate.items() if k.startswith(prefix)}
                for candidate in candidates
            ]
            pipeline = clone(fits.estimator).set_params(**clone(setting, safe=False))
            models = _fit_last_step(pipeline, FoldData(fits.X, fits.y, *split), params, fit_params, options)
            yield from ((c, f, model) for c, model in zip(group, models, strict=True))


def _fit_last_step(
    pipeline: Any, raw: FoldData, params: list[dict], fit_params: dict, options: FitManyOptions
) -> list[FittedModel]:
    """The models of one fold and one setting of the earlier steps, which are fitted on the training rows."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils import _safe_indexing

    started = time.perf_counter()
    name, last = pipeline.steps[-1]
    earlier = pipeline[:-1] if len(pipeline.steps) > 1 else None
    both = np.concatenate([raw.train, raw.test])
    try:
        if earlier is None:
            X_both, transformed = _safe_indexing(raw.X, both), raw
        else:
            X_train = earlier.fit_transform(raw.X_train, raw.y_train)
            # the training rows are scored as `transform` gives them, which need not be what `fit_transform` gave
            transformed = FoldData(raw.X, raw.y, raw.train, raw.test, transform=earlier.transform)
            X_both = _concatenate(X_train, transformed.X_test)
    except Exception:
        if options.error_score == "raise":
            raise
        seconds = (time.perf_counter() - started) / len(params)
        options.bar.update(len(params))
        return [FittedModel(None, None, raw, seconds, traceback.format_exc())] * len(params)
    seconds = (time.perf_counter() - started) / len(params)  # of the earlier steps, for each model
    train, test = ([rows] * len(params) for rows in np.split(np.arange(len(both)), [len(raw.train)]))
    y_both = None if raw.y is None else _safe_indexing(raw.y, both)
    fit_params = {key: take_rows(value, both, raw.n) for key, value in fit_params.items()}
    models = []
    for model in _call_fit_many(last, X_both, y_both, train, test, params, fit_params, options):
        fitted = None
        if model.failure is None:
            steps = [*([] if earlier is None else earlier.steps), (name, model.estimator)]
            fitted = Pipeline(steps, memory=pipeline.memory, verbose=pipeline.verbose)
        scored, data = (model.estimator, transformed) if options.score_last_step else (fitted, raw)
        models.append(model._replace(estimator=fitted, scored=scored, data=data, fit_time=model.fit_time + seconds))
    return models


def _concatenate(train: Any, test: Any) -> Any:
    """Training rows, then test rows, in the container that the earlier steps gave."""
    from scipy import sparse

    if sparse.issparse(train):
        return sparse.vstack([train, test], format="csr")
    if hasattr(train, "iloc"):
        import pandas

        return pandas.concat([train, test])
    if hasattr(train, "vstack"):  # polars
        return train.vstack(test)
    if not isinstance(train, np.ndarray | list):
        raise TypeError(
            f"the steps before the last give a {type(train).__name__}; fit_many needs an array, a sparse matrix or a "
            "DataFrame: use set_output(transform='default')"
        )
    return np.concatenate([np.asarray(train), np.asarray(test)])


def _call_fit_many(
    estimator: Any, X: Any, y: Any, train: list, test: list, params: list, fit_params: dict, options: FitManyOptions
) -> list[FittedModel]:
    """`fit_many` on all models at once.

    Where it fails without telling which (`ModelsFailed`), on one after the other, so that only the faulty ones fail.
    """
    bar = options.bar

    def fit(indices: list[int], curves: bool, scores: bool) -> list[FittedModel]:
        done = bar.n
        arguments = dict(fit_params)
        if curves or (scores and "curves" in signature(estimator.fit_many).parameters):
            arguments |= {"test": [test[i] for i in indices], "scoring": options.scoring}
            arguments |= {} if curves else {"curves": False}
        has_scores = "test" in arguments
        # any unit of progress will do: models, or rounds over all of them
        arguments["callback"] = lambda step, n_steps: bar.update(done + len(indices) * step // n_steps - bar.n)
        started = time.perf_counter()
        errors: dict[int, Exception] = {}
        try:
            with warnings.catch_warnings():
                # a NaN among its scores is scored again, which tells of the error
                warnings.filterwarnings("ignore", "Scoring failed. test_score_ is NaN", UserWarning)
                models = estimator.fit_many(
                    X, y, train=[train[i] for i in indices], params=[params[i] for i in indices], **arguments
                )
        except ModelsFailed as error:
            models, errors = error.models, error.errors
            if options.error_score == "raise":
                raise errors[min(errors)] from None
        if len(models) != len(indices):
            raise ValueError(
                f"{type(estimator).__name__}.fit_many gave {len(models)} models for {len(indices)}; see check_fit_many"
            )
        fit_time = (time.perf_counter() - started) / len(indices)
        bar.update(done + len(indices) - bar.n)
        fitted = []
        for i, model in enumerate(models):
            failure = "".join(traceback.format_exception(errors[i])) if i in errors else None
            curve = getattr(model, "test_scores_", None) if curves else None
            score = getattr(model, "test_score_", None) if has_scores else None
            fitted.append(FittedModel(model, model, None, fit_time, failure, curve, score))
        return fitted

    start = bar.n
    everything = list(range(len(params)))
    try:
        return fit(everything, options.curves, options.scores)
    except Exception:
        if options.error_score == "raise":
            raise
    bar.update(start - bar.n)
    models = []
    for i in everything:
        started = time.perf_counter()
        try:
            models += fit([i], options.curves, options.scores)
        except Exception:
            failure = traceback.format_exc()
            try:  # where a scorer fails, the model is fitted without its curve
                unscored = fit([i], False, False) if options.curves or options.scores else []
            except Exception:
                unscored = []
            models += unscored or [FittedModel(None, None, None, time.perf_counter() - started, failure)]
            bar.update(start + i + 1 - bar.n)
    return models
