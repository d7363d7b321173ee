"""check_fit_many: what an implementation of `fit_many` must satisfy, for the tests of its author."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_ROWS, _FOLDS, _FEATURES = 90, 3, 4
_WIDE = 120  # features; more than rows, where a model that was fitted on other rows too interpolates them


def check_fit_many(estimator: Any, *, params: Sequence[dict] | None = None) -> None:
    """Check an estimator's `fit_many` on generated data.

    Its models are fitted clones of the estimator with their parameters, in order. Each equals the model that `fit_many`
    gives for it alone, to 1e-6 (1e-4 where predictions are float32). They do not depend on rows, labels or weights that
    they are not trained on, `test_score_` is their score on their test rows, and the estimator itself is not changed.

    Parameters
    ----------
    estimator : classifier or regressor with `fit_many`
        If it has a `random_state`, a clone with 0 is checked.
    params : list of dict, default=None
        Settings of the models, each on every fold; None is the estimator's parameters, and half of its first parameter
        that is a float, if there is one.

    Raises
    ------
    ValueError
        At the first requirement that is not met; errors of `fit_many` itself are passed on.
    TypeError
        If the estimator has no `fit_many`, or is neither classifier nor regressor.
    """
    from sklearn.base import clone, is_classifier, is_regressor
    from sklearn.utils.validation import has_fit_parameter

    if isinstance(estimator, type) or not callable(getattr(estimator, "fit_many", None)):
        raise TypeError(f"check_fit_many needs an estimator object that has fit_many; got {estimator!r}")
    if not is_classifier(estimator) and not is_regressor(estimator):
        raise TypeError(f"check_fit_many makes data for a classifier or a regressor, which {estimator!r} is not")
    original, original_state = estimator, _state(estimator)
    if "random_state" in estimator.get_params(deep=False):
        estimator = clone(estimator).set_params(random_state=0)
    state = _state(estimator)
    check = _Check(estimator, _settings(estimator) if params is None else list(params))
    expected = check.models_and_their_parameters()
    check.held_out_rows(expected)
    wide = _Check(estimator, check.settings, _WIDE)
    wide.held_out_rows([wide.outputs(wide.fit([i])[0]) for i in range(len(wide.params))])
    check.test_scores(expected)
    if has_fit_parameter(estimator, "sample_weight"):
        check.weights(expected)
    check.fit(callback=lambda *_: None)
    unchanged = _state(estimator) == state and _state(original) == original_state
    check.require(unchanged, "changes the estimator that it is called on")


def _state(estimator: Any) -> dict[str, int]:
    return {name: id(value) for name, value in vars(estimator).items()}


def _settings(estimator: Any) -> list[dict]:
    floats = {k: v for k, v in estimator.get_params(deep=False).items() if type(v) is float and np.isfinite(v) and v}
    return [{}, *({k: v / 2} for k, v in list(floats.items())[:1])]


class _Check:
    """The data, and one model for each fold and setting."""

    def __init__(self, estimator: Any, settings: list[dict], features: int = _FEATURES):
        from sklearn.base import is_classifier
        from sklearn.utils import get_tags

        self.estimator, self.settings, self.classifier = estimator, settings, is_classifier(estimator)
        rng = np.random.RandomState(0)
        tags = get_tags(estimator)
        multi_class = tags.classifier_tags is not None and tags.classifier_tags.multi_class
        labels = np.arange(_ROWS) % (3 if multi_class else 2)
        self.X = rng.normal(size=(_ROWS, features))
        if self.classifier:
            self.X[:, 0] += 2 * labels
            self.y: np.ndarray = labels
        else:
            self.y = self.X[:, :3] @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=_ROWS)
        if tags.input_tags.positive_only:
            self.X = np.abs(self.X)
        parts = np.array_split(rng.permutation(_ROWS), _FOLDS)
        # rows not in ascending order, training sets of different sizes, and rows that are in neither set
        folds = [(np.concatenate([p for p in parts if p is not test])[: -3 - k], test) for k, test in enumerate(parts)]
        self.train = [train for train, _ in folds for _ in settings]
        self.test = [test for _, test in folds for _ in settings]
        self.params = [dict(setting) for _ in folds for setting in settings]

    def require(self, holds: bool, fault: str) -> None:
        if not holds:
            raise ValueError(f"{type(self.estimator).__name__}.fit_many {fault}")

    def fit(self, indices: Sequence[int] | None = None, X: Any = None, y: Any = None, **options: Any) -> list:
        indices = range(len(self.params)) if indices is None else indices
        X, y = self.X if X is None else X, self.y if y is None else y
        rows = {"train": [self.train[i] for i in indices], "params": [dict(self.params[i]) for i in indices]}
        models = self.estimator.fit_many(X, y, **rows, **options)
        is_list = isinstance(models, list) and len(models) == len(indices)
        self.require(is_list, f"must give a list of {len(indices)} models; got {models!r:.200}")
        return models

    def outputs(self, model: Any) -> np.ndarray:
        """The most detailed predictions that the model has, for all rows."""
        for method in ("decision_function", "predict_proba", "predict"):
            if callable(getattr(model, method, None)):
                return np.asarray(getattr(model, method)(self.X))
        raise ValueError(f"{type(model).__name__} has no predict")

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        if a.shape != b.shape or a.dtype.kind not in "fc":
            return np.array_equal(a, b)
        tolerance = 1e-4 if a.dtype == np.float32 else 1e-6
        return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(a).max()))))

    def models_and_their_parameters(self) -> list[np.ndarray]:
        """The outputs of each model where `fit_many` is given it alone."""
        from sklearn.base import clone

        models = self.fit()
        self.require(len({id(model) for model in models}) == len(models), "gives the same object for several models")
        expected = []
        for i, model in enumerate(models):
            self.require(type(model) is type(self.estimator), f"gives a {type(model).__name__} as model {i}")
            self.require(model is not self.estimator, f"gives the estimator itself as model {i}: it must be a clone")
            asked = clone(self.estimator).set_params(**self.params[i]).get_params(deep=False)
            got = model.get_params(deep=False)
            wrong = [name for name in asked if repr(got.get(name)) != repr(asked[name])]
            self.require(not wrong, f"gives model {i} other parameters than params[{i}]: {', '.join(wrong)}")
            expected.append(self.outputs(self.fit([i])[0]))
            same = self.same(self.outputs(model), expected[i])
            self.require(same, f"with all models gives another model {i} than with that one alone")
        return expected

    def held_out_rows(self, expected: list[np.ndarray]) -> None:
        for i in range(len(self.params)):
            held = np.setdiff1d(np.arange(_ROWS), self.train[i])
            X, y = self.X.copy(), self.y.copy()
            X[held] = np.abs(37 * X[held]) + 5
            y[held] = np.roll(y[held], 1) if self.classifier else 100 + y[held]
            for model in (self.fit([i], X, y)[0], self.fit(None, X, y)[i]):  # alone, and where others train on them
                same = self.same(self.outputs(model), expected[i])
                self.require(same, f"lets rows outside train[{i}] change model {i}")

    def test_scores(self, expected: list[np.ndarray]) -> None:
        from sklearn.metrics import check_scoring

        names = ["accuracy", "balanced_accuracy"] if self.classifier else ["r2", "neg_mean_absolute_error"]
        scorings: list[Any] = [None, names[0], lambda m, X, y: -float(len(y)), names, {"a": names[0], "b": names[1]}]
        for scoring in scorings:
            given = f"with scoring={'a callable' if callable(scoring) else repr(scoring)} gives model"
            for i, model in enumerate(self.fit(test=self.test, scoring=scoring)):
                same = self.same(self.outputs(model), expected[i])
                self.require(same, f"with test rows gives another model {i}")
                rows = self.test[i]
                score = check_scoring(model, scoring)(model, self.X[rows], self.y[rows])
                got: Any = getattr(model, "test_score_", None)
                fault = f"{given} {i} test_score_ = {got!r}; its score on test[{i}] is {score!r}"
                self.require(_equal_scores(got, score), fault)
                curves = getattr(model, "test_scores_", None)
                if curves is not None:
                    tables = list(curves.values()) if isinstance(curves, dict) else [curves]
                    fits = isinstance(curves, dict) == isinstance(score, dict)
                    fits = fits and all(np.ndim(table) == 1 and len(table) for table in tables)
                    self.require(fits, f"{given} {i} test_scores_ that are no score per epoch: {curves!r:.200}")

    def weights(self, expected: list[np.ndarray]) -> None:
        for i in range(len(self.params)):
            held = np.setdiff1d(np.arange(_ROWS), self.train[i])
            weights = 1.0 + np.arange(_ROWS) % 5
            weights[self.train[i][::2]] = 0.01
            weighted = self.outputs(self.fit([i], sample_weight=weights)[0])
            used = not self.same(weighted, expected[i]) or weighted.dtype.kind not in "fc"
            self.require(used, f"ignores sample_weight in model {i}")
            weights[held] = 1000.0
            same = self.same(self.outputs(self.fit([i], sample_weight=weights)[0]), weighted)
            self.require(
                same,
                f"lets weights of rows outside train[{i}] change model {i}: weights are given for all rows of X, and "
                "fit_many indexes them",
            )


def _equal_scores(got: Any, expected: Any) -> bool:
    """Whether two scores, or dicts of them, are equal up to rounding."""
    if got is None or isinstance(got, dict) != isinstance(expected, dict):
        return False
    if not isinstance(expected, dict):
        got, expected = {"score": got}, {"score": expected}
    return got.keys() == expected.keys() and all(
        np.isclose(got[name], value, rtol=1e-4, atol=1e-6) for name, value in expected.items()
    )
