"""Every registered penalty: value, slope, kink and proximal step belong together."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.loops.linear_many import penalties
from lifecycle.penalties import find_penalty, list_penalties

PENALTIES = list_penalties()
FORMULAS = {
    "none": lambda w, ratio: 0.0 * w,
    "l2": lambda w, ratio: w**2 / 2,
    "l1": lambda w, ratio: np.abs(w),
    "elasticnet": lambda w, ratio: ratio * np.abs(w) + (1 - ratio) * w**2 / 2,
}
W = np.linspace(-3.0, 3.0, 61)
every = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=list(PENALTIES))
ratios = pytest.mark.parametrize("ratio", [0.0, 0.15, 0.5, 1.0])
numbers = st.floats(-1e3, 1e3)
sizes = st.floats(0.0, 10.0)
shares = st.floats(0.0, 1.0)


@every
@ratios
def test_value_is_the_written_formula(penalty, ratio):
    if penalty.name not in FORMULAS:
        pytest.skip("a penalty added from outside brings its own formula")
    np.testing.assert_allclose(penalty.value(W, ratio), FORMULAS[penalty.name](W, ratio), atol=1e-15)


@every
@ratios
def test_slope_and_kink_are_the_derivative_of_value(penalty, ratio):
    h = 1e-6
    w = W[np.abs(W) > 1e-3]
    numeric = (penalty.value(w + h, ratio) - penalty.value(w - h, ratio)) / (2 * h)
    np.testing.assert_allclose(penalty.gradient(w, ratio) + penalty.l1_weight(ratio) * np.sign(w), numeric, atol=1e-8)
    right, left = penalty.value(h, ratio) / h, penalty.value(-h, ratio) / h
    np.testing.assert_allclose([right, left], penalty.l1_weight(ratio), atol=1e-6)


@every
@ratios
@pytest.mark.parametrize("t", [0.01, 0.7, 5.0])
def test_prox_is_the_minimizer(penalty, ratio, t):
    grid = np.linspace(-4.0, 4.0, 8001)  # holds 0
    for w in np.linspace(-3.3, 3.3, 23):
        brute = grid[np.argmin(t * penalty.value(grid, ratio) + (grid - w) ** 2 / 2)]
        assert abs(penalty.prox(w, penalty.prox_params(t, ratio)) - brute) <= 0.5001e-3


@every
@given(v=numbers, w=numbers, t=sizes, ratio=shares)
def test_prox_keeps_zero_sign_and_order_and_brings_nothing_apart(penalty, v, w, t, ratio):
    a, b = (penalty.prox(x, penalty.prox_params(t, ratio)) for x in (v, w))
    assert penalty.prox(0.0, penalty.prox_params(t, ratio)) == 0.0
    assert a * v >= 0.0
    assert abs(a) <= abs(v)
    assert (a - b) * (v - w) >= 0.0
    assert abs(a - b) <= abs(v - w) + 1e-12 * (abs(v) + abs(w))
    assert penalty.prox(v, penalty.prox_params(0.0, ratio)) == v


@every
@given(w=numbers, t=sizes, ratio=shares)
def test_prox_solves_its_stationarity_condition(penalty, w, t, ratio):
    u = penalty.prox(w, penalty.prox_params(t, ratio))
    left = (w - u) - t * penalty.gradient(u, ratio)  # t * kink * a subgradient of |u|
    reach = t * penalty.l1_weight(ratio)
    tiny = 1e-12 * (1.0 + abs(w)) * (1.0 + t)
    if u == 0.0:
        assert abs(left) <= reach + tiny
    else:
        assert abs(left - reach * np.sign(u)) <= tiny


@every
def test_inside_a_kernel_the_penalty_gives_the_same_numbers(penalty):
    value, slope, kink = penalty.value, penalty.gradient, penalty.l1_weight
    step, prox = penalty.prox_params, penalty.prox

    @numba.njit
    def walk(w, out):
        for i in range(w.size):
            out[0, i] = value(w[i], 0.3)
            out[1, i] = slope(w[i], 0.3)
            out[2, i] = kink(0.3)
            out[3, i] = prox(w[i], step(0.7, 0.3))

    out = np.empty((4, W.size))
    walk(W, out)
    kinks = np.full(W.size, penalty.l1_weight(0.3))
    expected = [penalty.value(W, 0.3), penalty.gradient(W, 0.3), kinks, penalty.prox(W, penalty.prox_params(0.7, 0.3))]
    np.testing.assert_allclose(out, expected, rtol=1e-15)


def test_an_unknown_penalty_is_refused_by_name():
    assert find_penalty(None) is PENALTIES["none"]
    for wrong in ("L2", "none", 2):
        with pytest.raises(ValueError, match=r"penalty must be one of 'elasticnet', 'l1', 'l2', None; got"):
            find_penalty(wrong)


@every
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_penalties_of_lanes_are_sums_of_values(penalty, kind):
    tiles, features, width = 2, 5, 32
    rng = np.random.RandomState(0)
    coef = rng.randn(tiles, features, width).astype(kind)
    scale, ratio = rng.uniform(0.1, 2.0, (2, tiles, width)).astype(kind)
    total = np.ones(tiles * width)
    penalties(penalty, width)(coef.ravel(), scale.ravel(), ratio.ravel(), total)
    expected = penalty.value((scale[:, None] * coef).astype(np.float64), ratio[:, None].astype(np.float64))
    np.testing.assert_allclose(total, 1.0 + expected.sum(axis=1).ravel(), rtol=20 * np.finfo(kind).eps)
