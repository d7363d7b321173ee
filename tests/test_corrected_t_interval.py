"""The interval of fold scores against its formula, its bounds, and where there is none."""

import numpy as np
import pytest
from scipy import stats
from sklearn import model_selection
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lifecycle as lc
from lifecycle.validation._metrics import at_most_one

IRIS = load_iris(return_X_y=True)


CANCER = load_breast_cancer(return_X_y=True)


DIABETES = load_diabetes(return_X_y=True)


def logistic():
    return make_pipeline(StandardScaler(), LogisticRegression())


def test_interval_is_nadeau_and_bengios():
    result = lc.cross_validate(Ridge(), *DIABETES, cv=lc.RepeatedKFold(n_splits=5, n_repeats=3, random_state=0))
    scores = result["test_score"]
    n_test = np.mean([len(b) for _, b in lc.KFold(5).split(DIABETES[0])])
    variance = (1 / 15 + n_test / (442 - n_test)) * np.var(scores, ddof=1)
    expected = stats.t.interval(0.9, 14, loc=scores.mean(), scale=np.sqrt(variance))
    np.testing.assert_allclose(result.interval(0.9), expected, rtol=1e-12)
    assert result.interval(0.9) == (result.interval(0.9).low, result.interval(0.9).high)
    naive = stats.t.interval(0.9, 14, loc=scores.mean(), scale=np.sqrt(np.var(scores, ddof=1) / 15))
    assert result.interval(0.9).low < naive[0]
    assert naive[1] < result.interval(0.9).high


class OwnScore(LogisticRegression):
    def score(self, X, y):
        return 5.0


def test_an_interval_ends_at_the_best_possible_score_where_it_is_known():
    """Three folds, one perfect: Student's t reaches far beyond 1."""
    X, y = IRIS
    three = {"cv": lc.StratifiedKFold(3), "error_score": "raise"}
    for scoring in (None, "accuracy", "f1_macro"):
        assert lc.cross_validate(logistic(), X, y, scoring=scoring, **three).interval().high == 1.0
    both = lc.cross_validate(logistic(), X, y, scoring=["accuracy", "neg_log_loss"], **three)
    assert both.interval(metric="accuracy").high == 1.0
    own = lc.cross_validate(logistic(), X, y, scoring=lambda e, X, y: e.score(X, y), **three)
    assert own.interval().high > 1.0
    search = model_selection.GridSearchCV(logistic(), {}, scoring="neg_log_loss")
    for unknown in (OwnScore(), make_pipeline(StandardScaler(), OwnScore()), search):
        assert not at_most_one(unknown, None, ["score"])
    assert own.interval().low == pytest.approx(both.interval(metric="accuracy").low)


def test_folds_without_a_spread_give_no_interval():
    X, y = np.r_[np.zeros((20, 1)), np.ones((20, 1))], np.repeat([0, 1], 20)
    result = lc.cross_validate(LogisticRegression(), X, y)
    with pytest.raises(ValueError, match="all are 1, which says nothing of its error"):
        result.interval()
    assert "none" in result.summary()


def test_interval_names_the_metric_and_what_is_missing():
    result = lc.cross_validate(logistic(), *CANCER, scoring=["accuracy", "f1"])
    assert result.interval(metric="f1").high <= 1.1
    with pytest.raises(ValueError, match="which metric: metric must be one of 'accuracy', 'f1'"):
        result.interval()
    with pytest.raises(ValueError, match="there is no metric 'r2'"):
        result.interval(metric="r2")
    with pytest.raises(ValueError, match="confidence_level must be"):
        result.interval(1.0, metric="f1")
    single = lc.cross_validate(logistic(), *IRIS, cv=lc.ShuffleSplit(1, random_state=0))
    with pytest.raises(ValueError, match="at least 2 folds"):
        single.interval()
