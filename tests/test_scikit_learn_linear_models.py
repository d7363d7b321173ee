"""scikit-learn's own linear models: compressed, stored and loaded."""

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.neural_network
import sklearn.svm
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)

import lifecycle as lc
from lifecycle.codecs import absmax, decode, encode
from lifecycle.store.adapters.sklearn import linear_models

from . import scikit_learn_models as models
from .scikit_learn_models import check_largest_stay, check_round_trip, quiet_fit

CLASSIFIERS = (*linear_models._CLASSIFIERS, "LinearSVC")


@pytest.fixture(scope="module")
def flowers():
    return models.flowers()


@pytest.fixture(scope="module")
def patients():
    return load_diabetes(return_X_y=True)


@pytest.fixture(scope="module")
def digits():
    return models.halves_of_digits()


@pytest.mark.parametrize("name", linear_models.CLASSES)
def test_every_linear_model_is_compressed_and_comes_back(name, flowers, patients, tmp_path):
    cls = getattr(sklearn.svm if name in ("LinearSVC", "LinearSVR") else sklearn.linear_model, name)
    X, y = flowers if name in CLASSIFIERS else patients
    if name.startswith("MultiTask"):
        y = np.stack([y, y + X[:, 0]], axis=1)
    model = quiet_fit(cls(**{"QuantileRegressor": {"alpha": 0.01}}.get(name, {})), X, y)
    before = model.coef_.copy()
    pruned, small = lc.prune(model, 0.4), lc.quantize(model)
    check_largest_stay(before, pruned.coef_, 0.4)
    codes, scales = encode(before, absmax.scales)
    np.testing.assert_array_equal(small.coef_, decode(codes, scales, 0, before.dtype))
    np.testing.assert_array_equal(model.coef_, before)
    for one in (model, pruned, small):
        check_round_trip(one, X, tmp_path)
    assert lc.size_of(small) < lc.size_of(lc.prune(model, 0.0))
    if name in CLASSIFIERS:
        labels = np.array(["left", "right"])[(y > 0).astype(int)]
        check_round_trip(quiet_fit(cls(), X, labels), X, tmp_path)


def test_what_a_fit_tells_comes_back_and_its_records_do_not(patients, tmp_path):
    X, y = patients
    again = check_round_trip(sklearn.linear_model.LassoCV(cv=3, max_iter=5000).fit(X, y), X, tmp_path)
    model = sklearn.linear_model.LassoCV(cv=3, max_iter=5000).fit(X, y)
    assert (again.alpha_, again.n_iter_, again.dual_gap_) == (model.alpha_, model.n_iter_, model.dual_gap_)
    assert not hasattr(again, "mse_path_")
    assert again.score(X, y) == model.score(X, y)
    positive = np.maximum(y, 1)
    for model in (PoissonRegressor(), TweedieRegressor(power=1.5, link="log"), TweedieRegressor(power=0)):
        model = quiet_fit(model, X, positive)
        assert check_round_trip(model, X, tmp_path).score(X, positive) == model.score(X, positive)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_several_targets_and_memory_orders(dtype, fit_intercept, patients, tmp_path):
    X = patients[0].astype(dtype)
    Y = np.stack([patients[1], X[:, 2], -X[:, 0]], axis=1).astype(dtype)
    for cls in (LinearRegression, Ridge, Lasso):
        model = cls(fit_intercept=fit_intercept).fit(X, Y)
        assert model.coef_.dtype == dtype
        again = check_round_trip(model, X, tmp_path)
        assert again.coef_.flags.f_contiguous == model.coef_.flags.f_contiguous
        assert type(again.intercept_) is type(model.intercept_)
        check_round_trip(cls(fit_intercept=fit_intercept).fit(X, Y[:, 0]), X, tmp_path)


def test_labels_of_several_kinds(flowers, tmp_path):
    X, y = flowers
    labels = [
        np.array([3, 5, 7])[y],
        y.astype(float),
        y > 0,
        np.array(["a", "b", "c"], dtype=object)[y],
        np.eye(3, dtype=int)[y],
    ]
    for target in labels:
        model = RidgeClassifier(class_weight="balanced").fit(X, target)
        again = check_round_trip(model, X, tmp_path)
        np.testing.assert_array_equal(again.classes_, model.classes_)
        assert again.score(X, target) == model.score(X, target)
    many = np.arange(150) % 40
    check_round_trip(RidgeClassifier().fit(X, many), X, tmp_path)


def test_names_of_features_come_back(flowers, tmp_path):
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(flowers[0], columns=["a", "b", "c", "d"])
    model = LogisticRegression().fit(X, flowers[1])
    again = check_round_trip(model, X, tmp_path)
    assert list(again.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        again.predict(X.rename(columns={"a": "z"}))
    refitted = clone(again).fit(X, flowers[1])
    np.testing.assert_array_equal(refitted.coef_, model.coef_)


def test_obs_keeps_more_of_a_logistic_regression_than_magnitude(digits):
    X, y, X_new, y_new = digits
    model = LogisticRegression(C=0.1, max_iter=500).fit(X, y)
    plain = lc.prune(model, 0.8)
    obs = lc.prune(model, 0.8, method="obs", calibration=X)
    assert (obs.coef_ == 0).sum() == (plain.coef_ == 0).sum() == 512
    assert obs.score(X_new, y_new) > plain.score(X_new, y_new) + 0.02
    rows = sparse.csr_array(X)
    np.testing.assert_allclose(lc.prune(model, 0.8, method="obs", calibration=rows).coef_, obs.coef_, atol=1e-5)
    gptq, nearest = lc.quantize(model, bits=4, method="gptq", calibration=X), lc.quantize(model, bits=4)
    decisions = model.decision_function(X_new)
    errors = [np.square(one.decision_function(X_new) - decisions).mean() for one in (gptq, nearest)]
    assert errors[0] < 0.7 * errors[1]


def test_partial_fit_goes_on_from_the_coefficients_that_are_left(flowers, patients, tmp_path):
    for cls, (X, y) in (
        (SGDClassifier, flowers),
        (SGDRegressor, patients),
        (SGDClassifier, (flowers[0], flowers[1] > 0)),
    ):
        for average in (False, True):
            model = cls(average=average, random_state=0, learning_rate="constant", eta0=1e-12).fit(X, y)
            pruned = lc.prune(model, 0.5)
            lc.save(pruned, tmp_path / "a")
            for one in (pruned, lc.load(tmp_path / "a")):
                before = one.coef_.copy()
                one.partial_fit(X, y)
                np.testing.assert_allclose(one.coef_, before, atol=1e-6)
                assert one.t_ == model.t_ + len(X)
