"""Structured pruning: the sliced network computes what the masked one does, in every kind of network it claims."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.torch.channels import coupling as channel_coupling


class Residual(nn.Module):
    """A stem, two residual blocks of which one changes the width, and a pooled linear layer, as in ResNet."""

    def __init__(self, width=8):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv3, self.norm3 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width)
        self.shortcut = nn.Conv2d(width, 2 * width, 1, stride=2)
        self.head = nn.Linear(2 * width, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x))))))
        x = nn.functional.relu(self.norm3(self.conv3(x)) + self.shortcut(x))
        return self.head(x.mean(dim=(2, 3)))


class Concatenating(nn.Module):
    """Two branches side by side, as in DenseNet, with a skipped input."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.left, self.right = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 7, 3, padding=1)
        self.mix, self.head = nn.Conv2d(18, 8, 1), nn.Linear(8 * 16, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.cat([torch.relu(self.left(x)), x, torch.relu(self.right(x))], dim=1)
        return self.head(torch.flatten(nn.functional.max_pool2d(torch.relu(self.mix(x)), 2), 1))


class Recurrent(nn.Module):
    def __init__(self, cell, **options):
        super().__init__()
        self.embed = nn.Linear(6, 10)
        self.rnn = cell(10, 12, batch_first=True, **options)
        self.head = nn.Linear(12 * (1 + bool(options.get("bidirectional"))), 3)

    def forward(self, x):
        return self.head(self.rnn(torch.relu(self.embed(x)))[0][:, -1])


class States(nn.Module):
    """A function of the last states of two layers, and a linear layer."""

    def __init__(self, used):
        super().__init__()
        self.rnn, self.head, self.used = nn.LSTM(6, 12, num_layers=2, batch_first=True), nn.Linear(12, 3), used

    def forward(self, x):
        _, (h, c) = self.rnn(x)
        return self.head(self.used(h, c))


def sequential():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(12 * 16, 20), nn.ReLU(), nn.Linear(20, 5),
    )  # fmt: skip


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(),
        nn.Conv2d(8, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip


def grouped():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=4), nn.ReLU(), nn.Conv2d(12, 6, 1), nn.Flatten(),
        nn.Linear(6 * 16, 4),
    )  # fmt: skip


NETWORKS = {
    "sequential": (sequential, (3, 8, 8)),
    "residual": (Residual, (3, 8, 8)),
    "concatenating": (Concatenating, (3, 8, 8)),
    "depthwise": (depthwise, (3, 8, 8)),
    "grouped": (grouped, (3, 8, 8)),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(3, 8, 3), nn.Tanh(), nn.Conv1d(8, 5, 3), nn.Flatten(), nn.Linear(20, 3)),
               (3, 8)),
    "lstm": (lambda: Recurrent(nn.LSTM), (7, 6)),
    "gru": (lambda: Recurrent(nn.GRU, num_layers=2), (7, 6)),
    "bidirectional": (lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True), (7, 6)),
    "last lstm": (lambda: lt.RNN(6, 3, hidden_size=12), (7, 6)),
    "last gru": (lambda: lt.RNN(6, 3, cell="gru", hidden_size=12, bidirectional=True), (7, 6)),
    "last rnn": (lambda: lt.RNN(6, 3, cell="rnn", hidden_size=12), (7, 6)),
    "cell state": (lambda: States(lambda h, c: c[-1, :]), (7, 6)),
    "mlp": (lambda: lt.MLP(6, 3, hidden=(16, 12)), (6,)),
    "cnn": (lambda: lt.CNN(1, 3, (8, 8), channels=(4, 8)), (1, 8, 8)),
}  # fmt: skip


def make(name, n=40):
    build, shape = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, x = build(), torch.randn(n, *shape)
        for module in net.modules():  # statistics that are not those of a new network
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(0.5, 2)
                module.bias.data.normal_()
    return net.eval(), x


def n_parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("name", NETWORKS)
def test_channels_are_gone_and_the_outputs_are_those_of_the_masked_network(name, scope, monkeypatch):
    net, x = make(name)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    seen = []
    check = lt.channels._check_equal

    def spy(sliced, masked, *arguments):
        check(sliced, masked, *arguments)
        with torch.no_grad():
            seen.append((sliced(x), masked(x), net(x)))

    monkeypatch.setattr(lt.channels, "_check_equal", spy)
    small = lc.prune(net, 0.5, structure="channels", scope=scope, calibration=x)
    (sliced, masked, full) = seen[0]
    torch.testing.assert_close(sliced, masked, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(masked, full, atol=1e-3)
    assert n_parameters(small) < 0.75 * n_parameters(net)
    assert all(torch.equal(net.state_dict()[k], v) for k, v in before.items())
    assert small(x).shape == net(x).shape


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_tell_their_new_sizes(name):
    net, x = make(name)
    small = lc.prune(net, 0.5, structure="channels", calibration=x)
    for module in small.modules():
        if isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == tuple(module.weight.shape)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
            assert shape == tuple(module.weight.shape)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.num_features == len(module.weight) == len(module.running_var)
        elif isinstance(module, nn.LSTM | nn.GRU | nn.RNN):
            assert module.weight_hh_l0.shape[1] == module.hidden_size < 12
    copy.deepcopy(small)(x)
    small.train()(x).sum().backward()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_fills_a_module_of_the_original_class(name, tmp_path):
    net, x = make(name)
    small = lc.prune(net, 0.5, structure="channels", calibration=x)
    lc.save(small, tmp_path / "small")
    fresh = NETWORKS[name][0]()
    loaded = lc.load(tmp_path / "small", into=fresh)
    assert loaded is fresh
    with torch.no_grad():
        assert torch.equal(loaded.eval()(x), small(x))
    if name in ("mlp", "cnn"):
        with torch.no_grad():
            assert torch.equal(lc.load(tmp_path / "small").eval()(x), small(x))
    quantized = lc.quantize(small, activations="dynamic")
    lc.save(quantized, tmp_path / "int8")
    with torch.no_grad():
        assert torch.equal(lc.load(tmp_path / "int8", into=NETWORKS[name][0]()).eval()(x), quantized(x))


def test_a_file_that_does_not_fit_changes_nothing(tmp_path):
    net, x = make("sequential")
    lc.save(lc.prune(net, 0.5, structure="channels", calibration=x), tmp_path / "small")
    other = nn.Sequential(*list(sequential())[:-1], nn.Linear(20, 6))
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit"):
        lc.load(tmp_path / "small", into=other)
    assert all(torch.equal(other.state_dict()[k], v) for k, v in before.items())
    assert other[0].out_channels == 8
    other(x)


def test_channels_of_a_sum_go_together():
    net, x = make("residual")
    small = lc.prune(net, 0.5, structure="channels", scope="layer", calibration=x)
    assert small.stem.out_channels == small.conv2.out_channels == small.conv1.in_channels == 4
    assert small.conv3.out_channels == small.shortcut.out_channels == small.head.in_features == 8


def test_the_least_important_channels_go():
    net, x = make("sequential")
    with torch.no_grad():
        net[1].bias.fill_(0.5)  # none is always zero after ReLU, and without any gradient
        net[0].weight[[1, 4, 6]] *= 0.01
        net[1].weight[[1, 4, 6]] *= 0.01
        net[4].weight[:, [1, 4, 6]] *= 0.01
    protect = ["7"]
    small = lc.prune(net, 3 / 8, structure="channels", calibration=x, protect=protect)
    assert torch.equal(small[0].weight, net[0].weight[[0, 2, 3, 5, 7]])
    assert small[4].out_channels == 12
    y = net(x).argmax(1)
    taylor = lc.prune(net, 3 / 8, structure="channels", method="taylor", calibration=(x, y), protect=protect)
    assert torch.equal(taylor[0].weight, net[0].weight[[0, 2, 3, 5, 7]])
    chosen = [
        lc.prune(net, 0.5, structure="channels", method="random", calibration=x, random_state=k)[0].weight
        for k in (0, 0, 1)
    ]
    assert torch.equal(chosen[0], chosen[1])
    assert chosen[0].shape != chosen[2].shape or not torch.equal(chosen[0], chosen[2])


def test_an_estimator_keeps_its_type():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = np.float32(X / 16)
    model = lt.TorchClassifier(lt.MLP, module__hidden=(64, 64), max_epochs=15, random_state=0, progress=False).fit(X, y)
    small = lc.prune(model, 0.5, structure="channels", calibration=X[:500])
    assert isinstance(small, lt.TorchClassifier)
    assert lc.size_of(small) < lc.size_of(model) / 2
    assert small.score(X, y) > model.score(X, y) - 0.05
    taylor = lc.prune(model, 0.5, structure="channels", method="taylor", calibration=(X[:500], y[:500]))
    assert taylor.score(X, y) > model.score(X, y) - 0.05


def test_what_is_left_takes_over_from_the_channels_that_are_gone(monkeypatch):
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = np.float32(X / 16).reshape(-1, 1, 8, 8)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 10),
    )  # fmt: skip
    options = {"max_epochs": 10, "lr": 2e-3, "random_state": 0, "progress": False}
    model = lt.TorchClassifier(net, **options).fit(X[:1000], y[:1000])
    small = lc.prune(model, 0.5, structure="channels", scope="layer", calibration=X[:500])
    monkeypatch.setattr(lt.channels, "refit_inputs", lambda *arguments: None)
    monkeypatch.setattr(lt.channels, "reestimate_batch_norms", lambda *arguments: None)
    cut = lc.prune(model, 0.5, structure="channels", scope="layer", calibration=X[:500])
    scores = [m.score(X[1000:], y[1000:]) for m in (cut, small, model)]
    assert scores[2] > 0.9
    assert scores[2] - scores[1] < 0.5 * (scores[2] - scores[0])


class Squeezing(nn.Module):
    """The shape of the channels is written down in forward."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.second(torch.sigmoid(self.first(x)))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x)
        return self.second(x if x.sum() > 0 else -x)


class Twice(nn.Module):
    """One layer called twice, and channels that a reshape mixes."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.again(x))
        return self.last(torch.relu(self.again(x)))


def test_what_cannot_be_proved_is_refused_by_name():
    x = torch.randn(10, 6)
    with pytest.raises(lc.UnsupportedModel, match="no channel of this Squeezing can be removed: sigmoid"):
        lc.prune(Squeezing(), 0.5, structure="channels", calibration=x)
    with pytest.raises(lc.UnsupportedModel, match=r"torch\.fx cannot trace this Branching"):
        lc.prune(Branching(), 0.5, structure="channels", calibration=x)
    with pytest.raises(lc.UnsupportedModel, match="a linear estimator has no channels"):
        lc.prune(lc.LinearRegressor().fit(np.eye(3), [1, 2, 3]), 0.5, structure="channels", calibration=np.eye(3))
    with pytest.raises(lc.UnsupportedModel, match="no channel of this Linear can be removed"):
        lc.prune(nn.Linear(6, 3), 0.5, structure="channels", calibration=x)


def test_a_layer_that_is_called_twice():
    net, x = Twice().eval(), torch.randn(30, 6)
    small = lc.prune(net, 0.5, structure="channels", calibration=x)
    assert small.again.in_features == small.again.out_features == small.first.out_features == 4


def test_a_wrong_coupling_is_found_out(monkeypatch):
    """If a rule of the tracing were wrong, the comparison with the masked network would tell."""
    monkeypatch.setattr(channel_coupling, "KEEPING_FUNCTIONS", {torch.sigmoid, *channel_coupling.KEEPING_FUNCTIONS})
    with pytest.raises(lc.UnsupportedModel, match="computes something else than with zeros in their place"):
        lc.prune(Squeezing(), 0.5, structure="channels", calibration=torch.randn(10, 6))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"amount": None}, "amount is needed"),
        ({"amount": 1.0}, "amount"),
        ({"amount": -0.1}, "amount"),
        ({"method": "wanda"}, r'method for structure="channels" must be one of'),
        ({"calibration": None}, 'structure="channels" needs the inputs of the layers'),
        ({"method": "taylor"}, r"calibration=\(X, y\)"),
        ({"protect": ["20"]}, "protect names '20', which is not a layer"),
        ({"calibration": torch.zeros(0, 3, 8, 8)}, "a row or more"),
    ],
)
def test_bad_arguments(arguments, error):
    net, x = make("sequential")
    with pytest.raises(ValueError, match=error):
        lc.prune(net, **{"amount": 0.5, "structure": "channels", "calibration": x, **arguments})


def test_almost_all_channels_may_go_but_one():
    net, x = make("residual")
    small = lc.prune(net, 0.999, structure="channels", calibration=x)
    assert small.stem.out_channels == small.conv1.out_channels == small.conv3.out_channels == 1
    assert small(x).isfinite().all()
    nothing = lc.prune(net, 0.0, structure="channels", calibration=x)
    assert n_parameters(nothing) == n_parameters(net)


def test_training_modes_stay():
    net, x = make("sequential")
    net.train()
    net[1].eval()
    small = lc.prune(net, 0.5, structure="channels", calibration=x)
    assert small.training
    assert not small[1].training
    assert small[4].training


class Forward(nn.Module):
    """Two layers with what forwards have in them: a buffer, defaults, unpacking, a first operation in place."""

    def __init__(self, cell=None):
        super().__init__()
        self.register_buffer("mean", torch.full((6,), 0.1))
        self.first, self.rnn, self.last = nn.Linear(6, 8), nn.LSTM(8, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x, return_features=False, scale=2.0):
        x = x.sub_(self.mean) / scale
        features, _ = self.rnn(torch.relu(self.first(x)))
        features = features[:, -1]
        return features if return_features else self.last(features)


def test_forwards_as_people_write_them():
    net, x = Forward().eval(), torch.randn(30, 7, 6)
    given = x.clone()
    small = lc.prune(net, 0.5, structure="channels", scope="layer", calibration=x)
    assert torch.equal(x, given)  # the network writes to its input, and the rows are the caller's
    assert (small.first.out_features, small.rnn.hidden_size, small.last.in_features) == (4, 6, 6)
    assert not [name for name in vars(small) if name.startswith("_tensor_constant")]


def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
            self.e = nn.Linear(4, 2)
            self.c.weight = self.b.weight

        def forward(self, x):
            return self.e(torch.relu(self.d(torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(x)))))))))

    small = lc.prune(Tied().eval(), 0.5, structure="channels", calibration=torch.randn(20, 6))
    assert small.c.weight is small.b.weight
    assert small.b.weight.shape == (8, 8)
    assert small.d.out_features == 2


@pytest.mark.parametrize("n", [1, 2, 33, 65, 129])
def test_any_number_of_calibration_rows(n):
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.randn(n, 6)
    small = lc.prune(net, 0.5, structure="channels", calibration=x)
    if n > 1:
        hidden = small[0](x)
        torch.testing.assert_close(small[1].running_mean, hidden.mean(0), rtol=1e-3, atol=2e-2)
    assert small[1].momentum == 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    net, x = make("residual")
    small = lc.prune(net.to(dtype), 0.5, structure="channels", calibration=x)
    assert small.stem.weight.dtype == dtype
    assert small(x.to(dtype)).isfinite().all()


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_multiplier_and_a_projection_keep_their_channels():
    net = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.ReLU(), nn.Conv2d(6, 8, 1), nn.Flatten(), nn.Linear(288, 2))
    small = lc.prune(net.eval(), 0.5, structure="channels", scope="layer", calibration=torch.randn(20, 3, 8, 8))
    assert (small[0].groups, small[0].in_channels, small[0].out_channels, small[2].in_channels) == (3, 3, 3, 3)

    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rnn = nn.Linear(6, 8), nn.LSTM(8, 12, proj_size=4, batch_first=True)
            self.middle, self.last = nn.Linear(4, 10), nn.Linear(10, 2)

        def forward(self, x):
            return self.last(torch.relu(self.middle(self.rnn(torch.relu(self.first(x)))[0])))

    small = lc.prune(Projected().eval(), 0.5, structure="channels", calibration=torch.randn(20, 7, 6))
    assert (small.first.out_features, small.middle.out_features) == (8, 5)


def test_protected_layers_keep_every_bit():
    net, x = make("sequential")
    small = lc.prune(net, 0.5, structure="channels", calibration=x, protect=["4"])
    assert torch.equal(small[4].weight, net[4].weight)
    assert small[7].out_features < 20


def test_weights_that_are_computed_are_refused():
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    nn.utils.parametrizations.weight_norm(net[0])
    with pytest.raises(lc.UnsupportedModel, match=r"0\.weight is computed from other parameters"):
        lc.prune(net, 0.5, structure="channels", calibration=torch.randn(9, 6))


def test_units_of_layers_that_must_stay():
    class Open(nn.Module):
        """The outputs of the last layer are those of the network."""

        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(6, 8, num_layers=2, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    with pytest.raises(lc.UnsupportedModel, match="can be removed: the network's output; the other layers of rnn"):
        lc.prune(Open(), 0.5, structure="channels", calibration=torch.randn(9, 7, 6))


@pytest.mark.parametrize(
    "used",
    [
        lambda h, c: h.transpose(0, 1)[:, 1],
        lambda h, c: torch.relu(h)[1],
        lambda h, c: h[1:][0],
        lambda h, c: h.mean(0),
        lambda h, c: torch.cat((h, c))[0],
        lambda h, c: h[-1, torch.arange(9)],
    ],
)
def test_units_whose_last_states_are_used_together_stay(used):
    with pytest.raises(lc.UnsupportedModel, match="the last states of rnn, which are used together"):
        lc.prune(States(used), 0.5, structure="channels", calibration=torch.randn(9, 7, 6))


def test_units_of_two_layers_whose_last_states_are_added_go_together():
    net, x = States(lambda h, c: h[0] + h[1]), torch.randn(30, 7, 6)
    with torch.no_grad():
        net.rnn.weight_hh_l0[[3, 15, 27, 39]] = 9.0  # makes unit 3 of both layers matter
        net.rnn.weight_hh_l1[[3, 15, 27, 39]] = 0.0
    small = lc.prune(net, 11 / 12, structure="channels", calibration=x)
    assert small.rnn.hidden_size == 1
    torch.testing.assert_close(small.rnn.weight_ih_l1, net.rnn.weight_ih_l1[[3, 15, 27, 39]][:, [3]])


def test_networks_of_tokens_lose_units():
    net, x = lt.RNN(6, 3, hidden_size=12, n_tokens=9), torch.arange(90).view(-1, 3) % 9
    small = lc.prune(net, 0.5, structure="channels", calibration=x)
    assert small.cells.hidden_size < 12
    assert small(x).shape == (30, 3)


class Packed(nn.Module):
    """A function of a packed recurrent network, and a linear layer."""

    def __init__(self, used):
        super().__init__()
        self.rnn, self.head, self.used = nn.GRU(6, 12, batch_first=True), nn.Linear(12, 3), used

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, h = self.rnn(packed)
        return self.head(self.used(out, h))


def mean_of_padded(out, h):
    steps, lengths = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
    return steps.sum(1) / lengths[:, None]


@pytest.mark.parametrize(
    "net",
    [
        lt.RNN(6, 3, hidden_size=12),
        lt.RNN(6, 3, hidden_size=12, bidirectional=True),
        lt.RNN(6, 3, hidden_size=12, cell="gru", per_step=True),
        Packed(lambda out, h: h[0]),
        Packed(lambda out, h: nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0][:, 0]),
    ],
)
def test_networks_of_sequences_of_different_lengths_lose_units(net):
    x, lengths = torch.randn(30, 7, 6), 1 + torch.arange(30) % 7
    small = lc.prune(net, 0.5, structure="channels", calibration={"x": x, "lengths": lengths})
    recurrent = next(module for module in small.modules() if isinstance(module, nn.RNNBase))
    assert recurrent.hidden_size < 12
    assert small(x, lengths).shape == net(x, lengths).shape


@pytest.mark.parametrize("used", [mean_of_padded, lambda out, h: out.data, lambda out, h: out[0]])
def test_units_of_packed_outputs_that_are_not_known_stay(used):
    rows = {"x": torch.randn(30, 7, 6), "lengths": 1 + torch.arange(30) % 7}
    with pytest.raises(lc.UnsupportedModel, match="no channel of this Packed can be removed"):
        lc.prune(Packed(used), 0.5, structure="channels", calibration=rows)


def test_a_refused_file_leaves_an_lstm_as_it_was(tmp_path):
    net, x = make("lstm")
    lc.save(lc.prune(net, 0.5, structure="channels", calibration=x), tmp_path / "small")
    other = Recurrent(nn.LSTM).eval()
    other.head = nn.Linear(12, 4)
    with torch.no_grad():
        before = other(x)
        with pytest.raises(ValueError, match="does not fit"):
            lc.load(tmp_path / "small", into=other)
        assert torch.equal(other(x), before)


def test_a_quantized_file_fills_its_own_copy(tmp_path):
    net, x = make("mlp")
    small = lc.quantize(lc.prune(net, 0.5, structure="channels", calibration=x), activations="dynamic")
    lc.save(small, tmp_path / "small")
    loaded = lc.load(tmp_path / "small", into=copy.deepcopy(small))
    with torch.no_grad():
        assert torch.equal(loaded(x), small(x))


@pytest.mark.parametrize(
    ("path", "shapes"),
    [
        ("layers.0", {"weight": [2**40, 6], "bias": [2**40]}),
        ("layers.0", {"weight": [16, 7], "bias": [16]}),
        ("layers.0", {"weight": "16", "bias": None}),
        ("layers.0", []),
        ("layers.9", {"weight": [16, 6], "bias": [16]}),
        ("layers.1", {}),
    ],
)
def test_shapes_of_a_file_that_no_layer_had_are_refused(path, shapes, tmp_path):
    from .forged_files import forged

    net, x = make("mlp")
    lc.save(lc.prune(net, 0.5, structure="channels", calibration=x), tmp_path / "small")
    data = (tmp_path / "small").read_bytes()

    def change(manifest):
        manifest["config"]["original_shapes"] = {path: shapes}

    (tmp_path / "forged").write_bytes(forged(data, change))
    with pytest.raises(ValueError, match=r"layer|shapes|sizes|malformed|corrupt|does not fit"):
        lc.load(tmp_path / "forged")
