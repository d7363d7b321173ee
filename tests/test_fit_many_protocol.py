"""check_fit_many passes what keeps the protocol and names what does not; the page that explains it is true."""

import re
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import lifecycle as lc

from .several import SeveralClassifiers, SeveralRidges

PAGE = Path(__file__).parents[1] / "docs" / "implement-fit-many.md"


@pytest.mark.parametrize("estimator", [SeveralRidges(), SeveralRidges(alpha=5), SeveralClassifiers()])
def test_what_keeps_the_protocol_passes(estimator):
    assert lc.check_fit_many(estimator) is None
    lc.check_fit_many(estimator, params=[{"alpha": 2.0}, {"alpha": 3.0}, {}])


class Faulty(SeveralRidges):
    """A base for what breaks the protocol in one point."""

    def fit_many(self, X, y=None, *, train, params, **options):
        return self.spoil(super().fit_many(X, y, train=train, params=params, **options))

    def spoil(self, models):
        return models


class TooFew(Faulty):
    def spoil(self, models):
        return models[1:]


class NoList(Faulty):
    def spoil(self, models):
        return iter(models)


class Twice(Faulty):
    def spoil(self, models):
        return [models[0]] * len(models)


class Itself(Faulty):
    def spoil(self, models):
        self.__dict__.update(vars(models[0]))
        return [self, *models[1:]]


class OtherType(Faulty):
    def spoil(self, models):
        return [Ridge() for _ in models]


class ForgetsParams(Faulty):
    def fit_many(self, X, y=None, *, params, **options):
        return super().fit_many(X, y, params=[{} for _ in params], **options)


class OutOfOrder(Faulty):
    def fit_many(self, X, y=None, *, train, **options):
        return super().fit_many(X, y, train=train[::-1], **options)


class LearnsFromBefore(Faulty):
    def spoil(self, models):
        for before, model in pairwise(models):
            model.coef_ = model.coef_ + 0.01 * before.coef_
        return models


class SeesAllRows(Faulty):
    def fit_many(self, X, y=None, **options):
        return super().fit_many(X - X.mean(axis=0), y, **options)


class SeesAllLabels(Faulty):
    def fit_many(self, X, y=None, **options):
        return super().fit_many(X, y - y.mean(), **options)


class Changes(Faulty):
    def spoil(self, models):
        self.coef_ = models[0].coef_
        return models


class NoScore(Faulty):
    def fit_many(self, X, y=None, *, test=None, scoring=None, **options):
        return super().fit_many(X, y, **options)


class ScoresByItsOwn(Faulty):
    def fit_many(self, X, y=None, *, scoring=None, **options):
        return super().fit_many(X, y, **options)


class ScoresTrainingRows(Faulty):
    def fit_many(self, X, y=None, *, train, test=None, **options):
        return super().fit_many(X, y, train=train, test=None if test is None else train, **options)


class OneScorePerRun(Faulty):
    def spoil(self, models):
        for model in models:
            model.test_scores_ = 0.5
        return models


class CutsWeightsWrong(Faulty):
    def fit_many(self, X, y=None, *, train, sample_weight=None, **options):
        if sample_weight is not None:
            sample_weight = np.roll(sample_weight, 1)
        return super().fit_many(X, y, train=train, sample_weight=sample_weight, **options)


class IgnoresWeights(Faulty):
    def fit_many(self, X, y=None, *, sample_weight=None, **options):
        return super().fit_many(X, y, **options)


FAULTS = {
    TooFew: "must give a list of 6 models; got",
    NoList: "must give a list of 6 models; got",
    Twice: "gives the same object for several models",
    Itself: "gives the estimator itself as model 0",
    OtherType: "gives a Ridge as model 0",
    ForgetsParams: r"gives model 1 other parameters than params\[1\]: alpha",
    OutOfOrder: "with all models gives another model 0 than with that one alone",
    LearnsFromBefore: "with all models gives another model 1 than with that one alone",
    SeesAllRows: r"lets rows outside train\[0\] change model 0",
    SeesAllLabels: r"lets rows outside train\[0\] change model 0",
    Changes: "changes the estimator that it is called on",
    NoScore: "with scoring=None gives model 0 test_score_ = None; its score on",
    ScoresByItsOwn: "with scoring=a callable gives model 0 test_score_ = ",
    ScoresTrainingRows: r"gives model 0 test_score_ = .*; its score on test\[0\] is",
    OneScorePerRun: "gives model 0 test_scores_ that are no score per epoch: 0.5",
    CutsWeightsWrong: r"lets weights of rows outside train\[0\] change model 0",
    IgnoresWeights: "ignores sample_weight in model 0",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_is_named(kind):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}\.fit_many .*{FAULTS[kind]}"):
        lc.check_fit_many(kind())


def test_what_cannot_be_checked():
    for nothing in (Ridge(), SeveralRidges):
        with pytest.raises(TypeError, match="an estimator object that has fit_many"):
            lc.check_fit_many(nothing)

    class Scaler(StandardScaler):
        def fit_many(self, X, y=None, *, train, params):
            return []

    with pytest.raises(TypeError, match="makes data for a classifier or a regressor"):
        lc.check_fit_many(Scaler())


def test_the_callers_random_state_is_kept():
    class Draws(SeveralRidges):
        def __init__(self, alpha=1.0, random_state=None):
            super().__init__(alpha)
            self.random_state = random_state

        def _fit(self, X, y, sample_weight=None, held=None):
            super()._fit(X, y, sample_weight, held)
            self.coef_ = self.coef_ + np.random.RandomState(self.random_state).normal(size=len(self.coef_))
            return self

    estimator = Draws()
    lc.check_fit_many(estimator)
    assert vars(estimator) == {"alpha": 1.0, "random_state": None}


def test_the_page_and_its_estimator_are_true(monkeypatch):
    module = ModuleType("implement_fit_many")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # the estimator is to be pickled
    names = vars(module)
    for text in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        exec(compile(text, PAGE.name, "exec"), names)
    estimator, search = names["FoldRidge"](), names["search"]
    check_estimator(estimator, on_skip=None)
    X, y = load_diabetes(return_X_y=True)
    theirs = GridSearchCV(Ridge(), search.param_grid, cv=10, refit=search.refit).fit(X, y)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-9)
    assert search.best_index_ == theirs.best_index_
    np.testing.assert_allclose(search.best_estimator_.coef_, theirs.best_estimator_.coef_, rtol=1e-6)
    # training sets with rows that occur more than once
    drawn = [np.random.RandomState(k).randint(0, 442, 442) for k in range(3)]
    for rows, model in zip(drawn, clone(estimator).fit_many(X, y, train=drawn, params=[{}] * 3), strict=True):
        np.testing.assert_allclose(model.coef_, Ridge().fit(X[rows], y[rows]).coef_, rtol=1e-6)


def test_the_protocol_needs_no_base_class():
    assert not any(base.__module__.startswith("lifecycle") for base in SeveralRidges.__mro__)
    assert issubclass(SeveralRidges, BaseEstimator)
