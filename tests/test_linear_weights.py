"""Sample weights and class weights."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import lifecycle as lc

from .data import cancer, wine
from .linear_models import make_model


@pytest.mark.parametrize("optimizer", ["newton", "gd", "exact"])
@pytest.mark.parametrize("estimator", [lc.LinearClassifier, lc.LinearRegressor])
def test_an_integer_weight_is_a_repetition(estimator, optimizer):
    if estimator is lc.LinearClassifier and optimizer == "exact":
        pytest.skip("for squared_error only")
    X, y = wine()
    counts = np.random.RandomState(0).randint(0, 3, len(X))
    model = estimator(alpha=0.1, optimizer=optimizer, tol=None, max_iter=20)
    weighted = clone(model).fit(X, y, counts)
    repeated = clone(model).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 3.0, "b": 1.0, "c": 0.5}])
def test_class_weight_multiplies_the_sample_weights(class_weight):
    X, codes = wine()
    labels = np.array(["a", "b", "c"])[codes]
    weights = np.random.RandomState(0).uniform(0.5, 2.0, len(X))
    model = lc.LinearClassifier(alpha=0.01, optimizer="newton", class_weight=class_weight).fit(X, labels, weights)
    if class_weight == "balanced":
        factor = weights.sum() / (3 * np.bincount(codes, weights))[codes]
    else:
        factor = np.array([3.0, 1.0, 0.5])[codes]
    unweighted = lc.LinearClassifier(alpha=0.01, optimizer="newton")
    multiplied = clone(unweighted).fit(X, labels, weights * factor)
    np.testing.assert_allclose(model.coef_, multiplied.coef_, rtol=1e-10)
    assert np.abs(model.coef_ - unweighted.fit(X, labels).coef_).max() > 0.01


@pytest.mark.parametrize("factor", [1e-310, 1e-60, 1e60, 1e306])
@pytest.mark.parametrize("optimizer", ["newton", "gd", "sgd"])
@pytest.mark.parametrize("form", [np.asarray, lambda X: sparse.csr_array(X.astype(np.float32))], ids=["dense", "CSR"])
def test_a_factor_of_all_weights_changes_nothing(optimizer, factor, form):
    X, y = cancer()
    weights = 1.0 + np.arange(len(y)) % 3
    tol = None if optimizer == "gd" else 1e-4  # rounding decides with which step "gd" ends
    model = make_model("log_loss", optimizer=optimizer, max_iter=1000, tol=tol)
    usual, extreme = (clone(model).fit(form(X), y, sample_weight=w) for w in (weights, weights * factor))
    np.testing.assert_allclose(extreme.coef_, usual.coef_, rtol=1e-6 if form is np.asarray else 1e-3)


def test_partial_fit_takes_weights_as_they_are():
    X, y = cancer()
    model = make_model("log_loss", optimizer="sgd", lr=1e-120, alpha=0.0)
    large = clone(model).partial_fit(X, y, classes=[0, 1], sample_weight=np.full(len(y), 1e118))
    usual = clone(model).set_params(lr=1e-2).partial_fit(X, y, classes=[0, 1])
    np.testing.assert_allclose(large.coef_, usual.coef_, rtol=1e-9)


def test_one_weight_is_that_of_all_rows_and_others_are_named():
    X, y = cancer()
    model = make_model("log_loss", optimizer="newton", max_iter=100)
    np.testing.assert_array_equal(model.fit(X, y, 2.0).coef_, clone(model).fit(X, y, np.full(len(y), 2.0)).coef_)
    for value, sentence in (
        (np.nan, "Input sample_weight is nan in row 3"),
        (np.inf, "Input sample_weight is inf in row 3"),
        (-np.inf, "sample_weight contains infinity"),
    ):
        weights = np.ones(len(y))
        weights[3] = value
        with pytest.raises(ValueError, match=sentence):
            model.fit(X, y, weights)
