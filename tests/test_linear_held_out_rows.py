"""Rows that a model is not trained on do not change it, whatever they hold."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import lifecycle as lc

from .data import cancer, diabetes
from .linear_models import (
    CLASSIFICATION,
    SOLVER_CASES,
    assert_close_to_largest,
    assert_same_bits,
    assert_same_model,
    ignore_convergence,
    kfold_rows,
    make_model,
)


@ignore_convergence
@pytest.mark.parametrize("batch_size", ["auto", 7])
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), SOLVER_CASES)
def test_rows_outside_of_its_training_set_do_not_change_a_model(loss, penalty, optimizer, batch_size):
    if batch_size != "auto" and optimizer not in ("sgd", "adam"):
        pytest.skip("all rows at once")
    X, y = cancer() if loss in CLASSIFICATION else diabetes()
    X, y = X[:150, :5].copy(), y[:150].copy()
    trained = np.arange(150) % 3 > 0
    train = [np.flatnonzero(trained & (np.arange(150) % 4 != k)) for k in range(4)]
    estimator = make_model(loss, penalty=penalty, optimizer=optimizer, batch_size=batch_size, max_iter=100, tol=1e-6)
    params = [{"alpha": a} for a in (1e-3, 0.1, 1.0, 0.01)]
    weights = np.random.RandomState(0).uniform(0.5, 2.0, 150)
    before = estimator.fit_many(X, y, train=train, params=params, sample_weight=weights)
    rng = np.random.RandomState(3)
    X[~trained], weights[~trained] = 1e6 * rng.randn((~trained).sum(), 5), 1e3
    y[~trained] = rng.permutation(y[~trained]) if loss in CLASSIFICATION else 1e6 * rng.randn((~trained).sum())
    after = estimator.fit_many(X, y, train=train, params=params, sample_weight=weights)
    for one, other in zip(after, before, strict=True):
        if optimizer in ("newton", "exact"):
            assert_same_model(one, other, 1e-6)
        else:
            assert_same_bits(one, other)


@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton"])
@pytest.mark.parametrize(("dtype", "mean", "outlier"), [(np.float32, 2000.0, 1e6), (np.float64, 1e7, 1e12)])
def test_an_outlier_that_no_model_is_trained_on_changes_no_bit(optimizer, dtype, mean, outlier):
    rng = np.random.RandomState(0)
    X = (rng.randn(12_000, 100) + mean).astype(dtype)
    y = X[:, 0] + X[:, 1] - 2 * mean > rng.logistic(size=len(X))
    train = [np.arange(1, 9000), np.arange(3000, 12_000)]
    model = make_model("log_loss", optimizer=optimizer, alpha=1e-3, max_iter=3, tol=None)
    before = model.fit_many(X, y, train=train, params=[{}] * 2)
    X[0] = outlier
    for one, other in zip(before, model.fit_many(X, y, train=train, params=[{}] * 2), strict=True):
        np.testing.assert_array_equal(one.coef_, other.coef_)


@pytest.mark.parametrize("max_iter", [1, 2, 5])
def test_newton_that_stops_before_it_converges_has_not_used_held_out_rows(max_iter):
    rng = np.random.RandomState(0)
    X, y = rng.randn(200, 50), rng.randint(0, 2, 200)
    train = [train for train, _ in lc.StratifiedKFold(5).split(X, y)]
    model = lc.LinearClassifier(optimizer="newton", alpha=1e-3, max_iter=max_iter, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for fitted, rows in zip(model.fit_many(X, y, train=train, params=[{}] * 5), train, strict=True):
            one = clone(model).fit(X[rows], y[rows])
            np.testing.assert_allclose(fitted.coef_, one.coef_, rtol=1e-6, atol=1e-6)


def test_newton_that_stops_early_on_many_rows_has_not_used_held_out_rows():
    rng = np.random.RandomState(0)
    X, y = rng.randn(20_000, 4), rng.randint(0, 2, 20_000)
    train = kfold_rows(len(X), 4)
    changed = X.copy()
    changed[:5000] = 100.0 * rng.randn(5000, 4)  # the first fold's held-out rows
    model = lc.LinearClassifier(optimizer="newton", max_iter=1, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        before, after = (model.fit_many(table, y, train=train, params=[{}] * 4)[0] for table in (X, changed))
    assert before.n_iter_ == 1
    assert_close_to_largest(after.coef_, before.coef_, 1e-6)


@pytest.mark.parametrize(
    ("loss", "alpha"), [("squared_error", 1e-6), ("squared_hinge", 1e-6), ("modified_huber", 1e-4)]
)
def test_newton_with_fewer_rows_than_features_learns_nothing_of_held_out_noise(loss, alpha):
    rng = np.random.RandomState(1)
    X, y = rng.randn(120, 150), rng.randint(0, 2, 120)
    model, train = make_model(loss, optimizer="newton", alpha=alpha, max_iter=200), kfold_rows(len(X), 5)
    for fitted, rows in zip(model.fit_many(X, y, train=train, params=[{}] * 5), train, strict=True):
        assert_close_to_largest(fitted.coef_, clone(model).fit(X[rows], y[rows]).coef_, 1e-6)
