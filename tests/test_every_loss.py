"""Every registered loss: values are the written formulas, derivatives are those of the value, in kernels too."""

import numba
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import hinge_loss, log_loss, mean_squared_error

from lifecycle._jit import element
from lifecycle.loops.linear_loss import loss_dloss_hessian
from lifecycle.loops.linear_softmax import multinomial_loss_dloss
from lifecycle.loops.linear_update import sample_loss
from lifecycle.losses import find_loss, list_losses

LOSSES = list_losses()
EPSILON = 0.3
# scores and targets at which no loss has a kink
Z = np.concatenate([np.linspace(-4.03, 4.01, 201), [-700.0, 700.0]])
# of the margin in classification, of the residual in regression
FORMULAS = {
    "log_loss": lambda m: np.logaddexp(0, -m),
    "hinge": lambda m: np.maximum(0, 1 - m),
    "squared_hinge": lambda m: np.where(m < 1, (1 - m) ** 2, 0),
    "modified_huber": lambda m: np.where(m >= -1, np.where(m < 1, (1 - m) ** 2, 0), -4 * m),
    "perceptron": lambda m: np.where(m < 0, -m, 0),
    "squared_error": lambda r: r**2 / 2,
    "huber": lambda r: np.where(np.abs(r) <= EPSILON, r**2 / 2, EPSILON * np.abs(r) - EPSILON**2 / 2),
    "epsilon_insensitive": lambda r: np.where(np.abs(r) > EPSILON, np.abs(r) - EPSILON, 0),
}
every = pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
every_smooth = pytest.mark.parametrize("loss", [v for v in LOSSES.values() if v.smooth], ids=lambda v: v.name)


def targets(loss):
    return (-1.0, 1.0) if loss.task == "classification" else (-1.7, 0.0037, 2.2)


def argument(loss, y, z):
    """The margin or the residual."""
    return y * z if loss.task == "classification" else z - y


def away_from_kinks(loss, y, z):
    """Whether the value is twice differentiable around z."""
    kinks = np.array([-1.0, 0.0, 1.0]) if loss.task == "classification" else np.array([-EPSILON, 0.0, EPSILON])
    return np.abs(argument(loss, y, z)[:, None] - kinks).min(axis=1) > 1e-3


def test_the_registry_holds_the_public_losses():
    assert {k for k, v in LOSSES.items() if v.task == "classification"} >= {
        "log_loss",
        "hinge",
        "squared_hinge",
        "modified_huber",
        "perceptron",
    }
    assert {k for k, v in LOSSES.items() if v.task == "regression"} >= {"squared_error", "huber", "epsilon_insensitive"}


@every
def test_value_is_the_written_formula(loss):
    for y in targets(loss):
        expected = FORMULAS[loss.name](argument(loss, y, Z))
        np.testing.assert_allclose(loss.value(y, Z, EPSILON), expected, rtol=1e-12, atol=1e-15)


def test_values_are_those_of_scikit_learn():
    rng = np.random.RandomState(0)
    z, y = rng.randn(200) * 3, rng.choice([-1.0, 1.0], 200)
    assert np.mean(LOSSES["hinge"].value(y, z, 0)) == pytest.approx(hinge_loss(y, z), rel=1e-12)
    p = 1 / (1 + np.exp(-z))
    assert np.mean(LOSSES["log_loss"].value(y, z, 0)) == pytest.approx(log_loss(y, p), rel=1e-12)
    assert 2 * np.mean(LOSSES["squared_error"].value(y, z, 0)) == pytest.approx(mean_squared_error(y, z), rel=1e-12)


def check_derivative(loss, derivative, function, rtol):
    """Compare with central differences."""
    h = 1e-6
    for y in targets(loss):
        z = Z[away_from_kinks(loss, y, Z) & (np.abs(Z) < 10)]
        numeric = (function(y, z + h, EPSILON) - function(y, z - h, EPSILON)) / (2 * h)
        np.testing.assert_allclose(derivative(y, z, EPSILON), numeric, rtol=rtol, atol=1e-8)


@every
def test_dloss_is_the_derivative_of_value(loss):
    check_derivative(loss, loss.dloss, loss.value, rtol=1e-6)


@every
def test_every_loss_is_convex_and_finite_at_extreme_scores(loss):
    for y in targets(loss):
        z = np.sort(Z)
        assert np.all(np.isfinite(loss.value(y, z, EPSILON)))
        assert np.all(np.diff(loss.dloss(y, z, EPSILON)) >= -1e-12)


@every_smooth
def test_hessian_is_the_derivative_of_dloss_and_bounded(loss):
    check_derivative(loss, loss.hessian, loss.dloss, rtol=1e-5)
    for y in targets(loss):
        hessian = loss.hessian(y, Z[away_from_kinks(loss, y, Z) & (np.abs(Z) < 10)], EPSILON)
        assert hessian.max() <= loss.max_curvature
        assert hessian.max() > 0.9 * loss.max_curvature  # a bound that is loose would make gd slow


@pytest.mark.parametrize("loss", [v for v in LOSSES.values() if v.dloss_bound is not None], ids=lambda v: v.name)
def test_dloss_reaches_its_bound_and_no_more(loss):
    for y in targets(loss):
        assert np.abs(loss.dloss(y, Z, EPSILON)).max() == pytest.approx(loss.dloss_bound(EPSILON), rel=1e-12)


@every
def test_inside_a_kernel_the_loss_gives_the_same_numbers(loss):
    functions = [f for f in (loss.value, loss.dloss, loss.hessian) if f is not None]
    for function in functions:

        @numba.njit
        def loop(y, z, out, function=function):
            for i in range(z.size):
                out[i] = function(y, z[i], 0.3)

        for y in targets(loss):
            out = np.empty_like(Z)
            loop(y, Z, out)
            np.testing.assert_allclose(out, function(y, Z, 0.3), rtol=1e-14, atol=2e-16)


@every
def test_compiled_for_float32_it_stays_in_float32_and_as_exact_as_that(loss):
    # a constant of double precision in a formula would halve the width of a vector
    z = Z[np.abs(Z) < 100].astype(np.float32)
    for function in (loss.value, loss.dloss):
        compiled = numba.njit(error_model="numpy")(function)
        for y in map(np.float32, targets(loss)):
            smooth = away_from_kinks(loss, float(y), z.astype(np.float64))
            single = np.array([compiled(y, x, np.float32(EPSILON)) for x in z[smooth]])
            exact = function(float(y), z[smooth].astype(np.float64), float(np.float32(EPSILON)))
            np.testing.assert_allclose(single, exact, rtol=3e-7, atol=5e-7)
            extreme = [compiled(y, np.float32(x), np.float32(EPSILON)) for x in (-1e4, 1e4, -0.0)]
            assert np.isfinite(extreme).all()
            if function is loss.value:  # a run that diverged is recognized by it
                assert np.isnan(compiled(y, np.float32(np.nan), np.float32(EPSILON)))
        assert [s.return_type for s in compiled.nopython_signatures] == [numba.float32]


@pytest.mark.parametrize("loss", [v for v in LOSSES.values() if v.multinomial_exp is not None], ids=lambda v: v.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_multinomial_functions_in_a_kernel_are_those_outside(loss, dtype):
    of_sample, of_rows = sample_loss(loss.functions(True)), multinomial_loss_dloss(loss)
    compiled = numba.njit(error_model="numpy")(element(of_sample))
    rng = np.random.RandomState(3)
    z, codes = (rng.randn(150, 5) * 6).astype(dtype), rng.randint(5, size=150)
    z[0], z[1] = [900.0, -900.0, 0.0, 1.0, 2.0], 0.0
    y = np.eye(5, dtype=dtype)[codes]
    exact = np.empty((5, 150))
    values = of_sample(y.T.astype(np.float64), z.T.astype(np.float64), 0.0, exact)
    out = np.empty(5, dtype)
    eps = 8 * np.finfo(dtype).eps
    for i in range(150):
        np.testing.assert_allclose(compiled(y[i], z[i], dtype(0.0), out), values[i], rtol=eps, atol=eps)
        np.testing.assert_allclose(out, exact[:, i], rtol=eps, atol=eps)
        assert abs(out.sum()) <= eps
    # two models, the second with the rows in another order and with weights; the last block is not full
    other, weights = rng.permutation(150), np.stack([np.ones(150), rng.randint(3, size=150)]).astype(dtype)
    scores, losses = np.ascontiguousarray(np.vstack([z.T, z[other].T])), np.zeros(2)
    for codes_of, m, rows in ((codes, 0, np.arange(150)), (codes[other], 1, other)):
        dloss, losses[:] = np.empty_like(scores), 0.0
        of_rows(scores, codes_of.astype(dtype), weights, np.arange(2), losses, dloss)
        np.testing.assert_allclose(dloss[5 * m : 5 * m + 5], weights[m] * exact[:, rows], rtol=eps, atol=4 * eps)
        assert losses[m] == pytest.approx(weights[m] @ values[rows], rel=float(10 * eps))


def test_multinomial_log_loss_is_the_cross_entropy_of_the_softmax():
    rng = np.random.RandomState(2)
    z, codes = rng.randn(4, 50) * 5, rng.randint(4, size=50)
    z[:, 0] = [900.0, -900.0, 0.0, 1.0]
    y = np.eye(4)[:, codes]
    p = softmax(z, axis=0)
    out = np.empty_like(z)
    value = sample_loss(LOSSES["log_loss"].functions(True))(y, z, 0.0, out)
    assert np.mean(value[1:]) == pytest.approx(log_loss(codes[1:], p.T[1:], labels=range(4)), rel=1e-12)
    assert np.all(np.isfinite(value))
    np.testing.assert_allclose(out, p - y, atol=1e-15)


@every_smooth
def test_losses_and_derivatives_of_rows_in_one_kernel(loss):
    rng = np.random.RandomState(0)
    z, weights = rng.randn(3, 201) * 2.0, rng.uniform(size=201)
    y = rng.choice([-1.0, 1.0], z.shape) if loss.task == "classification" else rng.randn(*z.shape)
    dloss, hessian = np.empty_like(z), np.empty_like(z)
    total = loss_dloss_hessian(loss)(z, y, weights, EPSILON, dloss, hessian)
    assert total == pytest.approx((loss.value(y, z, EPSILON) * weights).sum(), rel=1e-13)
    np.testing.assert_allclose(dloss, loss.dloss(y, z, EPSILON) * weights, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(hessian, loss.hessian(y, z, EPSILON) * weights, rtol=1e-14, atol=1e-15)


def test_an_unknown_loss_is_refused_by_name():
    with pytest.raises(ValueError, match=r"loss must be one of .*'hinge'.*got 'squared_error'"):
        find_loss("squared_error", "classification")
