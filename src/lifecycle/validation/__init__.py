"""Cross-validation that keeps its evidence: fold scores, out-of-fold predictions, and an interval of the mean."""

import numbers
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from lifecycle._progress import is_watched, progress_bar
from lifecycle.validation import _many
from lifecycle.validation._compare import Comparison, compare
from lifecycle.validation._folds import Fold, failed, fit_and_score, score_and_predict, workers
from lifecycle.validation._interval import Interval, at_most_one
from lifecycle.validation._one_standard_error import OneStandardError
from lifecycle.validation._protocol import check_fit_many
from lifecycle.validation._result import CVResult
from lifecycle.validation._search import GridSearchCV, RandomizedSearchCV

__all__ = ["CVResult", "Comparison", "GridSearchCV", "Interval", "OneStandardError", "RandomizedSearchCV",
           "check_fit_many", "compare", "cross_validate"]  # fmt: skip


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

    An estimator with `fit_many`, alone or as the last step of a Pipeline, has its folds fitted together by it.

    Parameters
    ----------
    estimator : scikit-learn-style estimator
    X : array-like with n rows (array, sparse matrix, DataFrame, list of sequences)
    y : array-like, shape (n,) or (n, targets), default=None
    groups : array-like, shape (n,), default=None
        Handed to the splitter; with metadata routing enabled it belongs into `params`.
    scoring : str, callable, list, tuple or dict, default=None
        As in scikit-learn; None is the estimator's own `score`.
    cv : int, object with `split`, iterable of (train, test), default=None
        As in scikit-learn; None is 5 folds, stratified for a classifier.
    n_jobs : int, default=None
        Folds that are fitted at once, by joblib's current backend; with `fit_many` the threads of its kernels. -1:
        all cores.
    verbose : int, default=0
        joblib's; with `fit_many`, above 0 shows the bar.
    params : dict, default=None
        Arguments of `fit` (and, with metadata routing enabled, of `split` and the scorers); what has n rows is
        cut to the rows of the fold.
    pre_dispatch : int or str, default="2*n_jobs"
        joblib's; `fit_many` has nothing to dispatch.
    return_train_score, return_estimator, return_indices : bool, default=False
        Add "train_…", "estimator" and "indices" to the result.
    error_score : number or "raise", default=nan
        Score of a fold whose fit or scorer fails; "raise" raises its error, that of `predict` too.
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
    from joblib import Parallel, delayed
    from sklearn.base import clone, is_classifier
    from sklearn.metrics import check_scoring
    from sklearn.model_selection import check_cv
    from sklearn.utils import indexable

    if not (error_score == "raise" or (isinstance(error_score, numbers.Real) and not isinstance(error_score, bool))):
        raise ValueError(f"error_score must be 'raise' or a number; got {error_score!r}")
    X, y = indexable(X, y)
    splitter = check_cv(cv, y, classifier=is_classifier(estimator))
    scorer = check_scoring(estimator, scoring=scoring, raise_exc=error_score == "raise")
    split_params, fit_params, score_params = _routed(estimator, splitter, scorer, groups, params)

    folds = [(np.asarray(a), np.asarray(b)) for a, b in splitter.split(X, y, **split_params)]
    if not folds:
        raise ValueError(f"cv={cv!r} gives no fold")
    no_curves = f"{type(estimator).__name__} has no fit_many, which tells the scores of each epoch"
    done: list[Fold] = []
    if _many.is_served(estimator, (), fit_params):
        # with metadata routing enabled nothing is served, so there is no score_params
        done, no_curves = _by_fit_many(estimator, X, y, folds, scorer, scoring, fit_params, return_train_score,
                                       return_estimator, error_score, n_jobs, progress, verbose)  # fmt: skip
    else:
        watched = is_watched(progress)
        # not every joblib backend can hand results over as they come, so they are asked to only where a bar shows it
        arrival = {"return_as": "generator"} if watched else {}
        parallel = Parallel(n_jobs=n_jobs, verbose=verbose, pre_dispatch=pre_dispatch, **arrival)
        with workers(), progress_bar(len(folds), "cross_validate", watched) as bar:
            for fold in parallel(
                delayed(fit_and_score)(clone(estimator), X, y, train, test, scorer, fit_params, score_params,
                                        return_train_score, return_estimator, error_score)
                for train, test in folds
            ):  # fmt: skip
                done.append(fold)
                bar.update()
    _tell_failures(done, error_score)

    keys: dict[str, Any] = {"fit_time": np.array([f.fit_time for f in done]),
                            "score_time": np.array([f.score_time for f in done])}  # fmt: skip
    if return_estimator:
        keys["estimator"] = [f.estimator for f in done]
    if return_indices:
        keys["indices"] = {"train": [a for a, _ in folds], "test": [b for _, b in folds]}
    names = next((list(f.test_scores) for f in done if f.test_scores), ["score"])
    for name in names:
        keys[f"test_{name}"] = _scores([f.test_scores for f in done], name, error_score)
        if return_train_score:
            keys[f"train_{name}"] = _scores([f.train_scores for f in done], name, error_score)
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    return CVResult(keys, type(estimator).__name__, folds, done, n, at_most_one(estimator, scoring, names),
                    no_curves)  # fmt: skip


def _by_fit_many(estimator: Any, X: Any, y: Any, folds: list, scorer: Any, scoring: Any, fit_params: dict,
                 return_train_score: bool, return_estimator: bool, error_score: Any, n_jobs: int | None,
                 progress: bool | None, verbose: int) -> tuple[list[Fold], str]:  # fmt: skip
    """The folds, and why they have no curves, if they have none."""
    from sklearn.pipeline import Pipeline

    on_last_step = _many.sees_predictions_only(scorer)
    curves = on_last_step or not isinstance(estimator, Pipeline)
    name = type(estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator).__name__
    no_curves = f"{name} has no epochs, or fit_many could not score them"
    if not curves:
        no_curves = "curves of a Pipeline need scoring by names: a callable may look at more than the last step"
    asked = list(scoring) if isinstance(scoring, tuple | set) else scoring

    def finish(_: int, __: int, model: _many.Fitted) -> Fold:
        if model.failure is not None:
            return failed(None, model.fit_time, model.failure)
        kept = model.whole if return_estimator else None
        fold = score_and_predict(model.scored, kept, model.rows, scorer, {}, return_train_score, error_score,
                                 model.fit_time)  # fmt: skip
        return fold._replace(curves=model.curves)

    with progress_bar(len(folds), "cross_validate", _many.watched(progress, verbose)) as bar:
        (done,) = _many.run(estimator, X, y, folds, [{}], fit_params, finish, error_score=error_score, n_jobs=n_jobs,
                            on_last_step=on_last_step, scoring=asked, curves=curves, bar=bar)  # fmt: skip
    return done, no_curves


def _routed(estimator: Any, splitter: Any, scorer: Any, groups: Any, params: Any) -> tuple[dict, dict, dict]:
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


def _scores(found: list[dict[str, float] | None], name: str, error_score: Any) -> np.ndarray:
    return np.array([error_score if scores is None else scores.get(name, error_score) for scores in found])


def _tell_failures(done: list[Fold], error_score: Any) -> None:
    """Warn of the folds that failed; raise if all did."""
    from sklearn.exceptions import FitFailedWarning

    # the words are scikit-learn's: filters of warnings and tests know them
    fits = [k for k, fold in enumerate(done) if fold.failure is not None]
    if fits:
        told = "\n".join(dict.fromkeys(str(done[k].failure) for k in fits))
        if len(fits) == len(done):
            raise ValueError(
                f"All the {len(done)} fits failed. It is very likely that your model is misconfigured; "
                f"error_score='raise' stops at the first:\n{told}"
            )
        warnings.warn(
            f"{len(fits)} fits failed out of a total of {len(done)}: folds {', '.join(map(str, fits))}. The score on "
            f"these train-test partitions for these parameters will be set to {error_score}:\n{told}",
            FitFailedWarning,
            stacklevel=3,
        )
    for text in dict.fromkeys(text for fold in done for text in fold.score_failures):
        warnings.warn(
            "Scoring failed. The score on this train-test partition for these parameters will be set to "
            f"{error_score}. Details: \n{text}",
            UserWarning,
            stacklevel=3,
        )
    for text in dict.fromkeys(fold.no_prediction for fold in done if fold.no_prediction is not None):
        warnings.warn(f"predict failed, and its fold has no predictions:\n{text}", UserWarning, stacklevel=3)
