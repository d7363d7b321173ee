"""Newton's method: where it converges, what it starts from, and the preconditioners of many models."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

import lifecycle as lc
from lifecycle.linear import newton
from lifecycle.linear.newton import batched, subsample, truncated
from lifecycle.linear.newton.preconditioner import Preconditioner
from lifecycle.linear.newton.regularization_path import RegularizationPath, interpolate
from lifecycle.linear.newton.shared_preconditioner import FullObjective
from lifecycle.solvers import lbfgs

from .data import cancer, wine
from .linear_models import (
    assert_close_to_largest,
    assert_same_model,
    kfold_rows,
    make_model,
    train_small_tables_in_float32,
)

# -- private names of the library -----------------------------------------------------------------------------------


def record_new_preconditioners(monkeypatch):
    """{model: (problem, product with its inverse Hessian, theta of that Hessian)}; every model gets a new one soon."""
    recorded, renew = {}, Preconditioner.renew

    def renew_and_record(self, models, theta, n_rows):
        renew(self, models, theta, n_rows)
        at = theta[models].mean(axis=0)
        recorded.update({m: (self.subsample.problem, self.factors[m].solve, at) for m in models.tolist()})

    monkeypatch.setattr(Preconditioner, "renew", renew_and_record)
    monkeypatch.setattr(subsample, "_MIN_ROWS_PER_VARIABLE", 1)
    monkeypatch.setattr(lbfgs, "_SLOW_RATE", 0.0)
    return recorded


class ObjectiveOfTheta:
    """The objectives of a recorded problem as functions of one vector a model."""

    def __init__(self, problem):
        self.functions, self.is_multinomial = FullObjective(problem, np.float64), problem.multinomial

    def gradient(self, theta, m):
        return self.functions.evaluate(theta[None], np.array([m]))[1][0]

    def without_common_part(self, step):
        """The part of a step that changes the softmax: adding a constant to all classes does not."""
        if not self.is_multinomial:
            return step
        coef, intercept = self.functions.unpack(step[None])
        return self.functions.pack(coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean())[0]


def make_path(points):
    """(start, l2 weight) -> where newton starts after the minima (l2 weight, theta) of a path."""
    path = RegularizationPath()
    path.points.extend(points)
    return lambda start, l2_weight: path.extrapolate(l2_weight, default=start)


# -- where it converges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("alpha", [1e-3, 0.5])
def test_newton_in_float32_equals_newton_in_float64(classes, alpha, monkeypatch):
    train_small_tables_in_float32(monkeypatch)
    for seed in range(20):
        rng = np.random.RandomState(seed)
        X = (rng.randn(200, 3) + rng.randn(3)).astype(np.float32)
        y = (X @ rng.randn(3, classes) + 2 * rng.gumbel(size=(200, classes))).argmax(axis=1)
        estimator = make_model("log_loss", optimizer="newton", alpha=alpha, max_iter=100, tol=1e-14)
        tables = (X, X.astype(float))
        single, double = (estimator.fit_many(a, y, train=kfold_rows(200), params=[{}] * 3) for a in tables)
        for one, other in zip(single, double, strict=True):
            assert_same_model(one, other, 1e-4)


def test_newton_converges_to_a_tolerance_that_single_precision_cannot_resolve():
    X, y = make_classification(6000, 20, n_informative=5, n_redundant=10, random_state=0)
    params = [{"alpha": a} for a in (1e-6, 1e-3) for _ in range(5)]
    model = make_model("log_loss", optimizer="newton", tol=1e-14, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        models = model.fit_many(X, y, train=kfold_rows(len(X), 5) * 2, params=params)
    assert max(len(model.history_) for model in models) < 60


@pytest.mark.parametrize("classes", [2, 3])
def test_newton_converges_where_the_curvature_is_in_the_rows_of_a_rare_class(classes):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(6000, 40))
    z = X @ rng.normal(size=(40, classes)) / 40**0.5
    z[:, 0] += 8
    y = (z + rng.gumbel(size=(6000, classes))).argmax(axis=1)
    estimator = make_model("log_loss", optimizer="newton", alpha=1e-6, tol=1e-14, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = estimator.fit(X, y)
    dloss = model.predict_proba(X) - np.eye(classes)[y]
    dloss = dloss[:, 1:] if classes == 2 else dloss
    gradient = dloss.T @ X / 6000 + 1e-6 * model.coef_
    assert np.abs(gradient).max() <= 1e-8


def test_a_mean_of_y_far_from_zero_does_not_end_newton_earlier():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 12))
    y = X[:, 0] + rng.standard_t(1.5, size=6000)
    train = [rng.permutation(6000)[:4800] for _ in range(2)] + [rng.permutation(6000)[:60]]
    model = make_model("huber", optimizer="newton", tol=1e-14, max_iter=100)
    for fitted, rows in zip(model.fit_many(X, y + 1e5, train=train, params=[{}] * 3), train, strict=True):
        assert_close_to_largest(fitted.coef_, clone(model).fit(X[rows], y[rows]).coef_, 1e-6)


def test_the_subsample_of_rows_contains_rare_features():
    # some columns are not zero in a few rows only: the Hessian of uniformly drawn rows would not contain them
    rng = np.random.RandomState(0)
    X = np.zeros((20_000, 60))
    X[np.arange(20_000), np.minimum(rng.geometric(0.1, 20_000), 55)] = 1.0
    X[:, 55:] = rng.randn(20_000, 5)
    y = X @ rng.randn(60) + rng.randn(20_000) > 0
    train = [train for train, _ in lc.KFold(5, shuffle=True, random_state=0).split(X)]
    model = make_model("log_loss", optimizer="newton", tol=1e-14, max_iter=100)
    models = model.fit_many(X, y, train=train, params=[{"alpha": 1e-6}] * 5)
    twin = LogisticRegression(C=1 / (16_000 * 1e-6), solver="newton-cholesky", tol=1e-10).fit(X[train[0]], y[train[0]])
    assert_close_to_largest(models[0].coef_, twin.coef_, 1e-5)
    assert max(len(model.history_) for model in models) <= 15


@pytest.mark.parametrize("alpha", [0.0, 1e-3])
def test_newton_leaves_no_rounding_in_the_direction_that_softmax_ignores(alpha):
    X, y = load_iris(return_X_y=True)
    y = np.where(np.arange(len(y)) % 5, y, 1)  # not separable
    model = lc.LinearClassifier(alpha=alpha, optimizer="newton").fit(X, y)
    np.testing.assert_allclose(model.coef_.sum(axis=0), 0.0, atol=1e-12)
    assert model.intercept_.sum() == pytest.approx(0.0, abs=1e-11)


# -- starts ---------------------------------------------------------------------------------------------------------


def test_newton_with_warm_start_continues_from_the_last_coefficients():
    rng = np.random.RandomState(0)
    X = rng.randn(20_000, 4) * [1.0, 3.0, 9.0, 27.0]
    y = X @ [4.0, 0.5, -0.3, 0.1] + rng.logistic(size=20_000) > 0
    model = lc.LinearClassifier(optimizer="newton", max_iter=1, tol=1e-14, alpha=1e-6, warm_start=True)
    twin = clone(model).set_params(max_iter=100, warm_start=False).fit(X, y)
    distances = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(8):
            distances.append(np.abs(model.fit(X, y).coef_ - twin.coef_).max())
    assert distances[-1] <= 1e-6 < distances[0]


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_without_a_penalty_newton_does_not_depend_on_models_trained_before(loss):
    X, y = cancer()  # 60 rows of 30 features: the classes are separable, and minima lie at infinity
    rows = np.arange(60)
    params = [{"alpha": 1.0}, {"alpha": 0.1}]
    model = make_model(loss, optimizer="newton", penalty=None, max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fitted, point in zip(model.fit_many(X, y, train=[rows] * 2, params=params), params, strict=True):
            (alone,) = model.fit_many(X, y, train=[rows], params=[point])
            assert_same_model(alone, fitted, 1e-6)


def test_the_next_start_is_on_the_parabola_through_the_last_minima_unless_it_is_too_far():
    start = np.zeros(2)
    assert make_path([])(start, 1.0) is start

    def minimum(l2_weight):
        return np.array([1.0, -2.0]) * np.log(l2_weight) ** 2 + np.array([3.0, 0.5]) * np.log(l2_weight)

    extrapolate = make_path((w, minimum(w)) for w in (1.0, 0.1, 0.03, 0.01))
    np.testing.assert_allclose(extrapolate(start, 0.004), minimum(0.004), rtol=1e-12)
    for l2_weight in (0.01, 1e-6):  # the same penalty again, and one that is too far
        np.testing.assert_array_equal(extrapolate(start, l2_weight), minimum(0.01))


def test_starts_between_minima_are_on_the_cubic_through_the_four_around_them():
    rng = np.random.default_rng(0)
    polynomials = np.polynomial.Polynomial(rng.normal(size=4)), np.polynomial.Polynomial(rng.normal(size=4))
    alphas, new = np.geomspace(1e-5, 1.0, 7), np.array([2e-5, 3e-3, 3e-3, 0.7])

    def minima(alphas):
        return np.stack([polynomial(np.log(alphas)) for polynomial in polynomials], axis=1)

    np.testing.assert_allclose(interpolate(alphas, minima(alphas), new), minima(new), rtol=1e-9)
    np.testing.assert_array_equal(interpolate(alphas[:1], minima(alphas)[:1], new), minima(alphas)[[0] * 4])


@pytest.mark.parametrize("classes", [2, 3])
def test_models_of_a_fine_grid_begin_near_their_minima_and_end_there(classes):
    X, y = cancer() if classes == 2 else wine()
    alphas = [1e-4, *np.geomspace(1e-4, 1e-1, 31), 1e-2, 1e-2, 1e-1]  # some more than once
    params = [{"alpha": alpha} for alpha in alphas] * 2
    train = [rows for rows in kfold_rows(len(X), 2) for _ in alphas]
    estimator = make_model("log_loss", optimizer="newton", tol=1e-14, max_iter=100)
    models = estimator.fit_many(X, y, train=train, params=params)
    for model, rows in zip(models[::3], train[::3], strict=True):
        one = clone(model).fit(X[rows], y[rows])
        assert_same_model(model, one, 1e-6)
    assert np.median([model.n_iter_ for model in models]) <= 4 < max(model.n_iter_ for model in models)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("data", "loss"), [(cancer, "log_loss"), (wine, "log_loss"), (wine, "squared_hinge")])
def test_directions_of_models_that_are_solved_together_undo_the_product_with_their_hessian(
    monkeypatch, data, loss, fit_intercept
):
    X, y = data()
    X = X + 3.0  # which the mean of the features is then far from
    calls = []

    class Recorded(batched.BatchedHessians):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            calls.append((self, arguments))

    monkeypatch.setattr(batched, "BatchedHessians", Recorded)
    model = make_model(loss, optimizer="newton", fit_intercept=fit_intercept, max_iter=100)
    model.fit_many(X, y, train=kfold_rows(len(X), 3) * 2, params=[{"alpha": 0.1}] * 3 + [{"alpha": 1e-3}] * 3)
    hessians, (objective, shares, theta, models) = calls[1]
    products = truncated.TruncatedHessians({}, {}, objective, shares, theta, models)
    products.dtype = np.dtype(np.float64)
    products.state, products.offset = hessians.state, hessians.offset
    v = np.random.RandomState(0).randn(*theta.shape)
    coef, intercept = objective.unpack(v)
    if objective.problem.multinomial:  # what all classes share changes nothing, but for the penalty
        coef, intercept = coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean(axis=1, keepdims=True)
    v = objective.pack(coef, intercept)
    direction, solved = hessians.newton_direction(
        products.multiply(v, np.arange(len(models))), *np.zeros((2, len(models)))
    )
    assert solved.all()
    coef, intercept = objective.unpack(direction)
    if objective.problem.multinomial:
        intercept = intercept - intercept.mean(axis=1, keepdims=True)
    assert_close_to_largest(objective.pack(coef, intercept), -v, 1e-5)


def test_models_that_are_solved_together_and_then_otherwise_take_at_most_max_iter_steps():
    X, y = cancer()
    model = make_model("log_loss", optimizer="newton", tol=1e-14, max_iter=6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = model.fit_many(X, y, train=[np.arange(len(X))] * 3, params=[{"alpha": a} for a in (1e-9, 1e-8, 0.0)])
    assert [fitted.n_iter_ for fitted in models] == [6, 6, 6]


# -- preconditioners ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
@pytest.mark.parametrize("data", [cancer, wine])
def test_models_that_converge_slowly_get_the_hessian_of_their_training_rows(monkeypatch, data, loss):
    X, y = data()
    groups = np.arange(len(X)) % 4
    train = [np.flatnonzero(~np.isin(groups, pair)) for pair in combinations(range(4), 2)]  # which overlap
    recorded = record_new_preconditioners(monkeypatch)
    monkeypatch.setattr(newton, "is_affordable", lambda problem: False)  # which gives each model its own Hessian
    model = make_model(loss, optimizer="newton", alpha=0.01, tol=1e-14, max_iter=100)
    model.fit_many(X, y, train=train, params=[{}] * 6)
    assert sorted(recorded) == list(range(6))
    rng = np.random.RandomState(0)
    for m, (problem, inverse, at) in recorded.items():
        of_theta = ObjectiveOfTheta(problem)

        def hessian_product(step, of_theta=of_theta, m=m, at=at):
            forward, backward = (of_theta.gradient(at + h * step, m) for h in (1e-7, -1e-7))
            return (forward - backward) / 2e-7

        product = hessian_product(of_theta.without_common_part(rng.randn(len(at))))
        again = hessian_product(inverse(product[None])[0])  # not the step: the Hessian may be singular
        assert_close_to_largest(again, product, 1e-3)
