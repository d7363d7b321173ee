"""Grid and random search: scikit-learn's, with folds x candidates through `fit_many` where the estimator has it."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from inspect import unwrap
from time import perf_counter
from types import FunctionType
from typing import Any, ClassVar

import numpy as np
from sklearn import model_selection

# Private, and the same since 1.6: the check of the arguments, and the score of one model with its warnings.
from sklearn.base import _fit_context, clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _score
from sklearn.utils.parallel import Parallel

from lifecycle._progress import is_watched, progress_bar
from lifecycle.validation import _many
from lifecycle.validation._folds import workers
from lifecycle.validation._interval import overlap
from lifecycle.validation._search_table import SearchTable


class _Fits(Parallel):
    """Carries out the fits of a search: joblib's Parallel, but by `fit_many` where that serves them, and with a bar.

    The search hands it (estimator, X, y) and, by name, rows, parameters and scorer of each fit.
    """

    def __init__(self, search: Any, cloning: "_Cloning", **options: Any):
        super().__init__(**options)
        self.search, self.cloning = search, cloning

    def __enter__(self) -> "_Fits":
        return self  # it is called once, so there is no pool to keep, and none to start for fit_many

    def __exit__(self, *_: Any) -> None:
        pass

    def __call__(self, tasks: Iterable) -> list:
        search = self.search
        self.cloning.listing = True
        try:
            tasks = list(tasks)
        finally:
            self.cloning.listing = False
        if not tasks:
            return []
        _, (estimator, *_), common = tasks[0]
        candidates = [named["parameters"] for _, _, named in tasks if named["split_progress"][0] == 0]
        folds = [(named["train"], named["test"]) for _, _, named in tasks if named["candidate_progress"][0] == 0]
        search._tests_per_train = overlap([(np.asarray(train), np.asarray(test)) for train, test in folds])
        heard = any(hasattr(one, "_skl_callbacks") for one in (search, estimator))  # scikit-learn >= 1.9 has callbacks
        if not heard and _many.is_served(estimator, candidates, common["fit_params"]):
            with progress_bar(len(tasks), type(search).__name__, _many.watched(search.progress, search.verbose)) as bar:
                return self._together(tasks[0], candidates, folds, bar)
        with workers(), progress_bar(len(tasks), type(search).__name__, is_watched(search.progress)) as bar:
            return super().__call__(_taken_up(tasks, bar))

    def _together(self, task: tuple, candidates: list[dict], folds: list, bar: Any) -> list:
        """What scikit-learn's own fits would give: a dict for each candidate and fold."""
        _, (estimator, X, y), common = task
        scorer, error_score = common["scorer"], common["error_score"]
        names = getattr(scorer, "_scorers", None)  # of several metrics
        parts = ["test", "train"] if common["return_train_score"] else ["test"]

        def finish(_: int, __: int, model: _many.Fitted) -> dict:
            rows = model.rows
            found: dict[str, Any] = {"fit_error": model.failure, "fit_time": model.fit_time, "score_time": 0.0,
                     "n_test_samples": rows.n_test}  # fmt: skip
            params = dict(zip(("train", "test"), rows.cut_all(common["score_params"]), strict=True))
            for part in parts:
                if model.failure is not None:
                    scores = error_score if names is None else dict.fromkeys(names, error_score)
                else:
                    began = perf_counter()
                    scores = model.score if part == "test" and not params[part] else None
                    if scores is None:
                        scores = _score(model.scored, getattr(rows, part), getattr(rows, f"y_{part}"), scorer,
                                        params[part], error_score)  # fmt: skip
                    if part == "test":
                        found["score_time"] = perf_counter() - began
                found[f"{part}_scores"] = scores
            return found

        table = _many.run(
            estimator, X, y, folds, candidates, common["fit_params"], finish, error_score=error_score,
            n_jobs=self.search.n_jobs, on_last_step=_many.sees_predictions_only(scorer), bar=bar,
            scoring=self.search.scoring, scores=self.search.scoring is None or isinstance(self.search.scoring, str),
        )  # fmt: skip
        return [found for row in table for found in row]


def _taken_up(tasks: list, bar: Any) -> Iterator:
    """The tasks, each with an estimator of its own, counted when they are taken up: joblib need not know of the bar."""
    for function, (estimator, *others), named in tasks:
        yield function, (clone(estimator), *others), named
        bar.update()


class _Cloning:
    """scikit-learn's `clone`, but while fits are listed: `fit_many` needs one estimator for all of them."""

    listing = False

    def __call__(self, estimator: Any, **options: Any) -> Any:
        return estimator if self.listing else clone(estimator, **options)


class _Search(SearchTable):
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit and score every candidate on every fold, then the chosen one on all rows.

        Parameters
        ----------
        X : array-like with n rows
        y : array-like, shape (n,) or (n, targets), default=None
        **params : dict
            `groups` for the splitter, and arguments of the estimator's `fit`; what has n rows is cut to the fold.

        Returns
        -------
        self
        """
        # scikit-learn's own fit, but for what lists and carries out the fits, for which it has no other place
        own: Any = unwrap(BaseSearchCV.fit)
        cloning = _Cloning()
        names = {**own.__globals__, "Parallel": partial(_Fits, self, cloning), "clone": cloning}
        fit = FunctionType(own.__code__, names, own.__name__, own.__defaults__, own.__closure__)
        return fit(self, X, y, **params)


class GridSearchCV(_Search, model_selection.GridSearchCV):
    """Choose parameters by cross-validation over a grid: scikit-learn's, drop-in.

    An estimator with `fit_many`, alone or as the last step of a Pipeline, has all its models fitted together by it; in
    a Pipeline those of each fold, the earlier steps being fitted once per fold and setting. With metadata routing, a
    precomputed kernel, arguments of `fit` for earlier steps or a grid over the last step itself, and for any other
    estimator, models are fitted one by one through joblib, whatever its backend. Where rows come in a random order, as
    with "sgd", models that are fitted together see another one than those that are fitted one by one: see `fit_many`.

    Parameters
    ----------
    estimator : scikit-learn-style estimator
    param_grid : dict or list of dict
        Values to try, by parameter.
    scoring : str, callable, list, tuple or dict, default=None
        As in scikit-learn; None is the estimator's own `score`.
    n_jobs : int, default=None
        Models that are fitted at once, by joblib's current backend; with `fit_many` the threads of its kernels.
        -1: all cores.
    refit : bool, str or callable, default=True
        As in scikit-learn: whether, by which metric, or by which rule on `cv_results_` to choose and fit the best
        candidate on all rows; such as `OneStandardError("alpha")`.
    cv : int, object with `split`, iterable of (train, test), default=None
        As in scikit-learn; None is 5 folds, stratified for a classifier.
    verbose : int, default=0
        scikit-learn's lines; with `fit_many`, above 0 shows the bar.
    pre_dispatch : int or str, default="2*n_jobs"
        joblib's; `fit_many` has nothing to dispatch.
    error_score : number or "raise", default=nan
        Score of a model whose fit or scorer fails; the others are kept.
    return_train_score : bool, default=False
        Add the scores on training rows to `cv_results_`.
    progress : bool, default=None
        A bar over the models; None shows it in a terminal or notebook only.

    Attributes
    ----------
    cv_results_ : dict
        scikit-learn's keys.
    best_estimator_, best_params_, best_index_, best_score_, scorer_, n_splits_, refit_time_, multimetric_
        scikit-learn's.
    """

    _parameter_constraints: ClassVar[dict] = {
        **model_selection.GridSearchCV._parameter_constraints,
        "progress": ["boolean", None],
    }

    def __init__(self, estimator: Any, param_grid: Any, *, scoring: Any = None, n_jobs: int | None = None,
                 refit: bool | str | Callable = True, cv: Any = None, verbose: int = 0,
                 pre_dispatch: int | str = "2*n_jobs", error_score: float | str = np.nan,
                 return_train_score: bool = False, progress: bool | None = None):  # fmt: skip
        super().__init__(estimator, param_grid, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv, verbose=verbose,
                         pre_dispatch=pre_dispatch, error_score=error_score,
                         return_train_score=return_train_score)  # fmt: skip
        self.progress = progress


class RandomizedSearchCV(_Search, model_selection.RandomizedSearchCV):
    """Choose parameters by cross-validation over random draws: scikit-learn's, drop-in; see `GridSearchCV`.

    Parameters
    ----------
    estimator : scikit-learn-style estimator
    param_distributions : dict or list of dict
        By parameter, a list of values or a distribution with `rvs`.
    n_iter : int, default=10
        Number of draws.
    random_state : int, RandomState or None, default=None
        Of the draws.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score, progress
        As in `GridSearchCV`.
    """

    _parameter_constraints: ClassVar[dict] = {
        **model_selection.RandomizedSearchCV._parameter_constraints,
        "progress": ["boolean", None],
    }

    def __init__(self, estimator: Any, param_distributions: Any, *, n_iter: int = 10, scoring: Any = None,
                 n_jobs: int | None = None, refit: bool | str | Callable = True, cv: Any = None, verbose: int = 0,
                 pre_dispatch: int | str = "2*n_jobs", random_state: Any = None, error_score: float | str = np.nan,
                 return_train_score: bool = False, progress: bool | None = None):  # fmt: skip
        super().__init__(estimator, param_distributions, n_iter=n_iter, scoring=scoring, n_jobs=n_jobs, refit=refit,
                         cv=cv, verbose=verbose, pre_dispatch=pre_dispatch, random_state=random_state,
                         error_score=error_score, return_train_score=return_train_score)  # fmt: skip
        self.progress = progress
