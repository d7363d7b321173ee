"""One fit of one model, against scikit-learn's estimator of the same objective."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.model_selection import train_test_split

import lifecycle as lc

from .. import _data
from ._objectives import log_loss, squares
from ._searches import shape_of
from ._sides import Side, answered, compared, is_ours

ALPHA, EPOCHS = 1e-4, 20


def sgd_classifiers(n: int, dtype: Any) -> dict[str, Callable]:
    return {
        f"lifecycle, {dtype}": lambda: lc.LinearClassifier(
            alpha=ALPHA, optimizer="sgd", max_iter=EPOCHS, tol=None, random_state=0, progress=False
        ),
        "scikit-learn, SGDClassifier": lambda: SGDClassifier(
            "log_loss", alpha=ALPHA, max_iter=EPOCHS, tol=None, random_state=0
        ),
    }


def sgd_regressors(n: int, dtype: Any) -> dict[str, Callable]:
    return {
        f"lifecycle, {dtype}": lambda: lc.LinearRegressor(
            alpha=ALPHA, optimizer="sgd", max_iter=EPOCHS, tol=None, random_state=0, progress=False
        ),
        "scikit-learn, SGDRegressor": lambda: SGDRegressor(alpha=ALPHA, max_iter=EPOCHS, tol=None, random_state=0),
    }


def newton(n: int, dtype: Any) -> dict[str, Callable]:
    return {
        f"lifecycle, {dtype}": lambda: lc.LinearClassifier(alpha=ALPHA, optimizer="newton", progress=False),
        "scikit-learn, LogisticRegression": lambda: LogisticRegression(C=1 / (n * ALPHA), max_iter=10_000),
    }


def exact(n: int, dtype: Any) -> dict[str, Callable]:
    return {
        f"lifecycle, {dtype}": lambda: lc.LinearRegressor(alpha=ALPHA, optimizer="exact", progress=False),
        "scikit-learn, Ridge": lambda: Ridge(n * ALPHA),
    }


SORTS = {  # sort -> (sides, data sets)
    f"per-sample SGD, logistic, {EPOCHS} epochs": (sgd_classifiers, ("make_classification", "Adult")),
    f"per-sample SGD, squares, {EPOCHS} epochs": (sgd_regressors, ("make_regression", "diamonds")),
    "logistic": (newton, ("make_classification", "Adult", "letter")),
    "ridge": (exact, ("make_regression", "diamonds")),
}
DATA = {
    "make_classification": _data.classes,
    "make_regression": _data.regression,
    "Adult": _data.adult,
    "letter": _data.letter,
    "diamonds": _data.diamonds,
}


def one_fit(sort: str, data: str, dtype: str, rounds: int, scale: float) -> dict:
    """A sort of model on a data set, trained on three quarters of the rows and scored on the others."""
    make, _ = SORTS[sort]
    X, y = DATA[data](scale)
    X, X_test, y, y_test = train_test_split(X.astype(dtype), y, test_size=0.25, random_state=0)
    runs = {who: Side(model, X, y) for who, model in make(len(y), dtype).items()}
    one = compared(f"one fit: {sort}, {data}, {dtype}", runs, rounds, {f"lifecycle, {dtype}": 1.0})
    answers, wide, codes = {}, X.astype(np.float64), np.unique(y, return_inverse=True)[1]
    for who, side in runs.items():
        model = side.fitted
        if y.dtype.kind == "f":
            objective = squares(wide, y, model.coef_, float(np.ravel(model.intercept_)[0]), ALPHA)
        else:
            objective = log_loss(wide, codes, model.coef_[None], model.intercept_[None], np.array([ALPHA]))[0]
        answers[who] = {"objective": objective, "score": model.score(X_test, y_test)}
    (peer,) = (who for who in runs if not is_ours(who))
    good = {who: found["score"] >= answers[peer]["score"] - 0.003 for who, found in answers.items() if is_ours(who)}
    one["about"] = f"{shape_of(X)} trained on, alpha {ALPHA:g}; the score (accuracy, R²) is that on the other rows."
    one["aim"] = "A good answer has a score at most 0.003 below scikit-learn's."
    return answered(one, answers, good)
