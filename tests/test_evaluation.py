"""evaluate against scikit-learn's metrics and scipy's Wilson interval."""

import numpy as np
import pytest
from lifecycle.evaluation.bootstrap import N_RESAMPLES, bootstrap_confusion
from lifecycle.evaluation.metrics import probability_metrics, regression_metrics
from lifecycle.evaluation.wilson import wilson_interval
from scipy.stats import binomtest
from sklearn import metrics as sk
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from lifecycle.evaluation import Evaluation, evaluate


def split(load):
    X, y = load(return_X_y=True)
    rows = np.random.RandomState(0).permutation(len(y))
    half = len(y) // 2
    return X[rows[:half]], y[rows[:half]], X[rows[half:]], y[rows[half:]]


@pytest.fixture(scope="module")
def digits():
    X, y, X_test, y_test = split(load_digits)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(X, y), X_test, y_test


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 40), (7, 9), (333, 1000), (1000, 1000)])
def test_wilson_is_scipys(k, n, level):
    expected = binomtest(k, n).proportion_ci(level, method="wilson")
    found = wilson_interval(k, n, level)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-12, atol=1e-15)
    assert found.value == k / n


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer, load_iris])
def test_classification_metrics_are_scikit_learns(load):
    X, y, X_test, y_test = split(load)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(X, y)
    result = evaluate(model, X_test, y_test)
    predicted, probabilities = model.predict(X_test), model.predict_proba(X_test)
    scores = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    expected = {
        "accuracy": sk.accuracy_score(y_test, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(y_test, predicted),
        "f1_macro": sk.f1_score(y_test, predicted, average="macro"),
        "log_loss": sk.log_loss(y_test, probabilities),
        "roc_auc": sk.roc_auc_score(y_test, scores, multi_class="ovr"),
    }
    assert list(result.metrics) == list(expected)
    for name, value in expected.items():
        found = result.metrics[name]
        assert found.value == pytest.approx(value, rel=1e-12), name
        assert found.low <= found.value <= found.high
        assert found.low < found.high or value == 1  # every pair in order, in every resample
        assert found.method
    np.testing.assert_array_equal(result.confusion_matrix, sk.confusion_matrix(y_test, predicted))
    recall = [estimate.value for estimate in result.recall.values()]
    np.testing.assert_allclose(recall, sk.recall_score(y_test, predicted, average=None))
    assert list(result.recall) == result.labels == sorted(set(y.tolist()))


def test_regression_metrics_are_scikit_learns():
    X, y, X_test, y_test = split(load_diabetes)
    for target, target_test in ((y, y_test), (np.c_[y, X[:, 0] + y**2], np.c_[y_test, X_test[:, 0] + y_test**2])):
        model = LinearRegression().fit(X, target)
        result, predicted = evaluate(model, X_test, target_test), model.predict(X_test)
        expected = {
            "r2": sk.r2_score(target_test, predicted),
            "rmse": sk.root_mean_squared_error(target_test, predicted),
            "mae": sk.mean_absolute_error(target_test, predicted),
        }
        assert result.task == "regression"
        for name, value in expected.items():
            assert result.metrics[name].value == pytest.approx(value, rel=1e-12)
            assert result.metrics[name].low < value < result.metrics[name].high


def test_row_counts_are_repeated_rows(digits):
    """The statistic that the bootstrap resamples equals scikit-learn's metric on the rows written out."""
    model, X, y = digits
    rng = np.random.RandomState(1)
    counts = np.bincount(rng.randint(len(y), size=len(y)), minlength=len(y))
    rows = np.repeat(np.arange(len(y)), counts)
    p = np.round(model.predict_proba(X), 2) + 1e-3  # ties
    p /= p.sum(axis=1, keepdims=True)
    loss, area = probability_metrics(y, p)(counts[None].astype(float))[0]
    assert loss == pytest.approx(sk.log_loss(y[rows], p[rows]))
    assert area == pytest.approx(sk.roc_auc_score(y[rows], p[rows], multi_class="ovr"))
    target, guess = np.c_[y, y**2].astype(float), np.c_[y + p[:, 0], y**2 - 3 * p[:, 1]]
    found = regression_metrics(target, guess)(counts[None].astype(float))[0]
    for value, metric in zip(found, (sk.r2_score, sk.root_mean_squared_error, sk.mean_absolute_error), strict=True):
        assert value == pytest.approx(metric(target[rows], guess[rows]))


def test_bootstrap_from_the_confusion_matrix_is_the_bootstrap_over_rows(digits):
    model, X, y = digits
    predicted = model.predict(X)
    rng = np.random.RandomState(0)
    resampled = []
    for _ in range(N_RESAMPLES):
        rows = rng.randint(len(y), size=len(y))
        resampled.append(sk.balanced_accuracy_score(y[rows], predicted[rows]))
    low, high = np.percentile(resampled, [2.5, 97.5])
    found = bootstrap_confusion(sk.confusion_matrix(y, predicted), 0.95)["balanced_accuracy"]
    width = high - low
    assert abs(found.low - low) < 0.15 * width
    assert abs(found.high - high) < 0.15 * width


def test_mean_interval_is_the_normal_one_for_many_rows():
    rng = np.random.RandomState(0)
    error = rng.laplace(size=5000)

    class Model:
        def predict(self, X):
            return np.zeros(len(X))

    found = evaluate(Model(), error[:, None], error).metrics["mae"]
    half = 1.96 * np.abs(error).std() / np.sqrt(len(error))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_calibration_adds_up(digits):
    model, X, y = digits
    result = evaluate(model, X, y)
    p = model.predict_proba(X)
    top, right = p.max(axis=1), model.predict(X) == y
    assert sum(b.count for b in result.calibration) == len(y)
    error = 0.0
    for b in result.calibration:
        inside = (top > b.low) & (top <= b.high)
        assert (b.count, b.accuracy.value) == (inside.sum(), right[inside].mean())
        error += inside.mean() * abs(top[inside].mean() - right[inside].mean())
    assert result.expected_calibration_error == pytest.approx(error)


def test_same_rows_same_intervals_and_wider_at_a_higher_level(digits):
    a, b = evaluate(*digits), evaluate(*digits)
    wide = evaluate(*digits, confidence_level=0.99)
    assert a.metrics == b.metrics
    for name, estimate in a.metrics.items():
        assert wide.metrics[name].low < estimate.low < estimate.high < wide.metrics[name].high


def test_strings_frames_and_models_without_probabilities():
    import pandas as pd

    X, y = load_iris(return_X_y=True, as_frame=True)
    names = pd.Series(np.array(["a<b>", "b", "c"])[y])
    result = evaluate(LinearSVC(max_iter=5000).fit(X, names), X, names)
    assert result.expected_calibration_error is None
    assert set(result.metrics) == {"accuracy", "balanced_accuracy", "f1_macro"}
    assert result.labels == ["a<b>", "b", "c"]
    assert "recall of a&lt;b&gt;" in result._repr_html_()


def test_a_class_that_the_test_rows_lack():
    X, y = load_iris(return_X_y=True)
    result = evaluate(LogisticRegression(max_iter=500).fit(X, y), X[:99], y[:99])
    assert np.isnan(result.recall[2].value)
    assert result.confusion_matrix.shape == (3, 3)
    assert result.metrics["balanced_accuracy"].value > 0.9
    assert np.isfinite(result.metrics["roc_auc"].value)


def test_repr_frame_and_plot(digits):
    result = evaluate(*digits)
    assert isinstance(result, Evaluation)
    assert "Wilson" in repr(result)
    assert "bootstrap" in repr(result)
    frame = result.to_frame()
    assert frame.loc["accuracy", "value"] == result.metrics["accuracy"].value
    assert frame.loc["recall of 3", "low"] == result.recall[3].low
    assert result.plot().get_xlabel() == "predicted"
    assert result.latency.batch_size == 256
    assert result.latency.row > 0
    X, y, X_test, y_test = split(load_diabetes)
    regressor = TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()).fit(X, y)
    assert evaluate(regressor, X_test, y_test).plot().get_ylabel() == "predicted"


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (dict(model=LogisticRegression), TypeError, "class LogisticRegression"),
        (dict(model=3), TypeError, "predict method"),
        (dict(model=LogisticRegression()), ValueError, "not fitted"),
        (dict(y=np.zeros(3, int)), ValueError, "but y has 3"),
        (dict(X=np.zeros((0, 64)), y=[]), ValueError, "at least one row"),
        (dict(confidence_level=1), ValueError, "confidence_level"),
        (dict(y=np.full(898, 77)), ValueError, "not trained on: 77"),
        (dict(y=np.zeros((898, 2), int)), ValueError, "one dimension"),
    ],
)
@pytest.mark.filterwarnings("default")
def test_bad_input(digits, change, error, sentence):
    model, X, y = digits
    X, y = X[:898], y[:898]
    with pytest.raises(error, match=sentence):
        evaluate(**{**dict(model=model, X=X, y=y), **change})


@pytest.mark.parametrize(
    ("y", "sentence"), [([1.0, np.nan], "missing"), (["a", "b"], "must be numbers"), ([None, 1.0], "missing")]
)
def test_bad_targets_of_a_regressor(y, sentence):
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(ValueError, match=sentence):
        evaluate(model, [[0.0], [1.0]], np.array(y, dtype=object) if None in y else y)


class Answers:
    """A model without tags, classes_ and predict_proba, that gives back X's first column."""

    def predict(self, X):
        return X[:, 0]


def test_whole_numbers_are_labels_only_where_the_model_answers_with_labels():
    y = np.arange(40) % 5
    assert evaluate(Answers(), (y + 0.25)[:, None], y).task == "regression"
    assert evaluate(Answers(), np.roll(y, 1)[:, None], y).task == "classification"
    with pytest.raises(ValueError, match="cannot tell whether this Answers is a classifier"):
        evaluate(Answers(), y[:, None] + 3, y)


def test_probabilities_that_are_no_numbers_are_refused(digits):
    model, X, y = digits

    class Lost:
        classes_ = model.classes_

        def predict(self, X):
            return model.predict(X)

        def predict_proba(self, X):
            return np.full((len(X), 10), np.nan)

    with pytest.raises(ValueError, match="NaN or infinite probabilities"):
        evaluate(Lost(), X, y)
