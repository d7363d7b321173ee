"""The array solvers against numpy, scipy and scikit-learn, and the laws that hold for their solutions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import Ridge
from sklearn.preprocessing import scale

from lifecycle.solvers import least_squares, newton


def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return scale(X), np.stack([y, y**2 / 100], axis=1)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("rows", [442, 7])  # more rows than features, and fewer
@pytest.mark.parametrize("alpha", [1e-6, 0.1, 10.0])
def test_ridge_is_that_of_scikit_learn(fit_intercept, weighted, rows, alpha):
    X, Y = diabetes()
    X, Y = X[:rows] + 3.0, Y[:rows]
    weights = np.random.RandomState(0).uniform(0.1, 3.0, rows) if weighted else np.ones(rows)
    W, b = least_squares.solve(X, Y, weights, alpha, fit_intercept)
    # scikit-learn's objective is a sum; svd is its most exact solver
    twin = Ridge(alpha=alpha * weights.sum(), fit_intercept=fit_intercept, solver="svd").fit(X, Y, weights)
    np.testing.assert_allclose(W, twin.coef_.T, rtol=1e-7, atol=1e-7 * np.abs(W).max())
    np.testing.assert_allclose(b, np.broadcast_to(twin.intercept_, b.shape), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shape", [(30, 4), (4, 30), (5, 5), (1, 3), (12, 6)])
def test_without_ridge_it_is_the_least_norm_solution_also_of_a_deficient_system(shape):
    rng = np.random.RandomState(sum(shape))
    X, Y = rng.randn(*shape), rng.randn(shape[0], 2)
    if shape == (12, 6):  # of rank 3, up to rounding
        X = X[:, :3] @ rng.randn(3, 6)
    W, b = least_squares.solve(X, Y, np.ones(len(X)), 0.0, False)
    np.testing.assert_allclose(W, np.linalg.lstsq(X, Y)[0], rtol=1e-9, atol=1e-11)
    assert not b.any()


def test_an_ill_conditioned_system_keeps_more_digits_than_its_normal_equations():
    X = np.vander(np.linspace(0.0, 1.0, 60), 9)  # condition 1e6: the normal equations lose 12 of 16 digits
    truth = np.ones((9, 1))
    W, _ = least_squares.solve(X, X @ truth, np.ones(60), 0.0, False)
    assert np.abs(W - truth).max() < 1e-8
    assert np.abs(np.linalg.solve(X.T @ X, X.T @ (X @ truth)) - truth).max() > 1e-8


@given(st.integers(0, 2**31), st.floats(0.0, 5.0), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_weight_is_a_repetition_and_only_ratios_count(seed, alpha, fit_intercept):
    rng = np.random.RandomState(seed)
    X, Y, times = rng.randn(9, 3), rng.randn(9, 1), rng.randint(0, 4, 9)
    times[0] = 2
    one = least_squares.solve(X, Y, 7.5 * times, alpha, fit_intercept)
    other = least_squares.solve(
        np.repeat(X, times, axis=0), np.repeat(Y, times, axis=0), np.ones(times.sum()), alpha, fit_intercept
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


# -- Newton's method ------------------------------------------------------------------------------------------------


def run(value, derivatives, x, metric, most=200):
    found = []
    for step in newton.descend(value, derivatives, np.array(x, dtype=float), metric):
        found.append(step)
        if len(found) == most:
            break
    return found


@given(st.integers(0, 2**31), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_a_quadratic_takes_one_step_and_promises_what_comes(seed, size):
    rng = np.random.RandomState(seed)
    A = rng.randn(size + 2, size)
    H, b = A.T @ A + 0.1 * np.eye(size), rng.randn(size)

    def value(x):
        return 0.5 * x @ H @ x - b @ x

    x, now, promised = run(value, lambda x: (H @ x - b, H), np.zeros(size), np.diag(H).copy(), most=1)[0]
    np.testing.assert_allclose(x, np.linalg.solve(H, b), rtol=1e-7, atol=1e-7)
    assert now == value(x)
    assert promised == pytest.approx(-now, rel=1e-6)


def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), np.where(y == 1, 1.0, -1.0)


def test_logistic_regression_ends_where_scipy_ends_and_every_step_goes_down():
    X, y = cancer()

    def value(w):
        return np.logaddexp(0.0, -y * (X @ w)).mean() + 0.005 * w @ w

    def gradient(w):
        return -(y * expit(-y * (X @ w))) @ X / len(X) + 0.01 * w

    def derivatives(w):
        p = expit(X @ w)
        return gradient(w), (X.T * (p * (1 - p))) @ X / len(X) + 0.01 * np.eye(len(w))

    steps = run(value, derivatives, np.full(30, 5.0), np.full(30, 0.26))  # far away: the model is bad there
    values = [value(np.full(30, 5.0))] + [v for _, v, _ in steps]
    assert np.all(np.diff(values) <= 0)
    assert len(steps) < 40
    best = minimize(value, np.zeros(30), jac=gradient, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(steps[-1][0], best.x, atol=1e-6)
    assert steps[-1][2] < 1e-12


def test_a_function_that_is_smooth_only_once_is_minimized():
    X, y = cancer()

    def value(w):
        return (np.maximum(0.0, 1.0 - y * (X @ w)) ** 2).mean() + 0.005 * w @ w

    def gradient(w):
        return (-2.0 * y * np.maximum(0.0, 1.0 - y * (X @ w))) @ X / len(X) + 0.01 * w

    def derivatives(w):
        return gradient(w), 2.0 * (X.T * (y * (X @ w) < 1.0)) @ X / len(X) + 0.01 * np.eye(len(w))

    steps = run(value, derivatives, np.zeros(30), np.full(30, 2.01))
    best = minimize(value, np.zeros(30), jac=gradient, method="BFGS", options={"gtol": 1e-9})
    assert steps[-1][1] <= best.fun * (1 + 1e-9)
    assert np.abs(gradient(steps[-1][0])).max() < 1e-7


def test_where_newtons_own_step_overshoots_the_damping_holds_it_back():
    # log cosh from 3: undamped Newton runs away from 1.09 on
    steps = run(lambda x: float(np.log(np.cosh(x)).sum()),
                lambda x: (np.tanh(x), np.diag(1.0 / np.cosh(x) ** 2)), [3.0], np.ones(1))  # fmt: skip
    assert abs(steps[-1][0][0]) < 1e-6
    assert np.isinf(steps[0][2])  # held back, so that its promise says nothing of the distance


def test_a_singular_hessian_is_damped():
    H = np.array([[1.0, 1.0], [1.0, 1.0]])
    b = np.array([2.0, 2.0])
    steps = run(lambda x: 0.5 * x @ H @ x - b @ x, lambda x: (H @ x - b, H), np.zeros(2), np.ones(2))
    np.testing.assert_allclose(steps[-1][0], [1.0, 1.0], rtol=1e-6)


def test_at_a_minimum_it_stays_there_and_ends():
    steps = run(lambda x: float(x @ x), lambda x: (2.0 * x, 2.0 * np.eye(2)), np.zeros(2), np.full(2, 2.0))
    assert len(steps) <= 1
    assert all(not x.any() for x, _, _ in steps)
