"""Every registered loss and penalty: the slope is the derivative of the value, the values are the written formulas."""

import numba
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import hinge_loss, log_loss, mean_squared_error

from lifecycle._jit import element
from lifecycle.loops.linear_loss import bends, joint_pushes
from lifecycle.loops.linear_single import row_of
from lifecycle.losses import find_loss, list_losses
from lifecycle.penalties import find_penalty, list_penalties

LOSSES, PENALTIES = list_losses(), list_penalties()
EPSILON = 0.3
# scores and targets that lie on no kink of any loss
Z = np.concatenate([np.linspace(-4.03, 4.01, 201), [-700.0, 700.0]])


def targets(loss):
    return (-1.0, 1.0) if loss.task == "classification" else (-1.7, 0.0037, 2.2)


def kink_free(loss, y, z):
    """Whether value is twice differentiable around z."""
    kinks = np.array([-1.0, 0.0, 1.0]) if loss.task == "classification" else np.array([-EPSILON, 0.0, EPSILON])
    at = y * z if loss.task == "classification" else z - y
    return np.abs(at[:, None] - kinks).min(axis=1) > 1e-3


def test_the_registry_holds_the_public_losses():
    assert {k for k, v in LOSSES.items() if v.task == "classification"} >= {
        "log_loss", "hinge", "squared_hinge", "modified_huber", "perceptron"}  # fmt: skip
    assert {k for k, v in LOSSES.items() if v.task == "regression"} >= {"squared_error", "huber", "epsilon_insensitive"}
    assert set(PENALTIES) >= {"l1", "l2", "elasticnet", "none"}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_slope_is_the_derivative_of_value(loss):
    h = 1e-6
    for y in targets(loss):
        z = Z[kink_free(loss, y, Z) & (np.abs(Z) < 10)]
        numeric = (loss.value(y, z + h, EPSILON) - loss.value(y, z - h, EPSILON)) / (2 * h)
        np.testing.assert_allclose(loss.dloss(y, z, EPSILON), numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", [v for v in LOSSES.values() if v.smooth], ids=lambda v: v.name)
def test_curvature_is_the_derivative_of_slope_and_bounded(loss):
    h = 1e-6
    for y in targets(loss):
        z = Z[kink_free(loss, y, Z) & (np.abs(Z) < 10)]
        numeric = (loss.dloss(y, z + h, EPSILON) - loss.dloss(y, z - h, EPSILON)) / (2 * h)
        curvature = loss.hessian(y, z, EPSILON)
        np.testing.assert_allclose(curvature, numeric, rtol=1e-5, atol=1e-8)
        assert curvature.max() <= loss.max_curvature
        assert curvature.max() > 0.9 * loss.max_curvature  # a bound that is loose would make gd slow


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_every_loss_is_convex_and_finite_at_extreme_scores(loss):
    for y in targets(loss):
        z = np.sort(Z)
        assert np.all(np.isfinite(loss.value(y, z, EPSILON)))
        assert np.all(np.diff(loss.dloss(y, z, EPSILON)) >= -1e-12)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_inside_a_kernel_the_loss_gives_the_same_numbers(loss):
    functions = [f for f in (loss.value, loss.dloss, loss.hessian) if f is not None]
    for function in functions:

        @numba.njit
        def walk(y, z, out, function=function):
            for i in range(z.size):
                out[i] = function(y, z[i], 0.3)

        for y in targets(loss):
            out = np.empty_like(Z)
            walk(y, Z, out)
            np.testing.assert_allclose(out, function(y, Z, 0.3), rtol=1e-14)


def typed(function):
    """Compiled for numbers alone; its signatures tell what type comes out."""
    return numba.njit(error_model="numpy")(lambda *arguments: function(*arguments))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_compiled_for_float32_it_stays_in_float32_and_as_exact_as_that(loss):
    # a constant of double precision in a formula would halve the number of lanes in a vector
    z = Z[np.abs(Z) < 100].astype(np.float32)
    for function in (loss.value, loss.dloss):
        compiled = typed(function)
        for y in map(np.float32, targets(loss)):
            near = kink_free(loss, float(y), z.astype(np.float64))
            found = np.array([compiled(y, x, np.float32(EPSILON)) for x in z[near]])
            exact = function(float(y), z[near].astype(np.float64), float(np.float32(EPSILON)))
            np.testing.assert_allclose(found, exact, rtol=3e-7, atol=5e-7)
            extreme = [compiled(y, np.float32(x), np.float32(EPSILON)) for x in (-1e4, 1e4, -0.0)]
            assert np.isfinite(extreme).all()
            if function is loss.value:  # by which a run that diverged is known
                assert np.isnan(compiled(y, np.float32(np.nan), np.float32(EPSILON)))
        assert [s.return_type for s in compiled.nopython_signatures] == [numba.float32]


@pytest.mark.parametrize("loss", [v for v in LOSSES.values() if v.multinomial_exp is not None], ids=lambda v: v.name)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_joint_functions_in_a_kernel_are_those_outside(loss, kind):
    row, across = row_of(loss.functions(True)), joint_pushes(loss)
    compiled = typed(element(row))
    rng = np.random.RandomState(3)
    z, codes = (rng.randn(150, 5) * 6).astype(kind), rng.randint(5, size=150)
    z[0], z[1] = [900.0, -900.0, 0.0, 1.0, 2.0], 0.0
    y = np.eye(5, dtype=kind)[codes]
    exact = np.empty((5, 150))
    values = row(y.T.astype(np.float64), z.T.astype(np.float64), 0.0, exact)
    out = np.empty(5, kind)
    eps = 8 * np.finfo(kind).eps
    for i in range(150):
        np.testing.assert_allclose(compiled(y[i], z[i], kind(0.0), out), values[i], rtol=eps, atol=eps)
        np.testing.assert_allclose(out, exact[:, i], rtol=eps, atol=eps)
        assert abs(out.sum()) <= eps
    # two models, of which the second sees the rows in another order and with weights; blocks that are not full
    other, weights = rng.permutation(150), np.stack([np.ones(150), rng.randint(3, size=150)]).astype(kind)
    scores, losses = np.ascontiguousarray(np.vstack([z.T, z[other].T])), np.zeros(2)
    for codes_of, m, rows in ((codes, 0, np.arange(150)), (codes[other], 1, other)):
        push, losses[:] = np.empty_like(scores), 0.0
        across(scores, codes_of.astype(kind), weights, np.arange(2), losses, push)
        np.testing.assert_allclose(push[5 * m : 5 * m + 5], weights[m] * exact[:, rows], rtol=eps, atol=4 * eps)
        assert losses[m] == pytest.approx(weights[m] @ values[rows], rel=float(10 * eps))


@pytest.mark.parametrize("loss", [v for v in LOSSES.values() if v.smooth], ids=lambda v: v.name)
def test_losses_slopes_and_curvatures_of_rows_in_one_walk(loss):
    rng = np.random.RandomState(0)
    z, share = rng.randn(3, 201) * 2.0, rng.uniform(size=201)
    y = rng.choice([-1.0, 1.0], z.shape) if loss.task == "classification" else rng.randn(*z.shape)
    push, bend = np.empty_like(z), np.empty_like(z)
    total = bends(loss)(z, y, share, EPSILON, push, bend)
    assert total == pytest.approx((loss.value(y, z, EPSILON) * share).sum(), rel=1e-13)
    np.testing.assert_allclose(push, loss.dloss(y, z, EPSILON) * share, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(bend, loss.hessian(y, z, EPSILON) * share, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=list(PENALTIES))
def test_a_penalty_compiled_for_float32_stays_in_float32(penalty):
    ratio, pace = np.float32(0.4), penalty.prox_params(0.07, float(np.float32(0.4)))
    prox, slope = typed(penalty.prox), typed(penalty.gradient)
    single = tuple(map(np.float32, pace))
    for w in map(np.float32, (-2.3, -0.2, 0.0, 1e-3, 0.1, 1.9)):
        np.testing.assert_allclose(prox(w, single), penalty.prox(float(w), pace), rtol=3e-7, atol=1e-8)
        np.testing.assert_allclose(slope(w, ratio), penalty.gradient(float(w), float(ratio)), rtol=3e-7, atol=0)
    for compiled in (prox, slope):
        assert [s.return_type for s in compiled.nopython_signatures] == [numba.float32]


def test_values_are_those_of_scikit_learn():
    rng = np.random.RandomState(0)
    z, y = rng.randn(200) * 3, rng.choice([-1.0, 1.0], 200)
    assert np.mean(LOSSES["hinge"].value(y, z, 0)) == pytest.approx(hinge_loss(y, z), rel=1e-12)
    p = 1 / (1 + np.exp(-z))
    assert np.mean(LOSSES["log_loss"].value(y, z, 0)) == pytest.approx(log_loss(y, p), rel=1e-12)
    assert 2 * np.mean(LOSSES["squared_error"].value(y, z, 0)) == pytest.approx(mean_squared_error(y, z), rel=1e-12)


def test_values_are_those_of_the_written_formulas():
    rng = np.random.RandomState(1)
    z, y = rng.randn(300) * 3, rng.choice([-1.0, 1.0], 300)
    m, r = y * z, z - y
    want = {
        "squared_hinge": np.where(m < 1, (1 - m) ** 2, 0),
        "modified_huber": np.where(m >= -1, np.where(m < 1, (1 - m) ** 2, 0), -4 * m),
        "perceptron": np.where(m < 0, -m, 0),
        "huber": np.where(np.abs(r) <= EPSILON, r**2 / 2, EPSILON * np.abs(r) - EPSILON**2 / 2),
        "epsilon_insensitive": np.where(np.abs(r) > EPSILON, np.abs(r) - EPSILON, 0),
    }
    for name, values in want.items():
        np.testing.assert_allclose(LOSSES[name].value(y, z, EPSILON), values, rtol=1e-12, atol=1e-15)


def test_joint_log_loss_is_the_cross_entropy_of_the_softmax():
    rng = np.random.RandomState(2)
    z, codes = rng.randn(4, 50) * 5, rng.randint(4, size=50)
    z[:, 0] = [900.0, -900.0, 0.0, 1.0]
    y = np.eye(4)[:, codes]
    p = softmax(z, axis=0)
    out = np.empty_like(z)
    value = row_of(LOSSES["log_loss"].functions(True))(y, z, 0.0, out)
    assert np.mean(value[1:]) == pytest.approx(log_loss(codes[1:], p.T[1:], labels=range(4)), rel=1e-12)
    assert np.all(np.isfinite(value))
    np.testing.assert_allclose(out, p - y, atol=1e-15)


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=list(PENALTIES))
def test_prox_minimizes_and_slope_is_the_derivative(penalty):
    for w in (-2.3, -0.2, 0.1, 1.9):
        for t in (0.05, 0.7):
            step = penalty.prox(w, penalty.prox_params(t, 0.4))
            best = minimize_scalar(
                lambda u, w=w, t=t: t * penalty.value(u, 0.4) + (u - w) ** 2 / 2,
                bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})  # fmt: skip
            assert step == pytest.approx(best.x, abs=1e-6)
        h = 1e-6
        numeric = (penalty.value(w + h, 0.4) - penalty.value(w - h, 0.4)) / (2 * h)
        assert penalty.gradient(w, 0.4) + penalty.l1_weight(0.4) * np.sign(w) == pytest.approx(numeric, abs=1e-8)


def test_an_unknown_name_lists_what_exists():
    with pytest.raises(ValueError, match=r"loss must be one of .*'hinge'.*got 'squared_error'"):
        find_loss("squared_error", "classification")
    with pytest.raises(ValueError, match=r"penalty must be one of .*'l2'.*None; got 'l3'"):
        find_penalty("l3")
