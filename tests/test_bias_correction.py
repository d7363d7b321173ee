"""bias_correction and equalize: what they promise, on networks that were trained and on small ones."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.torch import bias_correction, equalization
from lifecycle.torch.quantized import Int8Linear, QuantizedModule


def convolutional(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 6, 1),
            nn.Flatten(), nn.Linear(6 * 36, 16), nn.ReLU(), nn.Linear(16, 12), nn.Dropout(0.5), nn.Linear(12, 10),
        ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return torch.from_numpy(np.float32(X / 16).reshape(-1, 1, 8, 8)), y


def mean_error(small, net, x):
    with torch.no_grad():
        return float((small(x) - net(x)).mean(0).norm())


@pytest.mark.parametrize(
    "options", [{"bits": 4, "activations": None}, {"activations": "dynamic"}, {"activations": "static"}]
)
def test_the_mean_outputs_are_those_before_quantization(digits, options):
    net, x = convolutional(), digits[0][:200]
    before = copy.deepcopy(net.state_dict())
    rows = {"calibration": x} if options["activations"] == "static" else {}
    plain = lc.quantize(net, **options, **rows)
    small = lc.quantize(net, **options, calibration=x, bias_correction=True)
    # a dynamic scale is that of a batch, which has 32 rows while biases are corrected
    share = 0.4 if options["activations"] == "dynamic" else 0.02
    assert mean_error(small, net, x) < share * mean_error(plain, net, x) + 1e-6
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())
    means = [bias_correction.output_means(m, {"0", "2", "4", "6", "8", "10"}, x) for m in (net, small)]
    assert list(means[0]) == ["0", "2", "4", "6", "8", "10"]
    for path, mean in means[0].items():
        torch.testing.assert_close(means[1][path], mean, rtol=0.02, atol=2e-3)


@torch.no_grad()
def test_the_outputs_of_a_trained_network_change_less_with_it(digits):
    X, y = digits
    model = lt.TorchClassifier(convolutional(), max_epochs=5, lr=3e-3, random_state=0, progress=False)
    model.fit(X[:1000].numpy(), y[:1000])
    plain = lc.quantize(model, bits=4, activations=None)
    small = lc.quantize(model, bits=4, activations=None, calibration=X[:300].numpy(), bias_correction=True)
    error = [float((m.module_(X[1000:]) - model.module_(X[1000:])).square().mean()) for m in (plain, small)]
    assert error[1] < 0.9 * error[0]


def test_a_mean_is_that_of_each_channel_over_rows_and_places():
    net, x = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Linear(6, 4)), torch.randn(50, 2, 7)
    means = bias_correction.output_means(net, {"0", "1"}, x)
    with torch.no_grad():
        hidden = net[0](x)
        torch.testing.assert_close(means["0"].float(), hidden.mean((0, 2)))
        torch.testing.assert_close(means["1"].float(), net[1](hidden).mean((0, 1)))
    assert not net[0]._forward_hooks


def test_the_means_of_layers_with_integer_weights_decode_no_weight(monkeypatch):
    net, x = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Linear(6, 4)), torch.randn(5, 2, 7)
    small = lc.quantize(net, activations="dynamic")
    want = bias_correction.output_means(small, {"0", "1"}, x)
    monkeypatch.setattr(QuantizedModule, "decoded", lambda self, name: pytest.fail(f"{name} was decoded"))
    found = bias_correction.output_means(small, {"0", "1"}, x)
    assert all(torch.equal(found[path], mean) for path, mean in want.items())


def test_only_layers_with_a_bias_that_are_quantized_are_corrected(digits):
    x = digits[0][:50].flatten(1)
    net = nn.Sequential(nn.Linear(64, 8, bias=False), nn.Linear(8, 4), nn.Linear(4, 3))
    small = lc.quantize(net, bits=4, activations=None, calibration=x, bias_correction=True, protect=["1"])
    assert small[0].bias is None
    assert torch.equal(small[1].bias, net[1].bias)
    assert not torch.equal(small[2].bias, net[2].bias)
    with pytest.raises(ValueError, match="needs a linear or convolution layer with a bias"):
        lc.quantize(nn.Linear(64, 8, bias=False), calibration=x, bias_correction=True)
    with pytest.raises(ValueError, match="the outputs of the layer '1' on the calibration rows contain NaN"):
        lc.quantize(net, calibration=x * torch.nan, bias_correction=True)


@torch.no_grad()
def test_equalized_layers_have_the_same_ranges_and_the_network_the_same_outputs(digits):
    net, x = convolutional(), digits[0][:50]
    net[0].weight *= 10.0 ** torch.linspace(-1, 1, 8).view(-1, 1, 1, 1)
    want, changed = net(x), copy.deepcopy(net)
    equalization.equalize(changed, {"0", "2", "4", "6", "8", "10"}, x)
    torch.testing.assert_close(changed(x), want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
    for first, second, axis in ((0, 2, 0), (2, 4, 1), (6, 8, 1), (8, 10, 1)):
        outputs = changed[first].weight.abs().flatten(1).amax(1)
        inputs = changed[second].weight.abs().movedim(axis, 0).flatten(1).amax(1)
        torch.testing.assert_close(outputs, inputs, rtol=0.05, atol=0.0)
        assert not torch.equal(changed[first].weight, net[first].weight)


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("size", [0.0, 1e-40, 1e-9, 1e-4])
@torch.no_grad()
def test_channels_with_negligible_weights_are_left_as_they_are(layer, size):
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), torch.randn(9, 4)
    channel = net[0].weight[1] if layer == 0 else net[2].weight[:, 1]
    channel.clamp_(-size, size)
    net[0].bias[1] = 1.0
    changed = copy.deepcopy(net)
    equalization.equalize(changed, {"0", "2"}, x)
    assert changed[0].bias[1] == 1.0
    assert torch.equal(changed[0].weight[1], net[0].weight[1])
    assert torch.equal(changed[2].weight[:, 1], net[2].weight[:, 1])
    assert not torch.equal(changed[0].weight, net[0].weight)


@pytest.mark.parametrize(("scale", "factor"), [(1e-4, 16.0), (1e4, 1 / 16), (1e-30, 16.0)])
@torch.no_grad()
def test_factors_are_bounded(scale, factor):
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), torch.randn(9, 4)
    net[0].weight *= scale
    changed = copy.deepcopy(net)
    equalization.equalize(changed, {"0", "2"}, x)
    torch.testing.assert_close(changed[0].bias, factor * net[0].bias)
    torch.testing.assert_close(changed[0].weight, factor * net[0].weight)
    torch.testing.assert_close(changed(x), net(x))


@torch.no_grad()
def test_equalization_lets_four_bits_hold_weights_of_different_ranges(digits):
    net, x = convolutional(), digits[0][:100]
    factors = 10.0 ** torch.linspace(-1.2, 1.2, 16)  # outputs stay the same
    net[6].weight *= factors[:, None]
    net[6].bias *= factors
    net[8].weight /= factors
    plain = lc.quantize(net, bits=4, activations=None)
    small = lc.quantize(net, bits=4, activations=None, equalize=True, calibration=x)
    error = [float((m(x) - net(x)).norm()) for m in (plain, small)]
    assert error[1] < 0.6 * error[0]
    assert (
        type(lc.quantize(net, activations="dynamic", equalize=True, bias_correction=True, calibration=x)[6])
        is Int8Linear
    )


class Joined(nn.Module):
    """Two layers between which more than ReLU stands."""

    def __init__(self, between):
        super().__init__()
        self.first, self.second, self.between = nn.Linear(4, 4), nn.Linear(4, 4), between

    def forward(self, x):
        return self.second(self.between(self, self.first(x)))


@pytest.mark.parametrize(
    "between",
    [
        lambda self, h: torch.tanh(h),
        lambda self, h: torch.relu(h) + 1,
        lambda self, h: torch.relu(h) + h,
        lambda self, h: self.first(torch.relu(h)),
        lambda self, h: h * self.first.weight[0],
    ],
)
def test_layers_that_more_than_relu_joins_are_left_alone(between):
    with pytest.raises(lc.UnsupportedModel, match="no two linear or convolution layers that are joined by ReLU alone"):
        lc.quantize(Joined(between), equalize=True, calibration=torch.randn(9, 4))


@pytest.mark.parametrize(
    "relu", [torch.relu, nn.functional.relu, lambda h: h.relu(), lambda h: h, nn.ReLU(), nn.Dropout()]
)
def test_what_is_joined_by_relu_alone_is_equalized(relu):
    net, x = Joined(lambda self, h: relu(h)).eval(), torch.randn(9, 4)
    changed = copy.deepcopy(net)
    if isinstance(relu, nn.Module):
        changed = nn.Sequential(net.first, relu, net.second).eval()
    paths = {name for name, _ in changed.named_modules()}
    before = changed(x)
    equalization.equalize(changed, paths, x)
    torch.testing.assert_close(changed(x), before)


def test_channels_that_are_read_elsewhere_too_are_left_alone():
    class Skipping(Joined):
        def forward(self, x):
            hidden = torch.relu(self.first(x))
            return self.second(hidden) + hidden

    class Tied(Joined):
        def __init__(self):
            super().__init__(None)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(torch.relu(self.first(x)))

    for net in (Skipping(None), Tied()):
        with pytest.raises(lc.UnsupportedModel, match="joined by ReLU alone"):
            lc.quantize(net, equalize=True, calibration=torch.randn(9, 4))


def test_what_cannot_be_traced_is_refused():
    net = Joined(lambda self, h: torch.relu(h) if h.sum() > 0 else h)
    with pytest.raises(lc.UnsupportedModel, match=r"torch\.fx cannot trace this Joined"):
        lc.quantize(net, equalize=True, calibration=torch.randn(9, 4))


def test_a_wrong_pair_is_noticed(monkeypatch):
    monkeypatch.setattr(equalization, "_is_relu", lambda net, node: True)
    with pytest.raises(lc.UnsupportedModel, match="equalization changes the outputs of this Joined"):
        lc.quantize(Joined(lambda self, h: torch.tanh(h)), equalize=True, calibration=torch.randn(9, 4))


def test_what_is_missing_is_said():
    for option in ("bias_correction", "equalize"):
        with pytest.raises(ValueError, match=f"{option}=True needs the inputs of the layers"):
            lc.quantize(nn.Linear(3, 2), **{option: True})
        with pytest.raises(ValueError, match=f"{option} must be one of True, False"):
            lc.quantize(nn.Linear(3, 2), **{option: 2})
        linear = lc.LinearRegressor(optimizer="exact").fit(np.eye(3), np.arange(3.0))
        with pytest.raises(ValueError, match="bias_correction and equalize are for torch models"):
            lc.quantize(linear, **{option: True}, calibration=np.eye(3))
