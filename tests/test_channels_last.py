"""Weights in torch's channels_last order: which are changed, written and read, and whose memory is new."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.compression import _latency_search
from lifecycle.torch import adapter
from lifecycle.torch.quantized import Int8Conv2d
from lifecycle.torch.tensors import has_channels_last

from .forged_files import forged, parts_of

LAST = torch.channels_last


class WithBuffer(nn.Module):
    """A convolution, and a buffer of four dimensions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.register_buffer("m", torch.rand(1, 4, 6, 6))

    def forward(self, x):
        return self.conv(x) * self.m


class Planes(nn.Module):
    """Convolutions of planes and of volumes, and a transposed one."""

    def __init__(self):
        super().__init__()
        self.volumes, self.planes = nn.Conv3d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3)
        self.back, self.out = nn.ConvTranspose2d(4, 2, 3), nn.Linear(2, 2)
        self.place = nn.Parameter(torch.zeros(1, 2, 8, 8))

    def forward(self, x):
        x = self.volumes(x.unflatten(1, (1, 4))).mean(2) + self.place
        return self.out(torch.relu(self.back(torch.relu(self.planes(x)))).mean((2, 3)))


def listed(path):
    return parts_of(path.read_bytes())[1]["config"]["channels_last"]


def test_a_file_lists_the_order_of_parameters_and_not_of_buffers(tmp_path):
    net = WithBuffer().to(memory_format=LAST)
    lc.save(net, tmp_path / "m")
    assert listed(tmp_path / "m") == ["conv.weight"]
    (tmp_path / "old").write_bytes(
        forged((tmp_path / "m").read_bytes(), lambda m: m["config"]["channels_last"].append("m"))
    )
    for name in ("m", "old"):
        loaded = lc.load(tmp_path / name, into=WithBuffer())
        assert has_channels_last(loaded.conv.weight)
        assert loaded.m.is_contiguous()
        assert torch.equal(loaded.m, net.m)


def test_codes_of_int8_layers_are_no_parameters(tmp_path):
    small = lc.quantize(nn.Sequential(nn.Conv2d(3, 4, 3)), activations="dynamic").to(memory_format=LAST)
    assert type(small[0]) is Int8Conv2d
    assert has_channels_last(small[0].codes)
    x = torch.rand(2, 3, 6, 6)
    lc.save(small, tmp_path / "m")
    assert listed(tmp_path / "m") == []
    edited = forged((tmp_path / "m").read_bytes(), lambda m: m["config"]["channels_last"].append("0.codes"))
    (tmp_path / "old").write_bytes(edited)
    for name in ("m", "old"):
        loaded = lc.load(tmp_path / name, into=nn.Sequential(nn.Conv2d(3, 4, 3)))
        torch.testing.assert_close(loaded(x), small(x))


@pytest.mark.parametrize("into_has_it", [False, True])
def test_a_module_in_the_order_of_the_file_keeps_its_memory(into_has_it, tmp_path):
    def build():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 3, 3))

    net = build().to(memory_format=LAST)
    lc.save(net, tmp_path / "m")
    into = build().to(memory_format=LAST if into_has_it else torch.contiguous_format)
    places = {name: p.data_ptr() for name, p in into.named_parameters()}
    views = {name: p.detach() for name, p in into.named_parameters()}
    loaded = lc.load(tmp_path / "m", into=into)
    for name, p in loaded.named_parameters():
        assert p.stride() == net.get_parameter(name).stride()
        assert torch.equal(p, net.get_parameter(name))
        # the memory of one channel, or one place, is in both orders
        if into_has_it or name != "2.weight":
            assert p.data_ptr() == places[name]
            assert torch.equal(views[name], p)


def test_a_module_inside_a_wrapper_gets_the_order_of_the_file(tmp_path):
    lc.save(nn.Sequential(nn.Conv2d(2, 4, 3)).to(memory_format=LAST), tmp_path / "m")
    into = nn.Sequential(nn.DataParallel(nn.Conv2d(2, 4, 3)))
    loaded = lc.load(tmp_path / "m", into=into)
    assert has_channels_last(loaded[0].module.weight)


def test_only_weights_of_convolutions_of_planes_are_changed():
    net = Planes()
    x = torch.rand(5, 4, 8, 8)
    want = net(x[:, :4])
    changed = adapter.channels_last(copy.deepcopy(net))
    last = [name for name, p in changed.named_parameters() if has_channels_last(p)]
    assert last == ["planes.weight", "back.weight"]
    assert [p.stride() for p in changed.volumes.parameters()] == [p.stride() for p in net.volumes.parameters()]
    torch.testing.assert_close(changed(x), want)
    assert adapter.channels_last(nn.Sequential(nn.Conv3d(1, 2, 3), nn.Linear(2, 2))) is None


def test_the_weights_are_laid_out_as_by_torch():
    net = lt.CNN(1, 3, (8, 8), channels=(4, 8))
    changed, want = adapter.channels_last(copy.deepcopy(net)), copy.deepcopy(net).to(memory_format=LAST)
    assert [p.stride() for p in changed.parameters()] == [p.stride() for p in want.parameters()]


def test_a_network_with_volumes_is_searched_for_latency(monkeypatch):
    # a model in channels_last order is four times faster, by its number of such weights
    def seconds(calls):
        found = []
        for call in calls:
            model = call.args[0]
            is_last = any(has_channels_last(p) for p in model.parameters())
            found.append((0.25 if is_last else 1.0,) * 3)
        return found

    monkeypatch.setattr(_latency_search, "alternating_quartiles", seconds)
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(400, 4, 8, 8, generator=generator)
    y = np.arange(400) % 2
    found = lc.compress(Planes(), X, y, max_drop=0.2, objective="latency", random_state=0, progress=False)
    assert any("channels last in memory" in one.description for one in found.candidates)
    assert has_channels_last(found.model.planes.weight)
