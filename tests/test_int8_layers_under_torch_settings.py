"""Integer layers under autocast, with another default dtype, and after writes that torch does not count."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import lifecycle as lc
from lifecycle.torch.quantized import QUANTIZED, Int4Linear, Int8Affine, Int8Embedding, Int8LSTM, Int8Recurrent, base

INT8 = [cls for cls in QUANTIZED if cls is not Int4Linear]
ON_FLOATS = [cls for cls in INT8 if cls is not Int8Embedding]


def layer_and_input(cls, seed=0):
    """A floating-point layer in float32, and an input of it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if cls is Int8Embedding:
            return nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 4)).float(), torch.arange(5)
        kernel = [3] if issubclass(cls, Int8Affine) and cls.n_spatial else []
        places = [7] * (cls.n_spatial if kernel else cls.replaces in (nn.LSTM, nn.GRU))
        shape = (5, *places, 6) if issubclass(cls, Int8Recurrent) else (5, 6, *places)
        more = {"batch_first": True} if cls.replaces in (nn.LSTM, nn.GRU) else {}
        return cls.replaces(6, 4, *kernel, **more).float(), torch.randn(shape, dtype=torch.float32)


def dynamic(layer):
    """The layer with integer weights, and the one of the class that is tested, which may be a part of it."""
    small = lc.quantize(layer, activations="dynamic")
    return small, small[0] if isinstance(small, nn.Sequential) else small


def first(outputs):
    return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


def dtypes(outputs):
    return outputs.dtype if isinstance(outputs, torch.Tensor) else tuple(map(dtypes, outputs))


@pytest.mark.parametrize("cls", ON_FLOATS)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16, torch.float16])
def test_under_autocast_outputs_have_the_dtype_of_the_floating_point_layer(cls, given):
    layer, x = layer_and_input(cls)
    small, one = dynamic(layer)
    assert type(one) is cls
    want = small(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = small(x.to(given))
        if cls is not Int8LSTM or given != torch.float32:  # which torch refuses on some CPUs
            assert dtypes(got) == dtypes(layer(x.to(given)))
    torch.testing.assert_close(first(got).float(), first(want), rtol=0.03, atol=0.03)
    bad = x.clone()
    bad[1] = torch.nan
    with torch.autocast("cpu", dtype=torch.bfloat16):  # samples in floating point beside others
        of_bad = first(small(bad))
        assert torch.equal(of_bad.isnan().flatten(1).any(1), torch.arange(5) == 1)
        first(small(x.requires_grad_())).sum().backward()
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize("cls", ON_FLOATS)
def test_inputs_of_double_precision_are_refused_with_and_without_autocast(cls):
    layer, x = layer_and_input(cls)
    small, _ = dynamic(layer)
    for enabled in (False, True):
        with (
            torch.autocast("cpu", enabled=enabled),
            pytest.raises(
                ValueError, match=r"takes float32 tensors on the CPU; got torch.float64 .* convert the input"
            ),
        ):
            small(x.double())


@pytest.mark.parametrize("cls", INT8)
@torch.no_grad()
def test_a_default_dtype_of_double_precision_changes_nothing(cls):
    layer, x = layer_and_input(cls)
    want = first(dynamic(layer)[0](x))
    base.kernel_works.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        small, one = dynamic(layer)
        got = first(small(x))
        if issubclass(cls, Int8Affine):
            assert lc.quantize(layer, activations="static", calibration=x).input_range.dtype == torch.float32
        lc.quantize(layer, activations="auto")
    finally:
        torch.set_default_dtype(torch.float32)
    assert type(one) is cls
    assert torch.equal(got, want)


@pytest.mark.parametrize("cls", ON_FLOATS)
@torch.no_grad()
def test_kernels_are_found_under_autocast_too(cls):
    layer, _ = layer_and_input(cls)
    base.kernel_works.cache_clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert type(dynamic(layer)[1]) is cls
    base.kernel_works.cache_clear()


def written_through_data(one, codes):
    one.codes.data.copy_(codes)


def written_through_numpy(one, codes):
    np.copyto(one.codes.numpy(), codes.numpy())


@torch.inference_mode()
def written_in_inference_mode(one, codes):
    one.codes.copy_(codes)


AFFINE = [cls for cls in INT8 if issubclass(cls, Int8Affine)]


@pytest.mark.parametrize("cls", AFFINE)
@pytest.mark.parametrize("write", [written_through_data, written_through_numpy, written_in_inference_mode])
@pytest.mark.parametrize("how", ["repack", "state_dict"])
@torch.no_grad()
def test_codes_are_packed_again_after_writes_that_torch_does_not_count(cls, write, how):
    layer, x = layer_and_input(cls)
    one, other = dynamic(layer)[1], dynamic(layer)[1]
    before = one(x)
    other.codes = other.codes.flip(0).contiguous()  # a replaced buffer needs no call
    write(one, other.codes)
    getattr(one, how)()
    assert torch.equal(one(x), other(x))
    assert not torch.equal(one(x), before)


@pytest.mark.parametrize("cls", INT8)
@torch.inference_mode()
def test_state_dicts_are_loaded_in_inference_mode(cls):
    layer, x = layer_and_input(cls)
    small, other = dynamic(layer)[0], dynamic(layer_and_input(cls, seed=1)[0])[0]
    want = first(other(x))
    assert not torch.equal(first(small(x)), want)
    small.load_state_dict(other.state_dict())
    assert torch.equal(first(small(x)), want)


@pytest.mark.parametrize("cls", INT8)
def test_layers_that_were_made_in_inference_mode_are_used_outside_of_it(cls):
    layer, x = layer_and_input(cls)
    with torch.inference_mode():
        small = dynamic(layer)[0]
        want = first(small(x))
    with torch.no_grad():
        assert torch.equal(first(small(x)), want)
        assert torch.equal(first(small(x)), first(dynamic(layer)[0](x)))


_WITHOUT_KERNEL = """
import torch
from types import SimpleNamespace

{change}
import lifecycle as lc
from lifecycle.torch.quantized import Int8Linear, kernel_works

assert not kernel_works(Int8Linear)
layer = lc.quantize(torch.nn.Linear(4, 3), activations="auto")
assert type(layer) is torch.nn.Linear, type(layer)
"""


@pytest.mark.parametrize(
    "operators", ["SimpleNamespace()", "SimpleNamespace(linear_prepack=torch.ops.quantized.linear_prepack)"]
)
def test_a_torch_without_the_dynamic_product_quantizes_weights(operators):
    program = _WITHOUT_KERNEL.format(change=f"torch.ops.quantized = {operators}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
