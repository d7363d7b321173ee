"""The column loop of OBS and GPTQ against its definition, and what it is for: smaller errors of the outputs."""

import numpy as np
import pytest

from lifecycle.masks import lowest
from lifecycle.solvers.obs import cholesky_factor, compress_columns

from . import naive


def layer(n_outputs=7, n_inputs=40, n=300, seed=0):
    """Weights, and second moments of correlated inputs."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, n_inputs)) @ (np.eye(n_inputs) + 0.3 * rng.standard_normal((n_inputs, n_inputs)))
    return rng.standard_normal((n_outputs, n_inputs)), x.T @ x / n


def damped(moments, damping=0.01):
    return moments + damping * np.trace(moments) / len(moments) * np.eye(len(moments))


def error(weight, changed, moments):
    return np.trace((weight - changed) @ moments @ (weight - changed).T)


@pytest.mark.parametrize("n_inputs", [1, 5, 64, 130])
@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_the_factor_is_that_of_the_damped_moments(n_inputs, dtype, atol):
    _, moments = layer(n_inputs=n_inputs)
    moments /= np.trace(moments) / n_inputs
    factor = cholesky_factor(moments.astype(dtype))
    assert factor.dtype == dtype
    assert np.array_equal(factor, np.triu(factor))
    np.testing.assert_allclose(factor.astype(float) @ factor.T, damped(moments), atol=atol)


def test_moments_whose_products_exceed_float32_are_factorized_in_float64():
    moments = (layer(n_inputs=200)[1] * 5e36).astype(np.float32)
    factor = cholesky_factor(moments)
    assert factor.dtype == np.float64
    want = damped(moments.astype(float))
    np.testing.assert_allclose(factor @ factor.T, want, atol=1e-13 * want.max())


@pytest.mark.parametrize("block_size", [1, 7, 16, 128])
def test_pruned_columns_are_made_good_as_in_the_definition(block_size):
    weight, moments = layer()
    mask = np.random.default_rng(1).random(weight.shape) > 0.4
    found = compress_columns(weight, cholesky_factor(moments), fixed_mask=mask, block_size=block_size)
    slow = naive.obs_columns(weight, damped(moments), lambda i, j, w: w if mask[i, j] else 0.0)
    np.testing.assert_allclose(found.weight, slow, rtol=2e-4, atol=2e-4)
    assert found.codes is None
    assert (found.weight == 0).sum() == (~mask).sum()


@pytest.mark.parametrize("block_size", [3, 128])
def test_rounded_columns_are_made_good_as_in_the_definition(block_size):
    weight, moments = layer()
    scales = np.float32(np.abs(weight).max(axis=1) / 7)
    found = compress_columns(
        weight, cholesky_factor(moments), scales=lambda w: scales, max_code=7, block_size=block_size
    )
    slow = naive.obs_columns(
        weight, damped(moments), lambda i, j, w: float(np.clip(np.rint(w / scales[i]), -7, 7)) * scales[i]
    )
    # a number halfway between two codes may be rounded to either
    assert np.mean(np.abs(found.weight - slow) > 1e-4) < 0.02
    assert np.array_equal(found.weight, found.codes * scales[:, None].astype(float))
    assert np.abs(found.codes).max() <= 7


def test_groups_take_their_scales_from_the_weights_as_they_are_then():
    weight, moments = layer(n_inputs=50)
    seen = []

    def scales(w):
        seen.append(w.copy())
        return np.float32(np.abs(w).max(axis=1) / 7)

    found = compress_columns(weight, cholesky_factor(moments), scales=scales, max_code=7, group_size=20, block_size=20)
    assert [w.shape for w in seen] == [(7, 20), (7, 20), (7, 10)]
    np.testing.assert_array_equal(seen[0], weight[:, :20])
    assert not np.allclose(seen[1], weight[:, 20:40])
    step = np.repeat(found.scales.astype(float), 20, axis=1)[:, :50]
    np.testing.assert_array_equal(found.weight, found.codes * step)


def test_a_group_that_is_larger_than_a_row_is_the_whole_row():
    weight, moments = layer(n_inputs=10)

    def compressed(group_size):
        def scales(w):
            return np.float32(np.abs(w).max(axis=1) / 7)

        return compress_columns(weight, cholesky_factor(moments), scales=scales, max_code=7, group_size=group_size)

    for larger in (11, 4096):
        for found, want in zip(compressed(larger), compressed(None), strict=True):
            np.testing.assert_array_equal(found, want)


def test_a_mask_is_chosen_by_the_scores_of_a_block_and_zeros_stay():
    weight, moments = layer()
    fixed = np.random.default_rng(1).random(weight.shape) > 0.2
    found = compress_columns(
        weight, cholesky_factor(moments), fixed_mask=fixed, keep_mask=lambda s: lowest([s], 0.5)[0], block_size=10
    )
    assert (found.weight[~fixed] == 0).all()
    for start in range(0, 40, 10):
        assert (found.weight[:, start : start + 10] == 0).sum() == 35


def test_the_outputs_change_less_than_without_making_good():
    """Inputs as those of networks are: a few directions have most of the variance."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((200, 200)))[0] / np.arange(1, 201)[:, None]
    inputs, weight = rng.standard_normal((2000, 200)) @ directions, rng.standard_normal((30, 200))
    moments = inputs.T @ inputs / 2000
    mask = lowest([np.abs(weight)], 0.5)[0]
    obs = compress_columns(weight, cholesky_factor(moments), keep_mask=lambda s: lowest([s], 0.5)[0]).weight
    assert error(weight, obs, moments) < 0.5 * error(weight, weight * mask, moments)
    scales = np.float32(np.abs(weight).max(axis=1) / 7)
    rounded = np.clip(np.rint(weight / scales[:, None]), -7, 7) * scales[:, None]
    gptq = compress_columns(weight, cholesky_factor(moments), scales=lambda w: scales, max_code=7).weight
    assert error(weight, gptq, moments) < 0.5 * error(weight, rounded, moments)


def test_the_number_of_threads_changes_no_bit():
    import lifecycle as lc

    weight, moments = layer(n_outputs=300, n_inputs=300)
    results = []
    for n in (1, 2):
        with lc.threads(n):
            results.append(compress_columns(weight, cholesky_factor(moments), keep_mask=lambda s: lowest([s], 0.5)[0]))
    assert results[0].weight.tobytes() == results[1].weight.tobytes()


def test_inputs_that_are_always_zero_and_inputs_that_are_not_finite():
    weight, moments = layer()
    moments[:5], moments[:, :5] = 0.0, 0.0
    assert np.isfinite(compress_columns(weight, cholesky_factor(moments), keep_mask=lambda s: s > 1).weight).all()
    assert np.isfinite(cholesky_factor(np.zeros((3, 3)))).all()
    assert np.isfinite(cholesky_factor((layer()[1] * 1e-44).astype(np.float32))).all()
    with pytest.raises(ValueError, match="NaN or infinite on the calibration rows"):
        cholesky_factor(np.full((2, 2), np.nan))


def test_float64_weights_stay_float64():
    """Of nearly dependent inputs the coefficients are large, and cancel."""
    weight, moments = layer()
    weight *= 1e40
    factor = cholesky_factor(moments)
    assert np.array_equal(compress_columns(weight, factor).weight, weight)
    mask = np.random.default_rng(1).random(weight.shape) > 0.4
    found = compress_columns(weight, factor, fixed_mask=mask).weight
    slow = naive.obs_columns(weight, damped(moments), lambda i, j, w: w if mask[i, j] else 0.0)
    np.testing.assert_allclose(found, slow, rtol=1e-9, atol=1e30)
