"""Scores of many fitted linear models on their test rows, from products that models with the same rows share."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lifecycle._threads import map_ordered
from lifecycle.linear.epochs.solver import EpochSolver, decision_scores

_CHUNK_ELEMENTS = 1 << 18  # of X that are read at once
_CHUNK_SCORES = 1 << 20  # of models, held at once


# metrics (model, y, z) -> (models,), from scores z (models, n_outputs, rows); `model` tells the classes


def _accuracy(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    codes = (z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(axis=1)
    return (model.classes_[codes] == y).mean(axis=1)


def _r2(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    total = ((y - y.mean()) ** 2).sum()
    return 1.0 - ((z[:, 0] - y) ** 2).sum(axis=1) / total


def _neg_mean_squared_error(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return -((z[:, 0] - y) ** 2).mean(axis=1)


def _neg_root_mean_squared_error(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return -np.sqrt(-_neg_mean_squared_error(model, y, z))


def _neg_mean_absolute_error(model: Any, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return -np.abs(z[:, 0] - y).mean(axis=1)


# they give what scikit-learn's scorers of these names give, where there are rows enough; the first is `score`
_CLASSIFIER_METRICS: dict[str, Callable] = {"accuracy": _accuracy}
_REGRESSOR_METRICS: dict[str, Callable] = {
    "r2": _r2,
    "neg_mean_squared_error": _neg_mean_squared_error,
    "neg_root_mean_squared_error": _neg_root_mean_squared_error,
    "neg_mean_absolute_error": _neg_mean_absolute_error,
}


class TestScores:
    """Scores models on the rows of X that each is tested on, after each epoch and at the end.

    Parameters
    ----------
    X, y : all rows
    tests : dict
        Row numbers of each test set, by a key.
    test_keys : list
        The key of each model's test set.
    scoring : None, a name, a callable, or a list or dict of those, as in scikit-learn
    unusable : row numbers, or None
        Rows such as those with NaN: test sets with them are left to the scorer, which says what is wrong.
    """

    __test__ = False  # pytest collects classes whose names begin with this word

    def __init__(self, X: Any, y: np.ndarray, tests: dict[int, np.ndarray], test_keys: list[int],
                 models: list[Any], scoring: Any, unusable: np.ndarray | None = None):  # fmt: skip
        self.X, self.y, self.models = X, y, models
        self.is_multimetric = isinstance(scoring, list | tuple | set | Mapping)
        if isinstance(scoring, Mapping):
            by_name = dict(scoring)
        else:
            by_name = {name: name for name in scoring} if self.is_multimetric else {"score": scoring}
        self.metrics = {name: self._resolve(value) for name, value in by_name.items()}
        self.curves: list[dict[str, list[float]]] = [{name: [] for name in self.metrics} for _ in models]
        self.tests = list(tests.values())
        self.usable = [unusable is None or not np.isin(unusable, rows).any() for rows in self.tests]
        place = {key: k for k, key in enumerate(tests)}
        self.test_set = np.array([place[key] for key in test_keys])
        self.error: Exception | None = None  # of a scorer, the last one

    def _resolve(self, scoring: Any) -> tuple[Callable | None, Callable]:
        """A metric of scores, where there is one, and the scorer."""
        from sklearn.metrics import check_scoring

        metrics = _CLASSIFIER_METRICS if self.models[0]._task == "classification" else _REGRESSOR_METRICS
        name = next(iter(metrics)) if scoring is None else scoring
        # a subclass may predict and score as it likes
        is_ours = type(self.models[0]).__module__.startswith(__package__)
        scorer = check_scoring(self.models[0], name if is_ours or scoring is not None else None)
        return metrics.get(name) if is_ours and isinstance(name, str) else None, scorer

    def score_epoch(self, group: list[int], models: np.ndarray, solver: EpochSolver) -> None:
        """Note the scores of some models of a solver; model m of it stands in place group[m] here."""
        for m, scores in self._scores(group, models, solver.decision_scores, solver.raw_coefficients).items():
            for name, value in scores.items():
                self.curves[group[m]][name].append(value)

    def score_fitted(self, fitted: list[int]) -> None:
        """Give fitted models their scores, as attributes; warn where a scorer fails."""
        self.error = None
        groups: dict[tuple, list[int]] = {}
        for i in fitted:
            model = self.models[i]
            classes = tuple(model.classes_.tolist()) if hasattr(model, "classes_") else ()
            groups.setdefault((np.atleast_2d(model.coef_).shape, classes), []).append(i)
        for group in groups.values():
            coef = np.stack([np.atleast_2d(self.models[i].coef_) for i in group])
            intercept = np.stack([np.atleast_1d(self.models[i].intercept_) for i in group])

            def raw_coefficients(models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                return coef[models], intercept[models]  # noqa: B023

            def scores_of(X: Any, models: np.ndarray) -> np.ndarray:
                return decision_scores(X, *raw_coefficients(models))

            all_models = np.arange(len(group))
            for m, scores in self._scores(group, all_models, scores_of, raw_coefficients).items():
                model, curves = self.models[group[m]], self.curves[group[m]]
                model.test_score_ = scores if self.is_multimetric else scores["score"]
                if all(curves.values()):
                    by_epoch = {name: np.array(values) for name, values in curves.items()}
                    model.test_scores_ = by_epoch if self.is_multimetric else by_epoch["score"]
        if self.error is not None:
            warnings.warn(
                f"Scoring failed. test_score_ is NaN where it did: {type(self.error).__name__}: {self.error}",
                UserWarning,
                stacklevel=3,
            )

    def _scores(
        self, group: list[int], models: np.ndarray, scores_of: Callable, raw_coefficients: Callable
    ) -> dict[int, dict]:
        """For each of the models its scores by metric; models that are tested on the same rows together."""
        test_set = self.test_set[[group[m] for m in models]]
        tested = {k: models[test_set == k] for k in np.unique(test_set).tolist()}
        scores: dict[int, dict[str, float]] = {m: {} for m in models}
        fast = {k: self._metrics_of_scores(self.y[self.tests[k]]) if self.usable[k] else {} for k in tested}

        def of_test_set(k: int) -> dict[int, dict[str, float]]:
            rows, found = self.tests[k], dict[int, dict[str, float]]({m: {} for m in tested[k]})
            classes = getattr(self.models[group[tested[k][0]]], "classes_", ())
            n_scores = len(rows) * (len(classes) if len(classes) > 2 else 1)
            chunk_size = max(1, _CHUNK_SCORES // max(1, n_scores))
            for begin in range(0, len(tested[k]), chunk_size):
                chunk = tested[k][begin : begin + chunk_size]
                z = self._decision_scores(rows, chunk, scores_of)
                with np.errstate(over="ignore", invalid="ignore"):  # of a model that is about to diverge
                    for name, metric in fast[k].items():
                        values = metric(self.models[group[chunk[0]]], self.y[rows], z)
                        for m, value in zip(chunk, values, strict=True):
                            found[m][name] = float(value)
            return found

        for part in map_ordered(of_test_set, [k for k in tested if fast[k]], self.X.size * len(models)):
            for m, values in part.items():
                scores[m] |= values
        # scorers may be the user's, who need not expect other threads: sklearn.set_config, too, is of a thread
        for k, tested_models in tested.items():
            slow = {name: scorer for name, (_, scorer) in self.metrics.items() if name not in fast[k]}
            if slow:
                X_test, y_test = self.X[self.tests[k]], self.y[self.tests[k]]
                for m, *part in zip(tested_models, *raw_coefficients(tested_models), strict=True):
                    model = self.models[group[m]]._copy_with(*part)
                    scores[m] |= {name: self._score(scorer, model, X_test, y_test) for name, scorer in slow.items()}
        return scores

    def _metrics_of_scores(self, y: np.ndarray) -> dict[str, Callable]:
        """Metrics that need scores z only, for a test set with these targets."""
        if len(y) < 2 or (y.dtype.kind == "f" and y.max() == y.min()):  # the scorer warns of R²
            return {}
        return {name: metric for name, (metric, _) in self.metrics.items() if metric is not None}

    def _score(self, scorer: Callable, model: Any, X: Any, y: np.ndarray) -> float:
        """NaN where the scorer fails: the model is fitted all the same."""
        try:
            return float(scorer(model, X, y))
        except Exception as error:
            self.error = error
            return np.nan

    def _decision_scores(self, rows: np.ndarray, models: np.ndarray, scores_of: Callable) -> np.ndarray:
        """Scores of these rows, (models, n_outputs, rows), from pieces of X."""
        size = max(64, _CHUNK_ELEMENTS // max(1, self.X.shape[1])) if isinstance(self.X, np.ndarray) else len(rows)
        pieces = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
        return np.concatenate([scores_of(self.X[_as_slice(piece)], models) for piece in pieces], axis=2)


def _as_slice(rows: np.ndarray) -> Any:
    """Consecutive rows as a slice, which copies nothing."""
    first, last = rows[0], rows[-1]
    is_consecutive = last - first + 1 == len(rows) and (np.diff(rows) == 1).all()
    return slice(first, last + 1) if is_consecutive else rows
