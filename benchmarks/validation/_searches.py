"""Grids of linear models on the same folds: logistic, ridge, per-sample SGD, and nested searches."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge, RidgeCV, SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lifecycle as lc

from .. import _data
from ._objectives import of_folds
from ._sides import Side, answered, compared, is_ours

EPOCHS = 20


def folds_of(X: Any) -> list:
    return list(lc.KFold(_data.FOLDS, shuffle=True, random_state=0).split(X))


def shape_of(X: Any) -> str:
    density = f", {X.nnz / X.shape[0]:.0f} of them not zero" if hasattr(X, "nnz") else ""
    return f"{X.shape[0]:,} rows of {X.shape[1]:,} features{density}"


def many(estimator: Any, X: Any, y: np.ndarray, folds: list, alphas: np.ndarray) -> list:
    """The models that a search fits and throws away, by fold and then alpha."""
    train = [train for train, _ in folds for _ in alphas]
    return estimator.fit_many(X, y, train=train, params=[{"alpha": a} for _ in folds for a in alphas])


def stacked(models: list, folds: list, alphas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (folds, alphas, outputs, features) and intercepts (folds, alphas, outputs)."""
    shape = len(folds), len(alphas)
    coef = np.array([np.atleast_2d(m.coef_) for m in models])
    intercept = np.array([np.atleast_1d(m.intercept_) for m in models])
    return coef.reshape(*shape, *coef.shape[1:]), intercept.reshape(*shape, -1)


def logistic(name: str, load: Callable, targets: tuple[float, float], rounds: int, threads: int, scale: float) -> dict:
    """10 alphas x 5 folds by Newton's method, against LogisticRegressionCV."""
    X, y = load(scale)
    folds, alphas = folds_of(X), np.logspace(-6, -1, 10)
    n_train, newton = len(folds[0][0]), lc.LinearClassifier(optimizer="newton", progress=False)
    data = {"lifecycle, float32": X.astype(np.float32), "lifecycle, float64": X}
    peer = "scikit-learn, LogisticRegressionCV"
    runs = {
        who: Side(
            lambda: lc.GridSearchCV(
                newton, {"alpha": alphas}, cv=folds, scoring="accuracy", refit=False, progress=False
            ),
            data[who],
            y,
        )
        for who in data
    }
    runs[peer] = Side(
        lambda: LogisticRegressionCV(
            Cs=1 / (n_train * alphas),
            cv=folds,
            l1_ratios=(0,),
            scoring="accuracy",
            max_iter=10_000,
            refit=False,
            n_jobs=threads,
            use_legacy_attributes=False,
        ),
        X,
        y,
    )
    one = compared(name, runs, rounds, dict(zip(data, targets, strict=True)))

    values = {
        who: of_folds(X, y, folds, alphas, *stacked(many(newton, data[who], y, folds, alphas), folds, alphas))
        for who in data
    }
    paths = runs[peer].fitted.coefs_paths_[:, 0]
    values[peer] = of_folds(X, y, folds, alphas, paths[..., :-1], paths[..., -1])
    exact = many(lc.LinearClassifier(optimizer="newton", tol=1e-12, progress=False), X, y, folds, alphas)
    best = np.min([*values.values(), of_folds(X, y, folds, alphas, *stacked(exact, folds, alphas))], axis=0)
    gaps = {who: (found - best) / best for who, found in values.items()}
    means = {who: runs[who].fitted.cv_results_["mean_test_score"] for who in data}
    means[peer] = runs[peer].fitted.scores_[:, 0].mean(axis=0)
    answers = {
        who: {
            "mean gap": gap.mean(),
            "largest gap": gap.max(),
            "best mean accuracy": means[who].max(),
            "mean accuracy": means[who].mean(),
        }
        for who, gap in gaps.items()
    }
    one["about"] = f"{shape_of(X)}, {len(np.unique(y))} classes; alpha from {alphas[0]:g} to {alphas[-1]:g}."
    one["aim"] = (
        "A gap is the relative excess of an objective over the lowest of all; a good answer has a mean gap "
        "no larger than scikit-learn's."
    )
    return answered(one, answers, {who: gaps[who].mean() <= gaps[peer].mean() for who in data})


def ridge(name: str, load: Callable, rounds: int, threads: int, scale: float) -> dict:
    """20 alphas x 5 folds in closed form, against GridSearchCV(Ridge()) and RidgeCV."""
    X, y = load(scale)
    folds, alphas = folds_of(X), np.logspace(-6, 1, 20)
    theirs = len(folds[0][0]) * alphas
    exact = lc.LinearRegressor(optimizer="exact", progress=False)
    ours = "lifecycle, float64"
    grid, alone = "scikit-learn, GridSearchCV(Ridge())", "scikit-learn, RidgeCV"
    runs = {
        ours: Side(lambda: lc.GridSearchCV(exact, {"alpha": alphas}, cv=folds, refit=False, progress=False), X, y),
        grid: Side(lambda: GridSearchCV(Ridge(), {"alpha": theirs}, cv=folds, refit=False, n_jobs=threads), X, y),
        alone: Side(lambda: RidgeCV(theirs, cv=folds), X, y),
    }
    one = compared(name, runs, rounds, {ours: 30.0})
    coef, intercept = stacked(many(exact, X, y, folds, alphas), folds, alphas)
    difference = 0.0
    for f, (train, _) in enumerate(folds):
        for a, alpha in enumerate(theirs):
            model = Ridge(alpha).fit(X[train], y[train])
            differences = np.abs(model.coef_ - coef[f, a, 0]).max(), abs(model.intercept_ - intercept[f, a, 0])
            difference = max(difference, *differences)
    scores = {who: runs[who].fitted.cv_results_["mean_test_score"] for who in (ours, grid)}
    answers = {
        who: {"best mean R²": found.max(), "best alpha": f"{alphas[found.argmax()]:.2g}"}
        for who, found in scores.items()
    }
    answers[alone] = {
        "best mean R²": runs[alone].fitted.best_score_,
        "best alpha": f"{runs[alone].fitted.alpha_ / len(folds[0][0]):.2g}",
    }
    answers[ours]["largest difference from Ridge"] = difference
    one["about"] = f"{shape_of(X)}; alpha from {alphas[0]:g} to {alphas[-1]:g}, times the training rows for Ridge."
    one["aim"] = "A good answer has all 100 models within 1e-8 of Ridge's, coefficients and intercepts."
    return answered(one, answers, {ours: difference <= 1e-8})


def sgd(
    name: str,
    load: Callable,
    loss: str,
    alphas: np.ndarray,
    targets: dict[str, float],
    rounds: int,
    threads: int,
    scale: float,
    *,
    warm: bool = False,
) -> dict:
    """10 alphas x 5 folds, 20 epochs of per-sample SGD, against GridSearchCV(SGDClassifier())."""
    X, y = load(scale)
    folds = folds_of(X)
    data = {dtype: X.astype(dtype) for dtype in targets}

    def ours(dtype: str, epochs: int) -> Side:
        model = lc.LinearClassifier(loss, optimizer="sgd", max_iter=epochs, tol=None, random_state=0, progress=False)
        return Side(
            lambda: lc.GridSearchCV(model, {"alpha": alphas}, cv=folds, refit=False, progress=False), data[dtype], y
        )

    def theirs(dtype: str, epochs: int) -> Side:
        model = SGDClassifier(loss=loss, max_iter=epochs, tol=None, random_state=0)
        return Side(
            lambda: GridSearchCV(model, {"alpha": alphas}, cv=folds, refit=False, n_jobs=threads), data[dtype], y
        )

    def sides(epochs: int) -> dict[str, Side]:
        by_dtype = {f"lifecycle, {dtype}": ours(dtype, epochs) for dtype in data}
        return by_dtype | {f"scikit-learn, SGDClassifier, {dtype}": theirs(dtype, epochs) for dtype in data}

    runs = sides(EPOCHS)
    one = compared(
        name,
        runs,
        rounds,
        {f"lifecycle, {d}": target for d, target in targets.items()},
        warm=sides(1) if warm else None,
    )
    means = {who: side.fitted.cv_results_["mean_test_score"] for who, side in runs.items()}
    answers = {who: {"best mean accuracy": found.max(), "mean accuracy": found.mean()} for who, found in means.items()}
    good = {}
    for dtype in data:
        who, peer = f"lifecycle, {dtype}", f"scikit-learn, SGDClassifier, {dtype}"
        answers[who]["least difference"] = (means[who] - means[peer]).min()
        good[who] = min(means[who].max() - means[peer].max(), means[who].mean() - means[peer].mean()) >= -0.003
    one["about"] = (
        f"{shape_of(X)}, {len(np.unique(y))} classes; loss {loss}, {EPOCHS} epochs, alpha from {alphas[0]:g} to "
        f"{alphas[-1]:g}. The least difference is that of the mean accuracies at one alpha."
    )
    one["aim"] = "A good answer has a best and a mean accuracy at most 0.003 below scikit-learn's."
    return answered(one, answers, good)


def nested(rounds: int, threads: int, scale: float) -> dict:
    """50 alphas x 5 inner x 5 outer folds, the scaling inside, against the same of scikit-learn."""
    X, y = load_breast_cancer(return_X_y=True)
    alphas = np.logspace(-6, 0, max(2, round(50 * min(1.0, 4 * scale))))
    outer = lc.StratifiedKFold(5, shuffle=True, random_state=0)
    inner = lc.StratifiedKFold(5, shuffle=True, random_state=1)
    n_train = len(y) * 16 // 25
    search = lc.GridSearchCV(
        make_pipeline(StandardScaler(), lc.LinearClassifier(optimizer="newton", progress=False)),
        {"linearclassifier__alpha": alphas},
        cv=inner,
        progress=False,
    )
    theirs = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000)),
        {"logisticregression__C": 1 / (n_train * alphas)},
        cv=inner,
    )
    found: dict[str, Any] = {}

    def ours() -> None:
        found["lifecycle, float64"] = lc.cross_validate(search, X, y, cv=outer, progress=False)

    def peer() -> None:
        found["scikit-learn"] = cross_validate(theirs, X, y, cv=outer, n_jobs=threads)

    runs = {"lifecycle, float64": ours, "scikit-learn": peer}
    name = f"nested: {len(alphas)} alphas x 5 inner x 5 outer folds, breast_cancer"
    one = compared(name, runs, rounds, {"lifecycle, float64": 20.0})
    scores = {who: got["test_score"].mean() for who, got in found.items()}
    good = {who: score >= scores["scikit-learn"] - 0.003 for who, score in scores.items() if is_ours(who)}
    one["about"] = f"{shape_of(X)}; StandardScaler in the Pipeline; alpha from {alphas[0]:g} to {alphas[-1]:g}."
    one["aim"] = "A good answer has a mean accuracy at most 0.003 below scikit-learn's."
    return answered(one, {who: {"mean accuracy": score} for who, score in scores.items()}, good)
