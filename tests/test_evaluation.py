"""evaluate against scikit-learn's metrics and scipy's Wilson interval."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from sklearn import metrics as sk
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from lifecycle.evaluation import Evaluation, evaluate
from lifecycle.evaluation.confusion import balanced_accuracy, f1_macro
from lifecycle.evaluation.log_loss import METHOD, METHOD_OF_FEW, log_loss
from lifecycle.evaluation.proportion import proportion_interval, wilson_interval
from lifecycle.evaluation.regression import regression_metrics
from lifecycle.evaluation.roc_auc import roc_auc


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
def test_the_interval_of_a_proportion_is_the_wider_of_wilsons_and_the_exact_one(k, n, level):
    wilson = binomtest(k, n).proportion_ci(level, method="wilson")
    np.testing.assert_allclose(wilson_interval(k / n, n, level), wilson, rtol=1e-12, atol=1e-15)
    exact = binomtest(k, n).proportion_ci(1 - 1.4 * (1 - level), method="exact") if level > 0.5 else wilson
    found = proportion_interval(k, n, level)
    if level > 0.5:
        expected = min(wilson.low, exact.low), max(wilson.high, exact.high)
        np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-9, atol=1e-15)
    assert found.value == k / n


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 20, 50, 300])
def test_the_interval_of_a_proportion_covers_every_proportion(n):
    """The exact coverage; that of Wilson's interval alone is as low as 0.8."""
    p = np.linspace(0.0005, 0.9995, 1000)
    ends = np.array([proportion_interval(k, n, 0.95)[1:3] for k in range(n + 1)])
    covered = (ends[:, :1] <= p) & (p <= ends[:, 1:])
    assert (binom.pmf(np.arange(n + 1)[:, None], n, p) * covered).sum(axis=0).min() >= 0.93


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
        assert found.low < found.high
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


def test_ties_in_the_probabilities(digits):
    model, X, y = digits
    p = np.round(model.predict_proba(X), 2) + 1e-3
    p /= p.sum(axis=1, keepdims=True)
    assert log_loss(y, p, range(10), 0.95).value == pytest.approx(sk.log_loss(y, p))
    assert roc_auc(y, p, range(10), 0.95).value == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
def test_intervals_of_many_rows_are_those_of_resampled_rows(load):
    """Away from the bounds all methods agree; of few errors the bootstrap is too narrow."""
    X, y, X_test, y_test = split(load)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=300)).fit(X, y)
    result, predicted, p = evaluate(model, X_test, y_test), model.predict(X_test), model.predict_proba(X_test)
    rng = np.random.RandomState(0)
    resampled = []
    for _ in range(150):
        rows = rng.randint(len(y_test), size=len(y_test))
        true = y_test[rows]
        scores = p[rows, 1] if p.shape[1] == 2 else p[rows]
        resampled.append(
            (
                sk.balanced_accuracy_score(true, predicted[rows]),
                sk.f1_score(true, predicted[rows], average="macro"),
                sk.log_loss(true, p[rows]),
                sk.roc_auc_score(true, scores, multi_class="ovr"),
            )
        )
    widths = np.ptp(np.percentile(resampled, [2.5, 97.5], axis=0), axis=0)
    for name, width in zip(["balanced_accuracy", "f1_macro", "log_loss", "roc_auc"], widths, strict=True):
        found = result.metrics[name]
        assert 0.8 * width < found.high - found.low < 2 * width, name


def test_ten_rows_all_right_have_intervals_that_do_not_collapse():
    y = np.repeat([0, 1], 5)
    model = Probabilities(np.where(y == 1, 0.9, 0.1) + np.linspace(0, 0.05, 10))
    metrics = evaluate(model, np.arange(10), y).metrics
    assert metrics["accuracy"].low == pytest.approx(0.72, abs=0.01)
    for name in ("accuracy", "balanced_accuracy", "f1_macro", "roc_auc"):
        found = metrics[name]
        assert (found.value, found.high) == (1.0, 1.0)
        assert 0.5 < found.low < 0.9, name
    assert 0 < metrics["log_loss"].low < metrics["log_loss"].value < metrics["log_loss"].high


class Probabilities:
    """A classifier of two classes whose probabilities of the second are given; X are row numbers."""

    classes_ = np.array([0, 1])

    def __init__(self, p):
        self.p = np.asarray(p, float)

    def predict_proba(self, X):
        return np.c_[1 - self.p[X], self.p[X]]

    def predict(self, X):
        return (self.p[X] > 0.5).astype(int)


NO_CLASS = "no interval: no row has the class 1"


@pytest.mark.parametrize(
    ("y", "p", "sentences"),
    [
        (
            [0] * 10,
            np.linspace(0.1, 0.4, 10),
            {
                "balanced_accuracy": NO_CLASS,
                "f1_macro": NO_CLASS,
                "log_loss": NO_CLASS,
                "roc_auc": "no interval: all rows have the class 0",
            },
        ),
        (
            [0] * 9 + [1],
            np.linspace(0.1, 0.9, 10),
            {"roc_auc": "no interval: one row has the class 1, two are needed"},
        ),
        ([0, 1] * 5, np.full(10, 0.5), {"log_loss": "no interval: all rows have the same loss, which says nothing of"}),
    ],
)
def test_where_nothing_can_be_said_a_sentence_takes_the_place_of_the_interval(y, p, sentences):
    result = evaluate(Probabilities(p), np.arange(10), np.array(y))
    for name, estimate in result.metrics.items():
        if name in sentences:
            assert estimate.method.startswith(sentences[name])
            assert np.isnan([estimate.low, estimate.high]).all()
        else:
            assert estimate.low < estimate.high
    assert "none" in repr(result)


@pytest.mark.parametrize(
    ("y", "predicted", "sentences"),
    [
        ([1.0, 2.0, 3.0], [1.1, 2.2, 3.1], dict.fromkeys(["r2", "rmse", "mae"], "there are 3 rows, four are needed")),
        ([1.0, 2.0, 3.0, 5.0], [1.0, 2.0, 3.0, 5.0], dict.fromkeys(["r2", "rmse", "mae"], "every prediction is exact")),
        ([1.0, 2.0, 3.0, 5.0], [1.0, 2.0, 3.0, 4.0], {"rmse": "it is decided by a single row"}),
        ([2.0] * 5, [1.0, 2.0, 1.5, 4.0, 2.5], {"r2": "y has the same value in all rows"}),
        ([2.0] * 4 + [3.0], [1.0, 2.1, 1.5, 4.0, 2.5], {"r2": "it is decided by a single row"}),
    ],
)
def test_regression_metrics_of_which_nothing_can_be_said(y, predicted, sentences):
    metrics = regression_metrics(np.array(y)[:, None], np.array(predicted)[:, None], 0.95)
    for name, sentence in sentences.items():
        assert metrics[name].method.startswith(f"no interval: {sentence}")
        assert np.isnan([metrics[name].low, metrics[name].high]).all()


def test_balanced_accuracy_combines_the_recalls_by_the_formula():
    recalls = [proportion_interval(9, 10, 0.95), proportion_interval(3, 4, 0.95)]
    found = balanced_accuracy(recalls, ["a", "b"])
    assert found.value == pytest.approx((0.9 + 0.75) / 2)
    assert found.low == pytest.approx(found.value - np.hypot(*[r.value - r.low for r in recalls]) / 2)
    assert found.high == pytest.approx(found.value + np.hypot(*[r.high - r.value for r in recalls]) / 2)


def test_f1_of_errors_that_both_classes_share_moves_as_one():
    """Of two classes the errors are the same ones: the distances add up, nearly, where there are few."""
    matrix = np.array([[40, 1], [1, 40]])
    one = proportion_interval(40, 42, 0.95)
    to_f1 = [2 * end / (1 + end) for end in one[:3]]
    found = f1_macro(matrix, ["a", "b"], 0.95)
    assert found.value == pytest.approx(to_f1[0])
    assert found.low == pytest.approx(to_f1[1], abs=0.05 * (to_f1[0] - to_f1[1]))


def test_the_variance_of_delong_is_that_of_the_formula():
    """Against sums over all pairs, with the interval where it is the widest: unequal spreads, many rows."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 200])
    scores = np.where(y == 1, rng.normal(1, 3, 500), rng.normal(0, 1, 500))
    pairs = (scores[y == 1][:, None] > scores[y == 0]) + 0.5 * (scores[y == 1][:, None] == scores[y == 0])
    area = pairs.mean()
    error = np.sqrt(pairs.mean(axis=1).var(ddof=1) / 200 + pairs.mean(axis=0).var(ddof=1) / 300)
    half = 1.97 * error / (area * (1 - area))
    found = roc_auc(y, np.c_[-scores, scores], [0, 1], 0.95)
    assert found.value == pytest.approx(area)
    logit = np.log(area / (1 - area)) + np.array([-half, half])
    np.testing.assert_allclose([found.low, found.high], 1 / (1 + np.exp(-logit)), atol=2e-3)


def test_log_loss_of_few_informative_rows_is_widened():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    for separation, method in ((1.0, METHOD), (5.0, METHOD_OF_FEW)):
        z = separation * (rng.normal(size=400) + separation * (y - 0.5))
        p = 1 / (1 + np.exp(-z))
        assert log_loss(y, np.c_[1 - p, p], [0, 1], 0.95).method == method


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
    assert result.metrics["balanced_accuracy"].method == "no interval: no row has the class 2"
    assert np.isfinite(result.metrics["roc_auc"].value)


def test_repr_frame_and_plot(digits):
    result = evaluate(*digits)
    assert isinstance(result, Evaluation)
    assert "Wilson" in repr(result)
    assert "MOVER" in repr(result)
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


def test_latencies_are_measured_in_turn_with_their_spread():
    from lifecycle.evaluation.latency import measure_latency

    calls = []

    class Model:
        def __init__(self, name):
            self.name = name

        def predict(self, X):
            calls.append(self.name)
            return np.zeros(len(X))

    latencies = measure_latency([Model("a"), Model("b")], np.zeros((300, 2)))
    assert calls.count("a") == calls.count("b") == 2 * (1 + 50)
    assert {tuple(sorted(pair)) for pair in zip(calls[::2], calls[1::2], strict=True)} == {("a", "b")}
    for latency in latencies:
        assert latency.batch_size == 256
        assert latency.row_quartiles[0] <= latency.row <= latency.row_quartiles[1]
        assert "quartiles" in str(latency)
