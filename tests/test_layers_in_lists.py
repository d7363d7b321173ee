"""Layers that a module holds in lists, tuples, dicts and attributes that torch does not register, or holds twice."""

import copy
from collections import OrderedDict, defaultdict, deque, namedtuple

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


Pair = namedtuple("Pair", "first second")


class Named(Pair):
    """With attributes of its own."""


class Layers(list):
    """A class of a user."""


def a_default_dict(layer):
    found = defaultdict(list)
    found["layer"].append(layer)
    return found


def a_named_pair(layer):
    pair = Named(nn.ReLU(), layer)
    pair.label = "pair"
    return pair


CONTAINERS = {
    "OrderedDict": (lambda layer: OrderedDict(relu=nn.ReLU(), layer=layer), lambda held: held["layer"]),
    "defaultdict": (a_default_dict, lambda held: held["layer"][0]),
    "namedtuple": (lambda layer: Pair(nn.ReLU(), layer), lambda held: held.second),
    "subclass of namedtuple": (a_named_pair, lambda held: held.second),
    "deque": (lambda layer: deque([nn.ReLU(), layer], maxlen=2), lambda held: held[1]),
    "subclass of list": (lambda layer: Layers([layer]), lambda held: held[0]),
}


class Held(nn.Module):
    """A layer that is registered, or not, and called through another attribute."""

    def __init__(self, held, layer_of, layer=None):
        super().__init__()
        self.head, self.layer = nn.Linear(8, 8), layer
        self.held, self.layer_of = held, layer_of

    def forward(self, x):
        return self.head(self.layer_of(self.held)(x))


@pytest.mark.parametrize("name", CONTAINERS)
@torch.no_grad()
def test_layers_are_replaced_in_containers_that_are_subclasses(name):
    make, layer_of = CONTAINERS[name]
    layer = nn.Linear(8, 8)
    net, x = Held(make(layer), layer_of, layer), rows()
    small = lc.quantize(net, activations="dynamic")
    assert type(layer_of(small.held)) is Int8Linear
    assert layer_of(small.held) is small.layer
    want = lc.quantize(nn.Sequential(net.layer, net.head), activations="dynamic")
    assert torch.equal(small(x), want(x))
    assert type(small.held) is type(net.held)
    assert getattr(small.held, "maxlen", None) == getattr(net.held, "maxlen", None)
    assert getattr(small.held, "default_factory", None) is getattr(net.held, "default_factory", None)
    assert getattr(small.held, "label", None) == getattr(net.held, "label", None)
    assert type(layer_of(net.held)) is nn.Linear


@pytest.mark.parametrize("name", CONTAINERS)
def test_layers_that_torch_does_not_find_are_named_in_containers_that_are_subclasses(name):
    make, layer_of = CONTAINERS[name]
    with pytest.warns(UserWarning, match="held of this Held holds layers that torch does not find"):
        lc.quantize(Held(make(nn.Linear(8, 8)), layer_of), activations=None)


def test_a_container_that_cannot_be_changed_is_named():
    class Frozen(dict):
        def __setitem__(self, key, value):
            raise TypeError("it is frozen")

        def __deepcopy__(self, memo):
            return Frozen(copy.deepcopy(dict(self), memo))

        def __copy__(self):
            return Frozen(self)

    layer = nn.Linear(8, 8)
    net = Held(Frozen(layer=layer), lambda held: held["layer"], layer)
    with pytest.raises(lc.UnsupportedModel, match=r"held of the Held holds layers that are replaced, .* it is frozen"):
        lc.quantize(net, activations="dynamic")


class Owned(nn.Module):
    """A module that refers to the one around it."""

    def __init__(self):
        super().__init__()
        self.layer, self.owner = nn.Linear(8, 8), []

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("around", [False, True])
def test_a_reference_to_the_module_around_is_no_layer(around, recwarn):
    owned = Owned()
    net = nn.Sequential(owned, nn.Linear(8, 8))
    owned.owner.append(net)
    lc.quantize(nn.Sequential(nn.ReLU(), owned) if around else owned, activations=None)
    assert not [one for one in recwarn if "torch does not find" in str(one.message)]


def test_a_list_of_modules_without_values_is_nobodys_concern():
    net = nn.Sequential(nn.Linear(8, 8))
    net.activations = [nn.ReLU(), nn.Flatten()]
    lc.quantize(net)
