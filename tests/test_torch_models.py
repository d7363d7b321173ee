"""MLP, CNN and RNN against networks written by hand, and the sentences of their errors."""

import copy
import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import lifecycle.torch as lt  # noqa: E402

CELLS = {"lstm": (nn.LSTM, 4), "gru": (nn.GRU, 3), "rnn": (nn.RNN, 1)}  # with the gates of a step


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def count(net):
    return sum(p.numel() for p in net.parameters())


def borrow_weights(net, other):
    """Copy the parameters of `other` into `net`, in order."""
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        p.data.copy_(q.data)
    return net


def twice(net, x, mode, **extra):
    """The output with the dropout of one seed."""
    net.train(mode)
    torch.manual_seed(1)
    return net(x, **extra)


# -- MLP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [False, True])
def test_mlp_is_the_sequential_that_one_writes(train):
    net = lt.MLP(6, 3, hidden=(5, 4), dropout=0.5)
    twin = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0.5),
                         nn.Linear(4, 3))  # fmt: skip
    x = torch.randn(7, 6)
    assert torch.equal(twice(net, x, train), twice(borrow_weights(twin, net), x, train))


@pytest.mark.parametrize("hidden", [(), 5, (5,), [5, 4, 3], np.int64(5)])
def test_mlp_parameters_and_shapes(hidden):
    net = lt.MLP(12, 2, hidden)
    widths = [12, *np.atleast_1d(hidden).astype(int), 2]
    assert count(net) == sum(n * m + m for n, m in itertools.pairwise(widths))
    for shape in ((12,), (3, 4), (3, 2, 2)):
        assert net(torch.randn(5, *shape)).shape == (5, 2)
    assert lt.MLP(**net.config).config == net.config


# -- CNN -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [False, True])
def test_cnn_is_the_sequential_that_one_writes(train):
    net = lt.CNN(3, 10, image_size=(8, 12), channels=(4, 6), hidden=(7,), dropout=0.3)
    twin = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(6 * 2 * 3, 7), nn.ReLU(), nn.Dropout(0.3), nn.Linear(7, 10),
    )  # fmt: skip
    x = torch.randn(5, 3, 8, 12)
    assert torch.equal(twice(net, x, train), twice(borrow_weights(twin, net), x, train))
    assert torch.equal(twice(net, x.flatten(1), train), twice(net, x, train))


@pytest.mark.parametrize(
    ("size", "channels", "hidden"), [(32, (32, 64, 128), ()), ((9, 5), 3, 4), ([4, 4], [2], (3, 2))]
)
def test_cnn_parameters_and_shapes(size, channels, hidden):
    net = lt.CNN(1, 2, size, channels, hidden)
    height, width = np.broadcast_to(size, 2)
    depths = [1, *np.atleast_1d(channels)]
    halvings = 2 ** (len(depths) - 1)
    flat = depths[-1] * (height // halvings) * (width // halvings)
    dense = [flat, *np.atleast_1d(hidden).astype(int), 2]
    assert count(net) == sum(9 * n * m + m for n, m in itertools.pairwise(depths)) + sum(
        n * m + m for n, m in itertools.pairwise(dense)
    )
    x = torch.randn(3, 1, height, width)
    wanted = net(x)
    assert wanted.shape == (3, 2)
    assert torch.equal(net(x[:, 0]), wanted)  # one channel need not be said
    assert lt.CNN(**net.config).config == net.config


# -- RNN -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_rnn_is_torchs_cells_with_a_linear_layer(cell, both, per_step):
    net = lt.RNN(3, 2, cell, hidden_size=5, num_layers=2, dropout=0.4, bidirectional=both, per_step=per_step)
    cls, gates = CELLS[cell]
    cells = cls(3, 5, 2, batch_first=True, dropout=0.4, bidirectional=both)
    head, dropout = nn.Linear(5 * (1 + both), 2), nn.Dropout(0.4)
    borrow_weights(nn.ModuleList([cells, head]), net)
    x = torch.randn(4, 6, 3)
    for train in (False, True):
        cells.train(train)
        dropout.train(train)
        torch.manual_seed(1)
        steps = cells(x)[0]
        # the last output of the direction that runs backwards is that of the first step
        last = steps[:, -1] if not both else torch.cat((steps[:, -1, :5], steps[:, 0, 5:]), dim=1)
        wanted = head(dropout(steps if per_step else last))
        torch.testing.assert_close(twice(net, x, train), wanted)
        assert wanted.shape == ((4, 6, 2) if per_step else (4, 2))
    sides = 1 + both
    assert count(net) == sides * gates * sum(5 * (n + 5 + 2) for n in (3, 5 * sides)) + 5 * sides * 2 + 2
    assert lt.RNN(**net.config).config == net.config


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_padding_has_no_influence(cell, both, per_step, tokens):
    net = lt.RNN(3, 2, cell, hidden_size=5, bidirectional=both, per_step=per_step, n_tokens=11 if tokens else None)
    lengths = torch.tensor([4, 7, 1, 5])
    x = torch.randint(11, (4, 9)) if tokens else torch.randn(4, 9, 3)
    junk = torch.arange(9)[None, :] >= lengths[:, None]
    x[junk] = 10 if tokens else 1e6
    x.requires_grad_(not tokens)
    found = net(x, lengths)
    other = x.detach().clone()
    other[junk] = 0
    for i, n in enumerate(lengths.tolist()):
        alone = net(x.detach()[i : i + 1, :n])[0]
        mine = found[i, :n] if per_step else found[i]
        torch.testing.assert_close(mine, alone, rtol=1e-5, atol=1e-6)
        assert torch.equal(mine, net(other, lengths)[i, :n] if per_step else net(other, lengths)[i])
        assert mine.ndim == alone.ndim
    if per_step:
        assert found.shape == (4, 9, 2)  # as long as the input, though its longest sequence has 7 steps
        found = found[~junk]
    if not tokens:
        found.square().sum().backward()
        assert not x.grad[junk].any()
        assert x.grad[~junk].any(dim=-1).all()


def test_rnn_series_of_one_feature_and_token_ids():
    net = lt.RNN(1, 2)
    x = torch.randn(3, 4)
    assert torch.equal(net(x), net(x[..., None]))
    net = lt.RNN(5, 2, n_tokens=7)
    assert isinstance(net.embedding, nn.Embedding)
    assert count(net) == count(lt.RNN(5, 2)) + 7 * 5
    ids = torch.randint(7, (3, 4))
    assert torch.equal(net(ids), net(ids.float()))
    assert net(ids.to(torch.int32)).shape == (3, 2)


def test_one_layer_has_dropout_before_the_linear_layer_only():
    net = lt.RNN(3, 2, num_layers=1, dropout=0.5)  # torch warns of dropout between the layers of one layer
    x = torch.randn(4, 6, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_models_are_copied_and_exported_as_any_module():
    for net, x in (
        (lt.MLP(4, 2), torch.randn(3, 4)),
        (lt.CNN(1, 2, 8), torch.randn(3, 1, 8, 8)),
        (lt.RNN(4, 2), torch.randn(3, 5, 4)),
    ):
        twin = copy.deepcopy(net).double()
        torch.testing.assert_close(twin(x.double()).float(), net(x), rtol=1e-4, atol=1e-5)
        twin.load_state_dict(net.state_dict())


# -- errors ----------------------------------------------------------------------------------------------------------


V, T = ValueError, TypeError


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: lt.MLP(0, 2), V, r"n_in must be >= 1; got 0"),
        (lambda: lt.MLP(2, 2.5), T, r"n_out must be an integer; got 2.5"),
        (lambda: lt.MLP(2, 2, hidden=(3, 0)), V, r"hidden must be >= 1; got 0"),
        (lambda: lt.MLP(2, 2, hidden="large"), T, r"hidden must be an integer; got 'large'"),
        (lambda: lt.MLP(2, 2, dropout=1.0), V, r"dropout must be a finite number >= 0.0 and < 1.0; got 1.0"),
        (lambda: lt.CNN(1, 2, 8, channels=()), V, r"channels must name one convolution at least"),
        (lambda: lt.CNN(1, 2, (8, 8, 8)), V, r"image_size must be an int or \(height, width\); got \(8,"),
        (lambda: lt.CNN(1, 2, (4, 64)), V, r"an image of 4×64 can be halved 2 times, but channels=\(32, 64, 128\)"),
        (lambda: lt.RNN(3, 2, "LSTM"), V, r"cell must be one of 'lstm', 'gru', 'rnn'; got 'LSTM'"),
        (lambda: lt.RNN(3, 2, bidirectional="yes"), V, r"bidirectional must be one of True, False; got 'yes'"),
        (lambda: lt.RNN(3, 2, n_tokens=0), V, r"n_tokens must be >= 1; got 0"),
        (lambda: lt.MLP(6, 2)(torch.ones(3, 5)), V, r"takes 6 values per sample; got a batch of shape \(3, 5\)"),
        (lambda: lt.MLP(6, 2)(torch.ones(6)), V, r"takes 6 values per sample; got a batch of shape \(6,\)"),
        (lambda: lt.CNN(3, 2, 8)(torch.ones(2, 8, 8, 3)), V, r"takes \(n, 3, 8, 8\) or \(n, 192\); got .* \(2, 8,"),
        (lambda: lt.CNN(1, 2, 8)(torch.ones(2, 9, 9)), V, r"\(n, 1, 8, 8\), \(n, 8, 8\) or \(n, 64\)"),
        (lambda: lt.RNN(3, 2)(torch.ones(2, 3)), V, r"takes \(n, steps, 3\); .*series of one feature need n_in=1"),
        (lambda: lt.RNN(3, 2)(torch.ones(2, 5, 4)), V, r"takes \(n, steps, 3\); got .* \(2, 5, 4\)$"),
        (lambda: lt.RNN(3, 2, n_tokens=5)(torch.ones(2, 4, 3)), V, r"takes token ids \(n, steps\) below 5"),
        (lambda: lt.RNN(3, 2, n_tokens=5)(torch.tensor([[1, 5]])), V, r"ids must lie in 0…4; got one in 1…5"),
        (lambda: lt.RNN(3, 2, n_tokens=5)(torch.tensor([[-1, 2]])), V, r"ids must lie in 0…4; got one in -1…2"),
        (lambda: lt.RNN(3, 2, n_tokens=5)(torch.tensor([[0.5, 2]])), V, r"ids must be whole numbers"),
    ],
)  # fmt: skip
def test_errors(make, error, says):
    with pytest.raises(error, match=says):
        make()
