"""Paths of l1 and elastic-net penalties: 10 alphas x 5 folds, against scikit-learn's searches."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import ElasticNetCV, LassoCV, LogisticRegressionCV, enet_path

import lifecycle as lc

from ._objectives import of_folds, squares
from ._searches import folds_of, many, shape_of, stacked
from ._sides import Side, answered, compared

OURS = "lifecycle, float64"
EXACT = 1e-12  # tol of the models whose zeros count as right


def alphas_of(X: np.ndarray, y: np.ndarray, l1_ratio: float) -> np.ndarray:
    """Ten values down to a thousandth of the smallest one that leaves no coefficient, as in LassoCV."""
    largest = np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / (len(y) * l1_ratio)
    return largest * np.logspace(-3, 0, 10, endpoint=False)


def logistic(
    name: str, load: Callable, l1_ratio: float, max_iter: int, rounds: int, threads: int, scale: float
) -> dict:
    """Two classes, against LogisticRegressionCV(solver="saga")."""
    X, y = load(scale=scale)
    folds, alphas = folds_of(X), alphas_of(X, np.unique(y, return_inverse=True)[1], l1_ratio)
    n_train = len(folds[0][0])
    model = lc.LinearClassifier(penalty="elasticnet", l1_ratio=l1_ratio, progress=False)
    peer = f"scikit-learn, LogisticRegressionCV, saga, max_iter={max_iter}"

    def theirs() -> LogisticRegressionCV:
        return LogisticRegressionCV(
            Cs=1 / (n_train * alphas),
            cv=folds,
            solver="saga",
            l1_ratios=np.array([l1_ratio]),  # scikit-learn indexes it, where refit=False
            scoring="accuracy",
            max_iter=max_iter,
            refit=False,
            n_jobs=threads,
            random_state=0,
            use_legacy_attributes=False,
        )

    runs = {
        OURS: Side(lambda: lc.GridSearchCV(model, {"alpha": alphas}, cv=folds, refit=False, progress=False), X, y),
        peer: Side(theirs, X, y),
    }
    one = compared(name, runs, rounds, {OURS: 5.0}, warm={OURS: runs[OURS]})

    def values(coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        return of_folds(X, y, folds, alphas, coef, intercept, l1_ratio)

    paths = runs[peer].fitted.coefs_paths_[:, 0]
    found = {
        OURS: stacked(many(model, X, y, folds, alphas), folds, alphas),
        peer: (paths[..., :-1], paths[..., -1]),
    }
    exact = stacked(many(model.set_params(tol=EXACT), X, y, folds, alphas), folds, alphas)
    scores = {OURS: runs[OURS].fitted.cv_results_["mean_test_score"].max()}
    scores[peer] = runs[peer].fitted.scores_[:, 0].mean(axis=0).max()
    answers = {
        who: {**_answer(values(*models), values(*exact), models[0], exact[0]), "best mean accuracy": scores[who]}
        for who, models in found.items()
    }
    return _told(one, answers, X, alphas, peer)


def squared(name: str, load: Callable, l1_ratio: float, rounds: int, threads: int, scale: float) -> dict:
    """Squared error, against LassoCV or ElasticNetCV, which fit the best on all rows as well."""
    X, y = load(scale=scale)
    folds, alphas = folds_of(X), alphas_of(X, y, l1_ratio)
    model = lc.LinearRegressor(penalty="elasticnet", l1_ratio=l1_ratio, progress=False)
    peer = f"scikit-learn, {'LassoCV' if l1_ratio == 1 else 'ElasticNetCV'}"

    def theirs() -> Any:
        options = {"alphas": alphas, "cv": folds, "n_jobs": threads}
        return LassoCV(**options) if l1_ratio == 1 else ElasticNetCV(l1_ratio=l1_ratio, **options)

    scoring = "neg_mean_squared_error"
    runs = {
        OURS: Side(lambda: lc.GridSearchCV(model, {"alpha": alphas}, cv=folds, scoring=scoring, progress=False), X, y),
        peer: Side(theirs, X, y),
    }
    one = compared(name, runs, rounds, {OURS: 1.5})

    def values(coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        return np.array([
            [squares(X[train], y[train], coef[f, a, 0], intercept[f, a, 0], alpha, l1_ratio)
             for a, alpha in enumerate(alphas)] for f, (train, _) in enumerate(folds)
        ])  # fmt: skip

    found = {OURS: stacked(many(model, X, y, folds, alphas), folds, alphas)}
    found[peer] = _paths_of_scikit_learn(X, y, folds, alphas, l1_ratio)
    exact = stacked(many(model.set_params(tol=EXACT), X, y, folds, alphas), folds, alphas)
    errors = {OURS: -runs[OURS].fitted.best_score_, peer: runs[peer].fitted.mse_path_.mean(axis=-1).min()}
    answers = {
        who: {**_answer(values(*models), values(*exact), models[0], exact[0]),
              "best mean R²": 1 - errors[who] / y.var()} for who, models in found.items()
    }  # fmt: skip
    return _told(one, answers, X, alphas, peer)


def _paths_of_scikit_learn(
    X: np.ndarray, y: np.ndarray, folds: list, alphas: np.ndarray, l1_ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """What LassoCV and ElasticNetCV fit and throw away, as `stacked` gives it."""
    coef = np.empty((len(folds), len(alphas), 1, X.shape[1]))
    intercept = np.empty((len(folds), len(alphas), 1))
    for f, (train, _) in enumerate(folds):
        mean, target = X[train].mean(axis=0), y[train].mean()
        used, path, _ = enet_path(X[train] - mean, y[train] - target, l1_ratio=l1_ratio, alphas=alphas)
        coef[f, :, 0] = path.T[np.argsort(used)]
        intercept[f] = target - coef[f] @ mean
    return coef, intercept


def _answer(value: np.ndarray, exact: np.ndarray, coef: np.ndarray, right: np.ndarray) -> dict:
    """Of the models of a side and of those at a tolerance of 1e-12: objectives, and which coefficients are zero."""
    gap = (value - exact) / exact
    return {
        "mean gap": gap.mean(),
        "largest gap": gap.max(),
        "zeros": f"{(coef == 0).mean():.1%}",
        "wrong zeros": f"{((coef == 0) != (right == 0)).mean():.2%}",
    }


def _told(one: dict, answers: dict, X: Any, alphas: np.ndarray, peer: str) -> dict:
    one["about"] = f"{shape_of(X)}; alpha from {alphas[0]:.2g} to {alphas[-1]:.2g}."
    one["aim"] = (
        "A gap is the relative excess of an objective over that of the same solver of lifecycle's at tol=1e-12, "
        "which also tells what the wrong zeros are. A good answer has a mean gap no larger than scikit-learn's."
    )
    return answered(one, answers, {OURS: answers[OURS]["mean gap"] <= max(answers[peer]["mean gap"], 1e-12)})
