"""Scores of many fitted linear models on their held-out rows, from products that models with the same rows share."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_PIECE = 1 << 20  # elements of X that are read at once


def _accuracy(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(models,) from scores (models, outputs, rows)."""
    places = (z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(axis=1)
    return (model.classes_[places] == y).mean(axis=1)


def _r2(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    total = ((y - y.mean()) ** 2).sum()
    return 1.0 - ((z[:, 0] - y) ** 2).sum(axis=1) / total


def _negative_squares(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return -((z[:, 0] - y) ** 2).mean(axis=1)


def _negative_root(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return -np.sqrt(-_negative_squares(model, y, z))


def _negative_absolute(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return -np.abs(z[:, 0] - y).mean(axis=1)


# what scikit-learn's scorers of these names give, where the rows suffice for them
_OF_CLASSES: dict[str, Callable] = {"accuracy": _accuracy}
_OF_NUMBERS: dict[str, Callable] = {
    "r2": _r2, "neg_mean_squared_error": _negative_squares, "neg_root_mean_squared_error": _negative_root,
    "neg_mean_absolute_error": _negative_absolute,
}  # fmt: skip


class TestScores:
    """Scores models on the rows of X that each is tested on, after each epoch and at the end.

    Parameters
    ----------
    X, y : all rows;  tests : rows of each model
    scoring : None, a name, a callable, or a list or dict of those, as in scikit-learn
    """

    __test__ = False  # what pytest collects begins with the same word

    def __init__(self, X: Any, y: np.ndarray, tests: list[np.ndarray], models: list[Any], scoring: Any):
        self.X, self.y, self.models = X, y, models
        self.several = isinstance(scoring, list | tuple | set | Mapping)
        named = (
            scoring if isinstance(scoring, Mapping) else {s: s for s in scoring} if self.several else {"score": scoring}
        )
        self.metrics = {name: self._metric(one) for name, one in named.items()}
        self.curves: list[dict[str, list[float]]] = [{name: [] for name in self.metrics} for _ in models]
        found: dict[Any, int] = {}
        self.tests: list[np.ndarray] = []
        self.of_model = np.empty(len(models), int)
        for i, rows in enumerate(tests):
            rows = np.asarray(rows)
            key = rows.tobytes()
            if key not in found:
                found[key] = len(self.tests)
                self.tests.append(rows)
            self.of_model[i] = found[key]

    def _metric(self, scoring: Any) -> tuple[Callable | None, Callable]:
        """A function of scores where there is one, and the scorer."""
        from sklearn.metrics import check_scoring

        known = _OF_CLASSES if self.models[0]._task == "classification" else _OF_NUMBERS
        name = next(iter(known)) if scoring is None else scoring  # accuracy and R² are what `score` gives
        scorer = check_scoring(self.models[0], name)
        return known.get(name) if isinstance(name, str) else None, scorer

    def watch(self, which: list[int], coef: np.ndarray, intercept: np.ndarray) -> None:
        """Note the scores of these models with coefficients (models, outputs, features) and intercepts."""
        for i, scores in self._scores(which, coef, intercept).items():
            for name, value in scores.items():
                self.curves[i][name].append(value)

    def finish(self, which: list[int]) -> None:
        """Give fitted models their scores, as attributes."""
        shapes: dict[tuple, list[int]] = {}
        for i in which:
            shapes.setdefault(np.atleast_2d(self.models[i].coef_).shape, []).append(i)
        for some in shapes.values():
            coef = np.stack([np.atleast_2d(self.models[i].coef_) for i in some])
            intercept = np.stack([np.atleast_1d(self.models[i].intercept_) for i in some])
            for i, found in self._scores(some, coef, intercept).items():
                model, curves = self.models[i], {name: np.array(values) for name, values in self.curves[i].items()}
                model.test_score_ = found if self.several else found["score"]
                if all(len(values) for values in curves.values()):
                    model.test_scores_ = curves if self.several else curves["score"]

    def _scores(self, which: list[int], coef: np.ndarray, intercept: np.ndarray) -> dict[int, dict[str, float]]:
        found: dict[int, dict[str, float]] = {i: {} for i in which}
        for k in np.unique(self.of_model[which]):
            some = np.flatnonzero(self.of_model[which] == k)
            rows, held, z = self.tests[k], None, None
            y = self.y[rows]
            alike = len(rows) < 2 or (y.dtype.kind == "f" and y.max() == y.min())  # which R² warns of
            for name, (function, scorer) in self.metrics.items():
                if function is not None and not alike:
                    z = self._products(rows, coef[some], intercept[some]) if z is None else z
                    values = function(self.models[which[some[0]]], y, z)
                else:
                    held = self.X[rows] if held is None else held
                    values = [scorer(self.models[which[j]]._with(coef[j], intercept[j]), held, y) for j in some]
                for j, value in zip(some, values, strict=True):
                    found[which[j]][name] = float(value)
        return found

    def _products(self, rows: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """(models, outputs, rows)"""
        m, k, p = coef.shape
        flat = coef.reshape(m * k, p).astype(self.X.dtype)
        z = np.empty((m * k, len(rows)), self.X.dtype)
        size = max(64, _PIECE // max(1, p))
        for begin in range(0, len(rows), size):
            piece = rows[begin : begin + size]
            z[:, begin : begin + size] = (self.X[piece] @ flat.T).T
        return (z + intercept.reshape(-1, 1)).reshape(m, k, len(rows))
