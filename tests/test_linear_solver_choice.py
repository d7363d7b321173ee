"""optimizer="auto" takes the solver that serves the loss, the penalty, the data and the arguments."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression

import lifecycle as lc
from lifecycle.linear import solver_choice

from .data import cancer, diabetes
from .linear_models import REGRESSION, ignore_convergence


@ignore_convergence
@pytest.mark.parametrize(
    ("loss", "arguments", "is_sparse", "solver"),
    [
        ("squared_error", {}, False, "exact"),
        ("squared_error", {"penalty": "l1"}, False, "coordinate_descent"),
        ("squared_error", {"penalty": "l1", "alpha": 0.0}, False, "exact"),
        ("huber", {}, False, "newton"),
        ("epsilon_insensitive", {}, False, "sgd"),
        ("log_loss", {}, False, "newton"),
        ("log_loss", {}, True, "newton"),
        ("log_loss", {"penalty": None}, False, "newton"),
        ("log_loss", {"penalty": "l1"}, True, "coordinate_descent"),
        ("log_loss", {"penalty": "elasticnet", "l1_ratio": 0.0}, False, "newton"),
        ("hinge", {}, False, "sgd"),
        ("hinge", {"penalty": "l1"}, True, "gd"),
        ("log_loss", {"early_stopping": True}, False, "sgd"),
        ("log_loss", {"early_stopping": True, "penalty": "l1"}, True, "gd"),
        ("log_loss", {"average": True}, True, "gd"),
        ("log_loss", {"lr": 0.01}, False, "sgd"),
        ("log_loss", {"batch_size": 8}, False, "sgd"),
        ("log_loss", {"optimizer": "adam"}, False, "adam"),
        ("log_loss", {"optimizer": lc.SGD(lr=0.1)}, False, "sgd"),
    ],
)
def test_the_solver_follows_from_the_problem(loss, arguments, is_sparse, solver):
    X, y = diabetes() if loss in REGRESSION else cancer()
    estimator = (lc.LinearRegressor if loss in REGRESSION else lc.LinearClassifier)(loss, random_state=0, **arguments)
    X = sparse.csr_array(X) if is_sparse else X
    assert estimator.fit(X, y).solver_ == solver
    (many,) = estimator.fit_many(X, y, train=[np.arange(len(y))], params=[{}])
    assert many.solver_ == solver


def test_large_tables_of_squared_error_are_left_to_newton(monkeypatch):
    X, y = diabetes()
    exact = lc.LinearRegressor().fit(X, y)
    for limit in ("_MAX_EXACT_PRODUCTS", "_MAX_EXACT_ELEMENTS"):
        with monkeypatch.context() as patch:
            patch.setattr(solver_choice, limit, 10)
            model = lc.LinearRegressor(tol=1e-12).fit(X, y)
        assert model.solver_ == "newton"
        np.testing.assert_allclose(model.coef_, exact.coef_, rtol=1e-4)


def test_a_grid_may_hold_alpha_zero_and_all_penalties():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    grid = {"alpha": [0.0, 0.1], "penalty": ["l1", "l2", "elasticnet", None]}
    search = lc.GridSearchCV(lc.LinearRegressor(), grid, cv=3).fit(X, y)
    at_zero = search.cv_results_["mean_test_score"][search.cv_results_["param_alpha"] == 0.0]
    np.testing.assert_allclose(at_zero, at_zero[0], rtol=1e-9)
    model, twin = lc.LinearRegressor(penalty="l1", alpha=0.0).fit(X, y), LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.coef_, twin.coef_, rtol=1e-8)


def test_partial_fit_takes_steps_of_sgd():
    X, y = cancer()
    model = lc.LinearClassifier(random_state=0).partial_fit(X, y, classes=[0, 1])
    assert model.solver_ == "sgd"
    assert model.fit(X, y).solver_ == "newton"


@pytest.mark.parametrize(("load", "least"), [(load_wine, 0.95), (load_breast_cancer, 0.93)])
def test_raw_tables_need_no_scaling(load, least):
    X, y = load(return_X_y=True)
    folds = lc.StratifiedKFold(5, shuffle=True, random_state=0)
    assert lc.cross_validate(lc.LinearClassifier(), X, y, cv=folds)["test_score"].mean() >= least


def test_sgd_on_sparse_rows_says_that_one_column_stalls_it():
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="column 23 has most of the variance of all columns"):
        lc.LinearClassifier(early_stopping=True, random_state=0).fit(sparse.csr_array(X), y)


def test_what_batches_of_sparse_rows_cannot_have_is_told_with_what_can():
    X, y = cancer()
    with pytest.raises(ValueError, match=r"with batch_size='auto', optimizer='coordinate_descent', "):
        lc.LinearClassifier(penalty="l1", batch_size=8).fit(sparse.csr_array(X), y)
