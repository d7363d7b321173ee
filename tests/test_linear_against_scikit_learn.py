"""Linear models reach the solutions of scikit-learn's solvers, fitted one by one and many in one pass.

Solvers whose answer does not depend on the order of the rows are compared by `fit` and by `fit_many`; the stochastic
ones by `fit`, as test_linear_fit_many.py shows that `fit_many` gives the same models.
"""

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.svm import LinearSVC, LinearSVR

import lifecycle as lc

from .data import cancer, diabetes, digits, wine
from .linear_models import (
    CLASSIFICATION,
    REGRESSION,
    assert_close_to_largest,
    by_fit_and_fit_many,
    fit_together,
    ignore_convergence,
    kfold_rows,
    make_model,
    null_loss,
    objective,
)


def pairs(fit, estimator, reference, X, y, grid, sample_weight=None):
    """(model, scikit-learn's model, training rows) for each point of the grid: all rows, and with fit_many also folds.

    `reference(total, **point)` makes the estimator of scikit-learn; `total` is the sum of the weights, with which the
    objectives that are sums, not means, weigh the penalty.
    """
    train = [np.arange(len(y)), *(kfold_rows(len(y)) if fit is fit_together else [])]
    cells = [(rows, point) for rows in train for point in grid]
    models = fit(estimator, X, y, [rows for rows, _ in cells], [point for _, point in cells], sample_weight)
    for model, (rows, point) in zip(models, cells, strict=True):
        weights = np.ones(len(rows)) if sample_weight is None else sample_weight[rows]
        twin = reference(weights.sum(), **point)
        yield model, twin.fit(X[rows], y[rows], None if sample_weight is None else weights), rows


def logistic(total, alpha, **options):
    return LogisticRegression(C=1 / (total * alpha), tol=1e-10, solver="newton-cg", max_iter=1000, **options)


# -- the same minimum -----------------------------------------------------------------------------------------------


@by_fit_and_fit_many
@pytest.mark.parametrize("data", [cancer, wine, digits], ids=["two classes", "three classes", "ten classes"])
def test_log_loss_is_logistic_regression_with_c_one_over_n_alpha(data, fit):
    X, y = data()
    estimator = make_model("log_loss", optimizer="newton", tol=1e-14, max_iter=200)
    grid = [{"alpha": a} for a in ((1e-2, 0.3) if data is digits else (1e-3, 1e-2, 0.1, 0.3))]
    for model, twin, rows in pairs(fit, estimator, logistic, X, y, grid):
        assert_close_to_largest(model.coef_, twin.coef_, 1e-6)
        np.testing.assert_allclose(model.predict_proba(X), twin.predict_proba(X), atol=1e-6)
        np.testing.assert_allclose(model.predict_log_proba(X), twin.predict_log_proba(X), rtol=1e-5, atol=1e-5)
        assert len(model.history_) == model.n_iter_ < 20
        assert model.history_[-1]["train_loss"] == pytest.approx(objective(model, X[rows], y[rows]), rel=1e-9)


@by_fit_and_fit_many
@pytest.mark.parametrize("data", [cancer, wine], ids=["two classes", "three classes"])
def test_gradient_descent_reaches_logistic_regression(data, fit):
    X, y = data()
    estimator = make_model("log_loss", optimizer="gd", tol=1e-14, max_iter=20_000)
    for model, twin, _ in pairs(fit, estimator, logistic, X, y, [{"alpha": 0.1}]):
        np.testing.assert_allclose(model.coef_, twin.coef_, atol=1e-5)
        np.testing.assert_allclose(model.predict_proba(X), twin.predict_proba(X), atol=1e-5)


@by_fit_and_fit_many
def test_weighted_log_loss_divides_by_the_sum_of_the_weights(fit):
    X, y = wine()
    per_class = {0: 1.0, 1: 2.0, 2: 0.5}
    weights = np.random.RandomState(0).uniform(0.0, 3.0, len(X))
    estimator = make_model("log_loss", optimizer="newton", tol=1e-14, class_weight=per_class, max_iter=200)
    train = [np.arange(len(y)), *kfold_rows(len(y))]
    models = fit(estimator, X, y, train, [{"alpha": 0.01}] * 4, weights)
    scaled = fit(estimator, X, y, train, [{"alpha": 0.01}] * 4, 10 * weights)
    for model, again, rows in zip(models, scaled, train, strict=True):
        total = (weights[rows] * np.array([per_class[k] for k in y[rows]])).sum()
        twin = logistic(total, 0.01, class_weight=per_class).fit(X[rows], y[rows], weights[rows])
        np.testing.assert_allclose(model.coef_, twin.coef_, atol=1e-6)
        np.testing.assert_allclose(again.coef_, model.coef_, atol=1e-9)


@by_fit_and_fit_many
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("optimizer", ["exact", "newton", "gd"])
def test_squared_error_is_ridge_with_n_alpha(optimizer, fit_intercept, weighted, fit):
    X, y = diabetes()
    weights = np.random.RandomState(0).uniform(0.0, 3.0, len(X)) if weighted else None
    estimator = make_model(
        "squared_error",
        optimizer=optimizer,
        fit_intercept=fit_intercept,
        tol=None if optimizer == "gd" else 1e-15,
        max_iter=500,
    )
    grid = [{"alpha": float(a)} for a in (np.logspace(-6, 2, 20) if optimizer == "exact" else (0.1, 1.0))]
    tolerance = {"exact": 1e-8, "newton": 1e-6, "gd": 1e-5}[optimizer]

    def ridge(total, alpha):
        return Ridge(alpha * total, fit_intercept=fit_intercept, solver="svd")

    for model, twin, _ in pairs(fit, estimator, ridge, X, y, grid, weights):
        assert_close_to_largest(model.coef_, twin.coef_, tolerance)
        assert model.intercept_ == pytest.approx(twin.intercept_, rel=tolerance)
        assert_close_to_largest(model.predict(X), twin.predict(X), tolerance)


@by_fit_and_fit_many
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_l1_and_elasticnet_are_lasso_and_elastic_net_with_the_same_alpha(penalty, fit):
    X, y = diabetes()
    estimator = make_model("squared_error", penalty=penalty, optimizer="gd", tol=None, max_iter=1000)
    ratios = (0.3, 0.7, 1.0) if penalty == "elasticnet" else (0.7,)  # without a meaning for l1
    grid = [{"alpha": a, "l1_ratio": r} for a in (0.5, 3.0) for r in ratios]

    def lasso_or_elastic_net(total, alpha, l1_ratio):
        if penalty == "l1" or l1_ratio == 1.0:
            return Lasso(alpha, tol=1e-12, max_iter=100_000)
        return ElasticNet(alpha, l1_ratio=l1_ratio, tol=1e-12, max_iter=100_000)

    n_zeros = 0
    for model, twin, _ in pairs(fit, estimator, lasso_or_elastic_net, X, y, grid):
        assert_close_to_largest(model.coef_, twin.coef_, 1e-6)
        np.testing.assert_array_equal(model.coef_ == 0, twin.coef_ == 0)
        n_zeros += (model.coef_ == 0).sum()
    assert n_zeros > 0


@by_fit_and_fit_many
def test_squared_hinge_is_linear_svc(fit):
    X, y = cancer()
    estimator = make_model("squared_hinge", optimizer="newton", fit_intercept=False, tol=1e-14, max_iter=200)

    def svc(total, alpha):
        return LinearSVC(C=1 / (total * alpha), fit_intercept=False, dual=False, tol=1e-10, max_iter=10_000)

    for model, twin, _ in pairs(fit, estimator, svc, X, y, [{"alpha": a} for a in (0.1, 0.01, 1.0)]):
        assert_close_to_largest(model.coef_, twin.coef_, 1e-5)
        assert model.intercept_ == 0.0


# -- stochastic solvers come near the minimum -----------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_batches_with_l1_keep_near_zero_what_lasso_sets_to_zero(optimizer):
    X, y = diabetes()
    twin = Lasso(5.0, tol=1e-12).fit(X, y)
    model = lc.LinearRegressor(penalty="l1", alpha=5.0, optimizer=optimizer, tol=None, random_state=1).fit(X, y)
    assert (twin.coef_ == 0).sum() >= 4
    np.testing.assert_allclose(model.coef_, twin.coef_, atol=0.5)
    np.testing.assert_allclose(model.coef_[twin.coef_ == 0], 0.0, atol=0.3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_hinge_and_epsilon_insensitive_reach_the_objective_of_liblinear(optimizer):
    arguments = {"alpha": 0.01, "fit_intercept": False, "optimizer": optimizer, "random_state": 0}
    options = {"fit_intercept": False, "tol": 1e-6, "max_iter": 100_000}
    X, y = cancer()
    model = lc.LinearClassifier("hinge", **arguments).fit(X, y)
    twin = LinearSVC(loss="hinge", C=1 / (len(X) * 0.01), **options).fit(X, y)
    assert objective(model, X, y) == pytest.approx(objective(twin, X, y, model), abs=2e-3)
    X, y = diabetes()
    y = y - y.mean()
    model = lc.LinearRegressor("epsilon_insensitive", epsilon=5.0, **arguments).fit(X, y)
    twin = LinearSVR(epsilon=5.0, C=1 / (len(X) * 0.01), **options).fit(X, y)
    assert objective(model, X, y) == pytest.approx(objective(twin, X, y, model), rel=2e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "newton", "exact", "gd"])
def test_without_an_intercept_every_optimizer_predicts_like_ridge(optimizer):
    X, y = diabetes()
    arguments = {"tol": None, "max_iter": 300} if optimizer in ("sgd", "adam") else {}
    model = lc.LinearRegressor(optimizer=optimizer, fit_intercept=False, random_state=0, alpha=0.1, **arguments)
    model.fit(X, y)
    assert model.intercept_ == 0.0
    twin = Ridge(alpha=0.1 * len(X), fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(model.predict(X), twin.predict(X), atol=3.0)


@ignore_convergence  # of scikit-learn: its step size for regression shrinks too early to converge in 1000 epochs
@pytest.mark.parametrize("loss", [*CLASSIFICATION, *REGRESSION])
def test_the_default_is_no_worse_than_scikit_learns_sgd(loss):
    X, y = diabetes() if loss in REGRESSION else cancer()
    estimator, reference = (
        (lc.LinearRegressor, SGDRegressor) if loss in REGRESSION else (lc.LinearClassifier, SGDClassifier)
    )
    model = estimator(loss, alpha=1e-3, random_state=0).fit(X, y)
    twin = reference(loss=loss, alpha=1e-3, random_state=0, max_iter=1000).fit(X, y)
    assert objective(model, X, y) <= objective(twin, X, y, model) + 5e-3 * null_loss(loss, y)
