"""save, load, inspect: every kind of model comes back bit for bit in a new process; every fault has its name."""

import copy
import hashlib
import json
import os
import pickle
import random
import re
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_diabetes, load_digits
from threadpoolctl import threadpool_limits
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.store import header, json_values, limits
from lifecycle.store.files import write_atomically

from .forged_files import forged, joined, parts_of
from .networks import ReferenceLSTM, reference_cnn, run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "linear.safetensors"
    X, y = load_diabetes(return_X_y=True)
    lc.save(lc.LinearRegressor(max_iter=2, tol=None, random_state=0).fit(X, y), path)
    return path


def int8(model):
    return lc.quantize(model, activations="dynamic")


def int8_if_possible(model):
    """As `int8`; the weights of `Odd` are those of an embedding and tied to it."""
    return lc.quantize(model) if isinstance(model, Odd) else int8(model)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X.astype(np.float32) / 16, y


@pytest.fixture(scope="module")
def models(digits):
    """Fitted models of every kind that is rebuilt whole, with an input each."""
    X, y = digits
    images, names = X.reshape(-1, 1, 8, 8), np.array(["no", "yes"])
    short = {"max_epochs": 2, "random_state": 0, "progress": False}
    cnn = lt.CNN(1, 10, (8, 8), channels=(4, 8))
    found = {
        "mlp": (lt.MLP(64, 10, hidden=(16,)).eval(), X),
        "cnn": (lt.CNN(1, 10, (8, 8), channels=(4, 8)).eval(), images),
        "rnn": (lt.RNN(8, 10, hidden_size=12, num_layers=2, bidirectional=True).eval(), X.reshape(-1, 8, 8)),
        "torch classifier": (lt.TorchClassifier(**short).fit(X, names[y % 2]), X),
        "torch classifier, cnn": (lt.TorchClassifier(cnn, optimizer=lc.Adam(lr=1e-2), **short).fit(images, y), images),
        "torch classifier, class": (lt.TorchClassifier(lt.MLP, module__hidden=(8, 8), **short).fit(X, y), X),
        "torch regressor": (lt.TorchRegressor(**short).fit(X, y.astype(np.float32)), X),
        "linear classifier": (lc.LinearClassifier(max_iter=2, tol=None, random_state=0).fit(X, y), X),
        "linear classifier, two": (lc.LinearClassifier("hinge", max_iter=2, tol=None, random_state=0).fit(X, y > 4), X),
        "linear regressor": (
            lc.LinearRegressor(optimizer=lc.SGD(lr=1e-3), max_iter=2, tol=None, random_state=0).fit(X, y),
            X,
        ),
    }
    for name in list(found):
        model, x = found[name]
        found[f"{name}, pruned"] = lc.prune(model, 0.7), x
        activations = "auto" if "linear" in name else "dynamic"
        found[f"{name}, quantized"] = lc.quantize(lc.prune(model, structure="2:4"), activations=activations), x
        found[f"{name}, weights only"] = lc.quantize(model, activations=None) if "linear" not in name else model, x
    return found


# -- round trips -------------------------------------------------------------------------------------------------------


def test_predictions_are_equal_bit_for_bit_in_a_new_process(models, tmp_path):
    for i, (model, x) in enumerate(models.values()):
        lc.save(model, tmp_path / f"{i}.safetensors")
        np.save(tmp_path / f"{i}.x.npy", x)
    code = (
        "import sys, numpy as np, lifecycle as lc\n"
        "from threadpoolctl import threadpool_limits\n"
        "from tests.networks import run\n"
        "threadpool_limits(1)\n"
        "for i in range(int(sys.argv[2])):\n"
        "    model = lc.load(f'{sys.argv[1]}/{i}.safetensors')\n"
        "    x = np.load(f'{sys.argv[1]}/{i}.x.npy')\n"
        "    np.save(f'{sys.argv[1]}/{i}.y.npy', run(model, x))\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path), str(len(models))]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True)
    for i, (name, (model, x)) in enumerate(models.items()):
        with threadpool_limits(1):  # BLAS divides a product among its threads
            want, got = run(model, x), np.load(tmp_path / f"{i}.y.npy")
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        assert got.tobytes() == want.tobytes(), name


def test_everything_a_user_sees_comes_back(models, tmp_path):
    for name, (model, x) in models.items():
        lc.save(model, tmp_path / "m")
        again = lc.load(tmp_path / "m")
        assert type(again) is type(model), name
        assert lc.size_of(again) == lc.size_of(model), name
        if isinstance(model, nn.Module):
            assert again.training == model.training
            assert repr(again) == repr(model)
            continue
        assert str(again.get_params(deep=False)) == str(model.get_params(deep=False)), name
        for attribute, value in vars(model).items():
            if isinstance(value, np.ndarray):
                got = getattr(again, attribute)
                assert (got.dtype, got.shape, got.tolist()) == (value.dtype, value.shape, value.tolist()), attribute
            elif attribute.endswith("_") and not isinstance(value, nn.Module):
                assert str(getattr(again, attribute)) == str(value), attribute
        assert np.array_equal(again.predict(x), model.predict(x)), name


def test_equal_models_give_equal_bytes_and_loading_leaves_torch_s_generator_alone(models, tmp_path):
    model, _ = models["torch classifier, cnn"]
    before = torch.random.get_rng_state()
    lc.save(model, tmp_path / "a")
    lc.save(lc.load(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_feature_names_come_back(digits, tmp_path):
    pandas = pytest.importorskip("pandas")
    X, y = digits
    frame = pandas.DataFrame(X[:200, :5], columns=list("abcdé"))
    model = lc.LinearClassifier(max_iter=2, tol=None, random_state=0).fit(frame, y[:200])
    lc.save(model, tmp_path / "m")
    again = lc.load(tmp_path / "m")
    assert again.feature_names_in_.tolist() == list("abcdé")
    assert np.array_equal(again.predict(frame), model.predict(frame))


def test_tied_weights_come_back_tied(tmp_path):
    model = lt.MLP(32, 32, hidden=(32, 32)).eval()
    model.layers[2].weight = model.layers[0].weight
    model.layers[4] = model.layers[0]
    x = torch.randn(4, 32)
    for small in (model, lc.prune(model, 0.5), lc.quantize(model), lc.quantize(model, activations=None)):
        lc.save(small, tmp_path / "m")
        again = lc.load(tmp_path / "m")
        assert len({p.data_ptr() for p in again.state_dict().values()}) == len(
            {p.data_ptr() for p in small.state_dict().values()}
        )
        assert len(list(again.parameters())) == len(list(small.parameters()))
        assert torch.equal(again(x), small(x))
        lc.save(again, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_in_another_precision_comes_back(dtype, tmp_path):
    model = lt.MLP(8, 3).to(dtype).eval()
    for small in (model, lc.quantize(model), lc.prune(model, 0.5)):
        lc.save(small, tmp_path / "m")
        assert torch.equal(lc.load(tmp_path / "m")(torch.ones(2, 8, dtype=dtype)), small(torch.ones(2, 8, dtype=dtype)))


def test_weights_that_are_nan_come_back(tmp_path):
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    lc.save(model, tmp_path / "m")
    again = lc.load(tmp_path / "m", into=nn.Linear(3, 2))
    assert torch.equal(again.weight.isnan(), model.weight.isnan())
    assert torch.equal(again.bias, model.bias)


def test_plain_values():
    words = np.array(["no", "a long one"])[:1]
    again = json_values.deserialize_value(json_values.serialize_value(words))
    assert (again.dtype, again.tolist()) == ("<U2", ["no"])
    for value in (np.longdouble(1), np.ones(2, np.longdouble)):
        if value.dtype.itemsize > 8:
            with pytest.raises(json_values.NotSerializable, match="cannot be written as JSON"):
                json_values.serialize_value(value)


def test_the_file_is_plain_safetensors(models, file, tmp_path):
    model, _ = models["linear classifier"]
    assert np.array_equal(load_file(file)["coef_"], lc.load(file).coef_)
    lc.save(lc.quantize(model), tmp_path / "m")
    stored = load_file(tmp_path / "m")
    assert "coef_" not in stored
    assert {array.dtype for name, array in stored.items() if name.startswith("coef_.codes")} <= {
        np.dtype(np.int8),
        np.dtype(np.uint8),
    }
    assert np.array_equal(stored["coef_.scales"], lc.quantize(model)._coef_scales)


def test_pruned_and_quantized_files_are_smaller(tmp_path):
    model = reference_cnn()
    sizes = []
    for m in (model, lc.prune(model, 0.9), int8(model), lc.prune(int8(model), 0.9)):
        lc.save(m, tmp_path / "m")
        sizes.append((tmp_path / "m").stat().st_size)
        assert 0 <= sizes[-1] - lc.size_of(m) < 10_000
    full, pruned, small, both = sizes
    assert pruned < 0.15 * full
    assert small < 0.26 * full
    assert both < pruned
    assert both < 0.5 * small


# -- into --------------------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """A user's module: tied weights, a buffer, bfloat16, an integer, a scalar, a batch norm."""

    def __init__(self, width=6):
        super().__init__()
        self.embedding = nn.Embedding(9, width)
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Linear(width, 9, bias=False)
        self.head.weight = self.embedding.weight
        self.extra = nn.Parameter(torch.randn(width).bfloat16())
        self.register_buffer("steps", torch.tensor(3))

    def forward(self, x):
        return self.head(self.norm(self.embedding(x)) * self.extra.float())


@pytest.mark.parametrize("shrink", [lambda m: m, lambda m: lc.prune(m, 0.5), int8_if_possible, lc.quantize])
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (Odd, torch.arange(9)),
        (reference_cnn, torch.randn(2, 3, 32, 32)),
        (ReferenceLSTM, torch.randn(2, 100, 100)),
        (lambda: nn.Linear(4, 3), torch.randn(2, 4)),
    ],
)
def test_a_user_s_module_is_filled(make, x, shrink, tmp_path):
    model = shrink(make().eval())
    lc.save(model, tmp_path / "m")
    with pytest.raises(lc.UnsupportedModel, match=r"pass it, load\(path, into=module\)"):
        lc.load(tmp_path / "m")
    again = lc.load(tmp_path / "m", into=make().eval())
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert lc.size_of(again) == lc.size_of(model)
    again = lc.load(tmp_path / "m", into=shrink(make().eval()))
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


def test_what_does_not_fit_is_named_and_nothing_changes(tmp_path):
    lc.save(lc.quantize(Odd()), tmp_path / "m")
    lc.save(int8(nn.Sequential(nn.Linear(4, 3))), tmp_path / "int8")
    other = Odd()
    other.more = nn.Parameter(torch.zeros(2))
    fewer = Odd()
    del fewer.extra
    untied = Odd()
    untied.head.weight = nn.Parameter(untied.head.weight.clone())
    lc.save(untied, tmp_path / "tied")
    with torch.no_grad():
        untied.head.weight += 1
    lc.save(untied, tmp_path / "untied")
    cases = [
        ("m", other, "more is missing in the file"),
        ("m", fewer, "extra is not in the module"),
        ("m", nn.Linear(2, 2), r"weight is missing in the file; .* \(and \d more\)"),
        ("m", Odd(7), r"embedding.weight has the shape \(9, 6\) in the file and \(9, 7\)"),
        ("m", Odd().double(), "embedding.weight is torch.float32 in the file and torch.float64 in the module"),
        ("int8", nn.Sequential(nn.Linear(4, 5)), r"0.weight has the shape \(3, 4\) in the file and \(5, 4\)"),
        (
            "int8",
            nn.Sequential(nn.Conv2d(4, 3, 1)),
            r"0.weight has the shape \(3, 4\) in the file and \(3, 4, 1, 1\) in the module",
        ),
        ("int8", nn.Sequential(nn.Embedding(3, 4)), "0.bias is not in the module"),
        ("int8", nn.Sequential(nn.RNN(4, 3)), "the file has an int8 layer at '0'; the module has RNN"),
        ("untied", Odd(), "head.weight is tied to embedding.weight in the module, and differs"),
        ("m", "a string", "into must be a torch nn.Module, not a str"),
    ]
    for name, module, sentence in cases:
        before = pickle.dumps(module)
        with pytest.raises(ValueError, match=sentence):
            lc.load(tmp_path / name, into=module)
        assert pickle.dumps(module) == before
    lc.load(tmp_path / "tied", into=Odd())


def test_a_changed_model_is_stored_by_its_state_dict(tmp_path):
    def gelu(m):
        m.layers[1] = nn.GELU()

    def hooked(m):
        m.register_forward_hook(lambda module, inputs, out: out + 1)

    def dropped(m):
        m.layers[2].p = 0.9

    for change in (gelu, hooked, dropped):
        model = lt.MLP(3, 2, dropout=0.5)
        change(model)
        lc.save(model, tmp_path / "a")
        assert not lc.inspect(tmp_path / "a").complete
        with pytest.raises(lc.UnsupportedModel, match="changed MLP"):
            lc.load(tmp_path / "a")
        again = lt.MLP(3, 2, dropout=0.5)
        change(again)
        lc.load(tmp_path / "a", into=again)
        x = torch.randn(4, 3)
        assert torch.equal(again.eval()(x), model.eval()(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 10)

    def forward(self, x):
        return self.body(x)


def test_an_estimator_with_a_user_s_module_is_filled(digits, tmp_path):
    X, y = digits
    make = lambda: lt.TorchClassifier(Net(), max_epochs=1, random_state=0, progress=False)  # noqa: E731
    model = int8(make().fit(X, y))
    lc.save(model, tmp_path / "m")
    assert not lc.inspect(tmp_path / "m").complete
    with pytest.raises(
        lc.UnsupportedModel, match=r"saved without its arguments module, .* load\(path, into=estimator\)"
    ):
        lc.load(tmp_path / "m")
    with pytest.raises(ValueError, match="holds a TorchClassifier; into is a TorchRegressor"):
        lc.load(tmp_path / "m", into=lt.TorchRegressor())
    with pytest.raises(lc.UnsupportedModel, match="made with a module object"):
        lc.load(tmp_path / "m", into=lt.TorchClassifier(Net))
    for into in (make(), make().fit(X, y)):
        assert lc.load(tmp_path / "m", into=into) is into
        assert np.array_equal(into.predict_proba(X), model.predict_proba(X))


def test_an_estimator_s_module_object_with_tied_weights_is_not_stored(digits, tmp_path):
    X, y = digits
    net = lt.MLP(64, 10, hidden=(8, 8, 8))
    net.layers[2].weight = net.layers[4].weight
    make = lambda: lt.TorchClassifier(net, max_epochs=1, random_state=0, progress=False)  # noqa: E731
    model = make().fit(X, y)
    lc.save(model, tmp_path / "m")
    with pytest.raises(lc.UnsupportedModel, match="without its arguments module"):
        lc.load(tmp_path / "m")
    assert np.array_equal(lc.load(tmp_path / "m", into=make()).predict(X), model.predict(X))


def test_rows_and_large_arrays_are_not_stored(digits, tmp_path):
    X, y = digits
    X_val = np.full((20, 64), 0.123456, np.float32)
    make = lambda: lt.TorchClassifier(early_stopping=(X_val, y[:20]), max_epochs=2, progress=False)  # noqa: E731
    model = make().fit(X, y)
    lc.save(model, tmp_path / "m")
    assert b"0.12345" not in (tmp_path / "m").read_bytes()
    with pytest.raises(lc.UnsupportedModel, match="without its arguments early_stopping"):
        lc.load(tmp_path / "m")
    assert np.array_equal(lc.load(tmp_path / "m", into=make()).predict(X), model.predict(X))
    assert json_values.serialize_params({"a": np.zeros(1024), "b": [np.zeros(1025)]}) == (
        {"a": json_values.serialize_value(np.zeros(1024))},
        ["b"],
    )


def test_filled_estimators_have_the_arguments_of_the_file(digits, tmp_path):
    X, y = digits
    lc.save(lc.LinearClassifier("hinge", alpha=0.5, max_iter=2, tol=None, random_state=0).fit(X, y), tmp_path / "m")
    again = lc.load(tmp_path / "m", into=lc.LinearClassifier())
    assert (again.loss, again.alpha) == ("hinge", 0.5)
    assert not hasattr(again, "predict_proba")
    hear = lambda *_: None  # noqa: E731
    model = lt.TorchClassifier(lt.MLP, module__hidden=(8,), batch_size=64, max_epochs=1, callbacks=[hear])
    lc.save(model.set_params(progress=False).fit(X, y), tmp_path / "m")
    again = lc.load(tmp_path / "m", into=lt.TorchClassifier(lt.CNN, module__channels=4, callbacks=[print]))
    assert again.get_params() == model.set_params(callbacks=[print]).get_params()


# -- modules in wrappers, and modules that cannot be stored or filled --------------------------------------------------


def plain():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


WRAPPED = {
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "data parallel": nn.DataParallel,
    "both": lambda net: nn.DataParallel(torch.compile(net, backend="eager")),
}
wraps = pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
ignores_torch_s_script = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")


@wraps
@ignores_torch_s_script
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_a_module_in_a_wrapper_is_the_one_inside(wrap, tmp_path):
    net, x = plain(), torch.randn(5, 3)
    wrapped = wrap(net)
    lc.save(wrapped, tmp_path / "wrapped")
    lc.save(net, tmp_path / "plain")
    assert (tmp_path / "wrapped").read_bytes() == (tmp_path / "plain").read_bytes()
    assert lc.size_of(wrapped) == lc.size_of(net)
    for change in (lambda m: lc.prune(m, 0.5), int8, lc.quantize, lambda m: lc.quantize(m, activations=None)):
        changed, expected = change(wrapped), change(net)
        assert type(changed) is nn.Sequential
        assert torch.equal(changed(x), expected(x))
        lc.save(changed, tmp_path / "changed")
        into = wrap(plain())
        assert lc.load(tmp_path / "changed", into=into) is into
        assert torch.equal(into(x), expected(x))
    assert torch.equal(wrapped(x), net(x))


@ignores_torch_s_script
def test_a_compiled_model_of_this_library_is_stored_whole(tmp_path):
    net, x = lt.MLP(3, 2).eval(), torch.randn(5, 3)
    lc.save(torch.compile(net, backend="eager"), tmp_path / "m")
    again = lc.load(tmp_path / "m")
    assert type(again) is lt.MLP
    assert torch.equal(again(x), net(x))


@wraps
@ignores_torch_s_script
def test_an_estimator_whose_module_is_in_a_wrapper(wrap, digits, tmp_path):
    X, y = digits
    model = lt.TorchClassifier(max_epochs=1, random_state=0, progress=False).fit(X, y)
    expected = int8(model).predict(X)
    lc.save(model, tmp_path / "plain")
    model.module_ = wrap(model.module_)
    lc.save(model, tmp_path / "wrapped")
    assert (tmp_path / "wrapped").read_bytes() == (tmp_path / "plain").read_bytes()
    assert np.array_equal(int8(model).predict(X), expected)
    into = lc.load(tmp_path / "plain")
    into.module_ = wrap(into.module_)
    assert np.array_equal(lc.load(tmp_path / "wrapped", into=into).predict(X), model.predict(X))


@ignores_torch_s_script
def test_a_compiled_layer_is_quantized_and_not_only_in_its_wrapper(tmp_path):
    """A compiled module keeps calling the one that it was made of."""
    layer, x = nn.Linear(30, 40), torch.randn(50, 30)
    model = nn.Sequential(torch.compile(layer, backend="eager"))
    small = int8(model)
    assert torch.equal(small(x), int8(nn.Sequential(layer))(x))
    lc.save(nn.Sequential(torch.compile(small[0], backend="eager")), tmp_path / "m")
    assert torch.equal(lc.load(tmp_path / "m", into=model)(x), small(x))


def wrapped_inside(wrap):
    """A layer, a part with a layer, and a layer of a wrapped part are in wrappers."""
    net = nn.Sequential(plain(), nn.Linear(2, 3), plain())
    net[0][2] = wrap(net[0][2])
    net[1] = wrap(net[1])
    net[2][0] = wrap(net[2][0])
    net[2] = wrap(net[2])
    return net


def none_wrapped(net):
    return net


@torch.no_grad()
@wraps
@ignores_torch_s_script
def test_modules_in_wrappers_inside_of_a_model_are_those_inside(wrap, tmp_path):
    net, x = wrapped_inside(wrap), torch.randn(5, 3)
    bare = wrapped_inside(none_wrapped)
    for p, q in zip(bare.parameters(), net.parameters(), strict=True):
        p.data.copy_(q)
    changes = [none_wrapped, lambda m: lc.prune(m, 0.5), int8, lc.quantize, lambda m: lc.quantize(m, activations=None)]
    for change in changes:
        changed, expected = change(net), change(bare)
        assert torch.equal(changed(x), expected(x))
        assert lc.size_of(changed) == lc.size_of(expected)
        lc.save(changed, tmp_path / "wrapped")
        lc.save(expected, tmp_path / "plain")
        assert (tmp_path / "wrapped").read_bytes() == (tmp_path / "plain").read_bytes()
        for into in (wrapped_inside(wrap), wrapped_inside(none_wrapped)):
            assert lc.load(tmp_path / "wrapped", into=into) is into
            assert torch.equal(into(x), expected(x))
    assert torch.equal(lc.load(tmp_path / "wrapped", into=net)(x), expected(x))


@torch.no_grad()
@pytest.mark.parametrize("change", [none_wrapped, int8, lc.quantize, lambda m: lc.quantize(m, activations=None)])
@ignores_torch_s_script
def test_files_with_the_names_of_wrappers_are_loaded(change, tmp_path, monkeypatch):
    """As versions before wrote them: they fit models that are wrapped in the same way."""
    from lifecycle.torch import modules

    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = nn.Linear(3, 2)  # the name that DataParallel gives to what it wraps

        def forward(self, x):
            return self.module(x)

    def made():
        return nn.Sequential(nn.DataParallel(Part()), torch.compile(plain_of(2), backend="eager"))

    def plain_of(n):
        return nn.Sequential(nn.Linear(n, n))

    net, x = made(), torch.randn(5, 3)
    changed = change(net)
    with monkeypatch.context() as patched:
        patched.setattr(modules, "name_without_wrappers", lambda net: lambda name: name)
        lc.save(changed, tmp_path / "before")
    lc.save(changed, tmp_path / "now")
    assert (tmp_path / "before").read_bytes() != (tmp_path / "now").read_bytes()
    for name in ("before", "now"):
        assert torch.equal(lc.load(tmp_path / name, into=made())(x), changed(x))


def lazy():
    return nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 2))


def on_meta():
    with torch.device("meta"):
        return plain()


@pytest.mark.parametrize("make", [lazy, on_meta, lambda: nn.DataParallel(lazy())], ids=["lazy", "meta", "wrapped"])
def test_a_module_without_values_is_refused_everywhere(make, tmp_path):
    lc.save(plain(), tmp_path / "m")
    lc.save_checkpoint(tmp_path / "run", model=plain())
    calls = [
        lambda m: lc.save(m, tmp_path / "x"),
        lambda m: lc.load(tmp_path / "m", into=m),
        lc.size_of,
        lambda m: lc.prune(m, 0.5),
        lc.quantize,
        lambda m: lc.save_checkpoint(tmp_path / "x", model=m),
        lambda m: lc.load_checkpoint(tmp_path / "run", model=m),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"0.weight of the model has no values yet: run the model once"):
            call(make())
    assert not (tmp_path / "x").exists()


class Buffered(nn.Module):
    def __init__(self, buffer):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.register_buffer("last", buffer)


def made_in_inference_mode():
    with torch.inference_mode():
        return torch.zeros(4)


CANNOT_BE_WRITTEN = {
    "last of the model is expanded": lambda: torch.zeros(1).expand(4),
    "last of the model was made in": made_in_inference_mode,
    "last of the model is torch.sparse_coo": lambda: torch.zeros(4).to_sparse(),
}


@pytest.mark.parametrize("sentence", CANNOT_BE_WRITTEN)
def test_a_tensor_that_cannot_be_written_leaves_all_others_alone(sentence, tmp_path):
    lc.save(Buffered(torch.ones(4)), tmp_path / "m")
    lc.save_checkpoint(tmp_path / "run", model=Buffered(torch.ones(4)))
    into = Buffered(CANNOT_BE_WRITTEN[sentence]())
    before = into.first.weight.clone()
    for load in (lc.load, lambda path, into: lc.load_checkpoint(tmp_path / "run", model=into)):
        with pytest.raises(ValueError, match=sentence):
            load(tmp_path / "m", into=into)
        assert torch.equal(into.first.weight, before)


def test_tensors_that_share_memory_are_tied(tmp_path):
    """Under two names and not one parameter: the second would overwrite the first."""
    lc.save(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), tmp_path / "m")
    into = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    into[1].weight.data = into[0].weight.data
    before = into[0].weight.clone()
    with pytest.raises(ValueError, match=r"1.weight is tied to 0.weight in the module, and differs from it"):
        lc.load(tmp_path / "m", into=into)
    assert torch.equal(into[0].weight, before)


@pytest.mark.parametrize("shrink", [lambda m: m, int8, lambda m: lc.quantize(m, activations=None)])
def test_a_hook_that_raises_leaves_the_module_as_it_was(shrink, tmp_path):
    lc.save(shrink(plain()), tmp_path / "m")
    into = lc.quantize(plain(), activations=None)
    handle = into[2].register_load_state_dict_post_hook(lambda *_: 1 / 0)
    layers, before = list(into), copy.deepcopy(dict(into.state_dict()))
    scales = copy.deepcopy(into[0]._lifecycle_scales)
    if shrink is int8:
        into.register_load_state_dict_post_hook(lambda *_: 1 / 0)
    with pytest.raises(ValueError, match="does not fit: division by zero"):
        lc.load(tmp_path / "m", into=into)
    assert list(into) == layers
    assert all(torch.equal(into.state_dict()[name], value) for name, value in before.items())
    assert str(into[0]._lifecycle_scales) == str(scales)
    handle.remove()
    assert not into[2]._load_state_dict_post_hooks


def test_an_estimator_that_does_not_fit_stays_as_it_was(file, digits, tmp_path):
    X, y = load_diabetes(return_X_y=True)
    for into in (
        lc.LinearRegressor(alpha=0.5, random_state=1),
        lc.LinearRegressor(alpha=0.5, optimizer="exact").fit(X, y),
    ):
        before = str(vars(into))
        for edit in (
            lambda m: m["config"]["fitted"].update({"fit": 1}),
            lambda m: m["config"]["params"].update({"optimizer__lr": 1}),
        ):
            (tmp_path / "m").write_bytes(forged(file.read_bytes(), edit))
            with pytest.raises(ValueError, match=r"is not the name of a fitted|is no argument of"):
                lc.load(tmp_path / "m", into=into)
            assert str(vars(into)) == before
    X, y = digits
    model = lt.TorchClassifier(max_epochs=1, random_state=0, progress=False).fit(X, y)
    lc.save(model, tmp_path / "torch")
    (tmp_path / "m").write_bytes(
        forged((tmp_path / "torch").read_bytes(), lambda m: m["config"]["fitted"].update({"fit": 1}))
    )
    into = lt.TorchClassifier(max_epochs=7)
    with pytest.raises(ValueError, match="is not the name of a fitted"):
        lc.load(tmp_path / "m", into=into)
    assert (into.max_epochs, hasattr(into, "module_")) == (7, False)


# -- files that are not valid ------------------------------------------------------------------------------------------


def corrupt(path, data, sentence):
    path.write_bytes(data)
    for read in (lc.load, lc.inspect):
        with pytest.raises(lc.CorruptBundle, match=sentence):
            read(path)


def test_truncated(file):
    data = file.read_bytes()
    for n in (1, 7, 8, 100, len(data) // 2, len(data) - 1):
        corrupt(file, data[:n], "truncated|not a valid safetensors")
    corrupt(file, data + b"\0", "was altered")


def test_empty_and_foreign_files(file, tmp_path):
    corrupt(file, b"", "linear.safetensors is empty")
    corrupt(file, b"PK\x03\x04" + bytes(60), "is a zip archive")
    corrupt(file, pickle.dumps(list(range(100))), "is a pickle, .* it was not opened")
    corrupt(file, b"GIF89a" + bytes(100), "is not a safetensors file")
    corrupt(file, struct.pack("<Q", 2**63) + b"{" * 50, "is not a safetensors file")
    save_file({"a": np.zeros(3)}, file)
    corrupt(file, file.read_bytes(), "safetensors file without the manifest of this library")
    torch.save({"a": torch.zeros(2)}, file)
    corrupt(file, file.read_bytes(), "is a zip archive")
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(lc.CorruptBundle, match="is not a regular file"):
            lc.load(tmp_path / "pipe")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        lc.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        lc.inspect(tmp_path / "nowhere")


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    (tmp_path / "m").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(lc.CorruptBundle):
        lc.load(tmp_path / "m")
    assert not (tmp_path / "exploded").exists()


def test_the_expected_digest(file):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    lc.load(file, sha256=digest.upper())
    assert lc.inspect(file).sha256 == digest
    with pytest.raises(lc.CorruptBundle, match="is not the file you expect"):
        lc.load(file, sha256="0" * 64)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        lc.load(file, sha256="abc")


def test_a_future_format_and_an_unknown_kind(file):
    data = file.read_bytes()
    corrupt(file, forged(data, lambda m: m.update(format=3)), "format 3, and this version of lifecycle reads up to 2")
    for kind in ("sklearn.tree", "os.system", "torch"):
        file.write_bytes(forged(data, lambda m, k=kind: m["config"].update(kind=k)))
        with pytest.raises(lc.CorruptBundle, match="unknown kind"):
            lc.load(file)


def test_every_flipped_byte_is_found(file):
    data = file.read_bytes()
    rng = random.Random(0)
    header = 8 + int.from_bytes(data[:8], "little")
    places = [*range(0, header, 7), *range(header - 16, header), *(rng.randrange(len(data)) for _ in range(300))]
    for place in places:
        altered = bytearray(data)
        altered[place] ^= 1 << rng.randrange(8)
        file.write_bytes(altered)
        with pytest.raises(lc.CorruptBundle):
            lc.load(file)


# -- forged files ------------------------------------------------------------------------------------------------------


def test_headers_that_parsers_disagree_about(file):
    data = file.read_bytes()

    def keep(manifest):
        pass

    corrupt(
        file,
        forged(data, keep, lambda h: h[:-1] + b',"coef_":{"dtype":"F64","shape":[0],"data_offsets":[0,0]}}'),
        "not a valid safetensors|does not list the arrays",
    )
    corrupt(
        file, forged(data, keep, lambda h: re.sub(rb'"data_offsets":\[\d+', b'"data_offsets":[3', h)), "not a valid"
    )
    corrupt(file, forged(data, lambda m: m.update(metadata=float("nan"))), "malformed")
    corrupt(
        file,
        forged(data, keep, lambda h: h.replace(b'\\"format\\":', b'\\"format\\":2,\\"format\\":', 1)),
        "occurs twice",
    )
    deep = b'\\"metadata\\":' + b"[" * 100_000 + b"]" * 100_000
    corrupt(file, forged(data, keep, lambda h: h.replace(b'\\"metadata\\":null', deep, 1)), "nests deeper")


def test_json_is_strict():
    for text in ('{"a": 1e999}', '{"a": NaN}', '{"a": 1, "a": 2}'):
        with pytest.raises(ValueError, match=r"is not JSON|occurs twice"):
            header.parse_json(text, 10**6)


def paths(value, at=()):
    yield at
    for k, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths(v, (*at, k))


def test_forged_manifests_never_escape_the_named_errors(models, tmp_path):
    """A manifest altered anywhere, with a digest that fits: a named error, or a model of our own kinds."""
    rng = random.Random(0)
    junk = [None, -1, 10**12, "x", "__class__", [], {}, True, 1.5, ["a"], {"$optimizer": "Adam", "value": 3}]
    for name in ("cnn, quantized", "torch classifier, cnn, quantized", "linear classifier, pruned"):
        model, _ = models[name]
        lc.save(model, tmp_path / "m")
        data = (tmp_path / "m").read_bytes()
        n = int.from_bytes(data[:8], "little")
        manifest = json.loads(json.loads(data[8 : 8 + n])["__metadata__"]["lifecycle"])
        places = [place for place in paths(manifest) if place not in ((), ("sha256",))]
        for place in rng.sample(places, min(60, len(places))):

            def edit(m, place=place, names=tuple(manifest["arrays"])):
                for key in place[:-1]:
                    m = m[key]
                if isinstance(m[place[-1]], list) and rng.random() < 0.5:
                    m[place[-1]].append(rng.choice([*junk, *names]))
                else:
                    m[place[-1]] = rng.choice(junk)

            (tmp_path / "m").write_bytes(forged(data, edit))
            try:
                again = lc.load(tmp_path / "m")
            except (lc.CorruptBundle, lc.UnsupportedModel):
                continue
            assert type(again) is type(model)


def test_a_layout_that_a_weight_cannot_have(tmp_path):
    lc.save(lt.MLP(4, 3), tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(forged(data, lambda m: m["config"]["channels_last"].append("layers.0.weight")))
    with pytest.raises(lc.CorruptBundle, match=r"layers\.0\.weight has 2 dimensions"):
        lc.load(tmp_path / "m")


def test_a_scale_that_is_not_a_number_is_refused(tmp_path):
    lc.save(lc.quantize(lt.MLP(4, 3), activations=None), tmp_path / "m")
    header, manifest, tensors = parts_of((tmp_path / "m").read_bytes())
    begin, end = header["layers.0.weight.scales"]["data_offsets"]
    tensors = tensors[:begin] + np.full((end - begin) // 4, np.nan, np.float32).tobytes() + tensors[end:]
    (tmp_path / "m").write_bytes(joined(header, manifest, tensors))
    with pytest.raises(lc.CorruptBundle, match="a scale of codes is not positive, or not finite"):
        lc.load(tmp_path / "m")


def test_arrays_in_the_manifest_take_no_more_memory_than_they_hold(file):
    data = file.read_bytes()
    wide = {"$array": "<U25000000", "value": ["x"]}
    many = {"$array": "<U1000", "value": ["x" * 1000] + [""] * 20_000}  # 80 MB from 62 kB
    for forgery, sentence in (({"a_": wide}, "longer strings than it holds"), ({"a_": many, "b_": many}, "too large")):
        file.write_bytes(forged(data, lambda m, f=forgery: m["config"]["fitted"].update(f)))
        with pytest.raises(lc.CorruptBundle, match=sentence):
            lc.load(file)


def test_a_file_sets_fitted_attributes_only(file):
    data = file.read_bytes()
    for name in ("__class__", "__dict__", "fit", "predict", "a.b"):
        file.write_bytes(forged(data, lambda m, n=name: m["config"]["fitted"].update({n: 1})))
        with pytest.raises(lc.CorruptBundle, match="is not the name of a fitted attribute"):
            lc.load(file)


@pytest.mark.parametrize("name", ["loss", "lr", "optimizer", "_sklearn_output_config", "_metadata_request"])
def test_a_file_sets_no_argument_as_an_attribute(file, tmp_path, name):
    def edit(manifest):
        manifest["config"]["fitted"][name] = "bogus"

    (tmp_path / "b").write_bytes(forged(file.read_bytes(), edit))
    with pytest.raises(lc.CorruptBundle, match="is not the name of a fitted attribute"):
        lc.load(tmp_path / "b")


# -- save --------------------------------------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file_and_nothing_else(file, monkeypatch):
    before = file.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        lc.save(nn.Linear(2, 2), file)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


@pytest.mark.skipif(os.name != "posix", reason="links and modes are those of POSIX")
def test_a_replaced_file_keeps_its_mode_and_a_link_stays_one(file):
    file.chmod(0o640)
    link = file.with_name("link")
    link.symlink_to(file)
    before = file.read_bytes()
    lc.save(nn.Linear(2, 2), link)
    assert link.is_symlink()
    assert file.read_bytes() != before
    assert file.stat().st_mode & 0o777 == 0o640
    lc.save(nn.Linear(2, 2), file.with_name("new"))
    mask = os.umask(0)
    os.umask(mask)
    assert file.with_name("new").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_device_or_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    lc.save(lt.MLP(2, 2), pipe)
    data, _ = reader.communicate(timeout=30)
    assert pipe.is_fifo()
    (tmp_path / "file").write_bytes(data)
    assert isinstance(lc.load(tmp_path / "file"), lt.MLP)


HELD = (
    "import os, sys, time\n"
    "from lifecycle.store.files import write_atomically\n"
    "os.replace = lambda *_: (print('written', flush=True), time.sleep(300))\n"
    "write_atomically(sys.argv[1], b'new')\n"
)


def test_the_temporary_file_of_a_killed_save_is_removed_by_the_next_one(tmp_path):
    """Only of the same file, and only once no process has it open."""
    path = tmp_path / "m"
    path.write_bytes(b"old")
    saving = subprocess.Popen([sys.executable, "-c", HELD, str(path)], stdout=subprocess.PIPE)
    saving.stdout.readline()
    temporary = set(tmp_path.iterdir()) - {path}
    assert len(temporary) == 1
    write_atomically(path, b"another save while the first one runs")
    assert temporary <= set(tmp_path.iterdir())
    saving.kill()
    saving.wait()
    saving.stdout.close()
    (tmp_path / ".m.mine.tmp").touch()
    write_atomically(tmp_path / "other", b"")
    assert temporary <= set(tmp_path.iterdir())
    write_atomically(path, b"new")
    assert {p.name for p in tmp_path.iterdir()} == {"m", "other", ".m.mine.tmp"}
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "a" * 60])
def test_a_name_may_be_as_long_as_the_file_system_takes(name, tmp_path):
    lc.save(nn.Linear(2, 2), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    lc.load(tmp_path / name, into=nn.Linear(2, 2))


def test_saves_of_one_file_from_many_threads(tmp_path):
    """None takes the temporary file of another one for a leftover."""
    path = tmp_path / "m"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: write_atomically(path, bytes([k]) * 1000), range(200)))
    assert len(set(path.read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_saved(tmp_path):
    class Extra(nn.Module):
        def get_extra_state(self):
            return {"a": 1}

        def set_extra_state(self, state):
            pass

    cases = [
        (nn.Linear, "got the class Linear"),
        (3, "a int is not supported"),
        (lc.LinearClassifier(), "LinearClassifier is not fitted yet"),
        (lt.TorchClassifier(), "TorchClassifier is not fitted yet"),
        (Extra(), "_extra_state of this module is a dict; only tensors"),
        (nn.Linear(2, 2, dtype=torch.complex64), "complex64"),
    ]
    for model, sentence in cases:
        with pytest.raises(lc.UnsupportedModel, match=sentence):
            lc.save(model, tmp_path / "m")
    for metadata, sentence in (({"a": {1, 2}}, "must be JSON"), ({"a": float("nan")}, "must be JSON"), ("x", "a dict")):
        with pytest.raises(ValueError, match=sentence):
            lc.save(nn.Linear(2, 2), tmp_path / "m", metadata=metadata)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        lc.save(nn.Linear(2, 2), tmp_path / "nowhere" / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_too_long_for_a_header_is_refused_before_it_is_written(file, monkeypatch):
    monkeypatch.setattr(limits, "MAX_HEADER", 1000)
    before = file.read_bytes()
    with pytest.raises(lc.UnsupportedModel, match="cannot be stored: it takes more than 100 MB in one header"):
        lc.save(lc.prune(nn.Linear(2, 2), 0.5), file, metadata={"a": "x" * 500})
    assert file.read_bytes() == before


# -- inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_describes_a_file_without_torch(tmp_path):
    lc.save(int8(lc.prune(reference_cnn(), 0.9)), tmp_path / "m", metadata={"author": "é <b>"})
    code = (
        "import sys, lifecycle as lc\n"
        "found = lc.inspect(sys.argv[1])\n"
        "print(found.kind, found.model, found.complete, found.metadata['author'] == 'é <b>', 'torch' in sys.modules)\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], capture_output=True, text=True, check=True)
    assert out.stdout == "torch.module Sequential False True False\n"
    found = lc.inspect(tmp_path / "m")
    assert found.versions["torch"] == torch.__version__
    text = repr(found)
    assert "0.codes" in text
    assert "huffman" in text
    assert "load needs into=" in text
    assert "é &lt;b&gt;" in found._repr_html_()
    assert sum(a[4] for a in found.arrays) == lc.size_of(lc.load(tmp_path / "m", into=reference_cnn()))
    assert list(found.to_frame().columns) == ["name", "dtype", "shape", "stored", "bytes"]


def test_inspect_prints_no_control_characters(tmp_path):
    lc.save(lt.MLP(2, 2), tmp_path / "a", metadata={"note": "\x1b[2J\u202e"})
    assert repr(lc.inspect(tmp_path / "a")).replace("\n", "").isprintable()


def test_a_loaded_estimator_keeps_nothing_of_the_fit_before(tmp_path):
    X, y = load_diabetes(as_frame=True, return_X_y=True)
    into = lc.LinearRegressor(optimizer="exact").fit(X, y)
    lc.save(lc.LinearRegressor(optimizer="exact").fit(X.to_numpy(), y), tmp_path / "m")
    assert lc.load(tmp_path / "m", into=into) is into
    assert not hasattr(into, "feature_names_in_")
