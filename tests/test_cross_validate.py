"""cross_validate against scikit-learn's, out-of-fold predictions, and every named failure."""

import pickle
import re

import numpy as np
import pytest
import sklearn
from sklearn import model_selection
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import lifecycle as lc

from .several import CALLS, SeveralClassifiers, SeveralRidges

IRIS = load_iris(return_X_y=True)


CANCER = load_breast_cancer(return_X_y=True)


DIABETES = load_diabetes(return_X_y=True)


def logistic():
    return make_pipeline(StandardScaler(), LogisticRegression())


CASES = {
    "default": (logistic(), IRIS, {}),
    "regression": (Ridge(), DIABETES, {"scoring": ["r2", "neg_mean_absolute_error"], "cv": 4}),
    "several metrics": (logistic(), CANCER, {"scoring": ("roc_auc", "accuracy"), "return_train_score": True}),
    "dict of metrics": (logistic(), CANCER, {"scoring": {"a": "accuracy", "b": "f1"}}),
    "callable": (logistic(), IRIS, {"scoring": lambda e, X, y: {"hits": int((e.predict(X) == y).sum())}}),
    "splitter": (logistic(), IRIS, {"cv": lc.StratifiedKFold(3, shuffle=True, random_state=0)}),
    "groups": (DecisionTreeClassifier(random_state=0), IRIS, {"cv": lc.GroupKFold(3), "groups": np.arange(150) % 7}),
    "times": (Ridge(), DIABETES, {"cv": lc.TimeSeriesSplit(3), "return_indices": True}),
    "repeated": (Ridge(), DIABETES, {"cv": lc.RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)}),
    "weights": (LogisticRegression(), (CANCER[0][:, :4], CANCER[1]), {"params": {"sample_weight": np.arange(569.0)}}),
    "pairs": (
        Ridge(),
        DIABETES,
        {"cv": [(np.arange(300), np.arange(300, 442)), (np.arange(100, 442), np.arange(100))]},
    ),
    "pairwise kernel": (SVC(kernel="precomputed"), (IRIS[0] @ IRIS[0].T, IRIS[1]), {}),
    "two jobs": (logistic(), IRIS, {"n_jobs": 2}),
    "fit_many": (SeveralRidges(), DIABETES, {"return_train_score": True, "scoring": ["r2", "neg_max_error"]}),
    "fit_many with weights": (SeveralRidges(), DIABETES, {"params": {"sample_weight": np.arange(442) % 3}}),
    "fit_many of classes": (SeveralClassifiers(lr=1e-5), IRIS, {"cv": lc.StratifiedKFold(3), "return_indices": True}),
    "fit_many in a pipeline": (make_pipeline(StandardScaler(), SeveralClassifiers()), CANCER, {"n_jobs": 2}),
    "fit_many of a last step with weights": (
        make_pipeline(StandardScaler(), SeveralRidges()),
        DIABETES,
        {"params": {"severalridges__sample_weight": np.arange(442) % 3}, "scoring": lambda e, X, y: e.score(X, y)},
    ),
    "an argument of an earlier step": (
        make_pipeline(StandardScaler(), SeveralRidges()),
        DIABETES,
        {"params": {"standardscaler__sample_weight": np.arange(442) % 3}},
    ),
}


@pytest.mark.parametrize("name", [n for n in CASES if n != "callable"] + ["callable"])
def test_the_scores_are_scikit_learns(name):
    estimator, (X, y), options = CASES[name]
    ours = lc.cross_validate(estimator, X, y, **options)
    theirs = model_selection.cross_validate(estimator, X, y, **options)
    assert set(ours) == set(theirs)
    for key, values in theirs.items():
        if key == "indices":
            for part in ("train", "test"):
                assert all(np.array_equal(a, b) for a, b in zip(ours[key][part], values[part], strict=True))
        elif not key.endswith("_time"):
            np.testing.assert_array_equal(ours[key], values)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_predictions_are_out_of_fold(method):
    X, y = load_digits(return_X_y=True)
    model, cv = KNeighborsClassifier(3), lc.StratifiedKFold(4, shuffle=True, random_state=1)
    result = lc.cross_validate(model, X, y, cv=cv)
    expected = model_selection.cross_val_predict(model, X, y, cv=cv, method=method)
    np.testing.assert_array_equal(result.predictions if method == "predict" else result.probabilities, expected)
    assert result.classes.tolist() == list(range(10))


@pytest.mark.parametrize("model", [SeveralClassifiers(), make_pipeline(StandardScaler(), SeveralClassifiers())])
def test_predictions_through_fit_many(model):
    X, y = scale(IRIS[0]), np.array(["a", "b", "c"])[IRIS[1]]
    CALLS.clear()
    result = lc.cross_validate(model, X, y, return_estimator=True)
    assert CALLS == ([(5, True)] if isinstance(model, SeveralClassifiers) else [(1, True)] * 5)
    expected = model_selection.cross_val_predict(model, X, y)
    np.testing.assert_array_equal(result.predictions, expected)
    assert [type(e) for e in result["estimator"]] == [type(model)] * 5
    np.testing.assert_array_equal(result["estimator"][0].predict(X[:3]), expected[:3])


def test_predictions_of_text_labels_and_several_targets():
    names = np.array(["setosa", "versicolor", "virginica"])[IRIS[1]]
    result = lc.cross_validate(logistic(), IRIS[0], names)
    assert (result.predictions == names).mean() > 0.9
    Y = np.column_stack([DIABETES[1], -DIABETES[1]])
    result = lc.cross_validate(LinearRegression(), DIABETES[0], Y)
    assert result.predictions.shape == Y.shape
    with pytest.raises(AttributeError, match="LinearRegression has no predict_proba"):
        _ = result.probabilities


def test_a_class_that_a_training_fold_lacks_has_probability_zero():
    X, y = IRIS
    result = lc.cross_validate(KNeighborsClassifier(), X, y, cv=model_selection.KFold(3))
    assert result.probabilities.shape == (150, 3)
    assert (result.probabilities[np.arange(150), y] == 0).all()


def test_predictions_need_a_partition():
    result = lc.cross_validate(Ridge(), *DIABETES, cv=lc.TimeSeriesSplit(3))
    with pytest.raises(ValueError, match="do not hold each of the 442 rows exactly once"):
        _ = result.predictions


class FailsOn(ClassifierMixin, BaseEstimator):
    """Fails where `row` is among the training rows; predicts its first class."""

    def __init__(self, row=None):
        self.row = row

    def fit(self, X, y):
        if self.row is None or (X == self.row).all(axis=1).any():
            raise RuntimeError("this row is not to be seen")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def test_a_fold_that_fails_keeps_the_others():
    X = np.arange(20.0)[:, None]
    y = np.arange(20) % 2
    with pytest.warns(FitFailedWarning, match=r"(?s)1 fits failed out of a total of 2: folds 1\..*not to be seen"):
        result = lc.cross_validate(FailsOn([3.0]), X, y, cv=lc.KFold(2), error_score=-1)
    assert result["test_score"].tolist() == [0.5, -1.0]
    with pytest.raises(ValueError, match=r"failed on the folds \[1\]"):
        _ = result.predictions
    with pytest.warns(FitFailedWarning):
        result = lc.cross_validate(FailsOn([3.0]), X, y, cv=lc.KFold(2))
    with pytest.raises(ValueError, match="scores of all folds"):
        result.interval()
    assert "none" in result.summary()
    with pytest.raises(RuntimeError, match="not to be seen"):
        lc.cross_validate(FailsOn([3.0]), X, y, cv=lc.KFold(2), error_score="raise")
    with pytest.raises(ValueError, match="All the 2 fits failed"):
        lc.cross_validate(FailsOn(), X, y, cv=lc.KFold(2))


def test_a_scorer_that_fails():
    def broken(estimator, X, y):
        raise ZeroDivisionError("no score today")

    with pytest.warns(UserWarning, match="no score today"):
        result = lc.cross_validate(logistic(), *IRIS, scoring=broken)
    assert np.isnan(result["test_score"]).all()
    with pytest.warns(UserWarning, match="no score today"):
        result = lc.cross_validate(logistic(), *IRIS, scoring={"good": "accuracy", "bad": broken}, error_score=0)
    assert (result["test_bad"] == 0).all()
    assert (result["test_good"] > 0.8).all()
    with pytest.raises(ZeroDivisionError):
        lc.cross_validate(logistic(), *IRIS, scoring=broken, error_score="raise")
    with pytest.raises(ValueError, match="must return a number"):
        lc.cross_validate(logistic(), *IRIS, scoring=lambda e, X, y: None)


class CannotPredict(FailsOn):
    """Cannot predict rows that hold `row`."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        if (X == self.row).any():
            raise RuntimeError("nothing to say about this row")
        return super().predict(X)


def test_a_predict_that_fails_keeps_the_other_folds():
    X, y, model = np.arange(20.0)[:, None], np.arange(20) % 2, CannotPredict([3.0])
    options = {"cv": lc.KFold(2), "scoring": lambda e, X, y: 0.25}
    with pytest.warns(UserWarning, match=r"(?s)predict failed, and its fold has no predictions.*nothing to say"):
        result = lc.cross_validate(model, X, y, **options)
    assert result["test_score"].tolist() == [0.25, 0.25]
    with pytest.raises(ValueError, match=r"predict failed on the folds \[0\]"):
        _ = result.predictions
    with pytest.raises(RuntimeError, match="nothing to say"):
        lc.cross_validate(model, X, y, error_score="raise", **options)


@pytest.mark.filterwarnings("ignore:predict failed")
def test_a_scorer_of_several_that_fails_on_the_first_fold_keeps_the_others():
    X, y = np.arange(20.0)[:, None], np.arange(20) % 2

    def both(e, X, y):
        return {"right": (e.predict(X) == y).sum(), "rows": len(y)}

    with pytest.warns(UserWarning, match="Scoring failed"):
        result = lc.cross_validate(CannotPredict([3.0]), X, y, cv=lc.KFold(2), scoring=both, error_score=-1)
    assert result["test_right"].tolist() == [-1, 5]
    assert result["test_rows"].tolist() == [-1, 10]


def test_bad_arguments():
    with pytest.raises(ValueError, match="error_score must be 'raise' or a number; got 'no'"):
        lc.cross_validate(logistic(), *IRIS, error_score="no")
    with pytest.raises(ValueError, match="gives no fold"):
        lc.cross_validate(logistic(), *IRIS, cv=[])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        lc.cross_validate(logistic(), IRIS[0], IRIS[1][:-1])


def test_metadata_routing():
    weights = np.arange(150.0)
    groups = np.arange(150) % 5
    with sklearn.config_context(enable_metadata_routing=True):
        model = (
            LogisticRegression(max_iter=1000).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        options = {"params": {"sample_weight": weights, "groups": groups}}
        ours, theirs, mixed = (
            f(model, *IRIS, cv=cv.GroupKFold(5), **options)
            for f, cv in (
                (lc.cross_validate, lc),
                (model_selection.cross_validate, model_selection),
                (model_selection.cross_validate, lc),
            )
        )
        np.testing.assert_array_equal(ours["test_score"], theirs["test_score"])
        np.testing.assert_array_equal(mixed["test_score"], theirs["test_score"])
        with pytest.raises(ValueError, match="params="):
            lc.cross_validate(model, *IRIS, groups=groups)


def test_no_target_and_no_predict():
    result = lc.cross_validate(PCA(2), IRIS[0], cv=3)
    assert result["test_score"].shape == (3,)
    with pytest.raises(AttributeError, match="PCA has no predict"):
        _ = result.predictions


def test_the_callers_estimator_and_data_are_untouched():
    model, X = Ridge(), DIABETES[0].copy()
    result = lc.cross_validate(model, X, DIABETES[1], return_estimator=True)
    assert not hasattr(model, "coef_")
    assert np.array_equal(X, DIABETES[0])
    assert [type(e) for e in result["estimator"]] == [Ridge] * 5


def test_lists_of_sequences_of_different_lengths():
    class Longest(FailsOn):
        def fit(self, X, y):
            self.classes_, self.cut_ = np.unique(y), np.median([len(x) for x in X])
            return self

        def predict(self, X):
            return self.classes_[[int(len(x) > self.cut_) for x in X]]

    lengths = np.r_[np.full(10, 3), np.full(10, 9)]
    result = lc.cross_validate(Longest(), [np.zeros((n, 2)) for n in lengths], lengths > 5)
    assert (result["test_score"] == 1).all()


def test_what_people_look_at():
    pandas = pytest.importorskip("pandas")
    result = lc.cross_validate(logistic(), *CANCER, scoring=["accuracy", "f1"])
    assert repr(result) == result.summary()
    assert result.summary().splitlines()[0] == "Pipeline, 5 folds, 569 rows"
    assert f"{result['test_f1'].mean():.4g}" in result.summary()
    assert result._repr_html_().count("<tr>") == 3
    frame = result.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.shape == (5, 6)
    assert frame["n_test"].sum() == 569
    again = pickle.loads(pickle.dumps(result))
    assert again.summary() == result.summary()
    assert np.array_equal(again.predictions, result.predictions)


def test_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    result = lc.cross_validate(logistic(), *IRIS)
    axes = result.plot()
    drawn = np.asarray(axes.lines[-1].get_xdata())
    np.testing.assert_array_equal(drawn, result["test_score"])
    matplotlib.pyplot.close("all")


def test_folds_may_be_masks():
    rows = np.arange(442) % 3
    masks = [(rows != k, (rows == k).tolist()) for k in range(3)]
    numbers = [(np.flatnonzero(rows != k), np.flatnonzero(rows == k)) for k in range(3)]
    for model in (Ridge(), lc.LinearRegressor(optimizer="exact")):
        found, expected = (
            lc.cross_validate(model, *DIABETES, cv=folds, return_indices=True) for folds in (masks, numbers)
        )
        np.testing.assert_array_equal(found["test_score"], expected["test_score"])
        np.testing.assert_array_equal(found.predictions, expected.predictions)
        np.testing.assert_array_equal(found["indices"]["test"][1], numbers[1][1])
        assert found.interval() == expected.interval()
        assert lc.compare({"a": found, "b": expected})[0].difference == 0.0
    theirs = model_selection.cross_validate(Ridge(), *DIABETES, cv=[(train, np.array(test)) for train, test in masks])
    np.testing.assert_allclose(lc.cross_validate(Ridge(), *DIABETES, cv=masks)["test_score"], theirs["test_score"])
    for wrong in (np.ones(441, bool), [0.5], [442], [-443]):
        with pytest.raises(ValueError, match="folds must hold row numbers below 442, the rows of X, or a mask"):
            lc.cross_validate(Ridge(), *DIABETES, cv=[(masks[0][0], wrong)])


@pytest.mark.parametrize("model", [FailsOn(), lc.LinearRegressor(alpha=-1.0)])
def test_where_all_fits_fail_the_reason_comes_first_and_once(model):
    X, y = np.arange(100.0)[:, None], np.arange(100.0)
    reason = "this row is not to be seen" if isinstance(model, FailsOn) else "alpha must be a finite number >= 0"
    for fit in (
        lambda: lc.cross_validate(model, X, y, cv=lc.KFold(25)),
        lambda: lc.GridSearchCV(model, {}, cv=lc.KFold(25)).fit(X, y),
    ):
        with pytest.raises(ValueError, match=r"All the 25 fits failed\.") as raised:
            fit()
        text = str(raised.value)
        assert reason in text.splitlines()[0]
        assert text.count(reason) == 1 + text.count(f'"{reason}') + text.count(f'f"{reason}')  # and in quoted source
        assert text.count("Traceback") == 1
        assert "misconfigured" not in text


def test_several_reasons_are_told_with_their_number():
    X, y = np.arange(20.0)[:, None], np.arange(20) % 2

    class Moody(FailsOn):
        def fit(self, X, y):
            raise RuntimeError(f"the first row is {X[0, 0] > 0}")

    reasons = "RuntimeError: the first row is {} (1 fits)\nRuntimeError: the first row is {} (3 fits)\n\nAll the 4 fits"
    with pytest.raises(ValueError, match=f"^{re.escape(reasons.format(True, False))}"):
        lc.cross_validate(Moody(), X, y, cv=lc.KFold(4))
