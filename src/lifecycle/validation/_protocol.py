"""What an implementation of `fit_many` must satisfy, for the tests of whoever writes one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_ROWS, _FOLDS = 90, 3
_FEATURES, _WIDE = 4, 120  # and more than rows: what has seen too much cannot forget it there


def check_fit_many(estimator: Any, *, params: Sequence[dict] | None = None) -> None:
    """Check an estimator's `fit_many` on generated data.

    Its models are clones of the estimator with their parameters, in order, and fitted; they are what `fit_many` of
    each alone gives, to 1e-6 (1e-4 where predictions are float32); they do not depend on rows, labels or weights that
    they are not trained on; `test_score_` is their score on their test rows; the estimator itself is not changed.

    Parameters
    ----------
    estimator : classifier or regressor with `fit_many`
        If it has a `random_state`, a clone with 0 is checked.
    params : list of dict, default=None
        Settings that the models shall have, each on every fold; None is the estimator's own, and half of its first
        parameter that is a float, if there is one.

    Raises
    ------
    ValueError
        At the first thing that is not so; errors of `fit_many` itself are passed on.
    TypeError
        If the estimator has no `fit_many`, or is neither classifier nor regressor.
    """
    from sklearn.base import clone, is_classifier, is_regressor
    from sklearn.utils.validation import has_fit_parameter

    if isinstance(estimator, type) or not callable(getattr(estimator, "fit_many", None)):
        raise TypeError(f"check_fit_many needs an estimator object that has fit_many; got {estimator!r}")
    if not is_classifier(estimator) and not is_regressor(estimator):
        raise TypeError(f"check_fit_many makes data for a classifier or a regressor, which {estimator!r} is not")
    given, before = estimator, _state(estimator)
    if "random_state" in estimator.get_params(deep=False):
        estimator = clone(estimator).set_params(random_state=0)
    own = _state(estimator)
    check = _Check(estimator, _settings(estimator) if params is None else list(params))
    alone = check.models_and_their_parameters()
    check.held_out_rows(alone)
    wide = _Check(estimator, check.settings, _WIDE)
    wide.held_out_rows([wide.told(wide.fit([i])[0]) for i in range(len(wide.params))])
    check.test_scores(alone)
    if has_fit_parameter(estimator, "sample_weight"):
        check.weights(alone)
    check.fit(callback=lambda *_: None)
    check.demand(_state(estimator) == own and _state(given) == before, "changes the estimator that it is called on")


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
        several = tags.classifier_tags is not None and tags.classifier_tags.multi_class
        labels = np.arange(_ROWS) % (3 if several else 2)
        self.X = rng.normal(size=(_ROWS, features))
        if self.classifier:
            self.X[:, 0] += 2 * labels
            self.y: np.ndarray = labels
        else:
            self.y = self.X[:, :3] @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=_ROWS)
        if tags.input_tags.positive_only:
            self.X = np.abs(self.X)
        parts = np.array_split(rng.permutation(_ROWS), _FOLDS)
        # neither in ascending order nor of one size, and rows that are in neither part
        folds = [(np.concatenate([p for p in parts if p is not part])[: -3 - k], part) for k, part in enumerate(parts)]
        self.train = [train for train, _ in folds for _ in settings]
        self.test = [test for _, test in folds for _ in settings]
        self.params = [dict(setting) for _ in folds for setting in settings]

    def demand(self, fine: bool, fault: str) -> None:
        if not fine:
            raise ValueError(f"{type(self.estimator).__name__}.fit_many {fault}")

    def fit(self, which: Sequence[int] | None = None, X: Any = None, y: Any = None, **options: Any) -> list:
        which = range(len(self.params)) if which is None else which
        models = self.estimator.fit_many(
            self.X if X is None else X, self.y if y is None else y,
            train=[self.train[i] for i in which], params=[dict(self.params[i]) for i in which], **options,
        )  # fmt: skip
        self.demand(isinstance(models, list) and len(models) == len(which),
                    f"must give a list of {len(which)} models; got {models!r:.200}")  # fmt: skip
        return models

    def told(self, model: Any) -> np.ndarray:
        """What a model says of all rows, as finely as it can."""
        for method in ("decision_function", "predict_proba", "predict"):
            if callable(getattr(model, method, None)):
                return np.asarray(getattr(model, method)(self.X))
        raise ValueError(f"{type(model).__name__} has no predict")

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        if a.shape != b.shape or a.dtype.kind not in "fc":
            return np.array_equal(a, b)
        near = 1e-4 if a.dtype == np.float32 else 1e-6
        return bool(np.allclose(a, b, rtol=near, atol=near * max(1.0, float(np.abs(a).max()))))

    def models_and_their_parameters(self) -> list[np.ndarray]:
        """What each model, fitted alone, says of all rows."""
        from sklearn.base import clone

        models = self.fit()
        self.demand(len({id(model) for model in models}) == len(models), "gives the same object for several models")
        alone = []
        for i, model in enumerate(models):
            self.demand(type(model) is type(self.estimator), f"gives a {type(model).__name__} as model {i}")
            self.demand(model is not self.estimator, f"gives the estimator itself as model {i}: it must be a clone")
            asked = clone(self.estimator).set_params(**self.params[i]).get_params(deep=False)
            got = model.get_params(deep=False)
            wrong = [name for name in asked if repr(got.get(name)) != repr(asked[name])]
            self.demand(not wrong, f"gives model {i} other parameters than params[{i}]: {', '.join(wrong)}")
            alone.append(self.told(self.fit([i])[0]))
            self.demand(self.same(self.told(model), alone[i]),
                        f"with all models gives another model {i} than with that one alone")  # fmt: skip
        return alone

    def held_out_rows(self, alone: list[np.ndarray]) -> None:
        for i in range(len(self.params)):
            held = np.setdiff1d(np.arange(_ROWS), self.train[i])
            X, y = self.X.copy(), self.y.copy()
            X[held] = np.abs(37 * X[held]) + 5
            y[held] = np.roll(y[held], 1) if self.classifier else 100 + y[held]
            for model in (self.fit([i], X, y)[0], self.fit(None, X, y)[i]):  # alone, and where others train on them
                self.demand(self.same(self.told(model), alone[i]), f"lets rows outside train[{i}] change model {i}")

    def test_scores(self, alone: list[np.ndarray]) -> None:
        from sklearn.metrics import check_scoring

        names = ["accuracy", "balanced_accuracy"] if self.classifier else ["r2", "neg_mean_absolute_error"]
        asked: list[Any] = [None, names[0], lambda m, X, y: -float(len(y)), names, {"a": names[0], "b": names[1]}]
        for scoring in asked:
            shown = "a callable" if callable(scoring) else repr(scoring)
            for i, model in enumerate(self.fit(test=self.test, scoring=scoring)):
                self.demand(self.same(self.told(model), alone[i]), f"with test rows gives another model {i}")
                rows = self.test[i]
                expected = check_scoring(model, scoring)(model, self.X[rows], self.y[rows])
                found: Any = getattr(model, "test_score_", None)
                several = isinstance(expected, dict)
                fits = found is not None and isinstance(found, dict) == several
                if fits and several:
                    fits = found.keys() == expected.keys()
                if fits:
                    pairs = [(found[k], expected[k]) for k in expected] if several else [(found, expected)]
                    fits = all(np.isclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)
                self.demand(fits, f"with scoring={shown} gives model {i} test_score_ = {found!r}; its score on "
                                  f"test[{i}] is {expected!r}")  # fmt: skip
                curves = getattr(model, "test_scores_", None)
                if curves is not None:
                    parts = list(curves.values()) if several and isinstance(curves, dict) else [curves]
                    fits = isinstance(curves, dict) == several and all(np.ndim(c) == 1 and len(c) for c in parts)
                    self.demand(fits, f"with scoring={shown} gives model {i} test_scores_ that are no score per epoch: "
                                      f"{curves!r:.200}")  # fmt: skip

    def weights(self, alone: list[np.ndarray]) -> None:
        for i in range(len(self.params)):
            held = np.setdiff1d(np.arange(_ROWS), self.train[i])
            weights = 1.0 + np.arange(_ROWS) % 5
            weights[self.train[i][::2]] = 0.01
            weighted = self.told(self.fit([i], sample_weight=weights)[0])
            self.demand(not self.same(weighted, alone[i]) or weighted.dtype.kind not in "fc",
                        f"ignores sample_weight in model {i}")  # fmt: skip
            weights[held] = 1000.0
            self.demand(self.same(self.told(self.fit([i], sample_weight=weights)[0]), weighted),
                        f"lets weights of rows outside train[{i}] change model {i}: weights are for all rows of X, and "
                        "cut by fit_many")  # fmt: skip
