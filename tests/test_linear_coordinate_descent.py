"""Coordinate descent: minima with exact zeros, as scikit-learn's solvers find them."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import ElasticNet, LogisticRegression

import lifecycle as lc
from lifecycle.losses import find_loss

from .data import cancer, diabetes, wine
from .linear_models import CLASSIFICATION, assert_close_to_largest, kfold_rows, make_model, null_loss, objective

KINDS = pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
LOSSES = ["log_loss", "squared_hinge", "modified_huber", "squared_error", "huber"]


def data_for(loss, n_classes=2):
    """Raw features: units from 0.01 to 1,000."""
    X, y = wine() if n_classes == 3 else cancer() if loss in CLASSIFICATION else diabetes()
    return X[:150] * np.logspace(-2, 3, X.shape[1]), y[:150]


def subgradient_residual(model, X, y, weights):
    """The largest violation of the optimality conditions of each output, relative to alpha."""
    loss, z = find_loss(model.loss, "classification" if hasattr(model, "classes_") else "regression"), None
    coef = np.atleast_2d(model.coef_)
    z = X @ coef.T + model.intercept_
    if not hasattr(model, "classes_"):
        dloss = loss.dloss(y[:, None], z, model.epsilon)
    elif z.shape[1] > 1 and model.loss == "log_loss":
        dloss = model.predict_proba(X) - (y[:, None] == model.classes_)
    else:
        signs = np.where(
            y[:, None] == model.classes_[1:] if z.shape[1] == 1 else y[:, None] == model.classes_, 1.0, -1.0
        )
        dloss = loss.dloss(signs, z, 0.1)
    gradient = (dloss * weights[:, None]).T @ X / weights.sum() + model.alpha * (1 - model.l1_ratio) * coef
    l1 = model.alpha * model.l1_ratio
    held = np.maximum(np.abs(gradient) - l1, 0.0)
    scale = np.sqrt((X**2).mean(axis=0))  # a gradient is in the unit of its feature
    return (np.where(coef == 0.0, held, np.abs(gradient + l1 * np.sign(coef))) / scale).max()


@KINDS
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    ("loss", "n_classes"), [*((loss, 2) for loss in LOSSES), ("log_loss", 3), ("squared_hinge", 3)]
)
def test_the_minimum_has_a_zero_subgradient(loss, n_classes, fit_intercept, kind):
    X, y = data_for(loss, n_classes)
    y = y / np.std(y) if loss not in CLASSIFICATION else y
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    model = make_model(loss, penalty="elasticnet", l1_ratio=0.7, alpha=0.02, optimizer="auto", tol=1e-13, max_iter=500,
                       epsilon=1.0, fit_intercept=fit_intercept)  # fmt: skip
    model.fit(kind(X), y, weights)
    assert model.solver_ == "coordinate_descent"
    assert 0 < np.count_nonzero(model.coef_ == 0.0) < model.coef_.size
    assert subgradient_residual(model, X, y, weights) <= 1e-5


@KINDS
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("alpha", [0.03, 1.0, 10.0])
def test_squared_error_is_elastic_net(alpha, l1_ratio, kind):
    X, y = diabetes()
    model = lc.LinearRegressor(penalty="elasticnet", l1_ratio=l1_ratio, alpha=alpha, tol=1e-12).fit(kind(X), y)
    twin = ElasticNet(alpha, l1_ratio=l1_ratio, tol=1e-12, max_iter=100_000).fit(X, y)
    assert_close_to_largest(model.coef_, twin.coef_, 1e-6)
    np.testing.assert_array_equal(model.coef_ == 0.0, twin.coef_ == 0.0)


@KINDS
def test_log_loss_has_the_zeros_of_liblinear(kind):
    X, y = cancer()
    model = lc.LinearClassifier(penalty="l1", alpha=0.01, fit_intercept=False, tol=1e-10).fit(kind(X), y)
    twin = LogisticRegression(C=100 / len(y), l1_ratio=1.0, solver="liblinear", fit_intercept=False, tol=1e-10,
                              max_iter=10_000).fit(X, y)  # fmt: skip
    assert_close_to_largest(model.coef_, twin.coef_, 1e-4)
    np.testing.assert_array_equal(model.coef_ == 0.0, twin.coef_ == 0.0)


@pytest.mark.parametrize(("loss", "n_classes"), [("log_loss", 2), ("log_loss", 3), ("squared_error", 2), ("huber", 2)])
def test_many_models_are_within_tol_of_models_fitted_one_by_one(loss, n_classes):
    X, y = data_for(loss, n_classes)
    estimator = make_model(loss, penalty="l1", optimizer="coordinate_descent", tol=1e-5, max_iter=500)
    cells = [(rows, {"alpha": alpha}) for rows in kfold_rows(len(y)) for alpha in (1e-3, 1e-2, 1e-1)]
    many = estimator.fit_many(X, y, train=[rows for rows, _ in cells], params=[p for _, p in cells])
    for model, (rows, params) in zip(many, cells, strict=True):
        one = make_model(loss, penalty="l1", optimizer="coordinate_descent", tol=1e-5, max_iter=500, **params)
        one.fit(X[rows], y[rows])
        difference = objective(model, X[rows], y[rows]) - objective(one, X[rows], y[rows])
        assert abs(difference) <= 1e-5 * null_loss(loss, y[rows])


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_other_rows_leave_a_model_as_it_is(loss):
    X, y = data_for(loss)
    train, estimator = np.arange(100), make_model(loss, penalty="l1", optimizer="coordinate_descent", max_iter=500)
    expected = estimator.fit_many(X, y, train=[train], params=[{}])[0]
    X = X.copy()
    X[100:120], X[120:] = np.nan, 1e9
    np.testing.assert_array_equal(estimator.fit_many(X, y, train=[train], params=[{}])[0].coef_, expected.coef_)


def test_what_is_left_is_said():
    X, y = data_for("log_loss")
    with pytest.warns(match=r"stopped at max_iter=1 .* above its minimum"):
        lc.LinearClassifier(penalty="l1", alpha=1e-4, max_iter=1, tol=1e-10).fit(X, y)
