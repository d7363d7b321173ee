"""cross_validate: the fits of all folds, by one call of `fit_many` or one by one through joblib."""

import numbers
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from lifecycle._progress import progress_bar, shows_progress
from lifecycle.splits._labels import row_numbers
from lifecycle.validation import _fit_many
from lifecycle.validation._fit_many import Fits, FittedModel
from lifecycle.validation._folds import (
    FoldResult,
    Scoring,
    explain_dead_workers,
    fit_and_score,
    score_and_predict,
    warn_of_failed_fits,
)
from lifecycle.validation._metrics import at_most_one, digest_of_targets, scorer_names
from lifecycle.validation._result import CVResult


def cross_validate(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: Mapping[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: float | str = np.nan,
    progress: bool | None = None,
) -> CVResult:
    """Fit and score a clone of the estimator on every fold.

    The folds of an estimator with `fit_many`, alone or as the last step of a Pipeline, are fitted by one call of it.

    Parameters
    ----------
    estimator : scikit-learn-style estimator
    X : array-like with n rows (array, sparse matrix, DataFrame, list of sequences)
    y : array-like, shape (n,) or (n, targets), default=None
    groups : array-like, shape (n,), default=None
        Passed to the splitter; with metadata routing enabled it belongs into `params`.
    scoring : str, callable, list, tuple or dict, default=None
        As in scikit-learn; None is the estimator's own `score`.
    cv : int, object with `split`, iterable of (train, test), default=None
        As in scikit-learn; row numbers or masks. None is 5 folds, stratified for a classifier.
    n_jobs : int, default=None
        Folds that are fitted at once, by joblib's current backend; with `fit_many` the threads of its kernels. -1:
        all cores.
    verbose : int, default=0
        joblib's; with `fit_many`, above 0 shows the bar.
    params : dict, default=None
        Arguments of `fit` (and, with metadata routing enabled, of `split` and the scorers); those with n rows are
        indexed by the rows of the fold.
    pre_dispatch : int or str, default="2*n_jobs"
        joblib's; `fit_many` has nothing to dispatch.
    return_train_score, return_estimator, return_indices : bool, default=False
        Add "train_…", "estimator" and "indices" to the result.
    error_score : number or "raise", default=nan
        Score of a fold whose fit or scorer fails; "raise" raises its error, and that of a `predict` that fails.
    progress : bool, default=None
        A bar over the folds; None shows it in a terminal or notebook only.

    Returns
    -------
    CVResult
        A dict with scikit-learn's keys, and `predictions`, `probabilities`, `interval`, `curves`, `best_epoch`,
        `summary`, `plot`, `to_frame`.

    Raises
    ------
    ValueError
        If the fit fails on every fold, or an argument is wrong.
    """
    from sklearn.base import is_classifier
    from sklearn.metrics import check_scoring
    from sklearn.model_selection import check_cv
    from sklearn.utils import indexable

    if not (error_score == "raise" or (isinstance(error_score, numbers.Real) and not isinstance(error_score, bool))):
        raise ValueError(f"error_score must be 'raise' or a number; got {error_score!r}")
    X, y = indexable(X, y)
    splitter = check_cv(cv, y, classifier=is_classifier(estimator))
    scorer = check_scoring(estimator, scoring=scoring, raise_exc=error_score == "raise")
    split_params, fit_params, score_params = _route_params(estimator, splitter, scorer, groups, params)
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    folds = [(row_numbers(train, n), row_numbers(test, n)) for train, test in splitter.split(X, y, **split_params)]
    if not folds:
        raise ValueError(f"cv={cv!r} gives no fold")
    fits = Fits(estimator, X, y, folds, [{}], fit_params)
    fold_scoring = Scoring(scorer, score_params, return_train_score, error_score)
    if _fit_many.can_fit_many(estimator, (), fit_params):
        # metadata routing is not enabled here, so there are no score_params
        progress = _fit_many.progress_of(progress, verbose)
        results, no_curves = _fit_together(fits, fold_scoring, scoring, return_estimator, n_jobs, progress)
    else:
        no_curves = f"{type(estimator).__name__} has no fit_many, which tells the scores of each epoch"
        joblib_options = {"n_jobs": n_jobs, "verbose": verbose, "pre_dispatch": pre_dispatch}
        results = _fit_one_by_one(fits, fold_scoring, return_estimator, progress, joblib_options)
    warn_of_failed_fits([result.failure for result in results], error_score)
    _warn_of_failed_scores(results, error_score)

    keys: dict[str, Any] = {
        "fit_time": np.array([result.fit_time for result in results]),
        "score_time": np.array([result.score_time for result in results]),
    }
    if return_estimator:
        keys["estimator"] = [result.estimator for result in results]
    if return_indices:
        keys["indices"] = {"train": [train for train, _ in folds], "test": [test for _, test in folds]}
    names = next((list(result.test_scores) for result in results if result.test_scores), ["score"])
    for name in names:
        keys[f"test_{name}"] = _scores([result.test_scores for result in results], name, error_score)
        if return_train_score:
            keys[f"train_{name}"] = _scores([result.train_scores for result in results], name, error_score)
    bounded, scorers = at_most_one(estimator, scoring, names), scorer_names(estimator, scoring, names)
    return CVResult(
        keys, type(estimator).__name__, folds, results, n, bounded, no_curves, scorers, digest_of_targets(y)
    )


def _fit_one_by_one(
    fits: Fits, scoring: Scoring, return_estimator: bool, progress: bool | None, joblib_options: dict
) -> list[FoldResult]:
    """The folds through joblib's current backend."""
    from joblib import Parallel, delayed
    from sklearn.base import clone

    estimator, X, y, splits, _, fit_params = fits
    progress = shows_progress(progress)
    # not every joblib backend can return results as they arrive, so that is asked for only where a bar shows it
    parallel = Parallel(**joblib_options, **({"return_as": "generator"} if progress else {}))
    results = []
    with explain_dead_workers(), progress_bar(len(splits), "cross_validate", progress) as bar:
        for result in parallel(
            delayed(fit_and_score)(clone(estimator), X, y, train, test, fit_params, scoring, return_estimator)
            for train, test in splits
        ):
            results.append(result)
            bar.update()
    return results


def _fit_together(
    fits: Fits, fold_scoring: Scoring, scoring: Any, return_estimator: bool, n_jobs: int | None, progress: bool | None
) -> tuple[list[FoldResult], str]:
    """The folds through `fit_many`, and why they have no curves, if they have none."""
    from sklearn.pipeline import Pipeline

    score_last_step = _fit_many.uses_predictions_only(fold_scoring.scorer)
    is_pipeline = isinstance(fits.estimator, Pipeline)
    curves = score_last_step or not is_pipeline
    name = type(fits.estimator.steps[-1][1] if is_pipeline else fits.estimator).__name__
    no_curves = f"{name} has no epochs, or fit_many could not score them"
    if not curves:
        no_curves = "curves of a Pipeline need scoring by names: a callable may use more than the last step"

    def finish(model: FittedModel) -> FoldResult:
        if model.failure is not None:
            return FoldResult.of_failure(model.failure, model.fit_time)
        returned = model.estimator if return_estimator else None
        result = score_and_predict(model.scored, returned, model.data, fold_scoring, model.fit_time)
        return result._replace(curves=model.curves)

    scoring = list(scoring) if isinstance(scoring, tuple | set) else scoring
    with progress_bar(len(fits.splits), "cross_validate", progress) as bar:
        options = _fit_many.FitManyOptions(
            fold_scoring.error_score, bar, n_jobs, score_last_step, scoring, curves=curves
        )
        (results,) = _fit_many.run_fit_many(fits, options, finish)
    return results, no_curves


def _route_params(estimator: Any, splitter: Any, scorer: Any, groups: Any, params: Any) -> tuple[dict, dict, dict]:
    """Arguments of split, fit and the scorer."""
    from sklearn import get_config

    params = {} if params is None else dict(params)
    if not get_config()["enable_metadata_routing"]:
        return {"groups": groups}, params, {}
    from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

    if groups is not None:
        raise ValueError(
            "`groups` can only be passed if metadata routing is not enabled; with it, pass params={'groups': groups}"
        )
    router = MetadataRouter(owner="cross_validate")
    router.add(splitter=splitter, method_mapping=MethodMapping().add(caller="fit", callee="split"))
    router.add(estimator=estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
    router.add(scorer=scorer, method_mapping=MethodMapping().add(caller="fit", callee="score"))
    routed = process_routing(router, "fit", **params)
    return dict(routed.splitter.split), dict(routed.estimator.fit), dict(routed.scorer.score)


def _scores(scores_of_folds: list[dict[str, float] | None], name: str, error_score: Any) -> np.ndarray:
    return np.array([error_score if s is None else s.get(name, error_score) for s in scores_of_folds])


def _warn_of_failed_scores(results: list[FoldResult], error_score: Any) -> None:
    """Warn of the scorers and of the `predict` that failed, in scikit-learn's words, which warning filters match."""
    for text in dict.fromkeys(text for result in results for text in result.score_failures):
        warnings.warn(
            "Scoring failed. The score on this train-test partition for these parameters will be set to "
            f"{error_score}. Details: \n{text}",
            UserWarning,
            stacklevel=3,
        )
    for text in dict.fromkeys(result.no_prediction for result in results if result.no_prediction is not None):
        warnings.warn(f"predict failed, and its fold has no predictions:\n{text}", UserWarning, stacklevel=3)
