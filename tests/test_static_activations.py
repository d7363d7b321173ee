"""activations="static": ranges of inputs from calibration rows, and layers that keep them."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.store.adapters import ACTIVATION_RANGES
from lifecycle.torch.quantized import Int8Conv1d, Int8Conv2d, Int8Embedding, Int8Linear, kernels
from lifecycle.torch.quantized.input_range import InputRange


def range_of(method, *batches, n_codes=255):
    found = InputRange(method, n_codes)
    for batch in batches:
        found.see(torch.as_tensor(batch))
    return found.range()


def squared_error(x, low, high, n_codes=255):
    """Of rounding and clipping x, slowly."""
    scale = (high - low) / n_codes
    zero = np.rint(-low / scale)
    return np.square((np.clip(np.rint(x / scale) + zero, 0, n_codes) - zero) * scale - x).sum()


@pytest.fixture(scope="module")
def tailed():
    """Values with a long tail."""
    return np.random.RandomState(0).standard_t(3, 200_000).astype(np.float32)


def test_minmax_is_the_smallest_and_the_largest_value_and_zero(tailed):
    assert range_of("minmax", tailed) == (tailed.min(), tailed.max())
    assert range_of("minmax", [1.0, 3.0], [2.0]) == (0.0, 3.0)
    assert range_of("minmax", [-1.0]) == (-1.0, 0.0)


def test_the_percentile_is_that_of_the_absolute_values(tailed):
    low, high = range_of("percentile", tailed)
    exact = np.percentile(np.abs(tailed), 99.99)
    bin_width = 2 * 2.0 ** np.ceil(np.log2(np.abs(tailed).max())) / 4096
    assert (-low, high) == pytest.approx((exact, exact), abs=2 * float(bin_width))
    assert range_of("percentile", np.abs(tailed))[0] == 0.0
    assert range_of("percentile", [0.5, 0.75]) == (0.0, 0.75)  # never wider than all values


@pytest.mark.parametrize("n_codes", [127, 255])
def test_the_range_of_least_squared_error_is_that_of_all_values(tailed, n_codes):
    low, high = range_of("mse", tailed, n_codes=n_codes)
    assert tailed.min() < low < 0 < high < tailed.max()
    errors = [
        squared_error(tailed, share * tailed.min(), share * tailed.max(), n_codes) for share in np.arange(1, 100) / 100
    ]
    assert squared_error(tailed, low, high, n_codes) < 1.02 * min(errors)
    assert min(errors) < 0.7 * errors[-1]
    uniform = np.linspace(-1, 1, 10_001, dtype=np.float32)
    assert range_of("mse", uniform)[1] > 0.97


@pytest.mark.parametrize("method", ACTIVATION_RANGES)
def test_the_range_does_not_depend_on_how_rows_are_split_into_batches(tailed, method):
    whole = range_of(method, tailed)
    for batches in (np.split(tailed, 100), np.split(np.sort(np.abs(tailed)) * np.sign(tailed), 100)):
        assert range_of(method, *batches) == pytest.approx(range_of(method, np.concatenate(batches)), rel=1e-12)
    growing = sorted(np.split(tailed, 1000), key=lambda batch: np.abs(batch).max())
    assert range_of(method, np.zeros(5), *growing) == pytest.approx(whole, rel=0.02)
    for exponent in (-140, -100, 100):
        scaled = np.ldexp(tailed[:1000].astype(np.float64), exponent).astype(np.float32)
        if exponent > -140:
            assert range_of(method, scaled) == tuple(np.ldexp(range_of(method, tailed[:1000]), exponent))
        assert np.isfinite(range_of(method, scaled)).all()


@pytest.mark.parametrize("method", ACTIVATION_RANGES)
def test_values_that_are_not_finite_have_no_part_in_the_range(method):
    values = np.float32([-1.0, 2.0, 0.5])
    assert range_of(method, np.float32([np.nan, np.inf, *values, -np.inf])) == range_of(method, values)
    assert range_of(method, np.zeros(3)) == (0.0, 0.0)
    with pytest.raises(ValueError, match="no finite input"):
        range_of(method, np.float32([np.nan]))


def convolutional():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv1d(2, 8, 3, padding=1), nn.ReLU(), nn.Unflatten(2, (2, 5)), nn.Conv2d(8, 6, 2), nn.Flatten(),
            nn.Linear(24, 5),
        )  # fmt: skip


def rows(n=40):
    return torch.randn(n, 2, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation_range", ACTIVATION_RANGES)
@torch.no_grad()
def test_outputs_are_near_and_a_row_does_not_depend_on_the_others(activation_range):
    net, x = convolutional(), rows()
    small = lc.quantize(net, activations="static", activation_range=activation_range, calibration=x)
    assert [type(m) for m in small if hasattr(m, "codes")] == [Int8Conv1d, Int8Conv2d, Int8Linear]
    assert (small(x) - net(x)).norm() < 0.03 * net(x).norm()
    x[1:] *= 100
    assert torch.equal(small(x)[:1], small(x[:1]))
    dynamic = lc.quantize(net, activations="dynamic")
    assert not torch.equal(dynamic(x)[:1], dynamic(x[:1]))


@torch.no_grad()
def test_the_range_is_that_of_the_layer_s_inputs_and_values_beyond_it_are_clipped(monkeypatch):
    net, x = convolutional(), rows()
    small = lc.quantize(net, activations="static", calibration=x.numpy())
    low, high = small[0].input_range.tolist()
    assert (low, high) == (x.min().item(), x.max().item())
    hidden = lc.quantize(net, activations=None)[:5](x)
    assert small[5].input_range.tolist() == pytest.approx([min(hidden.min().item(), 0), hidden.max().item()], rel=1e-6)
    far = 10 * rows(3)
    far[0, 0, 0], far[1, 0, 0] = 1e30, -3e38
    assert torch.equal(small(far), small(far.clamp(low, high)))
    monkeypatch.setattr(kernels, "eight_bits", lambda: False)  # larger codes than 127 would fit into a byte
    assert torch.equal(small(far), small(far.clamp(low, high)))
    assert f"input_range=({low}, {high})" in repr(small)


@pytest.mark.parametrize("layer", [nn.Linear(12, 7), nn.Linear(12, 7, bias=False)])
@torch.no_grad()
def test_static_layers_compute_what_rounded_activations_and_decoded_weights_give(layer):
    x = torch.randn(3, 4, 12, generator=torch.Generator().manual_seed(0))
    small = lc.quantize(layer, activations="static", calibration=x)
    low, high = small.input_range.tolist()
    top = 255 if kernels.eight_bits() else 127
    scale = (high - low) / top
    zero = round(-low / scale)
    codes = np.clip(np.rint(x.numpy() / np.float32(scale)) + zero, 0, top)
    want = small._forward_float(torch.from_numpy(np.float32((codes - zero) * scale)))
    torch.testing.assert_close(small(x), want, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_a_range_of_least_error_is_better_than_all_values_where_one_is_far_off():
    layer = nn.Linear(64, 16)
    x = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    x[0, 0] = 300.0
    error = {}
    for method in ACTIVATION_RANGES:
        small = lc.quantize(layer, activations="static", activation_range=method, calibration=x)
        error[method] = float((small(x[1:]) - layer(x[1:])).norm())
    assert error["percentile"] < 0.2 * error["minmax"]
    assert error["mse"] < error["minmax"]  # the one far value has a part in it


def test_embeddings_are_int8_and_recurrent_layers_stay_floating():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.cells, self.head = nn.Embedding(9, 6), nn.GRU(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.cells(self.embedding(x))[0])

    small = lc.quantize(Net(), activations="static", calibration=torch.arange(9).view(3, 3))
    assert [type(m) for m in small.children()] == [Int8Embedding, nn.GRU, Int8Linear]
    with pytest.raises(ValueError, match=r'activations="static" needs a plain float32 nn\.Linear'):
        lc.quantize(nn.GRU(3, 2), activations="static", calibration=torch.zeros(4, 2, 3))


@pytest.mark.parametrize(
    ("first", "then"),
    [("dynamic", "static"), ("static", "dynamic"), ("static", "static"), ("static", None), ("dynamic", None)],
)
@pytest.mark.parametrize("layer", [nn.Linear(10, 4), nn.Conv1d(2, 3, 2)])
def test_other_activations_of_a_quantized_layer_are_refused(layer, first, then):
    def quantized(net, activations, x):
        return lc.quantize(net, activations=activations, calibration=x if activations == "static" else None)

    small = quantized(nn.Sequential(layer), first, rows())
    with pytest.raises(ValueError, match=r"0\.weight has int8 activations already"):
        quantized(small, then, 2 * rows())
    again = lc.quantize(small)
    assert type(again[0]) is type(small[0])
    assert again[0].is_static == (first == "static")


def test_a_layer_that_is_not_called_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.used(x)

    unused = Net()
    with pytest.raises(lc.UnsupportedModel, match="the layer 'unused' has no finite input on the calibration rows"):
        lc.quantize(unused, activations="static", calibration=torch.ones(3, 4))
    small = lc.quantize(unused, activations="static", calibration=torch.ones(3, 4), protect=["unused"])
    assert type(small.used) is Int8Linear
    assert not any(module._forward_pre_hooks for module in small.modules())


def test_estimators_pipelines_and_files(tmp_path):
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    model = make_pipeline(StandardScaler(), lt.TorchClassifier(max_epochs=3, random_state=0, progress=False)).fit(X, y)
    small = lc.quantize(model, activations="static", activation_range="percentile", calibration=X[:300])
    assert np.mean(small.predict(X) == model.predict(X)) > 0.97
    assert np.array_equal(small.predict_proba(X[:8]), small.predict_proba(X)[:8])
    lc.save(small, tmp_path / "m")
    again = lc.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(X), small.predict_proba(X))
    layer = next(m for m in again[-1].module_.modules() if isinstance(m, Int8Linear))
    assert layer.input_range is not None


@pytest.mark.parametrize(
    "limits", [[1.0, 2.0], [-1.0, -0.5], [float("nan"), 1.0], [0.0, float("inf")], [0.0, 1.0, 2.0]]
)
def test_a_file_with_a_range_that_is_none_is_refused(limits, tmp_path):
    small = lc.quantize(nn.Linear(4, 3), activations="static", calibration=torch.randn(9, 4))
    small.input_range = torch.tensor(limits)
    lc.save(small, tmp_path / "m")
    static = lc.quantize(nn.Linear(4, 3), activations="static", calibration=torch.randn(9, 4))
    before = static.input_range.clone()
    for into in (nn.Linear(4, 3), static):
        with pytest.raises(ValueError, match="range"):
            lc.load(tmp_path / "m", into=into)
    assert torch.equal(static.input_range, before)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("activations", ["dynamic", "static"])
def test_a_file_with_a_scale_that_is_none_is_refused(scale, activations, tmp_path):
    rows = {"calibration": torch.randn(9, 4)} if activations == "static" else {}
    small = lc.quantize(nn.Linear(4, 3), activations=activations, **rows)
    small.scales[1] = scale
    lc.save(small, tmp_path / "m")
    for into in (nn.Linear(4, 3), lc.quantize(nn.Linear(4, 3), activations=activations, **rows)):
        with pytest.raises(ValueError, match="scales of the int8 layer '' are not all finite and above zero"):
            lc.load(tmp_path / "m", into=into)
