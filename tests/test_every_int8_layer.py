"""Every int8 layer: inputs that are small, large, empty, not finite, differentiated or of the wrong shape."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

import lifecycle as lc
from lifecycle.torch import compressed
from lifecycle.torch.compressed import INT8

pytestmark = [
    pytest.mark.parametrize("cls", INT8, ids=[cls.__name__ for cls in INT8]),
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors"),
]


def float_layer(cls, n_in=6, n_out=4, bias=True):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return cls.replaces(n_in, n_out, *([3] if cls.n_spatial else []), bias=bias)


def int8_layer(cls, **arguments):
    small = lc.quantize(float_layer(cls, **arguments))
    assert type(small) is cls
    return small


def inputs(cls, n=5, n_in=6, size=7):
    return torch.randn(n, n_in, *[size] * cls.n_spatial, generator=torch.Generator().manual_seed(1))


def relative_error(value, exact):
    return float((value.double() - exact.double()).norm() / exact.double().norm())


@torch.no_grad()
def test_the_error_is_the_same_for_inputs_of_every_size(cls):
    layer, x = float_layer(cls, n_in=64, bias=False), inputs(cls, n=256, n_in=64)
    small = lc.quantize(layer)
    for scale in (1.0, 1e-3, 3e-4, 1e-4, 1e-5, 1e-12, 1e-30, 1e-37, 1e12, 1e37):
        assert relative_error(small(scale * x), layer(scale * x)) < 0.025
    for exponent in (-120, -60, -16, -8, -3, 3, 30, 31, 60, 100):
        assert torch.equal(small(x * 2.0**exponent), small(x) * 2.0**exponent)
    subnormal = x * 2.0**-130
    assert relative_error(small(subnormal), layer(subnormal)) < 0.025


@torch.no_grad()
def test_small_inputs_under_large_weights_are_told_apart(cls):
    layer, x = float_layer(cls), 1e-5 * inputs(cls, n=200)
    layer.weight *= 1e5
    small, exact = lc.quantize(layer)(x), layer(x)
    assert (small.argmax(1) == exact.argmax(1)).double().mean() > 0.97
    assert relative_error(small, exact) < 0.025


@torch.no_grad()
def test_the_bias_is_added_to_outputs_of_every_size(cls):
    small = int8_layer(cls)
    without = type(small)(small.codes, small.scales)
    without.__dict__.update({k: v for k, v in vars(small).items() if k == "geometry"})
    for scale in (0.0, 1e-6, 1.0, 1e12):
        x = scale * inputs(cls)
        torch.testing.assert_close(small(x), without(x) + small.bias.view(-1, *[1] * cls.n_spatial))
    small.bias.fill_(3.0)  # of a layer that has packed its weight
    assert (small(1e-9 * inputs(cls)) == 3.0).all()


@torch.no_grad()
def test_a_row_of_huge_numbers_that_overflows_leaves_rows_of_zeros_alone(cls):
    layer = float_layer(cls, bias=False)
    layer.weight *= 1e8
    x = inputs(cls)
    x[1:] = 0.0
    x[0] = 3e38
    assert (lc.quantize(layer)(x)[1:] == 0.0).all()


@pytest.mark.parametrize("sizes", [{"n_in": 0}, {"n_out": 0}, {"n": 0}, {"n": 0, "n_in": 0}])
def test_where_there_is_nothing_to_multiply_it_does_what_the_floating_point_layer_does(cls, sizes):
    x = inputs(cls, n=sizes.get("n", 5), n_in=sizes.get("n_in", 6))
    layer = float_layer(cls, **{k: v for k, v in sizes.items() if k != "n"})
    small = lc.quantize(layer)
    try:
        want = layer(x)
    except RuntimeError:
        with pytest.raises(RuntimeError):
            small(x)
    else:
        for _ in range(10):
            torch.full_like(want, 1e30)  # what memory that is not initialized may hold
            torch.testing.assert_close(small(x), want, rtol=0.01, atol=0.01)


@torch.no_grad()
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_stay_in_their_own_sample(cls, value):
    small, x = int8_layer(cls), inputs(cls)
    others = [0, 1, 2, 4]
    bad = x.clone()
    bad[3].view(-1)[2] = value
    got = small(bad)
    assert torch.equal(got[others], small(x[others]))
    assert not torch.isfinite(got[3]).all()
    torch.testing.assert_close(got[3:4], small._forward_float(bad[3:4]), equal_nan=True)
    torch.testing.assert_close(small(bad[3]), got[3], equal_nan=True)
    torch.testing.assert_close(small(bad[3:4].repeat(2, *[1] * (x.ndim - 1))), got[[3, 3]], equal_nan=True)
    if not cls.n_spatial:
        nested = small(bad[:4].view(2, 2, -1))
        torch.testing.assert_close(nested.view(4, -1), small(bad[:4]), equal_nan=True)


@torch.no_grad()
@pytest.mark.parametrize("n_products", [70_000, 140_000])
def test_weights_whose_sums_could_overflow_stay_floating(cls, n_products):
    n_in = -(-n_products // 3**cls.n_spatial)
    layer = float_layer(cls, n_in=n_in, n_out=2, bias=False)
    nn.init.ones_(layer.weight)
    x = torch.ones(1, n_in, *[3] * cls.n_spatial)
    small = lc.quantize(layer)
    assert type(small) is cls.replaces
    np.testing.assert_allclose(small(x).flatten(), layer(x).flatten(), rtol=1e-5)
    with pytest.raises(ValueError, match="sums within 32 bits"):
        lc.quantize(layer, activations="dynamic")
    # codes can be replaced later
    nn.init.eye_(layer.weight.view(2, -1))
    small = lc.quantize(layer)
    assert type(small) is cls
    small.codes.fill_(127)
    compressed._warn_slow.cache_clear()
    with pytest.warns(UserWarning, match=f"32-bit sums of {cls.__name__} with this weight could overflow"):
        got = small(x)
    np.testing.assert_allclose(got.flatten(), [layer.weight[0].numel()] * 2, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own call
def test_derivatives_with_respect_to_the_input_are_those_of_the_decoded_weights(cls):
    small, x, v = int8_layer(cls), inputs(cls, n=2), torch.ones_like(inputs(cls, n=2))
    layer = float_layer(cls)
    layer.weight.data = small.weight
    want = torch.func.jvp(layer, (x,), (v,))
    torch.testing.assert_close(torch.func.jvp(small, (x,), (v,)), want)
    with forward_ad.dual_level():
        torch.testing.assert_close(forward_ad.unpack_dual(small(forward_ad.make_dual(x, v))).tangent, want[1])
    assert want[1].abs().max() > 0
    leaf = x.clone().requires_grad_()
    small(leaf).sum().backward()
    (want_gradient,) = torch.autograd.grad(layer(y := x.clone().requires_grad_()).sum(), y)
    torch.testing.assert_close(leaf.grad, want_gradient)
    for derivative in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(derivative(small)(x), derivative(layer)(x))
    torch.testing.assert_close(torch.func.vmap(small)(x), layer(x))


def test_a_wrong_shape_is_refused_as_the_floating_point_layer_refuses_it(cls):
    small, layer, x = int8_layer(cls), float_layer(cls), inputs(cls)
    wrong = [torch.tensor(1.0), x[:, :1]] + ([x[..., :2]] if cls.n_spatial else [])
    for x in wrong:
        with pytest.raises(RuntimeError) as error:
            layer(x)
        with pytest.raises(RuntimeError) as got:
            small(x)
        assert str(got.value).partition("(")[0] == str(error.value).partition("(")[0]


@torch.no_grad()
@pytest.mark.parametrize("convert", ["half", "double", "bfloat16"])
def test_scales_are_not_rounded_with_the_rest_of_a_model(cls, convert):
    small, x = int8_layer(cls), inputs(cls)
    other = getattr(copy.deepcopy(small), convert)()
    assert torch.equal(other(x), small(x))
    assert {k: v.dtype for k, v in other.state_dict().items()} == {k: v.dtype for k, v in small.state_dict().items()}
