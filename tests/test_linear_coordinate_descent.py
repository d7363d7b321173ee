"""Coordinate descent reaches the minimum of every smooth loss and penalty, with zeros that are exact."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression
from sklearn.preprocessing import PolynomialFeatures, scale

from lifecycle._threads import threads
from lifecycle.linear import coordinate_descent, training
from lifecycle.linear.coordinate_descent import columns, rows_loss
from lifecycle.losses import find_loss
from lifecycle.solvers import coordinate_descent as solver
from lifecycle.solvers.coordinate_descent import penalty_gap

from . import linear_models
from .data import cancer, diabetes, digits, wine
from .linear_models import (
    CLASSIFICATION,
    LOSSES,
    assert_close_to_largest,
    assert_same_bits,
    kfold_rows,
    make_model,
    objective,
    signed_targets,
)

SMOOTH = [name for name, loss in LOSSES.items() if loss.smooth]


def make(loss, **arguments):
    arguments = {"optimizer": "coordinate_descent", "penalty": "l1", "alpha": 0.02, "tol": 1e-10, **arguments}
    return make_model(loss, epsilon=20.0, max_iter=300, **arguments)


def null_loss(loss, y):
    """The loss of zero coefficients: the unit of tol."""
    return linear_models.null_loss(loss, y) if loss != "huber" else float(LOSSES[loss].value(y, y.mean(), 20.0).mean())


def violation(model, X, y, sample_weight=None):
    """How far 0 is from the subdifferential of the objective, relative to the largest gradient of a row's loss."""
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    z = X @ np.atleast_2d(model.coef_).T + model.intercept_
    if model.loss not in CLASSIFICATION:
        dloss = find_loss(model.loss, "regression").dloss(y[:, None], z, model.epsilon)
    else:
        codes = np.searchsorted(model.classes_, y)
        dloss = LOSSES[model.loss].dloss(signed_targets(codes, z), z, 0.0)
        if model.loss == "log_loss" and z.shape[1] > 1:
            dloss = softmax(z, axis=1) - (codes[:, None] == np.arange(z.shape[1]))
    dloss = dloss * (weights / weights.sum())[:, None]
    coef, share = np.atleast_2d(model.coef_), {"l1": 1.0, "elasticnet": model.l1_ratio}.get(model.penalty, 0.0)
    l1, l2 = model.alpha * share, model.alpha * (1.0 - share) if model.penalty else 0.0
    slope = (X.T @ dloss).T + l2 * coef
    distance = np.where(coef != 0, np.abs(slope + l1 * np.sign(coef)), np.maximum(np.abs(slope) - l1, 0.0))
    unit = np.abs(X).T @ np.abs(dloss)
    by_intercept = np.abs(dloss.sum(axis=0)) / np.abs(dloss).sum(axis=0) if model.fit_intercept else np.zeros(1)
    return max(distance.max() / unit.max(), by_intercept.max())


# -- the same minimum -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("by", ["moments", "rows", "columns"])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_squared_error_is_lasso_and_elastic_net(penalty, by, fit_intercept, kind, monkeypatch):
    monkeypatch.setattr(coordinate_descent, "_MAX_MOMENTS", 2000 if by == "moments" else 0)
    monkeypatch.setattr(rows_loss, "_MAX_GRAM", 0 if by == "columns" else 1500)
    monkeypatch.setattr(columns, "_MIN_DENSITY", 0.0)
    X, y = diabetes()
    weights = np.random.RandomState(0).uniform(0.0, 2.0, len(y))
    for alpha in (30.0, 3.0, 0.1):
        model = make(
            "squared_error", penalty=penalty, alpha=alpha, l1_ratio=0.5, fit_intercept=fit_intercept, tol=1e-13
        )
        model.fit(kind(X), y, weights)
        options = {"alpha": alpha, "fit_intercept": fit_intercept, "tol": 1e-13, "max_iter": 100_000}
        twin = Lasso(**options) if penalty == "l1" else ElasticNet(l1_ratio=0.5, **options)
        twin.fit(X, y, weights)
        assert_close_to_largest(model.coef_, twin.coef_, 1e-6)
        np.testing.assert_allclose(model.intercept_, twin.intercept_, atol=1e-5)
        np.testing.assert_array_equal(model.coef_ == 0, twin.coef_ == 0)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("max_gram", [1500, 0], ids=["gram", "columns"])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("data", [cancer, wine], ids=["two classes", "three classes"])
def test_log_loss_is_logistic_regression_with_an_l1_term(data, l1_ratio, max_gram, kind, monkeypatch):
    monkeypatch.setattr(rows_loss, "_MAX_GRAM", max_gram)
    monkeypatch.setattr(columns, "_MIN_DENSITY", 0.0)
    X, y = data()
    model = make("log_loss", penalty="elasticnet", l1_ratio=l1_ratio, alpha=0.02).fit(kind(X), y)
    options = {"solver": "saga", "tol": 1e-9, "max_iter": 50_000, "random_state": 0}
    twin = LogisticRegression(C=1 / (len(y) * 0.02), l1_ratio=l1_ratio, **options).fit(X, y)
    assert_close_to_largest(model.coef_, twin.coef_, 1e-4)
    np.testing.assert_array_equal(model.coef_ == 0, np.abs(twin.coef_) < 1e-8)
    np.testing.assert_allclose(model.predict_proba(X), twin.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("max_gram", [1500, 0], ids=["gram", "columns"])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet", "l2"])
@pytest.mark.parametrize("loss", SMOOTH)
def test_the_subgradient_condition_holds_at_the_end(loss, penalty, max_gram, kind, monkeypatch):
    monkeypatch.setattr(rows_loss, "_MAX_GRAM", max_gram)
    for X, y in [cancer(), wine()] if loss in CLASSIFICATION else [diabetes()]:
        weights = np.random.RandomState(0).uniform(0.0, 2.0, len(y))
        for fit_intercept in (True, False):
            model = make(loss, penalty=penalty, fit_intercept=fit_intercept, l1_ratio=0.5, tol=1e-12)
            model.fit(kind(X), y, weights)
            assert violation(model, X, y, weights) < 1e-5


@pytest.mark.parametrize("loss", SMOOTH)
def test_raw_features_converge(loss):
    from sklearn.datasets import load_breast_cancer, load_wine

    for load in (load_breast_cancer, load_wine):
        X, y = load(return_X_y=True)
        y = y if loss in CLASSIFICATION else X[:, 3] + 20.0 * (y == 1)
        model = make(loss, tol=1e-8).fit(X[:, :3] if loss not in CLASSIFICATION else X, y)
        X = X[:, :3] if loss not in CLASSIFICATION else X
        assert violation(model, X, y) < 1e-4
        far = clone(model).fit(X + 1e5, y)
        assert objective(far, X + 1e5, y) - objective(model, X, y) < 1e-7 * null_loss(loss, y)


def test_collinear_features_need_no_more_than_a_few_iterations():
    X, y = diabetes()
    X = scale(PolynomialFeatures(3, include_bias=False).fit_transform(X))
    model = make("squared_error", alpha=0.05, tol=1e-8).fit(X, y)
    assert violation(model, X, y) < 1e-4
    assert 50 < np.count_nonzero(model.coef_) < 285


def test_more_features_than_rows():
    rng = np.random.RandomState(0)
    X = rng.randn(60, 500)
    y = X[:, :5].sum(axis=1) + 0.1 * rng.randn(60)
    model = make("squared_error", alpha=0.1).fit(X, y)
    twin = Lasso(alpha=0.1, tol=1e-12, max_iter=10_000).fit(X, y)
    assert_close_to_largest(model.coef_, twin.coef_, 1e-6)
    np.testing.assert_array_equal(model.coef_ == 0, twin.coef_ == 0)


def test_many_classes_along_a_path():
    X, y = digits()
    X, y, alphas = X[:400, ::2], y[:400], (0.2, 0.05, 0.01, 0.003)
    models = make("log_loss").fit_many(X, y, train=[np.arange(400)] * 4, params=[{"alpha": a} for a in alphas])
    n_nonzero = [np.count_nonzero(m.coef_) for m in models]
    assert n_nonzero == sorted(n_nonzero)
    for model in models:
        assert violation(model, X, y) < 1e-6


def test_a_strong_penalty_leaves_the_intercept_alone():
    X, y = cancer()
    model = make("log_loss", alpha=10.0).fit(X, y)
    assert not model.coef_.any()
    np.testing.assert_allclose(model.intercept_, np.log(y.mean() / (1 - y.mean())), rtol=1e-9)


@pytest.mark.parametrize("penalty", ["l2", None])
def test_without_l1_it_is_newton(penalty):
    X, y = diabetes()
    model, twin = (
        make("huber", penalty=penalty, alpha=0.5, optimizer=o, tol=1e-13) for o in ("coordinate_descent", "newton")
    )
    assert_close_to_largest(model.fit(X, y).coef_, twin.fit(X, y).coef_, 1e-5)


# -- the gap, warnings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@pytest.mark.parametrize("loss", SMOOTH)
def test_tol_bounds_the_gap(loss, penalty):
    for X, y in [cancer(), wine()] if loss in CLASSIFICATION else [diabetes()]:
        best = objective(make(loss, penalty=penalty).fit(X, y), X, y)
        for tol in (1e-1, 1e-2, 1e-3, 1e-5):
            gap = objective(make(loss, penalty=penalty, tol=tol).fit(X, y), X, y) - best
            assert -1e-9 <= gap / null_loss(loss, y) <= tol


def test_the_gap_is_a_bound_at_any_point():
    rng = np.random.RandomState(0)
    X, y = diabetes()
    y = y - y.mean()
    for l1, l2 in ((10.0, 0.0), (1.0, 0.1), (0.1, 10.0), (0.0, 1.0)):
        alpha, ratio = l1 + l2, l1 / (l1 + l2)
        best = make("squared_error", penalty="elasticnet", alpha=alpha, l1_ratio=ratio, tol=1e-13).fit(X, y)
        for spread in (0.0, 0.01, 1.0, 100.0):
            w = best.coef_ + spread * rng.randn(10) * (rng.uniform(size=10) < 0.7)
            residual = X @ w - y
            value = 0.5 * np.mean(residual**2)
            gap = penalty_gap(w, X.T @ residual / len(y), l1, l2, value, value)
            actual = value + l1 * np.abs(w).sum() + 0.5 * l2 * (w @ w) - objective(best, X, y)
            assert gap >= actual - 1e-9 * value
            assert gap <= 1e-6 * value or spread > 0


def test_too_few_iterations_are_said_with_the_gap_that_is_left():
    X, y = cancer()
    with pytest.warns(ConvergenceWarning, match=r"stopped at max_iter=1 .* above its minimum"):
        make_model("log_loss", optimizer="coordinate_descent", penalty="l1", max_iter=1, tol=1e-10).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_model("log_loss", optimizer="coordinate_descent", penalty="l1", max_iter=1, tol=None).fit(X, y)


def test_history_holds_the_objective():
    X, y = wine()
    for loss in ("log_loss", "squared_hinge"):
        model = make(loss).fit(X, y)
        assert model.history_[-1]["train_loss"] == pytest.approx(objective(model, X, y), rel=1e-9)
        assert model.n_iter_ == len(model.history_)


# -- many models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("loss", SMOOTH)
def test_many_is_one_by_one(loss, kind):
    X, y = wine() if loss in CLASSIFICATION else diabetes()
    X, tol = kind(X), 1e-4
    grid = [{"alpha": a, "l1_ratio": ratio} for a in (1.0, 0.1, 0.01) for ratio in (0.2, 1.0)]
    cells = [(rows, point) for rows in kfold_rows(len(y)) for point in grid]
    estimator = make(loss, penalty="elasticnet", tol=tol)
    train, params = [rows for rows, _ in cells], [point for _, point in cells]
    models = estimator.fit_many(X, y, train=train, params=params)
    with threads(1):
        for one, other in zip(models, estimator.fit_many(X, y, train=train, params=params), strict=True):
            assert_same_bits(one, other)
    for model, (rows, point) in zip(models, cells, strict=True):
        alone = clone(estimator).set_params(**point).fit(X[rows], y[rows])
        values = (objective(m, X[rows], y[rows]) for m in (model, alone))
        assert abs(np.subtract(*values)) <= 10 * tol * null_loss(loss, y[rows])


def test_a_warm_start_goes_on_from_the_last_coefficients():
    X, y = cancer()
    for loss in ("log_loss", "squared_hinge"):
        model = make(loss, warm_start=True, alpha=0.01).fit(X, y)
        before = model.coef_.copy()
        assert model.fit(X, y).n_iter_ == 1
        assert_close_to_largest(model.coef_, before, 1e-6)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_float32_is_as_near_as_its_rounding(loss, monkeypatch):
    monkeypatch.setattr(training, "_SMALL_TABLE", 0)
    X, y = wine() if loss == "log_loss" else diabetes()
    single = make(loss, tol=1e-8).fit(X.astype(np.float32), y)
    assert_close_to_largest(single.coef_, make(loss, tol=1e-8).fit(X, y).coef_, 1e-4)


def test_a_constant_column_of_a_sparse_table_stays_zero():
    rng = np.random.RandomState(0)
    X = np.hstack([rng.randn(200, 3), np.full((200, 1), 7.3)])
    y = X[:, 0] + 5.0 + 0.1 * rng.randn(200)
    for kind in (np.asarray, sparse.csr_array):
        model = make("huber", alpha=1e-3).fit(kind(X), y)
        assert model.coef_[3] == 0


def test_newton_steps_spare_sweeps(monkeypatch):
    X, y = diabetes()
    X = scale(PolynomialFeatures(2, include_bias=False).fit_transform(X))
    hessian, products = X.T @ X / len(y), X.T @ (y - y.mean()) / len(y)
    value, gram_sweeps, counts = 0.5 * np.var(y), solver.gram_sweeps, [0, 0]
    monkeypatch.setattr(solver, "_SWEEP_ELEMENTS", 0)
    monkeypatch.setattr(solver, "_ROUNDS", 1000)
    for i in range(2):

        def count(*arguments, i=i):
            counts[i] += 1
            return gram_sweeps(*arguments)

        monkeypatch.setattr(solver, "gram_sweeps", count)
        solver.minimize_gram(hessian, -products, np.zeros(65), solver.Quadratic(0.02, 0.0, value, 1e-9 * value))
        monkeypatch.setattr(solver, "_newton_on_support", lambda *_: True)
    assert 3 * counts[0] < counts[1]
