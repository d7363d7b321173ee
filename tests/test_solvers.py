"""The array solvers against numpy, scipy and scikit-learn, and the laws that hold for their solutions."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize as minimize_with_scipy
from scipy.special import expit
from sklearn.linear_model import Ridge

from lifecycle.linear.data.fold_sums import sums_by_train_set
from lifecycle.solvers import lbfgs, line_search, newton, ridge
from lifecycle.solvers.convergence import Tolerances

from .data import cancer, diabetes

ALPHAS = np.array([1e-6, 0.1, 10.0])


def mean_squares(X, y, weights, coef, fit_intercept):
    """(penalties,) weighted mean squared errors, with the intercept that is best for each row of coef."""
    away = y - coef @ X.T
    if fit_intercept:
        away = away - np.average(away, axis=1, weights=weights)[:, None]
    return np.average(away**2, axis=1, weights=weights)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("rows", [442, 7])  # more rows than features, and fewer
def test_ridge_is_that_of_scikit_learn(fit_intercept, weighted, rows):
    X, y = diabetes()
    X, y = X[:rows] + 3.0, y[:rows]
    weights = np.random.RandomState(0).uniform(0.1, 3.0, rows) if weighted else np.ones(rows)
    coef, losses = ridge.from_svd(X, y, weights, ALPHAS, fit_intercept)
    for c, loss, alpha in zip(coef, losses, ALPHAS, strict=True):
        # scikit-learn's objective is a sum; svd is its most exact solver
        twin = Ridge(alpha=alpha * weights.sum(), fit_intercept=fit_intercept, solver="svd").fit(X, y, weights)
        np.testing.assert_allclose(c, twin.coef_, rtol=1e-7, atol=1e-7 * np.abs(c).max())
        share = weights / weights.sum()
        intercept = share @ y - share @ X @ c if fit_intercept else 0.0
        np.testing.assert_allclose(intercept, twin.intercept_, rtol=1e-7, atol=1e-7)
        expected = np.average((y - twin.predict(X)) ** 2, weights=weights)
        np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=1e-8 * y.var())


@pytest.mark.parametrize("shape", [(30, 4), (4, 30), (5, 5), (1, 3), (12, 6)])
def test_without_ridge_it_is_the_least_norm_solution_also_of_a_deficient_system(shape):
    rng = np.random.RandomState(sum(shape))
    X, y = rng.randn(*shape), rng.randn(shape[0])
    if shape == (12, 6):  # of rank 3, up to rounding
        X = X[:, :3] @ rng.randn(3, 6)
    (coef,), (loss,) = ridge.from_svd(X, y, np.ones(len(X)), np.zeros(1), False)
    best = np.linalg.lstsq(X, y)[0]
    np.testing.assert_allclose(coef, best, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(loss, ((y - X @ best) ** 2).mean(), rtol=1e-9, atol=1e-20)


def test_an_ill_conditioned_system_keeps_more_digits_than_its_normal_equations():
    X = np.vander(np.linspace(0.0, 1.0, 60), 9)  # condition 1e6: the normal equations lose 12 of 16 digits
    truth = np.ones(9)
    (coef,), _ = ridge.from_svd(X, X @ truth, np.ones(60), np.zeros(1), False)
    assert np.abs(coef - truth).max() < 1e-8
    assert np.abs(np.linalg.solve(X.T @ X, X.T @ (X @ truth)) - truth).max() > 1e-8


@given(st.integers(0, 2**31), st.floats(0.0, 5.0), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_weight_is_a_repetition_and_only_ratios_count(seed, alpha, fit_intercept):
    rng = np.random.RandomState(seed)
    X, y, times = rng.randn(9, 3), rng.randn(9), rng.randint(0, 4, 9)
    times[0] = 2
    alphas = np.array([alpha, 2.0])
    one = ridge.from_svd(X, y, 7.5 * times, alphas, fit_intercept)
    other = ridge.from_svd(
        np.repeat(X, times, axis=0), np.repeat(y, times), np.ones(times.sum()), alphas, fit_intercept
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_each_of_many_penalties_is_as_if_it_were_alone():
    X, y = diabetes()
    weights, alphas = np.random.RandomState(0).uniform(0.0, 3.0, len(y)), np.logspace(-9, 3, 25)
    coef, losses = ridge.from_svd(X, y, weights, alphas, True)
    assert coef.shape == (25, 10)
    assert losses.shape == (25,)
    for c, loss, alpha in zip(coef, losses, alphas, strict=True):
        (alone,), (alone_loss,) = ridge.from_svd(X, y, weights, np.array([alpha]), True)
        np.testing.assert_allclose(c, alone, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(loss, alone_loss, rtol=1e-12)
    np.testing.assert_allclose(losses, mean_squares(X, y, weights, coef, True), rtol=1e-10)
    assert np.all(np.diff(losses) > 0)


# -- ridge from covariance matrices ---------------------------------------------------------------------------------


def covariance(X, y, weights, fit_intercept=True):
    table, weights = np.column_stack([X, y]), weights / weights.sum()
    table = table - weights @ table if fit_intercept else table
    return table.T @ (table * weights[:, None])


@given(st.integers(0, 2**31), st.integers(1, 6), st.booleans(), st.sampled_from([0.0, 1e-9, 1e-3, 2.0]))
@settings(max_examples=100, deadline=None)
def test_a_covariance_matrix_gives_the_solution_of_the_svd_where_features_are_not_collinear(
    seed, features, fit_intercept, least
):
    rng = np.random.RandomState(seed)
    X, y, weights = rng.randn(40, features) + rng.randn(features), rng.randn(40), rng.uniform(0.0, 3.0, 40)
    alphas = np.array([least, 0.1 + least, 10.0])
    coef, losses = ridge.from_covariance(covariance(X, y, weights, fit_intercept), alphas)
    best, least_losses = ridge.from_svd(X, y, weights, alphas, fit_intercept)
    np.testing.assert_allclose(coef, best, rtol=1e-9, atol=1e-9 * np.abs(best).max())
    np.testing.assert_allclose(losses, least_losses, rtol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_features_too_collinear_for_their_covariance_matrix_are_left_to_the_svd(fit_intercept):
    rng = np.random.RandomState(0)
    X, y, weights = rng.randn(50, 3), rng.randn(50), np.ones(50)
    constant = np.column_stack([X, np.zeros(50)])
    twice = np.column_stack([X, X[:, 0]])
    nearly = np.column_stack([X, X[:, 0] + 1e-4 * rng.randn(50)])
    for collinear in (constant, twice, nearly):
        matrix = covariance(collinear, y, weights, fit_intercept)
        assert ridge.from_covariance(matrix, np.array([0.0, 1.0])) is None
        # the penalty tells them apart
        coef, losses = ridge.from_covariance(matrix, np.array([0.5, 1.0]))
        best, least_losses = ridge.from_svd(collinear, y, weights, np.array([0.5, 1.0]), fit_intercept)
        np.testing.assert_allclose(coef, best, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(losses, least_losses, rtol=1e-9)
    nothing = covariance(np.zeros((50, 2)), y, weights, fit_intercept)
    assert ridge.from_covariance(nothing, np.zeros(1)) is None


def test_a_perfect_fit_has_no_loss_below_zero():
    X = np.random.RandomState(0).randn(30, 3)
    coef, losses = ridge.from_covariance(covariance(X, X @ [1.0, -2.0, 3.0] + 5.0, np.ones(30)), np.zeros(1))
    np.testing.assert_allclose(coef, [[1.0, -2.0, 3.0]], rtol=1e-12)
    assert 0.0 <= losses[0] < 1e-12


# -- Newton's method ------------------------------------------------------------------------------------------------


def minimize(value, derivatives, x, scale, max_iter=200, tolerance=0.0):
    def evaluate(x):
        gradient, hessian = derivatives(x)
        return value(x), gradient, lambda: hessian

    def solve(matrix, vector):
        try:
            return cho_solve(cho_factor(matrix), vector)
        except np.linalg.LinAlgError:
            return None

    return newton.minimize(evaluate, solve, np.array(x, dtype=float), scale, Tolerances(tolerance), max_iter)


@given(st.integers(0, 2**31), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_a_quadratic_takes_one_newton_step_that_brings_the_predicted_decrease(seed, size):
    rng = np.random.RandomState(seed)
    A = rng.randn(size + 2, size)
    H, b = A.T @ A + 0.1 * np.eye(size), rng.randn(size)

    def value(x):
        return 0.5 * x @ H @ x - b @ x

    result = minimize(value, lambda x: (H @ x - b, H), np.zeros(size), np.diag(H).copy(), max_iter=1)
    np.testing.assert_allclose(result.x, np.linalg.solve(H, b), rtol=1e-7, atol=1e-7)
    assert result.values == [value(result.x)]
    assert result.predicted_decrease == pytest.approx(-result.values[0], rel=1e-6)
    assert not result.converged


def cancer_signed():
    X, y = cancer()
    return X, np.where(y == 1, 1.0, -1.0)


def test_newton_steps_for_logistic_regression_all_go_down_and_end_where_scipy_ends():
    X, y = cancer_signed()

    def value(w):
        return np.logaddexp(0.0, -y * (X @ w)).mean() + 0.005 * w @ w

    def gradient(w):
        return -(y * expit(-y * (X @ w))) @ X / len(X) + 0.01 * w

    def derivatives(w):
        p = expit(X @ w)
        return gradient(w), (X.T * (p * (1 - p))) @ X / len(X) + 0.01 * np.eye(len(w))

    start = np.full(30, 5.0)  # far from the minimum, where the quadratic model is bad
    result = minimize(value, derivatives, start, np.full(30, 0.26))
    assert np.all(np.diff([value(start), *result.values]) <= 0)
    assert len(result.values) < 40
    best = minimize_with_scipy(value, np.zeros(30), jac=gradient, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(result.x, best.x, atol=1e-6)
    assert result.predicted_decrease < 1e-12
    assert result.converged


def test_newton_minimizes_a_function_that_is_smooth_only_once():
    X, y = cancer_signed()

    def value(w):
        return (np.maximum(0.0, 1.0 - y * (X @ w)) ** 2).mean() + 0.005 * w @ w

    def gradient(w):
        return (-2.0 * y * np.maximum(0.0, 1.0 - y * (X @ w))) @ X / len(X) + 0.01 * w

    def derivatives(w):
        return gradient(w), 2.0 * (X.T * (y * (X @ w) < 1.0)) @ X / len(X) + 0.01 * np.eye(len(w))

    result = minimize(value, derivatives, np.zeros(30), np.full(30, 2.01))
    best = minimize_with_scipy(value, np.zeros(30), jac=gradient, method="BFGS", options={"gtol": 1e-9})
    assert result.values[-1] <= best.fun * (1 + 1e-9)
    assert np.abs(gradient(result.x)).max() < 1e-7


def log_cosh(max_iter=200, tolerance=0.0):
    def derivatives(x):
        return np.tanh(x), np.diag(1.0 / np.cosh(x) ** 2)

    return minimize(lambda x: float(np.log(np.cosh(x)).sum()), derivatives, [3.0], np.ones(1), max_iter, tolerance)


def test_damping_shortens_newton_steps_that_overshoot():
    assert abs(log_cosh().x[0]) < 1e-6  # from 3, where undamped steps diverge from 1.09 on
    assert np.isinf(log_cosh(max_iter=1).predicted_decrease)  # of a damped step it does not bound the distance
    far = log_cosh(tolerance=1e300)
    assert len(far.values) > 1  # so that a damped step is never the last


def test_newton_ends_at_its_tolerance():
    def derivatives(x):
        return quartic(x)[1], np.diag(3.0 * x**2)

    def quartic_from_5(tolerance, max_iter=200):
        return minimize(lambda x: quartic(x)[0], derivatives, [5.0], np.full(1, 75.0), max_iter, tolerance)

    lengths = [len(quartic_from_5(tolerance).values) for tolerance in (1e-1, 1e-4, 1e-12)]
    assert lengths[0] < lengths[1] < lengths[2]
    assert quartic_from_5(1e-4).predicted_decrease <= 1e-4
    assert not quartic_from_5(1e-4, max_iter=lengths[1] - 1).converged
    assert quartic_from_5(1e-4, max_iter=lengths[1]).converged


def test_a_singular_hessian_is_damped():
    H = np.array([[1.0, 1.0], [1.0, 1.0]])
    b = np.array([2.0, 2.0])
    result = minimize(lambda x: 0.5 * x @ H @ x - b @ x, lambda x: (H @ x - b, H), np.zeros(2), np.ones(2))
    np.testing.assert_allclose(result.x, [1.0, 1.0], rtol=1e-6)


def test_newton_stays_at_a_minimum_and_ends():
    result = minimize(lambda x: float(x @ x), lambda x: (2.0 * x, 2.0 * np.eye(2)), np.zeros(2), np.full(2, 2.0))
    assert result.values == [0.0]
    assert not result.x.any()
    assert result.converged


# -- line search ----------------------------------------------------------------------------------------------------


def test_the_cubic_minimizer_is_that_of_a_cubic():
    a, b, c, d = 2.0, -3.0, -1.5, 0.7  # a t³ + b t² + c t + d
    least = (-b + np.sqrt(b * b - 3.0 * a * c)) / (3.0 * a)
    for end in (2.5, 3.0, 6.0):
        value, slope = ((a * end + b) * end + c) * end + d, ((3.0 * a * end + 2.0 * b) * end + c) * end
        t = line_search.cubic_minimizer(*(np.array([v]) for v in (d, c * end, value, slope)))
        assert t[0] == pytest.approx(least / end, rel=1e-12)
    assert line_search.cubic_minimizer(*(np.array([v]) for v in (0.0, -1.0, np.inf, np.nan)))[0] == 0.5


def search(function, x, direction, shorten=True, value_error=0.0):
    """Along the direction from each of the places x, with the number of evaluations of each."""
    x, evaluations = np.array(x, float), np.zeros(len(x), int)

    def evaluate(x, functions):
        evaluations[functions - 7] += 1
        values, gradients = zip(*map(function, x), strict=True)
        return np.array(values), np.array(gradients)

    start = line_search.Points(np.arange(len(x)) + 7, x, *evaluate(x, np.arange(len(x)) + 7))
    directions, shorten = np.broadcast_to(np.array(direction, float), x.shape), np.full(len(x), shorten)
    return start, *line_search.backtracking(evaluate, start, directions, shorten, value_error), evaluations - 1


def quartic(x):
    return float((x**4).sum() / 4.0 - x.sum()), x**3 - 1.0


@given(st.lists(st.floats(-5.0, 0.9), min_size=1, max_size=5), st.floats(1e-3, 1e3))
@settings(max_examples=50, deadline=None)
def test_each_step_of_a_line_search_meets_armijos_condition(places, length):
    start, end, steps, accepted, evaluations = search(quartic, [[x] for x in places], [length])
    assert accepted.all()
    assert np.all(end.value <= start.value + 1e-4 * (start.gradient * steps).sum(axis=1))
    np.testing.assert_array_equal(end.x, start.x + steps)
    np.testing.assert_array_equal(end.functions, start.functions)
    for x, value, gradient in zip(end.x, end.value, end.gradient, strict=True):
        assert quartic(x)[0] == value
        np.testing.assert_array_equal(quartic(x)[1], gradient)
    np.testing.assert_array_equal(steps[evaluations == 1], length)  # the full step comes first
    assert np.all(steps[evaluations > 1] <= 0.5 * length)


def test_a_line_search_that_may_not_shorten_its_step_tries_one():
    start, end, steps, accepted, evaluations = search(quartic, [[0.0], [-3.0]], [4.0], shorten=False)
    assert accepted.tolist() == [False, True]
    assert evaluations.tolist() == [1, 1]
    np.testing.assert_array_equal(steps, [[0.0], [4.0]])
    for new, old in zip(end, start, strict=True):
        np.testing.assert_array_equal(new[0], old[0])


def test_a_line_search_uphill_finds_no_step():
    _, end, _, accepted, evaluations = search(quartic, [[0.0]], [-1.0])
    assert not accepted.any()
    assert evaluations[0] <= 40
    assert end.x[0] == 0.0


def test_a_line_search_ends_where_rounding_hides_the_decrease():
    def jump(x):
        value, gradient = quartic(x)
        return value + 1.0 + float(x[0] != 0.0), gradient

    *_, accepted, evaluations = search(jump, [[0.0]], [1.0], value_error=1e-3)
    assert not accepted.any()
    assert evaluations[0] < 10
    assert search(jump, [[0.0]], [1.0], value_error=0.0)[-1][0] == 40


# -- L-BFGS for many functions --------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_the_two_loops_multiply_with_the_inverse_hessian_that_bfgs_updates(seed, n_pairs):
    rng = np.random.RandomState(seed)
    A = rng.randn(3, 7, 4)
    hessians, inverse = np.swapaxes(A, 1, 2) @ A, np.tile(np.eye(4) * 0.3, (3, 1, 1))
    pairs = deque()
    for _ in range(n_pairs):
        s = rng.randn(3, 4)
        y = np.einsum("mij,mj->mi", hessians, s)
        y[0] *= -1.0  # no curvature: the pair is left out
        pairs.append(lbfgs.curvature_pair(s, y))
        for m in (1, 2):  # equation 6.17
            V = np.eye(4) - np.outer(y[m], s[m]) / (y[m] @ s[m])
            inverse[m] = V.T @ inverse[m] @ V + np.outer(s[m], s[m]) / (y[m] @ s[m])
    points = line_search.Points(np.arange(3), rng.randn(3, 4), np.zeros(3), rng.randn(3, 4))
    product = lbfgs.two_loop_recursion(points, pairs, lambda q, functions: 0.3 * q)
    np.testing.assert_allclose(product, np.einsum("mij,mj->mi", inverse, points.gradient), rtol=1e-7, atol=1e-9)


class Several:
    """Functions given as lists of value and gradient, minimized at once; counts the evaluations of each."""

    def __init__(self, functions, size, precondition=None, value_error=1e-15, decrease=1e-16):
        self.functions, self.evaluations = functions, np.zeros(len(functions), int)
        self.x, self.iterations, self.converged = np.zeros((len(functions), size)), [], []
        self.precondition = precondition or (lambda g, functions: g)
        self.tolerances = Tolerances(np.full(len(functions), decrease), 1e-30, value_error)

    def evaluate(self, points, functions):
        self.evaluations[functions] += 1
        assert not set(functions) & set(self.converged)
        results = [self.functions[m](x) for m, x in zip(functions, points, strict=True)]
        return np.array([f for f, _ in results]), np.array([g for _, g in results])

    def run(self, functions=None, max_iter=500):
        functions = np.arange(len(self.functions)) if functions is None else np.array(functions)
        for it in lbfgs.minimize(self.evaluate, self.precondition, self.x, functions, self.tolerances):
            self.iterations.append(dict(zip(it.functions.tolist(), it.value.tolist(), strict=True)))
            self.converged += it.functions[it.converged].tolist()
            assert not (it.slow & it.converged).any()
            if len(self.iterations) == max_iter:
                break
        return self

    def curve(self, m):
        return [values[m] for values in self.iterations if m in values]


def quadratic(seed, size, spread=10.0):
    rng = np.random.RandomState(seed)
    Q = np.linalg.qr(rng.randn(size, size))[0]
    H, b = (Q * np.logspace(0, np.log10(spread), size)) @ Q.T, rng.randn(size)
    return (lambda x: (0.5 * x @ H @ x - b @ x, H @ x - b)), H, np.linalg.solve(H, b)


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=5), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_quadratics_preconditioned_with_their_inverse_hessians_take_a_step_each(seeds, size):
    made = [quadratic(seed, size) for seed in seeds]

    def precondition(g, functions):
        return np.array([np.linalg.solve(made[m][1], v) for m, v in zip(functions, g, strict=True)])

    several = Several([f for f, _, _ in made], size, precondition).run()
    np.testing.assert_allclose(several.x, [best for _, _, best in made], rtol=1e-7, atol=1e-9)
    assert sorted(several.converged) == list(range(len(seeds)))
    assert several.evaluations.max() <= 4  # the start, the step, and what shows that there is nothing left


@given(st.lists(st.tuples(st.integers(0, 2**31), st.floats(1.0, 1e3)), min_size=2, max_size=5))
@settings(max_examples=30, deadline=None)
def test_quadratics_without_a_preconditioner_reach_their_minima_as_if_alone(kinds):
    made = [quadratic(seed, 5, spread) for seed, spread in kinds]
    several = Several([f for f, _, _ in made], 5).run()
    np.testing.assert_allclose(several.x, [best for _, _, best in made], rtol=1e-5, atol=1e-6)
    alone = Several([made[0][0]], 5).run()
    np.testing.assert_allclose(several.x[0], alone.x[0], rtol=1e-12, atol=1e-14)
    assert several.evaluations[0] == alone.evaluations[0]


def logistic(rows, alpha):
    X, y = cancer_signed()
    X, y = X[rows], y[rows]

    def function(w):
        value = np.logaddexp(0.0, -y * (X @ w)).mean() + 0.5 * alpha * w @ w
        return value, -(y * expit(-y * (X @ w))) @ X / len(X) + alpha * w

    return function


def test_logistic_functions_end_where_scipy_ends_and_leave_as_they_converge():
    rows = [np.arange(569)[k::5] for k in range(5)]
    alphas = [1.0, 0.1, 0.01, 0.1, 0.001]
    functions = [logistic(r, a) for r, a in zip(rows, alphas, strict=True)]
    several = Several(functions, 30).run()
    assert sorted(several.converged) == [0, 1, 2, 3, 4]
    assert len({len(several.curve(m)) for m in range(5)}) > 2  # after numbers of iterations that differ
    for m, function in enumerate(functions):
        best = minimize_with_scipy(
            function, np.zeros(30), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}
        )
        np.testing.assert_allclose(several.x[m], best.x, atol=1e-5)
        curve = several.curve(m)
        assert np.all(np.diff(curve) <= 1e-12)
        assert curve[-1] == pytest.approx(best.fun, rel=1e-10)
        assert curve[-1] == function(several.x[m])[0]


def test_functions_that_are_not_minimized_stay_where_they_are():
    made = [quadratic(seed, 3) for seed in range(4)]
    several = Several([f for f, _, _ in made], 3)
    several.x[:] = 7.0
    several.run([1, 3])
    np.testing.assert_array_equal(several.x[[0, 2]], 7.0)
    assert several.evaluations[[0, 2]].tolist() == [0, 0]
    np.testing.assert_allclose(several.x[[1, 3]], [made[1][2], made[3][2]], rtol=1e-5, atol=1e-6)


def test_a_direction_uphill_is_replaced_by_that_of_the_preconditioner():
    made, calls = [quadratic(seed, 4, 100.0) for seed in (0, 1)], []

    def precondition(g, functions):  # errs once, for the second function
        calls.append(functions.tolist())
        return np.where((functions == 1)[:, None] & (len(calls) == 3), -100.0 * g, g)

    several = Several([f for f, _, _ in made], 4, precondition=precondition).run()
    assert calls[3] == [1]  # applied again for that one only
    np.testing.assert_allclose(several.x, [best for _, _, best in made], rtol=1e-5, atol=1e-6)
    for m in (0, 1):
        assert np.all(np.diff(several.curve(m)) <= 1e-14)


def test_steps_without_positive_curvature_leave_the_inverse_hessian_as_it_is():
    def bell(x):
        e = np.exp(-0.5 * x @ x)
        return 1.0 - e, e * x

    several = Several([bell, bell], 2)
    several.x[:] = [[2.0, 0.5], [-1.5, 1.5]]
    several.run()
    np.testing.assert_allclose(several.x, 0.0, atol=1e-5)
    for m in (0, 1):
        assert np.all(np.diff(several.curve(m)) <= 1e-15)


def test_a_step_that_overshoots_or_leaves_the_domain_is_shortened():
    def barrier(x):  # minimum at 1, not defined below zero
        with np.errstate(invalid="ignore", divide="ignore"):
            return float((x - np.log(x)).sum()), 1.0 - 1.0 / x

    several = Several([barrier], 2, precondition=lambda g, functions: 100.0 * g)
    several.x[:] = [[0.2, 3.0]]
    several.run()
    np.testing.assert_allclose(several.x, 1.0, rtol=1e-6)


def test_few_trials_find_the_length_of_a_step_that_overshot():
    several = Several([quartic], 1, precondition=lambda g, functions: 40.0 * g).run()
    np.testing.assert_allclose(several.x, 1.0, rtol=1e-6)
    assert several.evaluations[0] < 20


def test_a_function_that_is_not_finite_at_the_start_stays_there_and_does_not_stop_others():
    made = quadratic(0, 3)
    several = Several([lambda x: (np.nan, np.full(3, np.nan)), made[0]], 3).run()
    assert several.converged == [1]
    assert several.evaluations.tolist()[0] == 1
    np.testing.assert_array_equal(several.x[0], 0.0)
    np.testing.assert_allclose(several.x[1], made[2], rtol=1e-5, atol=1e-6)


def test_each_function_ends_at_its_tolerance():
    made = quadratic(0, 6, 1e4)
    lengths = [len(Several([made[0]], 6, decrease=decrease).run().iterations) for decrease in (1e-2, 1e-5, 1e-12)]
    assert lengths[0] <= lengths[1] < lengths[2]
    both = Several([made[0], made[0]], 6)
    both.tolerances = both.tolerances._replace(predicted_decrease=np.array([1e-2, 1e-12]))
    both.run()
    assert [len(both.curve(m)) for m in (0, 1)] == [lengths[0], lengths[2]]


def test_rounding_ends_the_iterations_near_the_minimum():
    function, _, best = quadratic(3, 5, 100.0)
    rng = np.random.RandomState(0)

    def noisy(x):
        value, gradient = function(x)
        return value * (1.0 + 1e-8 * rng.uniform(-1, 1)), gradient + 1e-7 * rng.randn(5)

    several = Several([noisy], 5, value_error=1e-7, decrease=0.0)
    several.run(max_iter=200)
    assert several.converged == [0]
    assert several.evaluations[0] < 300
    np.testing.assert_allclose(several.x[0], best, atol=1e-3)


def test_a_function_at_its_minimum_converges_in_one_iteration():
    function, _, best = quadratic(1, 4)
    several = Several([function], 4, decrease=1e-12)
    several.x[0] = best
    several.run()
    assert len(several.iterations) == 1
    np.testing.assert_allclose(several.x[0], best, rtol=1e-12)


# -- sums that training sets share ----------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.integers(1, 7), st.booleans())
@settings(max_examples=40, deadline=None)
def test_sums_that_training_sets_share_are_those_of_each_training_set(seed, columns, weighted):
    rng = np.random.RandomState(seed)
    values, base = rng.randn(30, 3), rng.uniform(0.5, 2.0, 30) if weighted else None
    counts = (rng.uniform(size=(30, columns)) < 0.7) * (np.ones((30, 1)) if base is None else base[:, None])
    counts[0] = 1.0 if base is None else base[0]
    counts[:, ::3] *= rng.choice([1, 2], (30, 1))  # repeated rows, of no multiple of the base
    found = sums_by_train_set(
        counts, base, lambda rows, weights: (values if weights is None else values * weights[:, None])[rows].sum(axis=0)
    )
    assert sorted(found) == list(range(columns))
    for k, sums in found.items():
        expected = counts[:, k] @ values
        unit = np.abs(expected).argmax()
        np.testing.assert_allclose(sums * (expected[unit] / sums[unit]), expected, rtol=1e-9, atol=1e-9)
