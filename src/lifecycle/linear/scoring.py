"""Scores of many fitted linear models on their held-out rows, from products that models with the same rows share."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lifecycle._threads import map_ordered
from lifecycle.linear.epochs.solver import Steps
from lifecycle.linear.epochs.solver import products as products_of

_PIECE = 1 << 18  # elements of X that are read at once
_SCORES = 1 << 20  # of models, held at once


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
    X, y : all rows;  tests : rows that models are tested on, by a key;  of_model : the key of each model
    scoring : None, a name, a callable, or a list or dict of those, as in scikit-learn
    """

    __test__ = False  # what pytest collects begins with the same word

    def __init__(self, X: Any, y: np.ndarray, tests: dict[bytes, np.ndarray], of_model: list[bytes], models: list[Any],
                 scoring: Any):  # fmt: skip
        self.X, self.y, self.models = X, y, models
        self.several = isinstance(scoring, list | tuple | set | Mapping)
        named = (
            scoring if isinstance(scoring, Mapping) else {s: s for s in scoring} if self.several else {"score": scoring}
        )
        self.metrics = {name: self._metric(one) for name, one in named.items()}
        self.curves: list[dict[str, list[float]]] = [{name: [] for name in self.metrics} for _ in models]
        self.tests = list(tests.values())
        place = {key: k for k, key in enumerate(tests)}
        self.of_model = np.array([place[key] for key in of_model])

    def _metric(self, scoring: Any) -> tuple[Callable | None, Callable]:
        """A function of scores where there is one, and the scorer."""
        from sklearn.metrics import check_scoring

        known = _OF_CLASSES if self.models[0]._task == "classification" else _OF_NUMBERS
        name = next(iter(known)) if scoring is None else scoring  # accuracy and R² are what `score` gives
        own = type(self.models[0]).__module__.startswith(__package__)  # a subclass may predict and score as it likes
        scorer = check_scoring(self.models[0], name if own or scoring is not None else None)
        return known.get(name) if own and isinstance(name, str) else None, scorer

    def watch(self, members: list[int], which: np.ndarray, steps: Steps) -> None:
        """Note the scores of the models `which` of `steps`; model m of them is the one in place members[m] here."""
        for m, scores in self._scores(members, which, steps.products, steps.raw).items():
            for name, value in scores.items():
                self.curves[members[m]][name].append(value)

    def finish(self, fitted: list[int]) -> None:
        """Give fitted models their scores, as attributes."""
        shapes: dict[tuple, list[int]] = {}
        for i in fitted:
            shapes.setdefault(np.atleast_2d(self.models[i].coef_).shape, []).append(i)
        for members in shapes.values():
            coef = [np.atleast_2d(self.models[i].coef_) for i in members]
            intercept = [np.atleast_1d(self.models[i].intercept_) for i in members]

            def raw(which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                return np.stack([coef[m] for m in which]), np.stack([intercept[m] for m in which])  # noqa: B023

            def products(X: Any, which: np.ndarray) -> np.ndarray:
                return products_of(X, *raw(which))

            for m, found in self._scores(members, np.arange(len(members)), products, raw).items():
                model, curves = self.models[members[m]], self.curves[members[m]]
                model.test_score_ = found if self.several else found["score"]
                if all(curves.values()):
                    of_epochs = {name: np.array(values) for name, values in curves.items()}
                    model.test_scores_ = of_epochs if self.several else of_epochs["score"]

    def _scores(self, members: list[int], which: np.ndarray, products: Callable, raw: Callable) -> dict[int, dict]:
        """Of each of the models `which`, by metric; those that are tested on the same rows together."""
        of_test = self.of_model[[members[m] for m in which]]

        def of_rows(k: int) -> dict[int, dict[str, float]]:
            tested, rows, held = which[of_test == k], self.tests[k], None
            y = self.y[rows]
            found: dict[int, dict[str, float]] = {m: {} for m in tested}
            alike = len(rows) < 2 or (y.dtype.kind == "f" and y.max() == y.min())  # which R² warns of
            classes = getattr(self.models[members[tested[0]]], "classes_", ())
            together = max(1, _SCORES // max(1, len(rows) * (len(classes) if len(classes) > 2 else 1)))
            for some in (tested[begin : begin + together] for begin in range(0, len(tested), together)):
                z = None
                for name, (function, scorer) in self.metrics.items():
                    if function is not None and not alike:
                        z = self._on(rows, some, products) if z is None else z
                        with np.errstate(over="ignore", invalid="ignore"):  # of a model that is about to diverge
                            values = function(self.models[members[some[0]]], y, z)
                    else:
                        held = self.X[rows] if held is None else held
                        parts = zip(some, *raw(some), strict=True)
                        values = [scorer(self.models[members[m]]._with(*own), held, y) for m, *own in parts]
                    for m, value in zip(some, values, strict=True):
                        found[m][name] = float(value)
            return found

        parts = map_ordered(of_rows, np.unique(of_test).tolist(), self.X.size * len(which))
        return {m: scores for part in parts for m, scores in part.items()}

    def _on(self, rows: np.ndarray, which: np.ndarray, products: Callable) -> np.ndarray:
        """Scores (models, outputs, rows), from pieces of X."""
        size = max(64, _PIECE // max(1, self.X.shape[1])) if isinstance(self.X, np.ndarray) else len(rows)
        pieces = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
        return np.concatenate([products(self.X[_as_slice(piece)], which) for piece in pieces], axis=2)


def _as_slice(rows: np.ndarray) -> Any:
    """Rows that follow each other as a slice, which copies nothing."""
    first, last = rows[0], rows[-1]
    in_turn = last - first + 1 == len(rows) and (np.diff(rows) == 1).all()
    return slice(first, last + 1) if in_turn else rows
