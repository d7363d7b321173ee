"""int8 LSTM, GRU and their cells beside torch's floating-point layers with the decoded weights."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.torch.quantized import Int8Embedding, Int8GRU, Int8GRUCell, Int8LSTM, Int8LSTMCell, kernels

NETWORKS = [(nn.LSTM, Int8LSTM), (nn.GRU, Int8GRU)]
CELLS = [(nn.LSTMCell, Int8LSTMCell), (nn.GRUCell, Int8GRUCell)]


def made(cls, *sizes, **options):
    """The int8 layer, and the floating-point one with its decoded weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = cls(*sizes, **options).eval()
    small = lc.quantize(layer, activations="dynamic")
    layer.load_state_dict({name: getattr(small, name) for name in layer.state_dict()})
    return small, layer


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def as_pairs(got, want):
    """Tensors of two nested results."""
    if isinstance(want, torch.Tensor):
        yield got, want
    elif isinstance(want, nn.utils.rnn.PackedSequence):
        assert torch.equal(got.batch_sizes, want.batch_sizes)
        yield got.data, want.data
        yield pad_packed_sequence(got)[0], pad_packed_sequence(want)[0]
    else:
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            yield from as_pairs(a, b)


def check(got, want):
    for a, b in as_pairs(got, want):
        assert a.shape == b.shape
        assert (a - b).norm() < 0.03 * b.norm()
        assert not torch.equal(a, b)  # it did not compute in floating point


@pytest.mark.parametrize(("cls", "int8"), NETWORKS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"batch_first": True, "num_layers": 3},
        {"bidirectional": True, "num_layers": 2},
        {"dropout": 0.5, "num_layers": 2, "batch_first": True, "bidirectional": True, "bias": False},
    ],
)
@torch.no_grad()
def test_outputs_and_states_of_networks(cls, int8, options):
    small, layer = made(cls, 10, 12, **options)
    assert type(small) is int8
    x = draw(9, 5, 10)
    check(small(x), layer(x))
    batch = 9 if options.get("batch_first") else 5
    state = draw(layer.num_layers * (1 + layer.bidirectional), batch, 12)
    hx = (state, draw(*state.shape, seed=2)) if cls is nn.LSTM else state
    check(small(x, hx), layer(x, hx))
    check(small(input=x, hx=hx), layer(x, hx))
    one = x[:, 0] if not options.get("batch_first") else x[0]
    check(small(one), layer(one))
    hx = tuple(s[:, 0] for s in hx) if cls is nn.LSTM else hx[:, 0]
    check(small(one, hx), layer(one, hx))
    for enforce_sorted, lengths in ((True, [9, 7, 7, 4, 1]), (False, [3, 9, 1, 7, 9])):
        packed = pack_padded_sequence(draw(9, 5, 10), torch.tensor(lengths), enforce_sorted=enforce_sorted)
        check(small(packed), layer(packed))
        state = draw(layer.num_layers * (1 + layer.bidirectional), 5, 12)
        hx = (state, state) if cls is nn.LSTM else state
        check(small(packed, hx), layer(packed, hx))


@pytest.mark.parametrize(("cls", "int8"), CELLS)
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_outputs_of_cells(cls, int8, bias):
    small, layer = made(cls, 10, 12, bias=bias)
    assert type(small) is int8
    x, state = draw(5, 10), draw(5, 12)
    check(small(x), layer(x))
    hx = (state, draw(5, 12, seed=2)) if cls is nn.LSTMCell else state
    check(small(x, hx), layer(x, hx))
    check(small(x[0]), layer(x[0]))
    one = tuple(s[0] for s in hx) if cls is nn.LSTMCell else hx[0]
    check(small(x[0], one), layer(x[0], one))


@torch.no_grad()
def test_each_row_of_a_weight_has_its_own_scale():
    layer = nn.LSTM(10, 12)
    for p in (layer.weight_ih_l0, layer.weight_hh_l0):
        p *= 10.0 ** torch.linspace(-3, 1, 48)[:, None]
    small = lc.quantize(layer, activations="dynamic")
    for name in small.weight_names:
        weight = getattr(layer, name)
        assert ((getattr(small, name) - weight).abs().amax(1) <= 0.0051 * weight.abs().amax(1)).all()
    x = draw(9, 5, 10)
    got, want = small(x)[0], layer(x)[0]
    assert (got - want).norm() < 0.05 * want.norm()


@torch.no_grad()
def test_what_the_kernel_does_not_round_well_is_computed_with_decoded_weights():
    small, layer = made(nn.LSTM, 10, 12, num_layers=2)
    x, state = draw(9, 5, 10), draw(2, 5, 12)
    for inputs, hx in (
        (1e-3 * x, None),
        (1e12 * x, None),
        (x, (1e-3 * state, state)),
        (x, (state, torch.full_like(state, torch.inf))),
    ):
        for a, b in as_pairs(small(inputs, hx), layer(inputs, hx)):
            torch.testing.assert_close(a, b)
    packed = pack_padded_sequence(x, torch.tensor([9, 7, 7, 4, 1]))
    for value in (torch.inf, torch.nan):
        cells = state.clone()
        cells[0, 2, 3] = value
        for a, b in as_pairs(small(packed, (state, cells)), layer(packed, (state, cells))):
            torch.testing.assert_close(a, b, equal_nan=True)
    little, layer = made(nn.LSTM, 10, 12)  # whose outputs are small, where its inputs are not
    for name in ("weight_ih_l0_scales", "bias_ih_l0", "bias_hh_l0"):
        getattr(little, name).mul_(1e-4)
    layer.load_state_dict({name: getattr(little, name) for name in layer.state_dict()})
    torch.testing.assert_close(little(x)[0], layer(x)[0], rtol=1e-4, atol=0)
    packed = pack_padded_sequence(x.masked_fill(x > 2, torch.nan), torch.tensor([9, 7, 7, 4, 1]))
    torch.testing.assert_close(little(packed)[0].data, layer(packed)[0].data, equal_nan=True)


def test_dropout_in_training_is_that_of_the_floating_point_layer():
    small, layer = made(nn.GRU, 10, 12, num_layers=2, dropout=0.9)
    x = draw(9, 5, 10)
    small.train(), layer.train()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        got = small(x)[0]
        torch.manual_seed(3)
        want = layer(x)[0]
    torch.testing.assert_close(got, want)
    assert not torch.allclose(got, small.eval()(x)[0], rtol=0.1)


def test_weights_of_which_some_are_protected_stay_floating():
    layer = nn.LSTM(10, 12)
    assert type(lc.quantize(layer, protect=["weight_hh_l0"])) is nn.LSTM
    assert type(lc.quantize(nn.LSTM(10, 12, proj_size=3))) is nn.LSTM
    assert type(lc.quantize(nn.RNN(10, 12))) is nn.RNN


def test_a_replaced_weight_is_packed_again():
    from lifecycle.torch import adapter

    small, _ = made(nn.GRU, 10, 12)
    x = draw(9, 5, 10)
    before = small(x)[0]
    adapter.replace_weight(small, "weight_ih_l0", 0.5 * adapter.read_weight(small, "weight_ih_l0"))
    assert (small(x)[0] - before).norm() > 0.1 * before.norm()
    pruned = lc.prune(small, 0.5)
    assert type(pruned) is Int8GRU
    assert int((pruned.weight_ih_l0 == 0).sum() + (pruned.weight_hh_l0 == 0).sum()) >= 36 * 22 // 2


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_network_of_this_library_with_tokens_and_lengths(cell, tmp_path):
    torch.manual_seed(0)
    net = lt.RNN(6, 3, cell=cell, hidden_size=8, bidirectional=True, n_tokens=20).eval()
    small = lc.quantize(net, activations="dynamic")
    assert "Int8Embedding(20, 6)" in repr(small)
    assert f"Int8{cell.upper()}(6, 8, num_layers=2, bias=True, batch_first=True" in repr(small)
    tokens, lengths = torch.arange(35).view(5, 7) % 20, torch.tensor([7, 2, 5, 1, 7])
    with torch.no_grad():
        got, want = small(tokens, lengths), net(tokens, lengths)
        assert (got - want).norm() < 0.05 * want.norm()
        lc.save(small, tmp_path / "m")
        again = lc.load(tmp_path / "m")
        assert torch.equal(again(tokens, lengths), got)
    assert lc.size_of(small) < 0.45 * lc.size_of(net)
    with pytest.raises(ValueError, match="token ids must lie in"):
        small(tokens + 10)


def test_an_estimator_with_sequences_predicts_alike():
    rng = np.random.RandomState(0)
    X = [rng.randn(n, 4).astype(np.float32) for n in rng.randint(3, 9, 80)]
    y = np.array([x.sum() > 0 for x in X]).astype(int)
    model = lt.TorchClassifier(lt.RNN, module__hidden_size=8, max_epochs=3, random_state=0, progress=False).fit(X, y)
    small = lc.quantize(model, activations="dynamic")
    assert any(type(m) is Int8LSTM for m in small.module_.modules())
    assert np.abs(small.predict_proba(X) - model.predict_proba(X)).max() < 0.02


def test_activations_have_as_many_bits_as_the_kernel_adds_without_overflow(monkeypatch):
    packed = []
    make = torch.ops.quantized.make_quantized_cell_params_dynamic
    monkeypatch.setattr(
        torch.ops.quantized, "make_quantized_cell_params_dynamic", lambda *a: packed.append(a[-1]) or make(*a)
    )
    small, _ = made(nn.GRU, 10, 12)
    with torch.no_grad():
        small(draw(9, 5, 10))
    assert set(packed) == {not kernels.eight_bits()}


def test_an_estimator_with_tokens_predicts_alike():
    """Token ids are whole numbers in front of an int8 embedding too."""
    rng = np.random.RandomState(0)
    X = rng.randint(0, 20, (80, 7))
    y = X.sum(1) % 2
    network = {"module__hidden_size": 8, "module__n_tokens": 20, "module__n_in": 6}
    model = lt.TorchClassifier(lt.RNN, **network, max_epochs=2, random_state=0, progress=False).fit(X, y)
    small = lc.quantize(model, activations="dynamic")
    assert "Int8Embedding" in repr(small.module_)
    assert np.abs(small.predict_proba(X) - model.predict_proba(X)).max() < 0.02
    timed = lc.quantize(model, batch_size=4, calibration=X)
    assert np.abs(timed.predict_proba(X) - model.predict_proba(X)).max() < 0.02
    net = nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(42, 2))
    model = lt.TorchClassifier(net, max_epochs=2, random_state=0, progress=False).fit(X, y)
    small = lc.quantize(model, activations="dynamic")
    assert type(small.module_[0]) is Int8Embedding
    assert np.abs(small.predict_proba(X) - model.predict_proba(X)).max() < 0.02
