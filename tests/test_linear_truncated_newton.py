"""Newton's method for many variables, whose products with Hessians take two products with X."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

import lifecycle as lc
from lifecycle.linear import newton
from lifecycle.linear.data.design_matrix import DesignMatrix
from lifecycle.linear.data.products import multiply, multiply_transposed
from lifecycle.linear.newton import truncated
from lifecycle.solvers import newton_cg
from lifecycle.solvers.convergence import Tolerances

from .data import cancer
from .linear_models import (
    CLASSIFICATION,
    assert_close_to_largest,
    assert_same_bits,
    kfold_rows,
    make_model,
    null_loss,
    objective,
)

KINDS = pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "csr"])


def wide(n_classes=2, n=120, p=1500):
    """More columns than rows, in units from 1e-2 to 1e2, a tenth of the elements not zero."""
    rng = np.random.default_rng(n_classes)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.1) * np.logspace(-2, 2, p)
    scores = (X / np.logspace(-2, 2, p)) @ rng.normal(size=(p, n_classes))
    return X, scores.argmax(axis=1), scores[:, 0]


@pytest.fixture
def always(monkeypatch):
    """The truncated method for models of few variables too."""
    monkeypatch.setattr(newton, "FEW_FEATURES", 0)


@KINDS
@pytest.mark.filterwarnings("ignore:.*ine .earch")  # of scikit-learn, at its last step
@pytest.mark.parametrize("n_classes", [2, 3])
def test_wide_log_loss_is_logistic_regression(kind, n_classes):
    X, y, _ = wide(n_classes)
    twin = LogisticRegression(C=1 / (len(y) * 0.01), tol=1e-12, solver="newton-cg", max_iter=2000).fit(X, y)
    model = lc.LinearClassifier(alpha=0.01, tol=1e-14).fit(kind(X), y)
    assert model.solver_ == "newton"
    assert_close_to_largest(model.coef_, twin.coef_, 1e-5)
    assert_close_to_largest(model.intercept_, twin.intercept_, 1e-5)


@KINDS
def test_wide_squared_error_is_ridge(kind):
    X, _, y = wide()
    model = lc.LinearRegressor(optimizer="newton", alpha=0.01, tol=1e-14).fit(kind(X), y)
    assert_close_to_largest(model.coef_, Ridge(len(y) * 0.01, tol=1e-12).fit(X, y).coef_, 1e-5)


@KINDS
@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge", "modified_huber", "huber", "squared_error"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_truncated_method_reaches_the_minimum_of_the_other(monkeypatch, kind, loss, fit_intercept):
    X, y = load_wine(return_X_y=True)
    weights = np.random.default_rng(0).uniform(0.0, 2.0, len(y))
    y = y if loss in CLASSIFICATION else X[:, 0]
    X, y = X[:, 1:], y.astype(float)
    model = make_model(loss, optimizer="newton", alpha=0.1, fit_intercept=fit_intercept, tol=1e-12, max_iter=500)
    expected = model.fit(X, y, weights)
    least = objective(expected, X, y, sample_weight=weights)
    monkeypatch.setattr(newton, "FEW_FEATURES", 0)
    for tol in (1e-4, 1e-10):
        fitted = make_model(loss, optimizer="newton", alpha=0.1, fit_intercept=fit_intercept, tol=tol, max_iter=500)
        fitted.fit(kind(X), y, weights)
        gap = objective(fitted, X, y, sample_weight=weights) - least
        assert -1e-10 <= gap / null_loss(loss, y, weights) <= tol


@KINDS
def test_many_wide_models_are_within_tol_of_models_fitted_one_by_one(kind):
    X, y, _ = wide(3)
    train, alphas = kfold_rows(len(y)), (1e-3, 1e-1)
    cells = [(rows, {"alpha": alpha}) for rows in train for alpha in alphas]
    many = lc.LinearClassifier().fit_many(kind(X), y, train=[r for r, _ in cells], params=[p for _, p in cells])
    for model, (rows, params) in zip(many, cells, strict=True):
        one = lc.LinearClassifier(**params).fit(kind(X)[rows], y[rows])
        difference = objective(model, X[rows], y[rows]) - objective(one, X[rows], y[rows])
        assert abs(difference) <= 1e-3 * np.log(3)


def test_the_number_of_threads_changes_no_bit():
    X, y, _ = wide(3)
    with lc.threads(1):
        expected = lc.LinearClassifier().fit_many(sparse.csr_array(X), y, train=kfold_rows(120, 5), params=[{}] * 5)
    with lc.threads(3):
        models = lc.LinearClassifier().fit_many(sparse.csr_array(X), y, train=kfold_rows(120, 5), params=[{}] * 5)
    for model, twin in zip(models, expected, strict=True):
        assert_same_bits(model, twin)


def test_other_rows_leave_a_wide_model_within_tol():
    X, y, _ = wide()
    train = np.arange(80)
    clean = lc.LinearClassifier().fit(X[train], y[train])
    X[100:] *= 1e9
    X[90:95] = np.nan
    (model,) = lc.LinearClassifier().fit_many(X, y, train=[train], params=[{}])
    assert abs(objective(model, X[train], y[train]) - objective(clean, X[train], y[train])) <= 1e-4 * np.log(2)


def test_models_in_batches_are_those_of_one_batch(monkeypatch):
    X, y, _ = wide(3)
    train = kfold_rows(120, 5)
    expected = lc.LinearClassifier().fit_many(X, y, train=train, params=[{}] * 5)
    monkeypatch.setattr(truncated, "_BATCH_ELEMENTS", 1)
    models = lc.LinearClassifier().fit_many(X, y, train=train, params=[{}] * 5)
    for model, twin, rows in zip(models, expected, train, strict=True):
        assert abs(objective(model, X[rows], y[rows]) - objective(twin, X[rows], y[rows])) <= 1e-4 * np.log(3)


@KINDS
@pytest.mark.parametrize(("loss", "epsilon"), [("huber", 0.01), ("modified_huber", 0.1)])
def test_a_loss_that_is_linear_at_the_start_reaches_its_minimum(always, kind, loss, epsilon):
    X, y = load_diabetes(return_X_y=True, scaled=False) if loss == "huber" else load_breast_cancer(return_X_y=True)
    X = X if loss == "huber" else X - 1e3  # scores of ±1e3 at first
    model, twin = (
        make_model(loss, optimizer=optimizer, epsilon=epsilon, alpha=1e-3, tol=tol, max_iter=500).fit(kind(X), y)
        for optimizer, tol in (("newton", 1e-4), ("coordinate_descent", 1e-9))
    )
    assert objective(model, X, y) - objective(twin, X, y) <= 1e-4 * null_loss(loss, y)


@pytest.mark.parametrize("arguments", [{"alpha": 0.0}, {"penalty": None}, {"penalty": "l1", "alpha": 0.0}])
def test_without_a_penalty_the_loss_of_separable_raw_tables_falls_to_tol(arguments):
    X, y = load_breast_cancer(return_X_y=True)
    for unit in (1.0, 1e6):
        model = lc.LinearClassifier(**arguments).fit(X * unit, y)  # a warning would fail
        assert model.solver_ == "newton"
        assert objective(model, X * unit, y) <= 1e-4 * np.log(2)


def test_huber_regression_of_a_raw_table_converges_within_max_iter():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    for unit, least in ((1.0, 4.41441), (1e3, 5287.65)):
        model = lc.LinearRegressor("huber").fit(X, y * unit)
        assert objective(model, X, y * unit) - least <= 1e-4 * null_loss("huber", y * unit)


def test_raw_features_of_many_classes_need_no_scaling():
    X, y = load_digits(return_X_y=True)
    model = lc.LinearClassifier().fit(X * np.logspace(-3, 3, 64), y)
    assert model.score(X * np.logspace(-3, 3, 64), y) > 0.99


def test_a_truncated_method_that_stops_early_says_what_is_left(always):
    X, y = cancer()
    with pytest.warns(match=r"stopped at max_iter=1 .* above its minimum"):
        lc.LinearClassifier(alpha=1e-6, max_iter=1).fit(X, y)


# -- products --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 8, 13, 21])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_with_sparse_rows_are_those_of_scipy(n, dtype):
    rng = np.random.default_rng(n)
    full = sparse.random_array((50, 25), density=0.2, rng=rng, dtype=np.float64)
    X = sparse.hstack([sparse.csr_array((50, 5)), full], format="csr")  # some columns hold no number
    rows = DesignMatrix(X).read_products(0, 50, None, dtype)
    vectors, of_rows = rng.normal(size=(n, 30)).astype(dtype), rng.normal(size=(n, 50)).astype(dtype)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    assert multiply(rows, vectors).dtype == dtype
    np.testing.assert_allclose(multiply(rows, vectors), (X @ vectors.T).T, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(multiply_transposed(rows, of_rows), (X.T @ of_rows.T).T, rtol=rtol, atol=rtol)


# -- the array solver ------------------------------------------------------------------------------------------------


class Quadratic:
    """½ xᵀHx − bᵀx of several functions."""

    def __init__(self, H, b, dtype=np.float64):
        self.H, self.b, self.dtype = H, b, dtype

    def evaluate(self, x, functions):
        product = np.einsum("mij,mj->mi", self.H[functions], x)
        return 0.5 * (x * product).sum(1) - (self.b[functions] * x).sum(1), product - self.b[functions]

    def hessian(self, x, functions):
        parent = self

        class Hessian:
            is_accurate = np.ones(len(functions), bool)

            def newton_direction(self, gradient, tolerance, progress):
                return newton_cg.conjugate_gradients(self, gradient, tolerance, progress)

            def estimate_decrease(self, r, places):
                return np.full(len(r), np.inf)

            def multiply(self, v, places):
                return np.einsum("mij,mj->mi", parent.H[functions[places]], v).astype(parent.dtype)

            def precondition(self, r, places):
                diagonal = np.diagonal(parent.H[functions[places]], axis1=1, axis2=2)
                return (r / diagonal).astype(parent.dtype)

        return Hessian()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_newton_cg_solves_quadratic_functions_of_any_scale(dtype):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(4, 30, 20)) * np.logspace(-3, 3, 20)
    H, b = np.einsum("mki,mkj->mij", A, A), rng.normal(size=(4, 20)) * np.logspace(-3, 3, 20)
    functions, x = Quadratic(H, b, dtype), np.zeros((4, 20))
    for iteration, last in enumerate(  # noqa: B007
        newton_cg.minimize(functions.evaluate, functions.hessian, x, np.array([0, 1, 3]), Tolerances(1e-14))
    ):
        assert iteration < 50
    assert last.converged.all()
    for m in (0, 1, 3):
        np.testing.assert_allclose(x[m], np.linalg.solve(H[m], b[m]), rtol=1e-4)
    assert not x[2].any()


class IllConditioned:
    """½ xᵀHx with eigenvalues from 1e-4 to 1, all of which are at least α."""

    alpha = 1e-4

    def __init__(self, has_estimate):
        self.has_estimate, self.n_products = has_estimate, 0
        basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(200, 200)))
        self.H = (basis * np.logspace(-4, 0, 200)) @ basis.T

    def multiply(self, v, places):
        self.n_products += 1
        return v @ self.H

    def precondition(self, r, places):
        return r.copy()

    def estimate_decrease(self, r, places):
        return 0.5 * (r**2).sum(axis=1) / self.alpha if self.has_estimate else np.full(len(r), np.inf)

    def direction(self, tolerance, progress=0.5):
        gradient = np.random.default_rng(1).normal(size=(1, 200))
        direction, solved = newton_cg.conjugate_gradients(self, gradient, np.array([tolerance]), np.array([progress]))
        residual = (-gradient - direction @ self.H)[0]
        return solved[0], 0.5 * residual @ np.linalg.solve(self.H, residual)


def test_directions_end_where_the_model_stalls_and_show_no_minimum():
    by_residual, stalled = IllConditioned(False), IllConditioned(True)
    assert by_residual.direction(1e-3)[0]
    assert not stalled.direction(1e-3)[0]
    assert stalled.n_products < by_residual.n_products / 2


def test_directions_end_where_little_is_left_to_gain():
    by_residual, by_estimate = IllConditioned(False), IllConditioned(True)
    solved, left = by_estimate.direction(1e4, progress=0.0)
    assert solved
    assert by_residual.direction(1e4, progress=0.0)[1] < left <= 1e4
    assert by_estimate.n_products < by_residual.n_products


@pytest.mark.parametrize("alpha", [0.0, 1e-12])
def test_features_that_depend_on_each_other_need_no_penalty(alpha):
    rng = np.random.RandomState(0)
    X, y = rng.standard_normal((600, 20)) @ rng.standard_normal((20, 60)), rng.randint(10, size=600)
    model = lc.LinearClassifier(alpha=alpha).fit(X, y)  # 610 variables, which Newton steps without Hessians solve
    twin = LogisticRegression(C=1e10, max_iter=5000).fit(X, y)
    losses = [log_loss(y, one.predict_proba(X)) for one in (model, twin)]
    assert losses[0] <= losses[1] + 1e-4 * np.log(10)
    assert np.abs(model.coef_).max() < 1.0
