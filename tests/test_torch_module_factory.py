"""The argument `module`: what it may be, and the sizes that it gets from the data."""

import copy
import functools
import inspect

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lifecycle.torch as lt  # noqa: E402

from .torch_estimators import classifier, regressor, same  # noqa: E402


def test_module_is_none_a_class_a_function_or_an_object(digits):
    X, y = digits
    default = classifier().fit(X, y)
    assert isinstance(default.module_, lt.MLP)
    for module in (lt.MLP, lambda n_in, n_out: lt.MLP(n_in, n_out), lambda **sizes: lt.MLP(n_in=64, n_out=10),
                   functools.partial(lt.MLP, hidden=(128,))):  # fmt: skip
        assert same(classifier(module).fit(X, y), default)
    net = lt.MLP(64, 10)
    before = copy.deepcopy(net.state_dict())
    model = classifier(net).fit(X, y)
    assert model.module is net
    assert model.module_ is not net
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not model.module_.training
    assert all(p.grad is None for p in model.module_.parameters())


def test_what_a_partial_sets_is_not_found_in_the_data():
    made = regressor(functools.partial(lt.CNN, image_size=(2, 8), channels=(3,)))
    net = made.fit(np.random.RandomState(0).normal(size=(20, 16)), np.arange(20.0)).module_
    assert (net.config["image_size"], net.config["channels"]) == ([2, 8], [3])


@pytest.mark.parametrize(
    ("cls", "shape", "config"),
    [
        (lt.MLP, (6,), {"n_in": 6}),
        (lt.MLP, (2, 3), {"n_in": 6}),
        (lt.CNN, (8, 12), {"n_in": 1, "image_size": [8, 12]}),
        (lt.CNN, (2, 8, 8), {"n_in": 2, "image_size": [8, 8]}),
        (lt.CNN, (64,), {"n_in": 1, "image_size": [8, 8]}),
        (functools.partial(lt.CNN, n_in=3), (192,), {"n_in": 3, "image_size": [8, 8]}),
        (functools.partial(lt.CNN, image_size=8), (128,), {"n_in": 2, "image_size": [8, 8]}),
        (lt.RNN, (5, 3), {"n_in": 3}),
        (functools.partial(lt.RNN, n_in=1), (7,), {"n_in": 1}),
    ],
)
def test_sizes_come_from_the_data(cls, shape, config):
    X = np.random.RandomState(0).normal(size=(12, *shape))
    small = {"module__channels": 2} if "channels" in inspect.signature(cls).parameters else {}
    model = classifier(cls, max_epochs=1, **small).fit(X, np.arange(12) % 3)
    assert {k: model.module_.config[k] for k in config} == config
    assert model.module_.config["n_out"] == 3
    assert model.predict_proba(X).shape == (12, 3)
    assert model.n_features_in_ == (shape[0] if len(shape) == 3 else shape[-1])
