"""The array solvers against numpy, scipy and scikit-learn, and the laws that hold for their solutions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import Ridge

from lifecycle.linear.data.fold_sums import sums_by_column
from lifecycle.solvers import lbfgs, newton, ridge

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
    coef, losses = ridge.solve(X, y, weights, ALPHAS, fit_intercept)
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
    (coef,), (loss,) = ridge.solve(X, y, np.ones(len(X)), np.zeros(1), False)
    best = np.linalg.lstsq(X, y)[0]
    np.testing.assert_allclose(coef, best, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(loss, ((y - X @ best) ** 2).mean(), rtol=1e-9, atol=1e-20)


def test_an_ill_conditioned_system_keeps_more_digits_than_its_normal_equations():
    X = np.vander(np.linspace(0.0, 1.0, 60), 9)  # condition 1e6: the normal equations lose 12 of 16 digits
    truth = np.ones(9)
    (coef,), _ = ridge.solve(X, X @ truth, np.ones(60), np.zeros(1), False)
    assert np.abs(coef - truth).max() < 1e-8
    assert np.abs(np.linalg.solve(X.T @ X, X.T @ (X @ truth)) - truth).max() > 1e-8


@given(st.integers(0, 2**31), st.floats(0.0, 5.0), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_weight_is_a_repetition_and_only_ratios_count(seed, alpha, fit_intercept):
    rng = np.random.RandomState(seed)
    X, y, times = rng.randn(9, 3), rng.randn(9), rng.randint(0, 4, 9)
    times[0] = 2
    alphas = np.array([alpha, 2.0])
    one = ridge.solve(X, y, 7.5 * times, alphas, fit_intercept)
    other = ridge.solve(np.repeat(X, times, axis=0), np.repeat(y, times), np.ones(times.sum()), alphas, fit_intercept)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_each_of_many_penalties_is_as_if_it_were_alone():
    X, y = diabetes()
    weights, alphas = np.random.RandomState(0).uniform(0.0, 3.0, len(y)), np.logspace(-9, 3, 25)
    coef, losses = ridge.solve(X, y, weights, alphas, True)
    assert coef.shape == (25, 10)
    assert losses.shape == (25,)
    for c, loss, alpha in zip(coef, losses, alphas, strict=True):
        (alone,), (alone_loss,) = ridge.solve(X, y, weights, np.array([alpha]), True)
        np.testing.assert_allclose(c, alone, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(loss, alone_loss, rtol=1e-12)
    np.testing.assert_allclose(losses, mean_squares(X, y, weights, coef, True), rtol=1e-10)
    assert np.all(np.diff(losses) > 0)


# -- from products --------------------------------------------------------------------------------------------------


def products(X, y, weights):
    table = np.column_stack([X, y, np.ones(len(y))])
    return table.T @ (table * weights[:, None])


@given(st.integers(0, 2**31), st.integers(1, 6), st.booleans(), st.sampled_from([0.0, 1e-9, 1e-3, 2.0]))
@settings(max_examples=100, deadline=None)
def test_products_of_features_suffice_where_they_tell_features_apart(seed, features, fit_intercept, least):
    rng = np.random.RandomState(seed)
    X, y, weights = rng.randn(40, features) + rng.randn(features), rng.randn(40), rng.uniform(0.0, 3.0, 40)
    alphas = np.array([least, 0.1 + least, 10.0])
    coef, losses = ridge.from_products(products(X, y, weights), alphas, fit_intercept)
    best, least_losses = ridge.solve(X, y, weights, alphas, fit_intercept)
    np.testing.assert_allclose(coef, best, rtol=1e-9, atol=1e-9 * np.abs(best).max())
    np.testing.assert_allclose(losses, least_losses, rtol=1e-9)
    # only ratios of weights count
    again = ridge.from_products(1e3 * products(X, y, weights), alphas, fit_intercept)
    np.testing.assert_allclose(again[0], coef, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_features_too_alike_for_their_products_are_left_to_solve(fit_intercept):
    rng = np.random.RandomState(0)
    X, y, weights = rng.randn(50, 3), rng.randn(50), np.ones(50)
    constant = np.column_stack([X, np.zeros(50)])
    twice = np.column_stack([X, X[:, 0]])
    nearly = np.column_stack([X, X[:, 0] + 1e-4 * rng.randn(50)])
    for alike in (constant, twice, nearly):
        given_products = products(alike, y, weights)
        assert ridge.from_products(given_products, np.array([0.0, 1.0]), fit_intercept) is None
        # the penalty tells them apart
        coef, losses = ridge.from_products(given_products, np.array([0.5, 1.0]), fit_intercept)
        best, least_losses = ridge.solve(alike, y, weights, np.array([0.5, 1.0]), fit_intercept)
        np.testing.assert_allclose(coef, best, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(losses, least_losses, rtol=1e-9)
    nothing = products(np.zeros((50, 2)), y, weights)
    assert ridge.from_products(nothing, np.zeros(1), fit_intercept) is None


def test_a_perfect_fit_has_no_loss_below_zero():
    X = np.random.RandomState(0).randn(30, 3)
    coef, losses = ridge.from_products(products(X, X @ [1.0, -2.0, 3.0] + 5.0, np.ones(30)), np.zeros(1), True)
    np.testing.assert_allclose(coef, [[1.0, -2.0, 3.0]], rtol=1e-12)
    assert 0.0 <= losses[0] < 1e-12


# -- Newton's method ------------------------------------------------------------------------------------------------


def run(value, derivatives, x, metric, most=200):
    found = []

    def look(x):
        gradient, hessian = derivatives(x)
        return value(x), gradient, lambda: hessian

    def solve(matrix, vector):
        try:
            return cho_solve(cho_factor(matrix), vector)
        except np.linalg.LinAlgError:
            return None

    for step in newton.descend(look, solve, np.array(x, dtype=float), metric):
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


def cancer_signed():
    X, y = cancer()
    return X, np.where(y == 1, 1.0, -1.0)


def test_logistic_regression_ends_where_scipy_ends_and_every_step_goes_down():
    X, y = cancer_signed()

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
    X, y = cancer_signed()

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


# -- L-BFGS for many functions --------------------------------------------------------------------------------------


class Several:
    """Functions given by lists of value and gradient, minimized at once; counts what each was asked for."""

    def __init__(self, functions, size, precondition=None, noise=1e-15, step=1e-7, limit=1e-12):
        self.functions, self.asked = functions, np.zeros(len(functions), int)
        self.x, self.turns, self.arrived = np.zeros((len(functions), size)), [], []
        self.guess = precondition or (lambda g, which: g)
        self.options = np.full(len(functions), limit), step, np.full(len(functions), 1e-30), noise

    def gradients(self, points, which):
        self.asked[which] += 1
        assert not set(which) & set(self.arrived)
        found = [self.functions[m](x) for m, x in zip(which, points, strict=True)]
        return np.array([f for f, _ in found]), np.array([g for _, g in found])

    def run(self, which=None, most=500):
        which = np.arange(len(self.functions)) if which is None else np.array(which)
        for values, gone, _ in lbfgs.descend(self.gradients, self.guess, self.x, which, *self.options):
            self.turns.append(values)
            self.arrived += gone
            if len(self.turns) == most:
                break
        return self

    def curve(self, m):
        return [values[m] for values in self.turns if m in values]


def quadratic(seed, size, spread=10.0):
    rng = np.random.RandomState(seed)
    Q = np.linalg.qr(rng.randn(size, size))[0]
    H, b = (Q * np.logspace(0, np.log10(spread), size)) @ Q.T, rng.randn(size)
    return (lambda x: (0.5 * x @ H @ x - b @ x, H @ x - b)), H, np.linalg.solve(H, b)


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=5), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_quadratics_with_their_inverse_hessians_take_a_step_each(seeds, size):
    made = [quadratic(seed, size) for seed in seeds]
    several = Several(
        [f for f, _, _ in made], size,
        precondition=lambda g, which: np.array([np.linalg.solve(made[m][1], v) for m, v in zip(which, g, strict=True)]),
    ).run()  # fmt: skip
    np.testing.assert_allclose(several.x, [best for _, _, best in made], rtol=1e-7, atol=1e-9)
    assert sorted(several.arrived) == list(range(len(seeds)))
    assert several.asked.max() <= 4  # the start, the step, and what shows that there is nothing left


@given(st.lists(st.tuples(st.integers(0, 2**31), st.floats(1.0, 1e3)), min_size=2, max_size=5))
@settings(max_examples=30, deadline=None)
def test_quadratics_without_a_guess_arrive_at_their_own_minima(kinds):
    made = [quadratic(seed, 5, spread) for seed, spread in kinds]
    several = Several([f for f, _, _ in made], 5).run()
    np.testing.assert_allclose(several.x, [best for _, _, best in made], rtol=1e-5, atol=1e-6)
    alone = Several([made[0][0]], 5).run()
    np.testing.assert_allclose(several.x[0], alone.x[0], rtol=1e-12, atol=1e-14)
    assert several.asked[0] == alone.asked[0]


def logistic(rows, alpha):
    X, y = cancer_signed()
    X, y = X[rows], y[rows]

    def function(w):
        value = np.logaddexp(0.0, -y * (X @ w)).mean() + 0.5 * alpha * w @ w
        return value, -(y * expit(-y * (X @ w))) @ X / len(X) + alpha * w

    return function


def test_logistic_functions_end_where_scipy_ends_and_leave_as_they_arrive():
    rows = [np.arange(569)[k::5] for k in range(5)]
    alphas = [1.0, 0.1, 0.01, 0.1, 0.001]
    functions = [logistic(r, a) for r, a in zip(rows, alphas, strict=True)]
    several = Several(functions, 30).run()
    assert sorted(several.arrived) == [0, 1, 2, 3, 4]
    assert len({len(several.curve(m)) for m in range(5)}) > 2  # at turns of their own
    for m, function in enumerate(functions):
        best = minimize(function, np.zeros(30), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
        np.testing.assert_allclose(several.x[m], best.x, atol=1e-5)
        curve = several.curve(m)
        assert np.all(np.diff(curve) <= 1e-12)
        assert curve[-1] == pytest.approx(best.fun, rel=1e-10)
        assert curve[-1] == function(several.x[m])[0]


def test_functions_that_are_not_asked_for_stay_where_they_are():
    made = [quadratic(seed, 3) for seed in range(4)]
    several = Several([f for f, _, _ in made], 3)
    several.x[:] = 7.0
    several.run(which=[1, 3])
    np.testing.assert_array_equal(several.x[[0, 2]], 7.0)
    assert several.asked[[0, 2]].tolist() == [0, 0]
    np.testing.assert_allclose(several.x[[1, 3]], [made[1][2], made[3][2]], rtol=1e-5, atol=1e-6)


def test_a_direction_that_is_uphill_gives_way_to_the_guess():
    made, calls = [quadratic(seed, 4, 100.0) for seed in (0, 1)], []

    def guess(g, which):  # errs once, for the second function
        calls.append(which.tolist())
        return np.where((which == 1)[:, None] & (len(calls) == 3), -100.0 * g, g)

    several = Several([f for f, _, _ in made], 4, precondition=guess).run()
    assert calls[3] == [1]  # asked again for that one only
    np.testing.assert_allclose(several.x, [best for _, _, best in made], rtol=1e-5, atol=1e-6)
    for m in (0, 1):
        assert np.all(np.diff(several.curve(m)) <= 1e-14)


def test_where_a_function_is_concave_its_steps_teach_nothing():
    def bell(x):
        e = np.exp(-0.5 * x @ x)
        return 1.0 - e, e * x

    several = Several([bell, bell], 2, step=1e-6)
    several.x[:] = [[2.0, 0.5], [-1.5, 1.5]]
    several.run()
    np.testing.assert_allclose(several.x, 0.0, atol=1e-5)
    for m in (0, 1):
        assert np.all(np.diff(several.curve(m)) <= 1e-15)


def test_a_step_that_overshoots_or_leaves_the_domain_is_halved():
    def barrier(x):  # minimum at 1, not defined below zero
        with np.errstate(invalid="ignore", divide="ignore"):
            return float((x - np.log(x)).sum()), 1.0 - 1.0 / x

    several = Several([barrier], 2, precondition=lambda g, which: 100.0 * g)
    several.x[:] = [[0.2, 3.0]]
    several.run()
    np.testing.assert_allclose(several.x, 1.0, rtol=1e-6)


def test_the_length_of_a_step_that_overshot_is_that_of_the_cubic_through_both_ends():
    def valley(x):  # quartic walls: of the guess's step of 100, one part in forty is right
        return float((x**4).sum() / 4.0 - x.sum()), x**3 - 1.0

    several = Several([valley], 1, precondition=lambda g, which: 40.0 * g).run()
    np.testing.assert_allclose(several.x, 1.0, rtol=1e-6)
    assert several.asked[0] < 20
    a, b, c, d = 2.0, -3.0, -1.5, 0.7  # a t³ + b t² + c t + d
    least = (-b + np.sqrt(b * b - 3.0 * a * c)) / (3.0 * a)
    for far in (2.5, 3.0, 6.0):
        ends = [np.array([v]) for v in (d, c * far, ((a * far + b) * far + c) * far + d,
                                        ((3.0 * a * far + 2.0 * b) * far + c) * far)]  # fmt: skip
        assert lbfgs._shorter(*ends)[0] == pytest.approx(least / far, rel=1e-12)
    assert lbfgs._shorter(*(np.array([v]) for v in (0.0, -1.0, np.inf, np.nan)))[0] == 0.5


def test_a_function_that_is_not_finite_where_it_starts_stays_there_and_holds_nobody_up():
    made = quadratic(0, 3)
    several = Several([lambda x: (np.nan, np.full(3, np.nan)), made[0]], 3).run()
    assert several.arrived == [1]
    assert several.asked.tolist()[0] == 1
    np.testing.assert_array_equal(several.x[0], 0.0)
    np.testing.assert_allclose(several.x[1], made[2], rtol=1e-5, atol=1e-6)


def test_the_limit_decides_when_it_is_enough():
    made = quadratic(0, 6, 1e4)
    turns = [len(Several([made[0]], 6, limit=limit, step=1e300).run().turns) for limit in (1e-2, 1e-5, 1e-12)]
    assert turns[0] <= turns[1] < turns[2]
    small_steps = Several([made[0]], 6, limit=1e-2, step=1e-7).run()  # a small promise is not enough
    assert len(small_steps.turns) > turns[0]
    np.testing.assert_allclose(small_steps.x[0], made[2], rtol=1e-5, atol=1e-6)
    both = Several([made[0], made[0]], 6, step=1e300)
    both.options = (np.array([1e-2, 1e-12]), *both.options[1:])
    both.run()
    assert [len(both.curve(m)) for m in (0, 1)] == [turns[0], turns[2]]


def test_noise_ends_it_near_the_minimum_and_not_in_a_search_without_end():
    function, _, best = quadratic(3, 5, 100.0)
    rng = np.random.RandomState(0)

    def shaken(x):
        value, gradient = function(x)
        return value * (1.0 + 1e-8 * rng.uniform(-1, 1)), gradient + 1e-7 * rng.randn(5)

    several = Several([shaken], 5, noise=1e-7, step=0.0, limit=0.0)
    several.run(most=200)
    assert several.arrived == [0]
    assert several.asked[0] < 300
    np.testing.assert_allclose(several.x[0], best, atol=1e-3)


def test_at_a_minimum_it_leaves_at_once():
    function, _, best = quadratic(1, 4)
    several = Several([function], 4, limit=1e-12)
    several.x[0] = best
    several.run()
    assert len(several.turns) == 1
    np.testing.assert_allclose(several.x[0], best, rtol=1e-12)


# -- sums that training sets share ----------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.integers(1, 7), st.booleans())
@settings(max_examples=40, deadline=None)
def test_sums_by_column_are_those_of_each_column(seed, columns, weighted):
    rng = np.random.RandomState(seed)
    values, base = rng.randn(30, 3), rng.uniform(0.5, 2.0, 30) if weighted else None
    counts = (rng.uniform(size=(30, columns)) < 0.7) * (np.ones((30, 1)) if base is None else base[:, None])
    counts[0] = 1.0 if base is None else base[0]
    counts[:, ::3] *= rng.choice([1, 2], (30, 1))  # repeated rows, of no multiple of the base
    found = sums_by_column(
        counts, base, lambda rows, weights: (values if weights is None else values * weights[:, None])[rows].sum(axis=0)
    )
    assert sorted(found) == list(range(columns))
    for k, sums in found.items():
        expected = counts[:, k] @ values
        unit = np.abs(expected).argmax()
        np.testing.assert_allclose(sums * (expected[unit] / sums[unit]), expected, rtol=1e-9, atol=1e-9)
