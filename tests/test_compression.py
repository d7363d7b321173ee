"""prune, quantize and size_of: laws on modules of every kind, and one test for each named failure."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import nn
from torch.nn.utils.prune import l1_unstructured

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.codecs import absmax, decode, encode, on_grid
from lifecycle.masks import lamp
from lifecycle.torch import quantized
from lifecycle.torch.quantized import Int8Affine, Int8Linear, QuantizedModule, base, kernels
from lifecycle.torch.quantized.grids import scales_of

from .networks import ReferenceLSTM, digits_as_images, reference_cnn


class Tied(nn.Module):
    """A language model's shape: the output layer shares the embedding's weight."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(torch.relu(self.hidden(self.embedding(x))))


def make(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "cnn":
            return reference_cnn(), digits_as_images(6)[0]
        if name == "lstm":
            return ReferenceLSTM(), torch.randn(3, 100, 100)
        if name == "tied":
            return Tied(), torch.arange(12).view(3, 4)
        if name == "transformer":
            layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
            return nn.Sequential(nn.Linear(8, 16), layer, nn.BatchNorm1d(5)), torch.randn(3, 5, 8)
        if name == "transposed":
            return nn.Sequential(nn.ConvTranspose2d(4, 6, 3), nn.GRU(5, 3)), torch.randn(2, 4, 1, 3)
        return nn.Linear(12, 7), torch.randn(5, 12)


KINDS = ("cnn", "lstm", "tied", "transformer", "linear")


def weights(model):
    from lifecycle.torch import adapter

    return {layer.name: (layer, adapter.read_weight(model, layer.name)) for layer in adapter.layers(model)}


def bits(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same_bits(model, before):
    after = model.state_dict()
    return list(after) == list(before) and all(torch.equal(after[k], before[k]) for k in before)


@pytest.fixture(scope="module")
def linear():
    X, y = load_digits(return_X_y=True)
    return lc.LinearClassifier(max_iter=3, tol=None, random_state=0).fit(X / 16, y), X / 16


@pytest.fixture(scope="module")
def torch_classifier():
    X, y = load_digits(return_X_y=True)
    model = lt.TorchClassifier(max_epochs=3, random_state=0, progress=False)
    return model.fit(X.astype(np.float32) / 16, y), X.astype(np.float32) / 16


# -- prune -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_prune_sets_the_exact_count_to_zero_and_leaves_the_original_alone(kind, scope):
    model, x = make(kind)
    model.train()
    before = bits(model)
    pruned = lc.prune(model, 0.7, scope=scope)
    assert same_bits(model, before)
    assert pruned.training
    old, new = weights(model), weights(pruned)
    zeros = {k: int((w == 0).sum()) for k, (_, w) in new.items()}
    if scope == "global":
        assert sum(zeros.values()) == round(0.7 * sum(w.size for _, w in new.values()))
        scores = {k: lamp(np.abs(w)) for k, (_, w) in old.items()}
        dropped = max(scores[k][w == 0].max(initial=0) for k, (_, w) in new.items())
        assert dropped <= min(scores[k][w != 0].min(initial=np.inf) for k, (_, w) in new.items())
        assert all(np.abs(old[k][1])[w == 0].max(initial=0) <= np.abs(w).max() for k, (_, w) in new.items())
    else:
        assert zeros == {k: round(0.7 * w.size) for k, (_, w) in new.items()}
    for k, (_, w) in new.items():
        assert np.array_equal(w[w != 0], old[k][1][w != 0])
    untouched = [k for k in before if k not in new and not k.startswith("head.weight")]
    assert all(torch.equal(before[k], pruned.state_dict()[k]) for k in untouched)
    pruned.eval()(x)


@pytest.mark.parametrize("kind", [*KINDS, "transposed"])
def test_n_of_m_holds_along_the_input_axis(kind):
    pruned = lc.prune(make(kind)[0], structure="2:4")
    for layer, w in weights(pruned).values():
        lines = np.moveaxis(w, layer.input_axis, -1)
        for start in range(0, lines.shape[-1], 4):
            group = lines[..., start : start + 4]
            assert (np.count_nonzero(group, axis=-1) == min(2, group.shape[-1])).all()


def test_the_input_axis_of_a_transposed_convolution_is_its_first():
    assert {k: layer.input_axis for k, (layer, _) in weights(make("transposed")[0]).items()} == {
        "0.weight": 0,
        "1.weight_ih_l0": 1,
        "1.weight_hh_l0": 1,
    }


def test_protected_layers_keep_every_bit():
    model, _ = make("cnn")
    for protect, kept in ((["0"], "0.weight"), (["9.weight"], None), (["3", "12"], "3.weight")):
        if kept is None:
            with pytest.raises(ValueError, match=r"'9\.weight', which is not a layer of the model; layers: 0\.weight"):
                lc.prune(model, 0.5, protect=protect)
            continue
        for small in (lc.prune(model, 0.5, protect=protect), lc.quantize(model, protect=protect)):
            assert torch.equal(small.state_dict()[kept], model.state_dict()[kept])


def test_tied_weights_stay_tied_and_count_once():
    model, x = make("tied")
    assert list(weights(model)) == ["embedding.weight", "hidden.weight"]
    for small in (lc.prune(model, 0.5), lc.quantize(model)):
        assert small.head.weight is small.embedding.weight
        assert small.head.weight is not model.head.weight
        small(x)
    assert lc.size_of(model) == 4 * (20 * 8 + 8 * 8 + 8)
    assert lc.size_of(lc.quantize(model)) == 20 * 8 + 4 * 20 + 8 * 8 + 4 * 8 + 4 * 8


# -- quantize --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "transposed"])
@pytest.mark.parametrize("activations", ["auto", "dynamic", None])
def test_quantized_weights_stay_within_half_a_step(kind, activations):
    model, _ = make(kind)
    before = bits(model)
    small = lc.quantize(model.train(), activations=activations)
    assert same_bits(model, before)
    assert small.training
    assert all(m.training for m in small.modules())
    old, new = weights(model), weights(small)
    assert list(old) == list(new)
    for name, (layer, w) in new.items():
        _, scales = encode(old[name][1], absmax.scales, layer.channel_axis)
        step = scales.reshape([-1 if i == layer.channel_axis else 1 for i in range(w.ndim)])
        assert (np.abs(w - old[name][1]) <= step * 0.5001).all()
        assert on_grid(w, scales, layer.channel_axis) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_quantized_outputs_are_near(kind):
    model, x = make(kind)
    model.eval()
    with torch.no_grad():
        want = model(x)
        for activations in ("auto", "dynamic", None):
            got = lc.quantize(model, activations=activations)(x)
            assert got.shape == want.shape
            assert (got - want).norm() <= 0.05 * want.norm()


def test_weights_only_computes_what_a_float_layer_with_decoded_weights_computes():
    model, x = make("linear")
    small = lc.quantize(model, activations=None)
    assert type(small) is nn.Linear
    codes, scales = encode(model.weight.detach().numpy(), absmax.scales)
    want = nn.functional.linear(x, torch.from_numpy(decode(codes, scales)), model.bias)
    assert torch.equal(small(x), want)


def eight_bit(x):
    """The kernels' rounding of activations, slowly: one scale and zero point for the whole input."""
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    top = 255 if kernels.eight_bits() else 127
    scale = np.float32((high - low) / top)
    zero = round(-low / scale)
    return torch.from_numpy((np.clip(np.rint(x.numpy() / scale) + zero, 0, top) - zero) * scale)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(12, 7), (5, 12)),
        (nn.Linear(12, 7, bias=False), (2, 3, 12)),
        (nn.Conv1d(3, 8, 3), (2, 3, 9)),
        (nn.Conv1d(4, 8, 5, stride=2, padding=2, dilation=2, groups=2, bias=False), (4, 30)),
        (nn.Conv2d(3, 8, 3), (2, 3, 9, 9)),
        (nn.Conv2d(4, 8, (3, 5), stride=2, padding=(1, 2), groups=2, bias=False), (2, 4, 11, 9)),
        (nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4), (4, 7, 8)),
    ],
)
def test_int8_layers_compute_what_rounded_activations_and_decoded_weights_give(layer, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    small = lc.quantize(layer, activations="dynamic")
    assert isinstance(small, Int8Affine)
    want = small._forward_float(eight_bit(x).double().float())
    assert small(x).shape == want.shape
    assert torch.allclose(small(x), want, atol=2e-5)
    assert small(x[:0]).shape == want[:0].shape if x.ndim == layer.weight.ndim else True


@pytest.mark.parametrize("kind", ["linear", "cnn"])
def test_int8_layers_copy_pickle_and_load(kind):
    model, x = make(kind)
    small = lc.quantize(model, activations="dynamic")
    want = small(x)
    assert torch.equal(copy.deepcopy(small)(x), want)
    assert torch.equal(pickle.loads(pickle.dumps(small))(x), want)
    with torch.no_grad():
        half = copy.deepcopy(model).apply(lambda m: [p.mul_(0.5) for p in m.parameters(recurse=False)])
        other = lc.quantize(half, activations="dynamic")
    assert not torch.equal(other(x), want)
    other.load_state_dict(small.state_dict())
    assert torch.equal(other(x), want)


def test_int8_layers_say_what_they_are():
    net = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, groups=2), nn.Linear(12, 7))
    small = lc.quantize(net, activations="dynamic")
    assert (small[1].in_features, small[1].out_features) == (12, 7)
    assert "Int8Linear(in_features=12, out_features=7, bias=True)" in repr(small)
    assert "Int8Conv2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=(0, 0), dilation=(1, 1), groups=2" in repr(
        small
    )


@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.Conv2d(1, 2, 3)])
def test_without_a_kernel_an_int8_layer_computes_in_float32_and_says_so_once(layer, monkeypatch):
    small = lc.quantize(layer, activations="dynamic")
    x = torch.randn(1, 3, 3) if isinstance(layer, nn.Conv2d) else torch.randn(2, 3)
    monkeypatch.setattr(base, "kernel_works", lambda cls, is_static: False)
    monkeypatch.setattr(quantized, "kernel_works", lambda cls, is_static: False)
    kernels.warn_slow.cache_clear()
    with pytest.warns(UserWarning, match="torch has no int8 kernel for Int8"):
        assert torch.equal(small(x), small._forward_float(x))
    small(x)
    assert not isinstance(lc.quantize(copy.deepcopy(layer)), QuantizedModule)


def test_the_int8_layer_takes_any_batch_shape():
    small = lc.quantize(make("linear")[0], activations="dynamic")
    x = torch.randn(2, 3, 12)
    assert torch.equal(small(x), small(x.view(6, 12)).view(2, 3, 7))
    assert small(torch.zeros(0, 12)).shape == (0, 7)
    assert torch.equal(small(x[0, 0]), small(x[0, :1])[0])


@pytest.mark.parametrize("layer", [nn.Linear(12, 7), nn.Conv2d(2, 3, 3)])
def test_int8_layers_refuse_in_one_sentence(layer):
    small = lc.quantize(layer, activations="dynamic")
    shape = (2, 12) if isinstance(layer, nn.Linear) else (2, 2, 5, 5)
    with pytest.raises(ValueError, match=r"takes float32 tensors on the CPU; got torch\.float64"):
        small(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("layer", [nn.Linear(12, 7), nn.Conv2d(2, 3, 3)])
def test_gradients_flow_through_int8_layers_to_their_input(layer):
    small = lc.quantize(layer, activations="dynamic")
    x = torch.randn((2, 12) if isinstance(layer, nn.Linear) else (2, 2, 5, 5), requires_grad=True)
    small(x).square().sum().backward()
    want = x.detach().clone().requires_grad_()
    small._forward_float(want).square().sum().backward()
    assert torch.equal(x.grad, want.grad)
    with torch.no_grad():
        assert torch.equal(small(x), small._forward_quantized(x))


def test_warm_start_does_not_train_around_int8_layers(torch_classifier):
    model, X = torch_classifier
    small = lc.quantize(model, activations="dynamic").set_params(warm_start=True)
    with pytest.raises(ValueError, match="warm_start cannot go on with int8 layers"):
        small.fit(X, load_digits().target)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_transformer_s_fast_paths_do_not_go_around_int8_layers(monkeypatch, tmp_path):
    make = lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2).eval()  # noqa: E731
    model, x, mask = make(), torch.randn(3, 5, 16), torch.arange(5) > torch.tensor([[4], [2], [3]])
    small = lc.quantize(model, activations="dynamic")
    lc.save(small, tmp_path / "m")
    calls, forward = [], Int8Linear.forward
    monkeypatch.setattr(Int8Linear, "forward", lambda self, x: calls.append(self) or forward(self, x))
    for net in (small, lc.load(tmp_path / "m", into=make()), lc.load(tmp_path / "m", into=small)):
        for arguments in ({}, {"src_key_padding_mask": mask}):
            calls.clear()
            with torch.no_grad():
                got, want = net(x, **arguments), model(x, **arguments)
            assert len(calls) == 4
            assert (got - want)[~mask].norm() < 0.02 * want[~mask].norm()


def test_a_shared_linear_layer_is_replaced_everywhere():
    shared = nn.Linear(4, 4)
    small = lc.quantize(nn.Sequential(shared, nn.ReLU(), shared), activations="dynamic")
    assert isinstance(small[0], Int8Linear)
    assert small[0] is small[2]


def test_layers_that_must_stay_floating_do():
    hooked = nn.Linear(4, 4)
    hooked.register_forward_hook(lambda *_: None)
    assert type(lc.quantize(hooked)) is nn.Linear
    backward = nn.Linear(4, 4)
    backward.register_full_backward_pre_hook(lambda *_: None)
    replaced, with_buffer = nn.Linear(4, 4), nn.Linear(4, 4)
    replaced.forward = lambda x: torch.zeros_like(x)
    with_buffer.register_buffer("mask", torch.ones(4))
    for layer in (backward, replaced, with_buffer):
        (kept, other) = lc.quantize(nn.Sequential(layer, nn.Linear(4, 4)), activations="dynamic")
        assert type(kept) is nn.Linear
        assert type(other) is not nn.Linear
    assert type(lc.quantize(nn.Linear(4, 4).double())) is nn.Linear
    attention = lc.quantize(nn.MultiheadAttention(8, 2))
    assert not any(isinstance(m, QuantizedModule) for m in attention.modules())
    for layer in (hooked, nn.Linear(4, 4).double(), nn.MultiheadAttention(8, 2)):
        with pytest.raises(ValueError, match="there is none to quantize here"):
            lc.quantize(layer, activations="dynamic")


@pytest.mark.parametrize("kind", KINDS)
def test_quantize_then_prune_and_prune_then_quantize_are_as_sparse_as_asked(kind):
    model, x = make(kind)
    for small in (lc.prune(lc.quantize(model), 0.9), lc.quantize(lc.prune(model, 0.9))):
        size = sum(w.size for _, w in weights(small).values())
        assert sum((w == 0).sum() for _, w in weights(small).values()) >= round(0.9 * size)
        assert lc.size_of(small) < lc.size_of(lc.quantize(model)) < lc.size_of(model)
        small.eval()(x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activations", ["auto", "dynamic"])
def test_quantizing_twice_changes_nothing(kind, activations):
    once = lc.prune(lc.quantize(make(kind)[0], activations=activations), 0.5)
    assert same_bits(lc.quantize(once, activations=activations), bits(once))


def test_int8_activations_cannot_be_taken_back():
    with pytest.raises(ValueError, match="weight has int8 activations already"):
        lc.quantize(lc.quantize(make("linear")[0], activations="dynamic"), activations=None)


def test_a_weight_that_left_its_grid_is_stored_in_full():
    model, _ = make("linear")
    small = lc.quantize(model, activations=None)
    assert lc.size_of(small) == 7 * 12 + 7 * 4 + 7 * 4
    with torch.no_grad():
        small.weight += 1e-4
    assert lc.size_of(small) == lc.size_of(model) == 7 * 12 * 4 + 7 * 4


def test_what_was_trained_after_quantization_is_pruned_as_it_is(linear, tmp_path):
    model = lc.quantize(nn.Linear(12, 7), activations=None)
    with torch.no_grad():
        model.weight += 1e-4
    trained = model.weight.detach().clone()
    pruned = lc.prune(model, 0.25).weight
    assert torch.equal(pruned[pruned != 0], trained[pruned != 0])
    lc.save(nn.Linear(12, 7), tmp_path / "m")
    again = lc.load(tmp_path / "m", into=lc.quantize(nn.Linear(12, 7), activations=None))
    assert not scales_of(again, "weight")

    X, y = load_digits(return_X_y=True)
    estimator = lc.quantize(linear[0])
    for change in (lambda e: e.fit(X / 16, y), lambda e: setattr(e, "coef_", e.coef_ + 1e-6)):
        other = copy.deepcopy(estimator)
        change(other)
        pruned = lc.prune(other, 0.5).coef_
        assert np.array_equal(pruned[pruned != 0], other.coef_[pruned != 0])
    lc.save(linear[0], tmp_path / "e")
    assert "_coef_scales" not in vars(lc.load(tmp_path / "e", into=estimator))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_are_stored_as_codes_and_come_back(dtype, tmp_path):
    model = nn.Linear(64, 9).to(dtype)
    small = lc.prune(lc.quantize(model), 0.5)
    assert lc.size_of(lc.quantize(model)) == 9 * 64 + 9 * 4 + 9 * 2
    lc.save(small, tmp_path / "m")
    again = lc.load(tmp_path / "m", into=nn.Linear(64, 9).to(dtype))
    assert same_bits(again, bits(small))
    assert same_bits(lc.quantize(small), bits(small))


# -- size ------------------------------------------------------------------------------------------------------------


def test_size_of_the_reference_cnn():
    model, _ = make("cnn")
    n = sum(p.numel() for p in model.parameters())
    assert lc.size_of(model) == 4 * n
    pruned = lc.prune(model, 0.9)
    w = sum(w.size for _, w in weights(pruned).values())
    mask = sum(-(-w.size // 8) for _, w in weights(pruned).values())
    assert lc.size_of(pruned) == 4 * (n - w) + mask + 4 * (w - round(0.9 * w))


# -- estimators ------------------------------------------------------------------------------------------------------


def test_linear_estimators(linear):
    model, X = linear
    before = pickle.dumps(model.coef_)
    pruned, small = lc.prune(model, 0.5), lc.quantize(model)
    assert pickle.dumps(model.coef_) == before
    assert (pruned.coef_ == 0).sum() == max(round(0.5 * model.coef_.size), (model.coef_ == 0).sum())
    codes, scales = encode(model.coef_, absmax.scales)
    assert np.array_equal(small.coef_, decode(codes, scales, 0, model.coef_.dtype))
    assert np.mean(small.predict(X) == model.predict(X)) > 0.97
    assert lc.size_of(small) < 0.4 * lc.size_of(model)
    groups = lc.prune(model, structure="1:4").coef_.reshape(len(model.classes_), -1, 4)
    assert (np.count_nonzero(groups, axis=2) <= 1).all()


def test_a_linear_regressor_has_one_scale():
    X, y = load_diabetes(return_X_y=True)
    model = lc.LinearRegressor(max_iter=3, tol=None, random_state=0).fit(X, y)
    small = lc.quantize(lc.prune(model, 0.2))
    assert (small.coef_ == 0).sum() >= 2
    assert np.abs(small.coef_ - model.coef_)[small.coef_ != 0].max() <= np.abs(model.coef_).max() / 127 / 2 * 1.001


def test_torch_estimators(torch_classifier):
    model, X = torch_classifier
    before, want = bits(model.module_), model.predict_proba(X)
    small = lc.quantize(lc.prune(model, 0.3), activations="dynamic")
    assert same_bits(model.module_, before)
    assert np.array_equal(model.predict_proba(X), want)
    assert any(isinstance(m, Int8Linear) for m in small.module_.modules())
    assert np.mean(small.predict(X) == model.predict(X)) > 0.9
    assert lc.size_of(small) < 0.3 * lc.size_of(model)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "make_empty",
    [
        lambda: nn.Linear(4, 0),
        lambda: nn.Linear(0, 4),
        lambda: nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 4), nn.Linear(4, 4)),
        lambda: nn.Conv2d(2, 0, 3),
        lambda: nn.ConvTranspose2d(0, 2, 3),
        lambda: nn.Embedding(4, 0),
    ],
)
@pytest.mark.parametrize(
    "verb", [lambda m: lc.prune(m, 0.5), lambda m: lc.prune(m, structure="2:4"), lc.quantize, lambda m: m]
)
def test_layers_without_weights_are_compressed_and_stored(make_empty, verb, tmp_path):
    for small in (verb(make_empty()), verb(lc.quantize(make_empty()))):
        lc.save(small, tmp_path / "m")
        assert lc.size_of(small) >= 0
        assert same_bits(lc.load(tmp_path / "m", into=make_empty()), bits(small))


# -- what is wrong is said in one sentence ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({}, ValueError, "amount is needed"),
        ({"amount": 0.5, "structure": "2:4"}, ValueError, "fixes how many weights stay"),
        ({"amount": 1.0}, ValueError, "amount must be a finite number >= 0 and < 1"),
        ({"amount": "half"}, TypeError, "amount must be a number"),
        (
            {"amount": 0.5, "method": "lamp"},
            ValueError,
            "method must be one of 'magnitude', 'random', 'taylor', 'wanda', ",
        ),
        ({"amount": 0.5, "method": "wanda"}, ValueError, 'method="wanda" needs the inputs of the layers'),
        ({"amount": 0.5, "method": "taylor", "calibration": [[1.0]]}, ValueError, r"calibration=\(X, y\)"),
        ({"amount": 0.5, "calibration": [[1.0]]}, ValueError, 'method="magnitude" uses no calibration rows'),
        ({"amount": 0.5, "scope": "module"}, ValueError, "scope must be one of 'global', 'layer'"),
        ({"structure": "4:2"}, ValueError, 'structure must be "unstructured", "channels" or "n:m"'),
        ({"amount": 0.5, "protect": "weight"}, TypeError, "protect must be a list"),
        ({"amount": 0.5, "protect": ["weight"]}, ValueError, "protect leaves no layer"),
    ],
)
def test_prune_refuses(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        lc.prune(make("linear")[0], **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"bits": 5}, ValueError, "bits must be one of 4, 8; got 5"),
        ({"group_size": 0}, ValueError, "group_size"),
        ({"group_size": 4, "activations": "dynamic"}, ValueError, "with group_size stay in floating point"),
        (
            {"calibration": [[1.0]], "activations": "dynamic"},
            ValueError,
            'method="absmax" uses no calibration rows',
        ),
        ({"calibration": [[1.0]], "activations": None}, ValueError, 'method="absmax" uses no calibration rows'),
        ({"bits": 8.0}, TypeError, "bits must be an integer"),
        ({"method": "hqq"}, ValueError, "method must be one of 'absmax', 'mse', 'gptq'; got 'hqq'"),
        ({"method": "gptq"}, ValueError, 'method="gptq" needs the inputs of the layers'),
        ({"activations": "fast"}, ValueError, "activations must be one of 'auto', None, 'dynamic', 'static'"),
        ({"activations": "static"}, ValueError, 'activations="static" needs the inputs of the layers'),
        ({"activations": "static", "group_size": 4}, ValueError, "with group_size stay in floating point"),
        ({"activation_range": "mse"}, ValueError, 'activation_range="mse" is for activations="static"'),
        ({"activation_range": "entropy"}, ValueError, "activation_range must be one of 'minmax', 'percentile', 'mse'"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": 8, "activations": None}, ValueError, 'batch_size is for the timing of activations="auto"'),
        ({"protect": ["nowhere"]}, ValueError, "layers: weight"),
    ],
)
def test_quantize_refuses(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        lc.quantize(make("linear")[0], **arguments)


def test_dynamic_needs_a_layer_that_can(linear):
    padded = (nn.Conv1d(1, 2, 3, padding_mode="circular"), nn.Conv2d(1, 2, 3, padding="same"))
    for layer in (nn.Embedding(3, 4), nn.Conv3d(1, 2, 3), *padded, nn.Linear(2, 2).double(), nn.RNN(2, 2)):
        with pytest.raises(ValueError, match=r"needs a plain float32 nn\.Linear, nn\.Conv1d or nn\.Conv2d"):
            lc.quantize(layer, activations="dynamic")
    model, X = linear
    for options in ({"activations": "dynamic"}, {"activations": "static", "calibration": X}):
        with pytest.raises(ValueError, match="needs torch layers"):
            lc.quantize(model, **options)
    with pytest.raises(ValueError, match="batch_size is for the timing of torch layers"):
        lc.quantize(model, batch_size=2)


@pytest.mark.parametrize("verb", [lambda m: lc.prune(m, 0.5), lc.quantize, lc.size_of])
@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: [1, 2], "a list is not supported; what is: a torch nn.Module"),
        (lambda: nn.Linear, "got the class Linear, not a model"),
        (lambda: lc.LinearClassifier(), "LinearClassifier is not fitted yet"),
        (lambda: lt.TorchRegressor(), "TorchRegressor is not fitted yet"),
    ],
)
def test_unsupported_models(verb, model, sentence):
    with pytest.raises(lc.UnsupportedModel, match=sentence):
        verb(model())


def test_a_model_without_weights_is_refused():
    with pytest.raises(lc.UnsupportedModel, match="no weight that can be compressed"):
        lc.prune(nn.Sequential(nn.ReLU()), 0.5)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("change", "layer", "weight"),
    [
        (nn.utils.parametrizations.weight_norm, nn.Linear(4, 4), "weight"),
        (nn.utils.parametrizations.orthogonal, nn.Linear(4, 4), "weight"),
        (nn.utils.weight_norm, nn.Linear(4, 4), "weight"),
        (nn.utils.spectral_norm, nn.Conv2d(4, 4, 3), "weight"),
        (lambda m: nn.utils.parametrizations.weight_norm(m, "weight_hh_l0"), nn.LSTM(4, 4), "weight_hh_l0"),
        (lambda m: nn.utils.weight_norm(m, "weight_hh_l0"), nn.LSTM(4, 4), "weight_hh_l0"),
        (lambda m: l1_unstructured(m, "weight", 0.5), nn.Linear(4, 4), "weight"),
    ],
)
def test_weights_that_are_computed_are_not_skipped_in_silence(change, layer, weight):
    with torch.no_grad():  # torch cannot copy what a hook computed with gradients
        model = nn.Sequential(nn.Linear(4, 4), change(copy.deepcopy(layer)))
    before = bits(model)
    for verb in (lambda m, **k: lc.prune(m, 0.5, **k), lc.quantize):
        with pytest.raises(
            lc.UnsupportedModel, match=rf"^1\.{weight} is computed .* remove_param.*, or protect it, protect="
        ):
            verb(model)
        small = verb(model, protect=["1"])
        assert all(torch.equal(v, before[k]) for k, v in small.state_dict().items() if k.startswith("1."))
        assert lc.size_of(small) < lc.size_of(model)


def test_weights_with_nan_are_not_compressed():
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    for verb in (lambda m: lc.prune(m, 0.5), lc.quantize):
        with pytest.raises(ValueError, match="NaN"):
            verb(model)


@pytest.mark.filterwarnings("error", "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiled_int8_model_gives_the_same_and_its_graphs_end_at_its_layers():
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.ReLU(), nn.Linear(16, 4))
    small, x = lc.quantize(net, activations="dynamic"), torch.randn(5, 1, 4, 4)
    with torch.no_grad():
        expected = small(x)
        counters.clear()
        assert torch.equal(torch.compile(small, backend="eager")(x), expected)
    # nothing inside of a layer is traced: only its own border ends a graph
    assert all("_forward_outside_graphs" in reason for reason in counters["graph_break"])


# -- with calibration rows, and 4 bits -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    """A network on digits, rows to calibrate with, and rows that it was not trained on."""
    X, y = load_digits(return_X_y=True)
    X = np.float32(X / 16).reshape(-1, 1, 8, 8)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 16, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip
    model = lt.TorchClassifier(net, max_epochs=15, lr=3e-3, random_state=0, progress=False).fit(X[:1000], y[:1000])
    return model, X[:300], X[1000:], y[1000:]


def outputs(model, X):
    with torch.no_grad():
        return model.module_(torch.from_numpy(X)).numpy()


def change(model, small, X):
    """Squared change of the outputs."""
    return np.square(outputs(model, X) - outputs(small, X)).mean()


@pytest.mark.parametrize("amount", [0.5, 0.8])
def test_obs_changes_the_outputs_less_than_magnitude_and_wanda(trained, amount):
    model, calibration, X, _ = trained
    error = {}
    for method in ("random", "magnitude", "wanda", "obs"):
        rows = {} if method in ("random", "magnitude") else {"calibration": calibration}
        more = {"random_state": 0} if method == "random" else {}
        small = lc.prune(model, amount, method=method, scope="layer", **rows, **more)
        new = weights(small.module_)
        zeros = sum(int((w == 0).sum()) for _, w in new.values())
        assert zeros == pytest.approx(amount * sum(w.size for _, w in new.values()), abs=40)  # "wanda": of each output
        error[method] = change(model, small, X)
    assert error["obs"] < (0.5 if amount == 0.5 else 0.7) * error["magnitude"]
    assert error["obs"] < error["wanda"]
    assert error["magnitude"] < error["random"]


def test_taylor_takes_pairs_and_beats_chance(trained):
    model, calibration, X, y = trained
    target = model.predict(calibration)
    taylor = lc.prune(model, 0.6, method="taylor", calibration=(calibration, target))
    chance = lc.prune(model, 0.6, method="random", random_state=0)
    assert taylor.score(X, y) > chance.score(X, y) + 0.2


@pytest.mark.parametrize("structure", ["2:4", "1:4"])
def test_obs_keeps_n_of_m_of_every_kind_of_layer(trained, structure):
    model, calibration, X, _ = trained
    obs = lc.prune(model, method="obs", structure=structure, calibration=calibration)
    n = int(structure[0])
    for layer, w in weights(obs.module_).values():
        lines = np.moveaxis(w, layer.input_axis, -1)
        for start in range(0, lines.shape[-1], 4):
            group = lines[..., start : start + 4]
            assert (np.count_nonzero(group, axis=-1) == min(n, group.shape[-1])).all()
    ratio = change(model, obs, X) / change(model, lc.prune(model, structure=structure), X)
    assert ratio < (0.5 if n == 2 else 0.75)


@pytest.mark.parametrize("group_size", [None, 32])
def test_gptq_changes_the_outputs_less_than_nearest_codes(trained, group_size, tmp_path):
    model, calibration, X, y = trained
    error = {}
    for method in ("absmax", "mse", "gptq"):
        rows = {"calibration": calibration} if method == "gptq" else {}
        small = lc.quantize(model, bits=4, group_size=group_size, method=method, activations=None, **rows)
        error[method] = change(model, small, X)
        lc.save(small, tmp_path / method)
        again = lc.load(tmp_path / method, into=small)
        assert np.array_equal(outputs(again, X), outputs(small, X))
        n_weights = sum(w.size for _, w in weights(model.module_).values())
        assert lc.size_of(small) < n_weights * (0.5 + (4 / 32 if group_size else 0)) + 3000
    assert error["gptq"] < 0.7 * error["absmax"]
    assert error["gptq"] < error["mse"]
    assert small.score(X, y) > model.score(X, y) - 0.02


def test_pruned_weights_stay_zero_under_gptq(trained):
    model, calibration, X, _ = trained
    pruned = lc.prune(model, 0.6, method="obs", calibration=calibration)
    both = lc.quantize(pruned, bits=4, method="gptq", activations=None, calibration=calibration)
    for name, (_, w) in weights(pruned.module_).items():
        assert (weights(both.module_)[name][1][w == 0] == 0).all()
    assert change(pruned, both, X) < change(pruned, lc.quantize(pruned, bits=4, method="absmax", activations=None), X)


def test_four_bits_of_a_quantized_model_and_eight_of_one_with_four(trained):
    model = trained[0]
    eight, four = (lc.quantize(model, bits=bits, activations=None) for bits in (8, 4))
    assert lc.size_of(four) < 0.6 * lc.size_of(eight)
    # a code that was rounded twice may be another, and take another number of bits
    assert lc.size_of(lc.quantize(eight, bits=4, activations=None)) == pytest.approx(lc.size_of(four), rel=0.01)
    assert lc.size_of(lc.quantize(four, bits=8, activations=None)) == lc.size_of(four)  # nothing is gained by more
    with pytest.raises(ValueError, match="has int8 activations already"):
        lc.quantize(lc.quantize(model, activations="dynamic"), bits=4)


def test_calibration_that_nothing_uses_is_refused():
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = np.random.RandomState(0).randn(30, 3), np.arange(30.0)
    mlp = MLPRegressor(hidden_layer_sizes=(4,), max_iter=20, tol=1e9, n_iter_no_change=1)
    for made, kind in (
        (lc.LinearRegressor(optimizer="exact"), "a linear estimator"),
        (Ridge(), "a linear estimator"),
        (make_pipeline(StandardScaler(), Ridge()), "a linear estimator"),
        (mlp, "an MLP of scikit-learn"),
    ):
        model = made.fit(X, y)
        for method in ("absmax", "mse"):
            with pytest.raises(ValueError, match=f'{kind} uses calibration for method="gptq" alone'):
                lc.quantize(model, method=method, calibration=X)
        lc.quantize(model, method="gptq", calibration=X)
        lc.quantize(model)


def test_linear_estimators_with_calibration_rows():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    model = lc.LinearClassifier(progress=False).fit(X[:1000], y[:1000])
    obs = lc.prune(model, 0.8, method="obs", calibration=X[:1000])
    plain = lc.prune(model, 0.8)
    assert (obs.coef_ == 0).sum() == (plain.coef_ == 0).sum() == 512
    decisions = model.decision_function(X[1000:])
    errors = [np.square(small.decision_function(X[1000:]) - decisions).mean() for small in (obs, plain)]
    assert errors[0] < 0.6 * errors[1]
    gptq = lc.quantize(model, bits=4, method="gptq", calibration=X[:1000])
    nearest = lc.quantize(model, bits=4)
    errors = [np.square(small.decision_function(X[1000:]) - decisions).mean() for small in (gptq, nearest)]
    assert errors[0] < 0.7 * errors[1]
    with pytest.raises(lc.UnsupportedModel, match='method="taylor" needs the gradients of a torch model'):
        lc.prune(model, 0.5, method="taylor", calibration=(X, y))
    wide = lc.LinearClassifier(optimizer="gd", max_iter=1, tol=None).fit(np.eye(4, 20_000), [0, 1, 0, 1])
    with pytest.raises(lc.UnsupportedModel, match="coef_ has 20,000 inputs"):
        lc.prune(wide, 0.5, method="obs", calibration=np.eye(4, 20_000))


@pytest.mark.parametrize("kind", ["transformer", "embedding", "unused"])
def test_layers_whose_inputs_are_not_known_take_mse_under_gptq_and_are_named(kind):
    if kind == "transformer":
        model, x = make(kind)
        unknown = ["1.self_attn.in_proj_weight", "1.self_attn.out_proj.weight"]
    elif kind == "embedding":
        model = nn.Sequential(nn.Embedding(9, 8), nn.Flatten(), nn.Linear(24, 3))
        x, unknown = torch.arange(27).view(9, 3) % 9, ["0.weight"]
    else:
        model = nn.Sequential(nn.Linear(4, 4))
        model[0].unused = nn.Linear(4, 4)
        x, unknown = torch.randn(3, 4), ["0.unused.weight"]
    options = {"bits": 4, "activations": None}
    with pytest.warns(UserWarning, match=f'as by method="mse" .*: {", ".join(unknown)}$'):
        small = lc.quantize(model, method="gptq", calibration=x, **options)
    nearest = weights(lc.quantize(model, method="mse", **options))
    for name, (_, w) in weights(small).items():
        assert np.array_equal(w, nearest[name][1]) == (name in unknown)


def test_gptq_is_refused_where_the_inputs_of_no_layer_are_known():
    tokens = torch.arange(6).view(2, 3)
    for model, x, sentence in (
        (nn.Sequential(nn.Embedding(9, 8)), tokens, "the inputs of this Embedding are not recorded"),
        (nn.MultiheadAttention(16, 4), (torch.randn(3, 5, 16),) * 3, "does not call this NonDynamicallyQuantizable"),
    ):
        with pytest.raises(lc.UnsupportedModel, match=sentence):
            lc.quantize(model, method="gptq", calibration=x)


def test_layers_whose_inputs_are_not_known_are_named(trained):
    net = nn.Sequential(nn.Embedding(9, 8), nn.Flatten(), nn.Linear(24, 3))
    tokens = torch.arange(27).view(9, 3) % 9
    with pytest.raises(lc.UnsupportedModel, match="the inputs of this Embedding are not recorded"):
        lc.prune(net, 0.5, method="obs", calibration=tokens)
    small = lc.prune(net, 0.5, method="obs", calibration=tokens, protect=["0"])
    assert int((small[2].weight == 0).sum()) == 36
    unused = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)})
    unused.forward = unused["used"].forward
    with pytest.raises(lc.UnsupportedModel, match="does not call this Linear"):
        lc.prune(unused, 0.5, method="obs", calibration=torch.ones(3, 4))
    with pytest.raises(ValueError, match="a row or more"):
        lc.prune(trained[0].module_, 0.5, method="wanda", calibration=np.empty((0, 1, 8, 8), np.float32))
