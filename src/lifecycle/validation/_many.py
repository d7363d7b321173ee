"""How folds x candidates go through `fit_many`: the one place, for the searches and for cross_validate."""

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import ModelsFailed
from lifecycle._progress import is_watched
from lifecycle._threads import threads
from lifecycle.validation._folds import Rows


class Fitted(NamedTuple):
    """One model: `whole` is what the caller asked for, `scored` with `rows` what a scorer is to be given."""

    whole: Any
    scored: Any
    rows: Any
    fit_time: float
    failure: str | None = None  # traceback of a fit that failed
    curves: Any = None  # its `test_scores_`
    score: Any = None  # its `test_score_`


def is_served(estimator: Any, candidates: Iterable[dict], fit_params: dict) -> bool:
    """Whether these fits can go through `fit_many` of the estimator or of the last step of a Pipeline."""
    from sklearn import get_config
    from sklearn.pipeline import Pipeline
    from sklearn.utils import get_tags

    if get_config()["enable_metadata_routing"] or get_tags(estimator).input_tags.pairwise:
        return False
    if type(estimator) is not Pipeline:  # a subclass may do more between its steps than transform
        return _fits_many(estimator)
    name, last = estimator.steps[-1]
    return (
        _fits_many(last)
        and all(key.startswith(f"{name}__") for key in fit_params)
        and not any(key in (name, "steps") for candidate in candidates for key in candidate)
    )


def _fits_many(estimator: Any) -> bool:
    """Whether it has a `fit_many` of its `fit`'s package: one that is inherited knows nothing of a new `fit`."""
    if isinstance(estimator, type) or not callable(getattr(estimator, "fit_many", None)):
        return False
    homes = [next((kind.__module__.partition(".")[0] for kind in type(estimator).__mro__ if name in vars(kind)), None)
             for name in ("fit", "fit_many")]  # fmt: skip
    return homes[0] == homes[1] or homes[1] is None  # None: the object's own


def watched(progress: bool | None, verbose: int) -> bool:
    """Whether to show the bar, which stands for joblib's lines."""
    return is_watched(progress if progress is not None or verbose <= 0 else True)


def sees_predictions_only(scorer: Any) -> bool:
    """Whether a scorer, scikit-learn's own, scores a Pipeline as it scores the last step on transformed rows."""
    several = getattr(scorer, "_scorers", None)
    if isinstance(several, dict):
        return all(sees_predictions_only(one) for one in several.values())
    return type(scorer).__module__ == "sklearn.metrics._scorer"


def run(
    estimator: Any,
    X: Any,
    y: Any,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    candidates: Sequence[dict],
    fit_params: dict,
    finish: Callable[[int, int, Fitted], Any],
    *,
    error_score: float | str,
    n_jobs: int | None = None,
    on_last_step: bool = True,
    scoring: Any = None,
    curves: bool = False,
    scores: bool = False,
    bar: Any = None,
) -> list[list]:
    """`finish(candidate, fold, model)` of every model, as a table candidates x folds.

    Parameters
    ----------
    n_jobs : int, default=None
        Threads of the kernels; None leaves them as they are.
    on_last_step : bool, default=True
        Whether the scorer may be given the last step of a Pipeline and transformed rows.
    scoring, curves
        With curves, the models are given their test rows and `scoring`, and `test_scores_` is taken from them.
    scores : bool, default=False
        Have `fit_many` score the finished models on their test rows by `scoring`, if it can without curves.
    bar : tqdm bar, default=None
        Of models.
    """
    from joblib import effective_n_jobs
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline

    splits = [(_indices(train), _indices(test)) for train, test in splits]
    # which names there are depends on no number
    alike = {frozenset((k, None if isinstance(v, float) else _mark(v)) for k, v in c.items()): c for c in candidates}
    for candidate in alike.values():
        clone(estimator).set_params(**clone(candidate, safe=False))  # a name that does not exist is no failure of a fit
    table: list[list] = [[None] * len(splits) for _ in candidates]
    here = n_jobs is None and effective_n_jobs(None) == 1
    options = {"error_score": error_score, "scoring": scoring, "curves": curves, "scores": scores, "bar": bar}
    with nullcontext() if here else threads(effective_n_jobs(n_jobs)):
        if type(estimator) is not Pipeline:
            jobs = [(c, f) for c in range(len(candidates)) for f in range(len(splits))]
            models = _call(estimator, X, y, [splits[f][0] for _, f in jobs], [splits[f][1] for _, f in jobs],
                           [clone(candidates[c], safe=False) for c, _ in jobs], fit_params, **options)  # fmt: skip
            for fold, (train, test) in enumerate(splits):
                rows = Rows(X, y, train, test)
                for (c, f), model in zip(jobs, models, strict=True):
                    if f == fold:
                        table[c][f] = finish(c, f, model._replace(rows=rows))
            return table
        prefix = f"{estimator.steps[-1][0]}__"
        own = {key.removeprefix(prefix): value for key, value in fit_params.items()}
        for chosen in _by_setting(candidates, prefix):
            setting = {k: v for k, v in candidates[chosen[0]].items() if not k.startswith(prefix)}
            for f, (train, test) in enumerate(splits):
                params = [{k.removeprefix(prefix): clone(v, safe=False) for k, v in candidates[c].items()
                           if k.startswith(prefix)} for c in chosen]  # fmt: skip
                pipeline = clone(estimator).set_params(**clone(setting, safe=False))
                models = _on_transformed(pipeline, X, y, train, test, params, own, on_last_step, options)
                for c, model in zip(chosen, models, strict=True):
                    table[c][f] = finish(c, f, model)
    return table


def _indices(rows: Any) -> np.ndarray:
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp, copy=False)


def _by_setting(candidates: Sequence[dict], prefix: str) -> list[list[int]]:
    """Numbers of the candidates that share their parameters of the earlier steps."""
    groups: dict[Any, list[int]] = {}
    for c, candidate in enumerate(candidates):
        key = frozenset((k, _mark(v)) for k, v in candidate.items() if not k.startswith(prefix))
        groups.setdefault(key, []).append(c)
    return list(groups.values())


def _mark(value: Any) -> Any:
    """What tells two parameter values apart: their value where they are plain, else which object they are."""
    value = value.item() if isinstance(value, np.generic) else value
    return (type(value), value) if isinstance(value, str | bool | int | float | None) else id(value)


def _on_transformed(pipeline: Any, X: Any, y: Any, train: np.ndarray, test: np.ndarray, params: list[dict],
                    fit_params: dict, on_last_step: bool, options: dict) -> list[Fitted]:  # fmt: skip
    """The models of one fold and one setting of the earlier steps, which are fitted once."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils import _safe_indexing

    started = time.perf_counter()
    name, last = pipeline.steps[-1]
    both = np.concatenate([train, test])
    raw = Rows(X, y, train, test)
    try:
        if len(pipeline.steps) == 1:
            head, stacked, seen = None, _safe_indexing(X, both), raw
        else:
            head = pipeline[:-1]
            fitted = head.fit_transform(raw.train, raw.y_train)
            # the training rows are scored as `transform` gives them, which need not be what `fit_transform` gave
            seen = Rows(X, y, train, test, transform=head.transform)
            stacked = _stacked(fitted, seen.test)
    except Exception:
        if options["error_score"] == "raise":
            raise
        failed = Fitted(None, None, raw, (time.perf_counter() - started) / len(params), traceback.format_exc())
        if options["bar"] is not None:
            options["bar"].update(len(params))
        return [failed] * len(params)
    share = (time.perf_counter() - started) / len(params)
    cut = Rows(X, y, both, test).cut_all(fit_params)[0]
    places = [np.arange(len(train))] * len(params), [np.arange(len(train), len(both))] * len(params)
    y_both = None if y is None else _safe_indexing(y, both)
    models = []
    for model in _call(last, stacked, y_both, *places, params, cut, **options):
        whole = None
        if model.failure is None:
            whole = Pipeline([*([] if head is None else head.steps), (name, model.whole)],
                             memory=pipeline.memory, verbose=pipeline.verbose)  # fmt: skip
        scored, rows = (model.whole, seen) if on_last_step else (whole, raw)
        models.append(model._replace(whole=whole, scored=scored, rows=rows, fit_time=model.fit_time + share))
    return models


def _stacked(above: Any, below: Any) -> Any:
    """Training rows over test rows, in the container that the earlier steps gave."""
    from scipy import sparse

    if sparse.issparse(above):
        return sparse.vstack([above, below], format="csr")
    if hasattr(above, "iloc"):
        import pandas

        return pandas.concat([above, below])
    if hasattr(above, "vstack"):  # polars
        return above.vstack(below)
    if not isinstance(above, np.ndarray) and not isinstance(above, list):
        raise TypeError(
            f"the steps before the last give a {type(above).__name__}; fit_many needs an array, a sparse matrix or a "
            "DataFrame: use set_output(transform='default')"
        )
    return np.concatenate([np.asarray(above), np.asarray(below)])


def _call(estimator: Any, X: Any, y: Any, train: list, test: list, params: list[dict], fit_params: dict, *,
          error_score: Any, scoring: Any, curves: bool, scores: bool, bar: Any) -> list[Fitted]:  # fmt: skip
    """fit_many on all models at once.

    Where it fails without telling which (`ModelsFailed`), on one after the other, so that only the faulty ones fail.
    """

    def fit(which: list[int], with_curves: bool, with_scores: bool = scores) -> list[Fitted]:
        done = 0 if bar is None else bar.n
        options: dict[str, Any] = dict(fit_params)
        if with_curves:
            options |= {"test": [test[i] for i in which], "scoring": scoring}
        elif with_scores and "curves" in signature(estimator.fit_many).parameters:
            options |= {"test": [test[i] for i in which], "scoring": scoring, "curves": False}
        if bar is not None:
            # any unit of progress will do: models, or rounds over all of them
            options["callback"] = lambda part, total: bar.update(done + len(which) * part // total - bar.n)
        began = time.perf_counter()
        faults: dict[int, Exception] = {}
        try:
            models = estimator.fit_many(
                X, y, train=[train[i] for i in which], params=[params[i] for i in which], **options
            )
        except ModelsFailed as error:
            models, faults = error.models, error.errors
            if error_score == "raise":
                raise faults[min(faults)] from None
        if len(models) != len(which):
            raise ValueError(
                f"{type(estimator).__name__}.fit_many gave {len(models)} models for {len(which)}; see check_fit_many"
            )
        took = (time.perf_counter() - began) / len(which)
        if bar is not None:
            bar.update(done + len(which) - bar.n)
        found = [getattr(model, "test_scores_", None) if with_curves else None for model in models]
        told = ["".join(traceback.format_exception(faults[i])) if i in faults else None for i in range(len(models))]
        scored = [getattr(model, "test_score_", None) if "test" in options else None for model in models]
        return [Fitted(m, m, None, took, *rest) for m, *rest in zip(models, told, found, scored, strict=True)]

    start = 0 if bar is None else bar.n
    everything = list(range(len(params)))
    try:
        return fit(everything, curves)
    except Exception:
        if error_score == "raise":
            raise
    if bar is not None:
        bar.update(start - bar.n)
    models = []
    for i in everything:
        began = time.perf_counter()
        try:
            models += fit([i], curves)
        except Exception:
            fault = traceback.format_exc()
            try:  # a scorer that fails spoils the curve, not the model
                again = fit([i], False, False) if curves or scores else []
            except Exception:
                again = []
            models += again or [Fitted(None, None, None, time.perf_counter() - began, fault)]
            if bar is not None:
                bar.update(start + i + 1 - bar.n)
    return models
