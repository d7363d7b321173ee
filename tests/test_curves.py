"""Scores after each epoch of cross-validated models, and the best epoch."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import lifecycle as lc

from .several import CALLS, SeveralClassifiers, SeveralRidges

DIABETES = load_diabetes(return_X_y=True)


CANCER = scale(load_breast_cancer().data), load_breast_cancer().target


def test_curves_are_the_scores_after_each_epoch():
    model = SeveralClassifiers(max_iter=6)
    result = lc.cross_validate(model, *CANCER, cv=4)
    assert result.curves.shape == (4, 6)
    np.testing.assert_array_equal(result.curves[:, -1], result["test_score"])
    for k in range(6):
        shorter = lc.cross_validate(SeveralClassifiers(max_iter=k + 1), *CANCER, cv=4)
        np.testing.assert_array_equal(result.curves[:, k], shorter["test_score"])
    assert result.best_epoch == 1 + np.argmax(result.curves.mean(axis=0))
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again.curves, result.curves)


def test_curves_of_a_pipeline_and_of_several_metrics():
    CALLS.clear()
    pipeline = make_pipeline(StandardScaler(), SeveralClassifiers(max_iter=5))
    result = lc.cross_validate(pipeline, *CANCER, scoring=("accuracy", "neg_log_loss", "roc_auc")[::2], cv=3)
    assert CALLS == [(1, True)] * 3
    assert list(result.curves) == ["accuracy", "roc_auc"]
    for name, curve in result.curves.items():
        assert curve.shape == (3, 5)
        np.testing.assert_allclose(curve[:, -1], result[f"test_{name}"], rtol=1e-12)
    assert result.best_epoch["roc_auc"] == 1 + np.argmax(result.curves["roc_auc"].mean(axis=0))
    own = lc.cross_validate(pipeline, *CANCER, scoring=lambda e, X, y: e[:1].transform(X).shape[1])
    with pytest.raises(AttributeError, match="curves of a Pipeline need scoring by names"):
        _ = own.curves
    made = lc.cross_validate(pipeline, *CANCER, scoring=make_scorer(accuracy_score))
    assert made.curves.shape == (5, 5)


class Stops(SeveralClassifiers):
    """Has as many epochs as its first row says."""

    def _fit(self, X, y, sample_weight=None, held=None):
        self.max_iter = 2 + len(X) % 3
        return super()._fit(X, y, sample_weight, held)


def test_ragged_curves_end_in_nan_and_count_with_their_last_score():
    X, y = CANCER[0][:100], CANCER[1][:100]
    folds = [(np.arange(99 - k, 39, -1), np.arange(40)) for k in range(3)]
    result = lc.cross_validate(Stops(lr=0.02), X, y, cv=folds)
    epochs = [2 + len(train) % 3 for train, _ in folds]
    assert sorted(epochs) == [2, 3, 4]
    assert (~np.isnan(result.curves)).sum(axis=1).tolist() == epochs
    filled = np.array([np.where(np.isnan(c), c[~np.isnan(c)][-1], c) for c in result.curves])
    assert result.best_epoch == 1 + np.argmax(filled.mean(axis=0))
    result._curves = [np.array([0.5, 0.9]), np.array([0.5, 0.6, 0.7, 0.8]), np.array([0.5, 0.6, 0.7])]
    assert result.best_epoch == 4


def test_no_curves_without_epochs_or_without_fit_many():
    for model in (Ridge(), make_pipeline(StandardScaler(), Ridge())):
        with pytest.raises(AttributeError, match="has no fit_many, which tells the scores of each epoch"):
            _ = lc.cross_validate(model, *DIABETES).curves
    result = lc.cross_validate(SeveralRidges(), *DIABETES)
    assert not hasattr(result, "curves")
    with pytest.raises(AttributeError, match="SeveralRidges has no epochs"):
        _ = result.best_epoch


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_a_fold_that_fails_has_no_curve():
    X, y = CANCER
    order = np.argsort(y, kind="stable")
    folds = [(order[:200], order[300:]), (np.arange(400), np.arange(400, 569))]
    result = lc.cross_validate(SeveralClassifiers(max_iter=3), X, y, cv=folds)
    assert np.isnan(result.curves).sum(axis=1).tolist() == [3, 0]
    with pytest.raises(ValueError, match="no best epoch of 'score': not every fold has scores"):
        _ = result.best_epoch


def test_a_scorer_that_fails_spoils_no_fit():
    def moody(estimator, X, y):
        if len(y) == 113:
            raise ZeroDivisionError("no score today")
        return estimator.score(X, y)

    with pytest.warns(UserWarning, match="no score today"):
        result = lc.cross_validate(SeveralClassifiers(max_iter=3), *CANCER, scoring=moody, return_estimator=True)
    assert np.isnan(result["test_score"]).tolist() == [False, False, False, False, True]
    assert np.isnan(result.curves).all(axis=1).tolist() == [False, False, False, False, True]
    assert all(hasattr(model, "coef_") for model in result["estimator"])
    assert result.predictions.shape == (569,)
