"""Layers that a module holds in lists, tuples, dicts and attributes that torch does not register, or holds twice."""

import copy

import pytest
import torch
from torch import nn

import lifecycle as lc
from lifecycle.torch import modules
from lifecycle.torch.quantized import Int8Linear


@pytest.fixture(autouse=True)
def no_warning_was_given_before():
    modules._warn_unregistered.cache_clear()


class Registered(nn.Module):
    """Layers that are registered, and called through other attributes."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.again = self.a
        self.order = [self.a, nn.ReLU()]
        self.same_list = self.order
        self.by_name = {"b": (self.b, [self.a]), "names": ["a"], "itself": None}
        self.by_name["itself"] = self.by_name
        self.__dict__["direct"] = self.b

    def forward(self, x):
        for layer in self.order:
            x = layer(x)
        pair = self.by_name["b"]
        return self.direct(self.again(pair[1][0](pair[0](x))))


class Outside(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)
        self.blocks = [{"first": nn.Linear(8, 8)}]

    def forward(self, x):
        return self.head(self.blocks[0]["first"](x))


class Reference(nn.Module):
    """The layers in the only form that torch finds."""

    def __init__(self, net):
        super().__init__()
        self.a, self.b = copy.deepcopy(net.a), copy.deepcopy(net.b)

    def forward(self, x):
        return self.b(self.a(self.a(self.b(nn.functional.relu(self.a(x))))))


def rows():
    return torch.randn(20, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("activations", ["dynamic", "static"])
@torch.no_grad()
def test_layers_are_replaced_wherever_the_module_reaches_them(activations, tmp_path):
    net, x = Registered(), rows()
    options = {"activations": activations} | ({"calibration": x} if activations == "static" else {})
    small, want = lc.quantize(net, **options), lc.quantize(Reference(net), **options)
    for one in (small.order[0], small.by_name["b"][0], small.by_name["b"][1][0], small.direct, small.again):
        assert type(one) is Int8Linear
    assert small.order[0] is small.a is small.again
    assert small.direct is small.b
    assert small.order is small.same_list
    assert torch.equal(small(x), want(x))
    assert type(net.order[0]) is nn.Linear
    lc.save(small, tmp_path / "m")
    loaded = lc.load(tmp_path / "m", into=Registered())
    assert type(loaded.order[0]) is Int8Linear
    assert torch.equal(loaded(x), want(x))


@torch.no_grad()
def test_layers_that_torch_does_not_find_are_named(tmp_path):
    net, x = Outside(), rows()
    sentence = r"blocks of this Outside holds layers that torch does not find"
    for call in (
        lambda: lc.quantize(net, activations="dynamic"),
        lambda: lc.prune(net, 0.5),
        lambda: lc.size_of(net),
        lambda: lc.save(net, tmp_path / "m"),
        lambda: lc.load(tmp_path / "m", into=net),
    ):
        modules._warn_unregistered.cache_clear()
        with pytest.warns(UserWarning, match=sentence):
            call()
        call()  # once
    modules._warn_unregistered.cache_clear()
    with pytest.warns(UserWarning, match=r"1.blocks of this Sequential"):
        lc.quantize(nn.Sequential(nn.ReLU(), net), activations=None)
    assert torch.isfinite(net(x)).all()


def test_a_list_of_modules_without_values_is_nobodys_concern():
    net = nn.Sequential(nn.Linear(8, 8))
    net.activations = [nn.ReLU(), nn.Flatten()]
    lc.quantize(net)
