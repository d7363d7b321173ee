"""Features of unusual scales, means and ranks give finite and accurate models."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_wine

import lifecycle as lc
from lifecycle.linear.data.design_matrix import DesignMatrix
from lifecycle.linear.data.sample_weights import SampleWeights
from lifecycle.linear.data.statistics import FeatureStatistics
from lifecycle.rules import list_rules

from .data import diabetes
from .linear_models import (
    assert_close_to_largest,
    ignore_convergence,
    make_model,
    null_loss,
    objective,
    train_small_tables_in_float32,
)

OPTIMIZERS = [*list_rules(), "newton", "exact"]
UNUSUAL = {
    "constant features": lambda rng: np.column_stack([rng.randn(30), np.full(30, 0.1), np.zeros(30)]),
    "only constant features": lambda rng: np.full((30, 2), 0.1),
    "one feature": lambda rng: rng.randn(30, 1),
    "fewer rows than features": lambda rng: rng.randn(8, 20),
    "a column twice": lambda rng: rng.randn(30, 1)[:, [0, 0]],
    "large values": lambda rng: rng.randn(30, 3) * 1e8,
    "small values": lambda rng: rng.randn(30, 3) * 1e-8,
    "different scales": lambda rng: rng.randn(30, 3) * [1e-6, 1.0, 1e6],
    "far from zero": lambda rng: rng.randn(30, 3) + 1e6,
}


@ignore_convergence
@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_features_give_finite_models_that_are_no_worse_than_a_constant(kind):
    rng = np.random.RandomState(0)
    X = UNUSUAL[kind](rng)
    y = X[:, 0] / np.abs(X[:, 0]).max() + 0.1 * rng.randn(len(X))
    labels = (y > np.median(y)) * 1
    for optimizer in OPTIMIZERS:
        for alpha in (0.0, 1e-4):
            models = [lc.LinearRegressor(optimizer=optimizer, alpha=alpha, random_state=0).fit(X, y)]
            if optimizer != "exact":
                models.append(lc.LinearClassifier(optimizer=optimizer, alpha=alpha, random_state=0).fit(X, labels))
            for model, target in zip(models, (y, labels), strict=False):
                where = (optimizer, alpha, type(model).__name__, model.coef_, model.intercept_)
                assert np.isfinite(model.coef_).all(), where
                assert np.isfinite(model.intercept_).all(), where
                assert objective(model, X, target) <= 1.005 * null_loss(model.loss, target), where
    if kind in ("constant features", "only constant features"):
        for optimizer in ("newton", "exact"):  # the rounding error of a mean is no feature
            model = lc.LinearRegressor(optimizer=optimizer, alpha=0.0).fit(X, y)
            assert np.abs(model.coef_).max() < 10, optimizer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_row_is_predicted_exactly(optimizer):
    model = lc.LinearRegressor(optimizer=optimizer, random_state=0).fit([[1.0, 2.0]], [3.0])
    assert model.predict([[1.0, 2.0]]) == pytest.approx([3.0])


def test_constant_features_do_not_change_the_intercept():
    y = np.arange(20) % 2
    train = [np.arange(10), np.arange(10, 20), np.arange(0, 20, 3)]
    constant = np.full((20, 2), 3.0)
    for X, fit_intercept in ((constant, True), (np.zeros((20, 2)), False)):
        for loss in ("log_loss", "squared_error"):
            estimator = make_model(loss, optimizer="newton", fit_intercept=fit_intercept, max_iter=100)
            for model, rows in zip(estimator.fit_many(X, y, train=train, params=[{}] * 3), train, strict=True):
                np.testing.assert_array_equal(model.coef_, 0.0)
                mean = y[rows].mean()
                expected = np.log(mean / (1 - mean)) if loss == "log_loss" else mean
                np.testing.assert_allclose(model.intercept_, expected if fit_intercept else 0.0, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["newton", "exact", "gd", "sgd"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_means_of_features_do_not_change_the_coefficients(optimizer, dtype):
    X, y = diabetes()
    X, y = X[:, :5] / X[:, :5].std(axis=0), (y - y.mean()) / y.std()
    means = np.array([0.0, 1.0, 3.5, 30.0, 1e6 if dtype == np.float64 else 100.0])  # in standard deviations
    folds = np.array_split(np.argsort(X[:, 0]), 4)  # whose centres differ
    train = [np.setdiff1d(np.arange(len(y)), fold) for fold in folds]
    model = make_model("squared_error", optimizer=optimizer, alpha=1e-3, max_iter=300, tol=None, shuffle=False)
    near, far = (model.fit_many(Z.astype(dtype), y, train=train, params=[{}] * 4) for Z in (X, X + means))
    for one, other in zip(near, far, strict=True):
        # single precision has lost digits of X itself
        assert_close_to_largest(other.coef_, one.coef_, 1e-6 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton"])
def test_in_float32_a_training_set_with_a_distant_mean_costs_the_others_no_digits(optimizer):
    rng = np.random.RandomState(0)
    X, groups = rng.randn(20_000, 60).astype(np.float32), np.arange(20_000) % 5
    y = X[:, 0] + X[:, 1] > rng.logistic(size=len(X))
    X[groups == 4] += 1000.0
    train = [np.flatnonzero(groups != k) for k in range(5)]
    model = make_model("log_loss", optimizer=optimizer, alpha=1e-3, max_iter=3 if optimizer == "sgd" else 50, tol=None)
    with_others = model.fit_many(X, y, train=train, params=[{}] * 5)[4]
    (alone,) = model.fit_many(X, y, train=[train[4]], params=[{}])
    assert_close_to_largest(with_others.coef_, alone.coef_, 1e-4)


@pytest.mark.parametrize("alpha", [0.0, 1e-4])
@pytest.mark.parametrize("scale", [1e10, 1e14, 1e18])
def test_exact_keeps_features_beside_one_of_a_far_larger_scale(scale, alpha):
    rng = np.random.RandomState(0)
    X = rng.randn(200, 3)
    y = X @ [1.0, -2.0, 0.5] + 0.1 * rng.randn(200)
    model = lc.LinearRegressor(optimizer="exact", alpha=alpha).fit(X * [scale, 1.0, 1.0], y)
    # the penalty of the large feature vanishes
    Z, target = X - X.mean(axis=0), y - y.mean()
    expected = np.linalg.solve(Z.T @ Z / 200 + np.diag([0.0, alpha, alpha]), Z.T @ target / 200)
    np.testing.assert_allclose(model.coef_ * [scale, 1.0, 1.0], expected, rtol=1e-9)


@pytest.mark.parametrize("epsilon", [0.1, 1.35, 10.0])
def test_steps_of_huber_do_not_overshoot_where_it_is_quadratic(epsilon):
    X, y = diabetes()
    model = lc.LinearRegressor("huber", optimizer="sgd", epsilon=epsilon, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, (other,) = model.fit(X, y), model.fit_many(X, y, train=[np.arange(len(y))], params=[{}])
        best = make_model("huber", optimizer="newton", epsilon=epsilon, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-9)  # steps that overshoot multiply rounding errors
    assert objective(one, X, y) <= 1.02 * objective(best, X, y)


def test_exact_does_not_fit_the_rounding_of_a_constant():
    rng = np.random.RandomState(0)
    A = rng.uniform(size=(300, 3))
    shares = (A / A.sum(axis=1, keepdims=True)).sum(axis=1)  # 1 up to rounding
    assert 0 < np.ptp(shares) < 1e-15
    y = A @ [1.0, 2.0, 3.0] + 0.1 * rng.randn(300)
    model = lc.LinearRegressor(optimizer="exact", alpha=0.0).fit(np.column_stack([A, shares]), y)
    np.testing.assert_allclose(
        model.coef_[:3], lc.LinearRegressor(optimizer="exact", alpha=0.0).fit(A, y).coef_, rtol=1e-9
    )
    assert abs(model.coef_[3]) < 1e-9


# -- the preconditioner of "sgd" -------------------------------------------------------------------------------------


@ignore_convergence
@pytest.mark.parametrize("arguments", [{}, {"batch_size": 4}, {"average": 500}, {"loss": "hinge", "penalty": "l1"}])
@pytest.mark.parametrize(("load", "accuracy"), [(load_wine, 0.95), (load_breast_cancer, 0.95)])
def test_sgd_needs_no_scaled_features(load, accuracy, arguments):
    X, y = load(return_X_y=True)
    estimator = lc.LinearClassifier(optimizer="sgd", random_state=0, **{"loss": "log_loss", **arguments})
    assert estimator.fit(X, y).score(X, y) > accuracy
    train = [rows for rows, _ in lc.StratifiedKFold(3).split(X, y)]
    for model in estimator.fit_many(X, y, train=train, params=[{}] * 3):
        assert model.score(X, y) > accuracy - 0.02


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge", "squared_error"])
@pytest.mark.parametrize("mean", [0.0, 1e5])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_steps_with_a_preconditioner_are_those_of_scaled_features(loss, mean, batch_size):
    rng = np.random.RandomState(0)
    X = (rng.randn(90, 4) + mean) * [1e-3, 1.0, 30.0, 1e3]
    y = X @ [1e3, -1.0, 0.03, 1e-3] - mean + 0.1 * rng.randn(90)
    y = y if loss == "squared_error" else (y > np.median(y)) * 1
    weights = SampleWeights(np.ones((90, 1)), np.float64)
    scale = FeatureStatistics(DesignMatrix(X), weights, True).preconditioner[0] ** -0.5
    np.testing.assert_allclose(scale / (X.std(axis=0) * 3**0.25), 1.0, atol=0.2)  # a normal distribution's
    arguments = {"optimizer": "sgd", "alpha": 0.0, "max_iter": 4, "tol": None, "batch_size": batch_size}
    for fit in (lambda m, X: m.fit(X, y), lambda m, X: m.fit_many(X, y, train=[np.arange(90)], params=[{}])[0]):
        raw, scaled = (fit(make_model(loss, **arguments), table) for table in (X, X / scale))
        assert_close_to_largest(raw.coef_ * scale, scaled.coef_, 1e-7)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet"])
def test_with_a_preconditioner_the_penalty_is_that_of_the_original_coefficients(penalty):
    X, y = diabetes()
    X, y = X[:, :4] * [0.02, 1.0, 1.0, 20.0], (y - y.mean()) / y.std()
    arguments = {"penalty": penalty, "alpha": 0.05, "tol": None}
    best = make_model("squared_error", optimizer="gd", **{**arguments, "max_iter": 20_000}).fit(X, y)
    for batch_size in (1, 3):
        model = make_model("squared_error", optimizer="sgd", batch_size=batch_size, max_iter=600, **arguments)
        for fitted in (model.fit(X, y), model.fit_many(X, y, train=[np.arange(len(y))], params=[{}])[0]):
            assert objective(fitted, X, y) <= objective(best, X, y) + 1e-3 * null_loss("squared_error", y)


def test_training_sets_with_and_without_a_preconditioner_are_trained_as_if_alone(monkeypatch):
    train_small_tables_in_float32(monkeypatch)
    rng = np.random.RandomState(0)
    X = rng.randn(400, 5)
    X[200:, 2] *= 1e4  # the second half has a preconditioner
    y, X = X[:, 0] > 0, X.astype(np.float32)
    train = [np.arange(200), np.arange(200, 400), np.arange(0, 400, 2)]
    model = make_model("log_loss", optimizer="sgd", shuffle=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = model.fit_many(X, y, train=train, params=[{}] * 3)
        for rows, fitted in zip(train, together, strict=True):
            (alone,) = model.fit_many(X, y, train=[rows], params=[{}])
            assert_close_to_largest(fitted.coef_, alone.coef_, 1e-6)


def test_standardized_features_have_no_preconditioner_however_rare_they_are():
    X = np.zeros((50_000, 12))
    X[::17, 0], X[3, 1] = 1.0, 1.0
    X[:, 2:] = np.random.RandomState(0).randn(50_000, 10)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    statistics = FeatureStatistics(DesignMatrix(X), SampleWeights(np.ones((50_000, 1)), np.float64), True)
    np.testing.assert_array_equal(statistics.preconditioner, 1.0)


def test_columns_that_vary_first_in_many_places_are_told_by_all_threads():
    generator, X = np.random.default_rng(0), np.zeros((8_000, 800))
    X[generator.integers(0, 8_000, size=(8, 800)), np.arange(800)] = 1.0
    weights, mean = SampleWeights(np.ones((8_000, 1)), np.float64), X.mean(axis=0)
    for _ in range(300):  # indices of an array that another thread changed were out of bounds in one of seventy
        center = FeatureStatistics(DesignMatrix(X), weights, True).center
        np.testing.assert_allclose(center[0], mean, rtol=1e-12)
