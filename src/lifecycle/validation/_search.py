"""Grid and random search: scikit-learn's, with folds x candidates through `fit_many` where the estimator has it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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

from lifecycle._progress import progress_bar, shows_progress
from lifecycle.splits._labels import row_numbers
from lifecycle.validation import _fit_many
from lifecycle.validation._corrected_t_interval import fold_size_ratio
from lifecycle.validation._folds import explain_dead_workers, warn_of_failed_fits
from lifecycle.validation._search_table import SearchTable


class _Fits(Parallel):
    """Carries out the fits of a search: joblib's Parallel with a bar, or `fit_many` where it can do these fits.

    scikit-learn's search passes it tasks: (estimator, X, y), and by keyword the rows, parameters and scorer of a fit.
    """

    def __init__(self, search: Any, cloner: "_Cloner", **options: Any):
        super().__init__(**options)
        self.search, self.cloner = search, cloner

    def __enter__(self) -> "_Fits":
        return self  # it is called once, so there is no pool to keep, and none to start for fit_many

    def __exit__(self, *_: Any) -> None:
        pass

    def __call__(self, tasks: Iterable) -> list:
        search, name = self.search, type(self.search).__name__
        with self.cloner.suspended():
            tasks = list(tasks)
        if not tasks:
            return []
        _, (estimator, X, y), common = tasks[0]
        candidates = [keywords["parameters"] for *_, keywords in tasks if keywords["split_progress"][0] == 0]
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        firsts = [keywords for *_, keywords in tasks if keywords["candidate_progress"][0] == 0]
        folds = [(row_numbers(k["train"], n), row_numbers(k["test"], n)) for k in firsts]
        search._fold_size_ratio = fold_size_ratio(folds)
        # scikit-learn >= 1.9 has callbacks, which are called for each fit
        has_callbacks = any(hasattr(one, "_skl_callbacks") for one in (search, estimator))
        if not has_callbacks and _fit_many.can_fit_many(estimator, candidates, common["fit_params"]):
            fits = _fit_many.Fits(estimator, X, y, folds, candidates, common["fit_params"])
            with progress_bar(len(tasks), name, _fit_many.progress_of(search.progress, search.verbose)) as bar:
                return self._fit_together(fits, common, bar)
        with explain_dead_workers(), progress_bar(len(tasks), name, shows_progress(search.progress)) as bar:
            return super().__call__(_clone_and_count(tasks, bar))

    def _fit_together(self, fits: _fit_many.Fits, common: dict, bar: Any) -> list[dict]:
        """The results of all candidates and folds through `fit_many`, as scikit-learn's own fits give them."""
        scorer, error_score, scoring = common["scorer"], common["error_score"], self.search.scoring
        metrics = getattr(scorer, "_scorers", None)  # of several metrics
        sides = ["test", "train"] if common["return_train_score"] else ["test"]

        def finish(model: _fit_many.FittedModel) -> dict:
            data = model.data
            result: dict[str, Any] = {"fit_error": model.failure, "fit_time": model.fit_time, "score_time": 0.0}
            result["n_test_samples"] = len(data.test)
            params = dict(zip(("train", "test"), data.split_params(common["score_params"]), strict=True))
            for side in sides:
                if model.failure is not None:
                    scores = error_score if metrics is None else dict.fromkeys(metrics, error_score)
                else:
                    started = perf_counter()
                    scores = model.score if side == "test" and not params[side] else None
                    if scores is None or np.isnan(scores):  # the scorer failed: its error is dealt with here
                        X, y = getattr(data, f"X_{side}"), getattr(data, f"y_{side}")
                        scores = _score(model.scored, X, y, scorer, params[side], error_score)
                    if side == "test":
                        result["score_time"] = perf_counter() - started
                result[f"{side}_scores"] = scores
            return result

        last_step, one_metric = _fit_many.uses_predictions_only(scorer), scoring is None or isinstance(scoring, str)
        options = _fit_many.FitManyOptions(error_score, bar, self.search.n_jobs, last_step, scoring, scores=one_metric)
        return [result for row in _fit_many.run_fit_many(fits, options, finish) for result in row]


def _warn_of_failed_fits(results: list[dict], error_score: Any) -> None:
    warn_of_failed_fits([result["fit_error"] for result in results], error_score)


def _clone_and_count(tasks: list, bar: Any) -> Iterator:
    """The tasks, each with its clone of the estimator; the bar counts them when joblib takes them."""
    for function, (estimator, *others), keywords in tasks:
        yield function, (clone(estimator), *others), keywords
        bar.update()


class _Cloner:
    """scikit-learn's `clone`; while suspended it returns its argument: `fit_many` needs one estimator for all fits."""

    active = True

    @contextmanager
    def suspended(self) -> Iterator[None]:
        self.active = False
        try:
            yield
        finally:
            self.active = True

    def __call__(self, estimator: Any, **options: Any) -> Any:
        return clone(estimator, **options) if self.active else estimator


class _Search(SearchTable):
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit and score every candidate on every fold, then the chosen one on all rows.

        Parameters
        ----------
        X : array-like with n rows
        y : array-like, shape (n,) or (n, targets), default=None
        **params : dict
            `groups` for the splitter, and arguments of the estimator's `fit`; those with n rows are indexed by the rows
            of the fold.

        Returns
        -------
        self
        """
        # scikit-learn's fit with three of its globals replaced: what lists the fits, what carries them out, and what
        # tells which of them failed
        original: Any = unwrap(BaseSearchCV.fit)
        cloner = _Cloner()
        names = {**original.__globals__, "Parallel": partial(_Fits, self, cloner), "clone": cloner}
        names["_warn_or_raise_about_fit_failures"] = _warn_of_failed_fits
        fit = FunctionType(original.__code__, names, original.__name__, original.__defaults__, original.__closure__)
        return fit(self, X, y, **params)


class GridSearchCV(_Search, model_selection.GridSearchCV):
    """Choose parameters by cross-validation over a grid: scikit-learn's, drop-in.

    All models of an estimator with `fit_many` are fitted by one call of it. If it is the last step of a Pipeline, there
    is one call for each fold, and the earlier steps are fitted once for each fold and setting of theirs. With metadata
    routing, a precomputed kernel, arguments of `fit` for earlier steps or a grid over the last step itself, and for any
    other estimator, models are fitted one by one through joblib, whatever its backend. Where rows come in a random
    order, as with "sgd", models that are fitted together use another order than those that are fitted one by one: see
    `fit_many`.

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

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        progress: bool | None = None,
    ):
        super().__init__(estimator, param_grid)
        self.scoring, self.n_jobs, self.refit, self.cv, self.verbose = scoring, n_jobs, refit, cv, verbose
        self.pre_dispatch, self.error_score = pre_dispatch, error_score
        self.return_train_score, self.progress = return_train_score, progress


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

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        progress: bool | None = None,
    ):
        super().__init__(estimator, param_distributions, n_iter=n_iter, random_state=random_state)
        self.scoring, self.n_jobs, self.refit, self.cv, self.verbose = scoring, n_jobs, refit, cv, verbose
        self.pre_dispatch, self.error_score = pre_dispatch, error_score
        self.return_train_score, self.progress = return_train_score, progress
