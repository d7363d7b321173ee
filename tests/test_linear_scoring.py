"""Test scores of fit_many: those of scikit-learn's scorers, after every epoch."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.metrics import get_scorer

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
