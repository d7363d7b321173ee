"""Batch normalizations that are folded into the layers before them: what is computed stays the same, and is stored."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle._check import UnsupportedModel
from lifecycle.torch.channels.operations import BATCH_NORMS
from lifecycle.torch.folding import fold_batch_norms, folded_paths

from .forged_files import forged

ROWS = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """Convolutions with and without a bias, a batch normalization behind a sum, one without factors, linear layers."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.second, self.plain = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, affine=False)
        self.of_sum = nn.BatchNorm2d(8)
        self.hidden, self.flat, self.out = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = self.of_sum(x + self.plain(self.second(x)))
        return self.out(torch.relu(self.flat(self.hidden(x.mean(dim=(2, 3))))))


def with_statistics(net):
    """The network with running statistics and factors that are no zeros and ones."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, BATCH_NORMS):
            with torch.no_grad():
                for name in ("weight", "bias", "running_mean", "running_var"):
                    value = getattr(module, name)
                    if value is not None:
                        value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return net.eval()


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return with_statistics(Residual())


def test_outputs_stay_and_each_batch_norm_behind_a_layer_is_gone(net):
    before = net(ROWS).detach()
    folded = fold_batch_norms(copy.deepcopy(net), ROWS)
    assert folded_paths(folded) == ["norm", "plain", "flat"]
    assert type(folded.of_sum) is nn.BatchNorm2d
    torch.testing.assert_close(folded(ROWS), before, rtol=1e-4, atol=1e-4)
    n_values = sum(t.numel() for t in net.state_dict().values())
    # weights and biases of two, statistics of three and their counts go; a bias comes
    assert sum(t.numel() for t in folded.state_dict().values()) == n_values - 2 * 24 - 2 * 32 - 3 + 8


def test_what_reads_a_layer_otherwise_is_left(net):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.layer(x)
            return self.norm(y) + y

    class OtherDimension(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)

        def forward(self, x):  # (rows, 8 channels, 8 outputs)
            return self.norm(self.layer(x.flatten(1)[:, :64].view(-1, 8, 8)))

    shared = nn.Conv2d(3, 3, 1)
    called_twice = nn.Sequential(shared, nn.BatchNorm2d(3), shared, nn.BatchNorm2d(3))
    without_statistics = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    hooked = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    hooked[0].register_forward_hook(lambda *_: None)
    on_grid = lc.quantize(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), activations=None)
    for other in (Twice(), OtherDimension(), called_twice, without_statistics, hooked, on_grid, nn.Conv2d(3, 3, 1)):
        assert fold_batch_norms(other.eval(), ROWS) is other
        assert folded_paths(other) == []


def test_a_trace_that_hides_a_use_is_refused():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.weights = [self.layer.weight]

        def forward(self, x):
            return self.norm(self.layer(x)) * float(self.weights[0].detach().sum())

    net = with_statistics(Hidden())
    before = net(ROWS)
    with pytest.raises(lc.UnsupportedModel, match="without its batch normalizations this Hidden computes something"):
        fold_batch_norms(net, ROWS)
    assert torch.equal(net(ROWS), before)


@pytest.mark.parametrize("channels", [0.0, 0.25])
@pytest.mark.parametrize("is_quantized", [False, True])
def test_a_file_fills_a_module_of_the_original_class(net, channels, is_quantized, tmp_path):
    small = lc.prune(net, channels, structure="channels", calibration=ROWS) if channels else copy.deepcopy(net)
    small = fold_batch_norms(small, ROWS)
    if is_quantized:
        small = lc.quantize(small, activations="static", calibration=ROWS)
    lc.save(small, tmp_path / "folded.safetensors")
    for into in (Residual(), copy.deepcopy(small)):
        loaded = lc.load(tmp_path / "folded.safetensors", into=into).eval()
        assert folded_paths(loaded) == ["norm", "plain", "flat"]
        torch.testing.assert_close(loaded(ROWS), small(ROWS), rtol=1e-5, atol=1e-5)
        assert lc.size_of(loaded) == lc.size_of(small)


def test_a_module_without_the_batch_norm_is_refused_and_left(net, tmp_path):
    lc.save(fold_batch_norms(copy.deepcopy(net), ROWS), tmp_path / "folded.safetensors")
    other = Residual()
    other.norm = nn.GroupNorm(2, 8)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match="folded batch normalization at 'norm'; the module has GroupNorm"):
        lc.load(tmp_path / "folded.safetensors", into=other)
    assert other.first.bias is None
    assert isinstance(other.plain, nn.BatchNorm2d)
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def fails_to_load(module):
    module.register_load_state_dict_post_hook(lambda *_: 1 / 0)


def other_shape(module):
    module.out = nn.Linear(16, 5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (fails_to_load, "^the file does not fit: division by zero$"),
        (other_shape, "^the file does not fit the module: out"),
    ],
)
def test_an_error_says_once_that_the_file_does_not_fit(net, change, sentence, tmp_path):
    lc.save(fold_batch_norms(copy.deepcopy(net), ROWS), tmp_path / "folded.safetensors")
    other = Residual()
    change(other)
    before, norms = {name: value.clone() for name, value in other.state_dict().items()}, [other.norm, other.plain]
    with pytest.raises(ValueError, match=sentence):
        lc.load(tmp_path / "folded.safetensors", into=other)
    assert [other.norm, other.plain] == norms
    assert other.first.bias is None
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_a_class_of_this_library_has_no_batch_norm_to_fold(tmp_path):
    lc.save(lt.MLP(4, 3, hidden=(8,)), tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(forged(data, lambda m: m["config"].update({"folded_batch_norms": ["layers.1"]})))
    with pytest.raises(lc.CorruptBundle, match="the file has folded batch normalizations, and a MLP has none"):
        lc.load(tmp_path / "m")


def test_an_estimator_is_stored_without_its_batch_norms(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    y = (ROWS[:, 0, 0, 0] > 0).numpy().astype(int)
    model = lt.TorchClassifier(module, max_epochs=2, random_state=0, progress=False).fit(ROWS.numpy(), y)
    small = copy.deepcopy(model)
    small.module_ = fold_batch_norms(small.module_, ROWS)
    lc.save(small, tmp_path / "folded.safetensors")
    loaded = lc.load(tmp_path / "folded.safetensors", into=copy.deepcopy(model))
    np.testing.assert_allclose(loaded.predict_proba(ROWS.numpy()), model.predict_proba(ROWS.numpy()), atol=1e-5)
    assert folded_paths(loaded.module_) == ["1"]


def test_the_order_of_memory_is_stored_for_one_channel_too(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).to(memory_format=torch.channels_last).eval()
    x = ROWS[:, :1]
    assert net(x).is_contiguous(memory_format=torch.channels_last)
    lc.save(net, tmp_path / "last.safetensors")
    loaded = lc.load(
        tmp_path / "last.safetensors", into=nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    )
    assert [p.stride() for p in loaded.parameters()] == [p.stride() for p in net.parameters()]
    assert torch.equal(loaded(x), net(x))


class ReadsAttribute(nn.Sequential):
    """Its forward needs what only a batch normalization has."""

    def forward(self, x):
        return super().forward(x) * (1.0 if self[1].num_features else 0.0)


class MasksAfterwards(nn.Sequential):
    """Uses its linear layer beside the batch normalization as well, in a way that the trace does not show."""

    def forward(self, x):
        hidden = x @ torch.tensor(self._modules["0"]._parameters["weight"].tolist()).T
        logits = super().forward(x) + hidden
        return torch.cat([logits, torch.full_like(logits[:, :1], -torch.inf)], dim=1)


@pytest.mark.parametrize("kind", [ReadsAttribute, MasksAfterwards])
def test_networks_that_need_their_batch_norm_are_refused_though_an_output_is_infinite(kind):
    net = with_statistics(kind(nn.Linear(4, 8), nn.BatchNorm1d(8)))
    with pytest.raises(UnsupportedModel, match="without its batch normalizations this"):
        fold_batch_norms(net, torch.randn(32, 4, generator=torch.Generator().manual_seed(0)))


def test_a_network_in_training_mode_stays_in_it_and_so_does_its_copy():
    net = with_statistics(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())).train()
    folded = fold_batch_norms(net, torch.randn(32, 4, generator=torch.Generator().manual_seed(0)))
    assert folded_paths(folded) == ["1"]
    assert all(module.training for each in (net, folded) for module in each.modules())


def test_outputs_without_elements_are_compared():
    class Empty(nn.Sequential):
        def forward(self, x):
            return super().forward(x), x[:, :0]

    net = with_statistics(Empty(nn.Linear(4, 8), nn.BatchNorm1d(8)))
    assert folded_paths(fold_batch_norms(net, torch.randn(32, 4))) == ["1"]
