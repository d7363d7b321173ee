"""Every registered penalty: value, gradient, weight of |w| and proximal step belong together."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.loops.linear_penalty import penalty_sums
from lifecycle.penalties import find_penalty, list_penalties

PENALTIES = list_penalties()
FORMULAS = {
    "none": lambda w, ratio: 0.0 * w,
    "l2": lambda w, ratio: w**2 / 2,
    "l1": lambda w, ratio: np.abs(w),
    "elasticnet": lambda w, ratio: ratio * np.abs(w) + (1 - ratio) * w**2 / 2,
}
W = np.append(np.linspace(-3.03, 3.02, 60), 0.0)  # away from 1, where a penalty may have a kink of its gradient
every = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=list(PENALTIES))
ratios = pytest.mark.parametrize("ratio", [0.0, 0.15, 0.5, 1.0])
numbers = st.floats(-1e3, 1e3)
step_sizes = st.floats(0.0, 10.0)
l1_ratios = st.floats(0.0, 1.0)


def prox(penalty, w, step_size, ratio):
    return penalty.prox(w, penalty.prox_params(step_size, ratio))


@every
@ratios
def test_value_is_the_written_formula(penalty, ratio):
    np.testing.assert_allclose(penalty.value(W, ratio), FORMULAS[penalty.name](W, ratio), atol=1e-15)


@every
@ratios
def test_gradient_and_l1_weight_are_the_derivative_of_value(penalty, ratio):
    h = 1e-6
    w = W[np.abs(W) > 1e-3]
    numeric = (penalty.value(w + h, ratio) - penalty.value(w - h, ratio)) / (2 * h)
    np.testing.assert_allclose(penalty.gradient(w, ratio) + penalty.l1_weight(ratio) * np.sign(w), numeric, atol=1e-8)
    right, left = penalty.value(h, ratio) / h, penalty.value(-h, ratio) / h
    np.testing.assert_allclose([right, left], penalty.l1_weight(ratio), atol=1e-6)


@every
@ratios
@pytest.mark.parametrize("step_size", [0.01, 0.7, 5.0])
def test_prox_is_the_minimizer(penalty, ratio, step_size):
    grid = np.linspace(-4.0, 4.0, 8001)  # holds 0
    for w in np.linspace(-3.3, 3.3, 23):
        brute = grid[np.argmin(step_size * penalty.value(grid, ratio) + (grid - w) ** 2 / 2)]
        assert abs(prox(penalty, w, step_size, ratio) - brute) <= 0.5001e-3


@every
@ratios
def test_without_l1_weight_prox_is_a_factor(penalty, ratio):
    """Sparse rows rely on it: their coefficients share one factor, and newton takes the gradient as linear."""
    if penalty.l1_weight(ratio) > 0:
        pytest.skip("it has an l1 weight")
    np.testing.assert_allclose(prox(penalty, W, 0.7, ratio), prox(penalty, 1.0, 0.7, ratio) * W, rtol=1e-15)
    np.testing.assert_allclose(penalty.gradient(W, ratio), penalty.gradient(1.0, ratio) * W, rtol=1e-15)


@every
@given(v=numbers, w=numbers, step_size=step_sizes, ratio=l1_ratios)
def test_prox_keeps_zero_sign_and_order_and_increases_no_distance(penalty, v, w, step_size, ratio):
    a, b = (prox(penalty, x, step_size, ratio) for x in (v, w))
    assert prox(penalty, 0.0, step_size, ratio) == 0.0
    assert a * v >= 0.0
    assert abs(a) <= abs(v)
    assert (a - b) * (v - w) >= 0.0
    assert abs(a - b) <= abs(v - w) + 1e-12 * (abs(v) + abs(w))
    assert prox(penalty, v, 0.0, ratio) == v


@every
@given(w=numbers, step_size=step_sizes, ratio=l1_ratios)
def test_prox_solves_its_stationarity_condition(penalty, w, step_size, ratio):
    u = prox(penalty, w, step_size, ratio)
    subgradient = (w - u) - step_size * penalty.gradient(u, ratio)  # of step_size * l1_weight * |u|
    bound = step_size * penalty.l1_weight(ratio)
    rounding = 1e-12 * (1.0 + abs(w)) * (1.0 + step_size)
    if u == 0.0:
        assert abs(subgradient) <= bound + rounding
    else:
        assert abs(subgradient - bound * np.sign(u)) <= rounding


@every
def test_inside_a_kernel_the_penalty_gives_the_same_numbers(penalty):
    value, gradient, l1_weight = penalty.value, penalty.gradient, penalty.l1_weight
    prox_params, prox_of = penalty.prox_params, penalty.prox

    @numba.njit
    def loop(w, out):
        for i in range(w.size):
            out[0, i] = value(w[i], 0.3)
            out[1, i] = gradient(w[i], 0.3)
            out[2, i] = l1_weight(0.3)
            out[3, i] = prox_of(w[i], prox_params(0.7, 0.3))

    out = np.empty((4, W.size))
    loop(W, out)
    l1_weights = np.full(W.size, penalty.l1_weight(0.3))
    expected = [penalty.value(W, 0.3), penalty.gradient(W, 0.3), l1_weights, prox(penalty, W, 0.7, 0.3)]
    np.testing.assert_allclose(out, expected, rtol=1e-15)


@every
def test_compiled_for_float32_it_stays_in_float32(penalty):
    ratio, params = np.float32(0.4), penalty.prox_params(0.07, float(np.float32(0.4)))
    prox_of, gradient = (numba.njit(error_model="numpy")(function) for function in (penalty.prox, penalty.gradient))
    single = tuple(map(np.float32, params))
    for w in map(np.float32, (-2.3, -0.2, 0.0, 1e-3, 0.1, 1.9)):
        np.testing.assert_allclose(prox_of(w, single), penalty.prox(float(w), params), rtol=3e-7, atol=1e-8)
        np.testing.assert_allclose(gradient(w, ratio), penalty.gradient(float(w), float(ratio)), rtol=3e-7, atol=0)
    for compiled in (prox_of, gradient):
        assert [s.return_type for s in compiled.nopython_signatures] == [numba.float32]


def test_an_unknown_penalty_is_refused_by_name():
    assert find_penalty(None) is PENALTIES["none"]
    for wrong in ("L2", "none", 2):
        with pytest.raises(ValueError, match=r"penalty must be one of .*'elasticnet'.*'l1'.*'l2'.*None; got"):
            find_penalty(wrong)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_penalties_of_many_models_are_sums_of_values(penalty, dtype):
    tiles, features, width = 2, 5, 32
    rng = np.random.RandomState(0)
    coef = rng.randn(tiles, features, width).astype(dtype)
    scale, ratio = rng.uniform(0.1, 2.0, (2, tiles, width)).astype(dtype)
    total = np.ones(tiles * width)
    penalty_sums(penalty, width)(coef.ravel(), scale.ravel(), ratio.ravel(), total)
    expected = penalty.value((scale[:, None] * coef).astype(np.float64), ratio[:, None].astype(np.float64))
    np.testing.assert_allclose(total, 1.0 + expected.sum(axis=1).ravel(), rtol=20 * np.finfo(dtype).eps)
