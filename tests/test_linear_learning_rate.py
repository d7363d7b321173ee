"""Step sizes: what lr=None stands for, and that it needs no tuning."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import scale

import lifecycle as lc

from .data import cancer, diabetes, wine
from .linear_models import CLASSIFICATION, LOSSES, REGRESSION, make_model, null_loss, objective

NEEDS_NO_TUNING = ("gd", "sgd", "adam", "adamw", "newton", "exact")


@pytest.mark.parametrize("loss", [*CLASSIFICATION, *REGRESSION])
def test_every_optimizer_comes_near_the_best_objective_with_lr_none(loss):
    regression = loss in REGRESSION
    for X, y in [diabetes()] if regression else [cancer(), wine()]:
        reached = {}
        for optimizer in NEEDS_NO_TUNING:
            if optimizer == "exact" and loss != "squared_error":
                continue
            if optimizer == "newton" and not LOSSES[loss].smooth:
                continue
            estimator = lc.LinearRegressor if regression else lc.LinearClassifier
            model = estimator(loss, optimizer=optimizer, alpha=1e-3, random_state=0)
            if optimizer == "gd":  # many cheap epochs
                model.set_params(max_iter=3000, tol=1e-5)
            reached[optimizer] = objective(model.fit(X, y), X, y)
        tolerance = 0.02 * null_loss(loss, y)
        assert all(value <= min(reached.values()) + tolerance for value in reached.values()), reached
        if "newton" in reached:
            assert reached["newton"] <= min(reached.values()) + 1e-4 * null_loss(loss, y)


def test_lr_none_is_what_the_documentation_says():
    X, y = diabetes()
    X, y = scale(X[:50]), y[:50]  # few, as steps this long make rounding grow
    curvature = np.linalg.eigvalsh(X.T @ X / len(X))[-1]
    squared_norms = (X**2).sum(axis=1) + 1
    documented = {
        "gd": ({"optimizer": "gd"}, 1 / curvature),
        "sgd": ({}, 1 / squared_norms.max()),
        "sgd, bounded derivative": ({"loss": "epsilon_insensitive", "epsilon": 1.0}, y.std() / squared_norms.mean()),
        "sgd, smooth with a bounded derivative": ({"loss": "huber", "epsilon": 1.0}, 1 / squared_norms.mean()),
        "adam": ({"optimizer": "adam"}, 0.1 * y.std()),  # the features have variance 1
    }
    for arguments, lr in documented.values():
        arguments = {"optimizer": "sgd", "max_iter": 1, "tol": None, "random_state": 0, **arguments}
        automatic, given = (lc.LinearRegressor(lr=step_size, **arguments).fit(X, y) for step_size in (None, lr))
        np.testing.assert_allclose(automatic.coef_, given.coef_, rtol=1e-9)


@pytest.mark.parametrize("loss", ["huber", "epsilon_insensitive"])
def test_lr_none_does_not_depend_on_the_mean_of_y(loss):
    X, y = diabetes()
    near = lc.LinearRegressor(loss, random_state=0).fit(X, y)
    far = lc.LinearRegressor(loss, random_state=0).fit(X, y + 1e6)
    np.testing.assert_allclose(far.coef_, near.coef_, rtol=0.05, atol=1.0)
    assert far.intercept_ - 1e6 == pytest.approx(near.intercept_, rel=0.02)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_gd_does_not_depend_on_the_unit_of_the_features(loss, unit):
    X, y = cancer() if loss == "log_loss" else diabetes()
    arguments = {"alpha": 0.01 * unit**2, "tol": 1e-9, "max_iter": 5000}
    newton, gd = (make_model(loss, optimizer=name, **arguments).fit(X * unit, y) for name in ("newton", "gd"))
    np.testing.assert_allclose(gd.coef_, newton.coef_, rtol=0, atol=2e-3 * np.abs(newton.coef_).max())


def test_a_model_of_a_fold_takes_the_step_size_that_was_given():
    rng = np.random.RandomState(0)
    X, rows = rng.randn(300, 4), np.arange(0, 300, 10)
    y = X @ rng.randn(4) + 0.1 * rng.randn(300)
    estimator = lc.LinearRegressor(lr=0.01, alpha=0.0, shuffle=False, max_iter=3, tol=None)
    (model,) = estimator.fit_many(X, y, train=[rows], params=[{}])
    np.testing.assert_allclose(model.coef_, clone(estimator).fit(X[rows], y[rows]).coef_, rtol=1e-9)
    mask = np.isin(np.arange(300), rows)
    np.testing.assert_allclose(clone(estimator).fit(X, y, mask * 1.0).coef_, model.coef_, rtol=1e-9)
