"""Every layer with integer weights: inputs that are small, large, empty, not finite, differentiated or misshapen."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

import lifecycle as lc
from lifecycle.torch.quantized import QUANTIZED, Int4Linear, Int8Affine, Int8Embedding, Int8Recurrent, kernels

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")

AFFINE = [cls for cls in QUANTIZED if issubclass(cls, Int8Affine)]
RECURRENT = [cls for cls in QUANTIZED if issubclass(cls, Int8Recurrent)]
WAYS = [(cls, way) for cls in AFFINE for way in ("dynamic", "static")]
WITH_FLOATS = [*WAYS, *((cls, "dynamic") for cls in RECURRENT), (Int4Linear, "auto")]


def each(ways):
    return pytest.mark.parametrize(("cls", "way"), ways, ids=[f"{cls.__name__}-{way}" for cls, way in ways])


@pytest.fixture(autouse=True)
def four_bits_are_faster(monkeypatch):
    """Layers of 4 bits are used where they are faster; here they are."""
    from lifecycle.torch.quantized import layer_timing

    monkeypatch.setattr(layer_timing, "timing_of", lambda *_: layer_timing.Timing(2.0, 1.0))


def float_layer(cls, n_in=6, n_out=4, bias=True):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if cls is Int4Linear:  # sizes that its kernel takes
            return nn.Linear(64 * -(-n_in // 64), 16 * -(-n_out // 16), bias=bias)
        more = {"batch_first": True} if cls.replaces in (nn.LSTM, nn.GRU) else {}
        kernel = [3] if issubclass(cls, Int8Affine) and cls.n_spatial else []
        return cls.replaces(n_in, n_out, *kernel, bias=bias, **more)


def quantized(cls, way, layer, x=None):
    """The layer with integer weights; with a static range, that of x."""
    rows = {"calibration": inputs(cls) if x is None else x} if way == "static" else {}
    groups = {"bits": 4, "group_size": 32} if cls is Int4Linear else {}
    small = lc.quantize(layer, activations=way, **rows, **groups)
    assert type(small) is cls
    assert not rows or small.input_range is not None
    return small


def inputs(cls, n=5, n_in=6, size=7):
    if cls is Int4Linear:
        n_in = 64 * -(-n_in // 64)
    places = [size] * (cls.n_spatial if issubclass(cls, Int8Affine) else cls.replaces in (nn.LSTM, nn.GRU))
    shape = (n, *places, n_in) if issubclass(cls, Int8Recurrent) else (n, n_in, *places)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def first(outputs):
    """Outputs of recurrent layers without their states; of cells the hidden state."""
    return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


def relative_error(value, exact):
    return float((value.double() - exact.double()).norm() / exact.double().norm())


@each(WITH_FLOATS)
@torch.no_grad()
def test_the_error_is_the_same_for_inputs_of_every_size(cls, way):
    layer, x = float_layer(cls, n_in=64, bias=False), inputs(cls, n=256, n_in=64)
    # of the weights with 4 bits; gates make the errors of their inputs larger
    largest = 0.2 if cls is Int4Linear else 0.045 if cls in RECURRENT else 0.025
    for scale in (1.0, 1e-3, 3e-4, 1e-4, 1e-5, 1e-12, 1e-30, 1e-37, 1e12, 1e37):
        small = quantized(cls, way, layer, scale * x)
        want = first(small._float_layer()(scale * x) if cls in RECURRENT else layer(scale * x))
        assert relative_error(first(small(scale * x)), want) < largest
    subnormal = x * 2.0**-130
    small = quantized(cls, way, layer, subnormal)
    assert relative_error(first(small(subnormal)), first(layer(subnormal))) < largest


@each(WAYS)
@torch.no_grad()
def test_inputs_times_a_power_of_two_give_outputs_times_it(cls, way):
    layer, x = float_layer(cls, n_in=64, bias=False), inputs(cls, n=256, n_in=64)
    want = quantized(cls, way, layer, x)(x)
    for exponent in (-120, -60, -16, -8, -3, 3, 30, 31, 60, 100):
        scaled = x * 2.0**exponent
        assert torch.equal(quantized(cls, way, layer, scaled)(scaled), want * 2.0**exponent)


@each(WAYS)
@torch.no_grad()
def test_small_inputs_under_large_weights_are_told_apart(cls, way):
    layer, x = float_layer(cls), 1e-5 * inputs(cls, n=200)
    layer.weight *= 1e5
    small, exact = quantized(cls, way, layer, x)(x), layer(x)
    assert (small.argmax(1) == exact.argmax(1)).double().mean() > 0.97
    assert relative_error(small, exact) < 0.025


@each(WAYS)
@torch.no_grad()
def test_the_bias_is_added_to_outputs_of_every_size(cls, way):
    for scale in (0.0, 1e-6, 1.0, 1e12):
        x = scale * inputs(cls)
        small = quantized(cls, way, float_layer(cls), x)
        without = type(small)(small.codes, small.scales, None, small.input_range)
        without.__dict__.update({k: v for k, v in vars(small).items() if k == "geometry"})
        torch.testing.assert_close(small(x), without(x) + small.bias.view(-1, *[1] * cls.n_spatial))
        small.bias.fill_(3.0)  # of a layer that has packed its weight
        assert (small(0 * x) == 3.0).all()


@each(WITH_FLOATS)
@torch.no_grad()
def test_a_row_of_huge_numbers_that_overflows_leaves_rows_of_zeros_alone(cls, way):
    layer = float_layer(cls, bias=False)
    for p in layer.parameters():
        p *= 1e8
    x = inputs(cls)
    x[1:] = 0.0
    x[0] = 3e38
    assert (first(quantized(cls, way, layer, x)(x))[1:] == 0.0).all()


@each(WITH_FLOATS)
@pytest.mark.parametrize("sizes", [{"n_in": 0}, {"n_out": 0}, {"n": 0}, {"n": 0, "n_in": 0}])
def test_where_there_is_nothing_to_multiply_it_does_what_the_floating_point_layer_does(cls, way, sizes):
    if cls in RECURRENT and sizes != {"n": 0}:
        pytest.skip("torch has no recurrent layers without inputs or units")
    if cls is Int4Linear and sizes != {"n": 0}:
        pytest.skip("its kernel takes no such sizes")
    x = inputs(cls, n=sizes.get("n", 5), n_in=sizes.get("n_in", 6))
    layer = float_layer(cls, **{k: v for k, v in sizes.items() if k != "n"})
    if way == "static" and (0 in x.shape or "n_out" in sizes):  # such layers cannot be called
        small = quantized(cls, "dynamic", layer)
        small.input_range = torch.tensor([-3.0, 3.0])
    else:
        small = quantized(cls, way, layer, x)
    try:
        want = first(layer(x))
    except RuntimeError:
        with pytest.raises(RuntimeError):
            small(x)
    else:
        for _ in range(10):
            torch.full_like(want, 1e30)  # what memory that is not initialized may hold
            exact = first(small._forward_float(x, None) if cls in RECURRENT else small._forward_float(x))
            torch.testing.assert_close(first(small(x)), exact, rtol=0.01, atol=0.01)
            assert exact.shape == want.shape


@each(WITH_FLOATS)
@torch.no_grad()
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_stay_in_their_own_sample(cls, way, value):
    small, x = quantized(cls, way, float_layer(cls)), inputs(cls)
    more = (None,) if cls in RECURRENT else ()
    others = [0, 1, 2, 4]
    bad = x.clone()
    bad[3].view(-1)[2] = value
    got = first(small(bad))
    assert torch.equal(got[others], first(small(x[others])))
    if cls not in RECURRENT or math.isnan(value):  # gates saturate
        assert not torch.isfinite(got[3]).all()
    torch.testing.assert_close(got[3:4], first(small._forward_float(bad[3:4], *more)), equal_nan=True)
    torch.testing.assert_close(first(small(bad[3])), got[3], equal_nan=True)
    torch.testing.assert_close(first(small(bad[3:4].repeat(2, *[1] * (x.ndim - 1)))), got[[3, 3]], equal_nan=True)
    if cls.replaces is nn.Linear:
        nested = small(bad[:4].view(2, 2, -1))
        torch.testing.assert_close(nested.view(4, -1), small(bad[:4]), equal_nan=True)


@each(WAYS)
@torch.no_grad()
@pytest.mark.parametrize("n_products", [70_000, 140_000])
def test_weights_whose_sums_could_overflow_stay_floating(cls, way, n_products):
    n_in = -(-n_products // 3**cls.n_spatial)
    layer = float_layer(cls, n_in=n_in, n_out=2, bias=False)
    nn.init.ones_(layer.weight)
    x = torch.ones(1, n_in, *[3] * cls.n_spatial)
    rows = {"calibration": x} if way == "static" else {}
    small = lc.quantize(layer)
    assert type(small) is cls.replaces
    np.testing.assert_allclose(small(x).flatten(), layer(x).flatten(), rtol=1e-5)
    with pytest.raises(ValueError, match="sums within 32 bits"):
        lc.quantize(layer, activations=way, **rows)
    # codes can be replaced later
    nn.init.eye_(layer.weight.view(2, -1))
    small = quantized(cls, way, layer, x)
    small.codes.fill_(127)
    kernels.warn_slow.cache_clear()
    with pytest.warns(UserWarning, match=f"32-bit sums of {cls.__name__} with this weight could overflow"):
        got = small(x)
    np.testing.assert_allclose(got.flatten(), [layer.weight[0].numel()] * 2, rtol=1e-5)


@pytest.mark.parametrize("cls", RECURRENT)
@torch.no_grad()
def test_recurrent_weights_whose_sums_could_overflow_stay_floating(cls):
    layer = float_layer(cls, n_in=70_000, n_out=1)
    layer.state_dict(keep_vars=True)[cls.weights_of(layer)[0]].fill_(1.0)
    assert type(lc.quantize(layer)) is cls.replaces
    with pytest.raises(ValueError, match="sums within 32 bits"):
        lc.quantize(layer, activations="dynamic")


@each([*WAYS, (Int4Linear, "auto")])
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own call
def test_derivatives_with_respect_to_the_input_are_those_of_the_decoded_weights(cls, way):
    layer = float_layer(cls)
    small, x, v = quantized(cls, way, layer), inputs(cls, n=2), torch.ones_like(inputs(cls, n=2))
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


@pytest.mark.parametrize("cls", RECURRENT)
def test_gradients_of_recurrent_layers_are_those_of_the_decoded_weights(cls):
    layer = float_layer(cls)
    small, leaf = quantized(cls, "dynamic", layer), inputs(cls).requires_grad_()
    layer.load_state_dict({name: getattr(small, name) for name in layer.state_dict()})
    first(small(leaf)).square().sum().backward()
    (want,) = torch.autograd.grad(first(layer(y := inputs(cls).requires_grad_())).square().sum(), y)
    torch.testing.assert_close(leaf.grad, want)
    assert want.abs().max() > 0
    assert list(small.parameters()) == []


@each(WITH_FLOATS)
def test_a_wrong_shape_is_refused_as_the_floating_point_layer_refuses_it(cls, way):
    layer, x = float_layer(cls), inputs(cls)
    small = quantized(cls, way, layer)
    wrong = [torch.tensor(1.0), x[..., :1] if cls in RECURRENT else x[:, :1]]
    wrong += [x[..., :2]] if cls in AFFINE and cls.n_spatial else []
    for x in wrong:
        with pytest.raises((RuntimeError, ValueError)) as error:
            layer(x)
        with pytest.raises(type(error.value)) as got:
            small(x)
        assert str(got.value).partition("(")[0] == str(error.value).partition("(")[0]


@each(WITH_FLOATS)
@torch.no_grad()
@pytest.mark.parametrize("convert", ["half", "double", "bfloat16"])
def test_scales_are_not_rounded_with_the_rest_of_a_model(cls, way, convert):
    small, x = quantized(cls, way, float_layer(cls)), inputs(cls)
    other = getattr(copy.deepcopy(small), convert)()
    assert torch.equal(first(other(x)), first(small(x)))
    assert {k: v.dtype for k, v in other.state_dict().items()} == {k: v.dtype for k, v in small.state_dict().items()}


@each([*WITH_FLOATS, (Int8Embedding, "dynamic")])
@torch.no_grad()
def test_copies_pickles_state_dicts_and_files_give_the_same(cls, way, tmp_path):
    if cls is Int8Embedding:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            layers = [nn.Sequential(nn.Embedding(9, 6, padding_idx=2), nn.Linear(6, 4)) for _ in range(2)]
        x, (small, other) = torch.arange(9), (lc.quantize(layer, activations=way) for layer in layers)
        assert type(small[0]) is cls
        assert small[0].padding_idx == 2
    else:
        layers, x = [float_layer(cls) for _ in range(2)], inputs(cls)
        for p in layers[1].parameters():
            p *= 0.5
        small, other = (quantized(cls, way, layer, x) for layer in layers)
    want = first(small(x))
    assert not torch.equal(first(other(x)), want)
    assert torch.equal(first(copy.deepcopy(small)(x)), want)
    assert torch.equal(first(pickle.loads(pickle.dumps(small))(x)), want)
    lc.save(small, tmp_path / "m")
    for into in (copy.deepcopy(layers[1]), copy.deepcopy(other)):
        assert torch.equal(first(lc.load(tmp_path / "m", into=into)(x)), want)
    lc.save(lc.load(tmp_path / "m", into=copy.deepcopy(layers[1])), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()
    assert lc.size_of(small) < 0.75 * lc.size_of(layers[0])
    other.load_state_dict(small.state_dict())
    assert torch.equal(first(other(x)), want)


@each(WITH_FLOATS)
@torch.no_grad()
def test_weights_are_decoded_by_their_names(cls, way):
    layer = float_layer(cls)
    small = quantized(cls, way, layer)
    for name in cls.weights_of(layer):
        weight = getattr(layer, name)
        step = weight.abs().max() / (7 if cls is Int4Linear else 127)
        assert (getattr(small, name) - weight).abs().max() <= 0.51 * step
    for name, value in layer.named_parameters():
        assert getattr(small, name).shape == value.shape
        assert name.startswith("weight") or torch.equal(getattr(small, name), value)
    assert not hasattr(small, "weights")


@each(WITH_FLOATS)
@torch.no_grad()
def test_no_call_changes_the_filters_of_warnings_which_all_threads_share(cls, way, monkeypatch):
    small, x = quantized(cls, way, float_layer(cls)), inputs(cls)
    with monkeypatch.context() as patch:
        changes = []
        patch.setattr(warnings, "simplefilter", lambda *a, **k: changes.append(a))
        small(x)
    assert not changes


@each([*WAYS, (Int4Linear, "auto")])
def test_inputs_by_name_and_in_any_memory_order(cls, way):
    x = inputs(cls)
    small = quantized(cls, way, float_layer(cls), x)
    transposed = x.transpose(0, -1).contiguous().transpose(0, -1)
    with torch.no_grad():
        assert torch.equal(small(input=x), small(x))
        torch.testing.assert_close(small(transposed), small(x), rtol=1e-5, atol=1e-6)
        assert small(x).is_contiguous()  # of which forwards take a `view`
