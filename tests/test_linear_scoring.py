"""Test scores of fit_many: those of scikit-learn's scorers, after every epoch."""

import threading

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_diabetes
from sklearn.metrics import get_scorer
from sklearn.model_selection import KFold, cross_validate

import lifecycle as lc

from .data import cancer, diabetes, wine
from .linear_models import CLASSIFICATION, ignore_convergence, make_model


def negative_brier(model, X, y):
    return -float(((model.predict_proba(X)[:, 1] - (y == model.classes_[1])) ** 2).mean())


SCORINGS = [
    (cancer, "log_loss", None),
    (cancer, "log_loss", "accuracy"),
    (wine, "hinge", "accuracy"),
    (wine, "log_loss", "neg_log_loss"),
    (cancer, "log_loss", "roc_auc"),
    (cancer, "log_loss", negative_brier),
    (wine, "log_loss", ["accuracy", "neg_log_loss", "balanced_accuracy"]),
    (cancer, "log_loss", {"hits": "accuracy", "brier": negative_brier}),
    (diabetes, "squared_error", None),
    (diabetes, "squared_error", "r2"),
    (diabetes, "squared_error", ["neg_mean_squared_error", "neg_root_mean_squared_error", "neg_mean_absolute_error"]),
    (diabetes, "squared_error", "neg_median_absolute_error"),
]


@ignore_convergence
@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton"])
@pytest.mark.parametrize(("data", "loss", "scoring"), SCORINGS, ids=str)
def test_scores_are_those_of_scikit_learns_scorers_after_every_epoch(data, loss, scoring, optimizer):
    if loss == "hinge" and optimizer == "newton":
        pytest.skip("hinge is not smooth")
    X, y = data()
    split = list(lc.KFold(3, shuffle=True, random_state=0).split(X))
    train, test = [a for a, _ in split], [b for _, b in split]
    penalty = {"log_loss": "l2", "hinge": "elasticnet", "squared_error": "l1" if optimizer == "sgd" else "l2"}[loss]
    estimator = make_model(loss, penalty=penalty, optimizer=optimizer, max_iter=3, tol=None)
    params = [{"alpha": a} for a in (0.01, 0.1, 1.0)]
    models = estimator.fit_many(X, y, train=train, params=params, test=test, scoring=scoring)
    is_multimetric = isinstance(scoring, list | dict)
    scorings = {"score": ("accuracy" if loss in CLASSIFICATION else "r2") if scoring is None else scoring}
    if is_multimetric:
        scorings = scoring if isinstance(scoring, dict) else {name: name for name in scoring}
    for i, (model, rows) in enumerate(zip(models, test, strict=True)):
        for name, one in scorings.items():
            scorer = one if callable(one) else get_scorer(one)
            score = model.test_score_[name] if is_multimetric else model.test_score_
            assert isinstance(score, float)
            assert score == pytest.approx(scorer(model, X[rows], y[rows]), rel=1e-9)
            if optimizer == "newton":
                assert not hasattr(model, "test_scores_")
                continue
            curve = model.test_scores_[name] if is_multimetric else model.test_scores_
            assert curve[-1] == pytest.approx(score, rel=1e-13)  # from coefficients in a block, and from coef_
            (early,) = estimator.fit_many(X, y, train=[train[i]], params=[{**params[i], "max_iter": 1}])
            assert curve[0] == pytest.approx(scorer(early, X[rows], y[rows]), rel=1e-9)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_scorer_that_raises_is_not_reported_as_a_failed_fit():
    X, y = load_diabetes(return_X_y=True)
    y = y - y.mean()  # negative values have no logarithm
    scoring = "neg_mean_squared_log_error"
    model, grid = lc.LinearRegressor(optimizer="exact"), {"alpha": [0.1, 1.0]}
    search = lc.GridSearchCV(model, grid, cv=3, refit=False, scoring=scoring)
    with pytest.warns(UserWarning, match="Scoring failed"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).all()


@ignore_convergence
@pytest.mark.parametrize("scoring", ["neg_mean_squared_log_error", {"a": "neg_mean_squared_log_error", "b": "r2"}])
def test_a_scorer_that_fails_after_an_early_epoch_fails_no_fit(scoring):
    X = np.random.default_rng(0).normal(size=(200, 3))
    y = X @ [1.0, 2.0, 3.0] + 12
    assert y.min() > 0
    # steps so long that some predictions of the first epochs are below zero, where there is no logarithm
    model = lc.LinearRegressor(optimizer="adam", lr=1.0, max_iter=40, tol=None, random_state=0)
    result = lc.cross_validate(model, X, y, scoring=scoring, cv=lc.KFold(5))
    theirs = cross_validate(model, X, y, scoring=scoring, cv=KFold(5))
    for name in result.metrics:
        np.testing.assert_allclose(
            result[f"test_{name}"], theirs[f"test_{name}"], atol=1e-4
        )  # in another order of rows
    assert np.isfinite(result.predictions).all()
    curves = result.curves
    failing = curves["a"] if isinstance(curves, dict) else curves
    assert np.isnan(failing[:, 0]).any()
    assert np.isfinite(failing[:, -1]).all()
    if isinstance(curves, dict):
        assert np.isfinite(curves["b"]).all()


@ignore_convergence
def test_a_class_that_the_test_rows_lack_loses_no_prediction():
    X, y = wine()
    rows = np.concatenate([np.flatnonzero(y == 0)[:20], np.flatnonzero(y == 1)[:20]])
    folds = [(np.setdiff1d(np.arange(len(y)), rows), rows)]
    model = lc.LinearClassifier(optimizer="adam", random_state=0)
    with pytest.warns(UserWarning, match="Scoring failed"):
        result = lc.cross_validate(model, X, y, scoring="neg_log_loss", cv=folds, error_score=-7.0)
    assert result["test_score"].tolist() == [-7.0]
    assert result._failed == []
    assert len(result._predictions[0]) == 40
    with pytest.raises(ValueError, match="y_true"):
        lc.cross_validate(model, X, y, scoring="neg_log_loss", cv=folds, error_score="raise")
    with pytest.warns(UserWarning, match=r"Scoring failed\. test_score_ is NaN where it did: ValueError: y_true"):
        (fitted,) = model.fit_many(X, y, train=[folds[0][0]], test=[rows], params=[{}], scoring="neg_log_loss")
    assert np.isnan(fitted.test_score_)
    options = {"cv": folds, "scoring": "neg_log_loss", "error_score": -7.0, "refit": False}
    search = lc.GridSearchCV(model, {"alpha": [1e-3]}, **options)
    with pytest.warns(UserWarning, match="Scoring failed"):
        search.fit(X, y)
    assert search.cv_results_["mean_test_score"].tolist() == [-7.0]


@ignore_convergence
@pytest.mark.parametrize("optimizer", ["sgd", "newton"])
def test_scorers_run_in_the_thread_of_the_caller(optimizer):
    """Where scikit-learn's settings, which are of a thread, and objects with a state are the user's."""
    X, y = cancer()
    X = np.repeat(np.repeat(X, 8, axis=0), 6, axis=1)  # large enough for threads
    y, seen = np.repeat(y, 8), []

    def scorer(model, X, y):
        seen.append((threading.get_ident(), sklearn.get_config()["assume_finite"]))
        return float(model.score(X, y))

    model = lc.LinearClassifier(optimizer=optimizer, max_iter=3, random_state=0)
    with lc.threads(2), sklearn.config_context(assume_finite=True):
        lc.cross_validate(model, X, y, cv=8, scoring=scorer)
    assert set(seen) == {(threading.get_ident(), True)}


@ignore_convergence
def test_an_error_of_the_callback_is_not_a_failure_of_the_models():
    calls = []

    def stop(done, n):
        calls.append(done)
        if len(calls) == 1:
            raise ValueError("enough")

    with pytest.raises(ValueError, match=r"^enough$"):
        lc.LinearRegressor(optimizer="sgd").fit_many(*diabetes(), train=[np.arange(99)], params=[{}], callback=stop)
