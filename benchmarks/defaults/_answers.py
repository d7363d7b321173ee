"""How good an answer is: held-out scores by fold, and the gap of the objective to a tight solution."""

import warnings
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, r2_score

import lifecycle as lc

from ..validation import _objectives

NEWTON_VARIABLES = 2_000  # with more, lbfgs gives the reference: Newton's method would take many minutes
REFERENCE_ITERATIONS = 1_000


def scores(model: Any, X: Any, y: np.ndarray) -> dict[str, float]:
    """Score, loss, and whether the solver used up max_iter: what a search asks of each of its models."""
    last = model[-1] if hasattr(model, "steps") else model
    unfinished = np.max(getattr(last, "n_iter_", None) or 0) >= (getattr(last, "max_iter", None) or np.inf)
    if y.dtype.kind == "f":
        z = model.predict(X)
        with np.errstate(over="ignore"):
            return {"score": r2_score(y, z), "loss": float(np.mean((y - z) ** 2)), "unfinished": float(unfinished)}
    p = model.predict_proba(X)
    hits = model.classes_[p.argmax(axis=1)] == y
    loss = log_loss(y, p, labels=model.classes_)
    return {"score": float(hits.mean()), "loss": float(loss), "unfinished": float(unfinished)}


def summary(score: Sequence[float], loss: Sequence[float], warned: int) -> dict[str, Any]:
    """Means over the folds, and the standard error of the score."""
    error = float(np.std(score, ddof=1) / np.sqrt(len(score)))
    return {"score": float(np.mean(score)), "error": error, "loss": float(np.mean(loss)), "warnings": warned}


def of_fits(make: Callable[[], Any], X: Any, y: np.ndarray, folds: list) -> tuple[dict[str, Any], float]:
    """The answer of one fit on each training set, and the seconds of the fastest."""
    found, seconds, warned, solver = [], [], 0, None
    for train, test in folds:
        X_train, y_train = X[train], y[train]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            begin = perf_counter()
            model = make().fit(X_train, y_train)
            seconds.append(perf_counter() - begin)
        warned += len(caught)
        solver = getattr(model, "solver_", None)
        found.append(scores(model, X[test], y[test]))
    answer = summary([one["score"] for one in found], [one["loss"] for one in found], warned)
    return answer | ({} if solver is None else {"solver": str(solver)}), min(seconds)


def of_search(search: Any, X: Any, y: np.ndarray, *, is_ours: bool) -> tuple[dict[str, Any], float]:
    """The best score and the smallest loss of a grid that was made with `scores`, and its seconds.

    Warnings of processes do not arrive here: of scikit-learn the fits are counted that used up max_iter.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always" if is_ours else "ignore")
        begin = perf_counter()
        search.fit(X, y)
        seconds = perf_counter() - begin
    found = search.cv_results_
    n = search.n_splits_
    best = int(np.nanargmax(found["mean_test_score"]))
    warned = len(caught) if is_ours else round(n * float(np.nansum(found["mean_test_unfinished"])))
    answer = summary([found[f"split{k}_test_score"][best] for k in range(n)], [0.0], warned)
    return answer | {"loss": float(np.nanmin(found["mean_test_loss"]))}, seconds


class Objectives:
    """Objectives of models on the same rows, and the least one known for each alpha."""

    def __init__(self, X: Any, y: np.ndarray):
        self.X, self.y, self.is_regression = X, y, y.dtype.kind == "f"
        self.codes = None if self.is_regression else np.unique(y, return_inverse=True)[1]
        shares = None if self.codes is None else np.bincount(self.codes) / len(y)
        self.null = float(np.var(y) / 2 if shares is None else -(shares * np.log(shares)).sum())  # of a constant
        self.least: dict[float, float] = {}

    def alpha(self, model: Any) -> float:
        """The penalty of the mean loss that a model was fitted with."""
        n = len(self.y)
        if isinstance(model, LogisticRegression):
            alpha = 1 / (n * model.C)
        elif type(model).__name__ in ("Ridge", "RidgeCV"):
            alpha = getattr(model, "alpha_", model.alpha if isinstance(model, Ridge) else None) / n
        else:
            alpha = model.alpha
        return float(f"{alpha:.9g}")

    def __call__(self, model: Any, alpha: float) -> float | None:
        """None where the model minimizes another function: SGDClassifier with three classes or more."""
        if self.codes is None:
            coef, intercept = np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])
            with np.errstate(over="ignore"):
                return _objectives.squares(self.X, self.y, coef, intercept, alpha)
        if type(model).__name__ == "SGDClassifier" and len(model.classes_) > 2:
            return None
        values = _objectives.log_loss(
            self.X, self.codes, model.coef_[None], np.atleast_1d(model.intercept_)[None], np.array([alpha])
        )
        return float(values[0])

    def reference(self, alpha: float) -> Any:
        """A tight solution: in closed form, by Newton's method, or by lbfgs where there are many variables."""
        n, n_variables = len(self.y), self.X.shape[1] * (1 if self.codes is None else 1 + int(self.codes.max()))
        if self.is_regression:
            return Ridge(n * alpha, solver="sparse_cg" if sparse.issparse(self.X) else "svd", tol=1e-12)
        if n_variables <= NEWTON_VARIABLES and not sparse.issparse(self.X):
            return lc.LinearClassifier(alpha=alpha, optimizer="newton", tol=1e-12, max_iter=1_000, progress=False)
        return LogisticRegression(C=1 / (n * alpha), tol=1e-10, max_iter=REFERENCE_ITERATIONS)

    def gaps(self, models: dict[str, Any]) -> dict[str, float | None]:
        """How far each objective lies above the least known of its alpha, as a part of the loss of a constant."""
        alphas = {name: self.alpha(model) for name, model in models.items()}
        values = {name: self(model, alphas[name]) for name, model in models.items()}
        for alpha in set(alphas.values()):
            if alpha not in self.least:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    least = self(self.reference(alpha).fit(self.X, self.y), alpha)
                self.least[alpha] = np.inf if least is None or not np.isfinite(least) else least
        for name, value in values.items():
            if value is not None and np.isfinite(value):
                self.least[alphas[name]] = min(self.least[alphas[name]], value)
        return {
            name: None if value is None else (value - self.least[alphas[name]]) / self.null
            for name, value in values.items()
        }
