"""activations="auto": each layer is timed beside its floating-point one, and the faster one is taken."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.torch import intra_op_threads
from lifecycle.torch.quantized import Int4Linear, Int8Conv2d, Int8Linear, Int8LSTM, QuantizedModule, layer_timing
from lifecycle.torch.quantized.layer_timing import Timing


class Recorded:
    """Takes the place of the timer: what it was called with, and the answer that it was told to give."""

    def __init__(self, quantized=0.5):
        self.quantized, self.calls = quantized, []

    def __call__(self, layer, floating, arguments):
        assert isinstance(floating, type(layer).replaces)
        assert torch.equal(next(floating.parameters()), getattr(layer, layer.weight_names[0]))
        self.calls.append((type(layer), tuple(arguments[0].shape)))
        return Timing(1.0, self.quantized(layer) if callable(self.quantized) else self.quantized)


@pytest.fixture
def timer(monkeypatch):
    recorded = Recorded()
    monkeypatch.setattr(layer_timing, "measure", recorded)
    monkeypatch.setattr(layer_timing, "_measured", {})
    return recorded


def convolutional():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))


@pytest.mark.parametrize(("quantized", "taken"), [(0.5, True), (0.95, True), (0.96, False), (1.0, False), (2.0, False)])
def test_int8_activations_are_taken_where_they_win_clearly(timer, quantized, taken):
    timer.quantized = quantized
    small = lc.quantize(convolutional())
    assert [isinstance(m, QuantizedModule) for m in small] == [taken, False, taken]
    assert len(timer.calls) == 2
    timer.quantized = 1.0
    lc.quantize(convolutional(), activations=None)
    lc.quantize(convolutional(), activations="dynamic")
    assert len(timer.calls) == 2


def test_each_layer_is_decided_by_its_own_time_and_the_others_hold_codes(timer):
    timer.quantized = lambda layer: 0.5 if isinstance(layer, Int8Conv2d) else 2.0
    net = convolutional()
    small = lc.quantize(net)
    assert [type(m) for m in small] == [Int8Conv2d, nn.Flatten, nn.Linear]
    assert lc.size_of(small) == lc.size_of(lc.quantize(net, activations=None))
    x = torch.randn(2, 144)
    with torch.no_grad():
        assert torch.equal(small[2](x), lc.quantize(net, activations=None)[2](x))


def test_equal_layers_are_timed_once(timer, monkeypatch):
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 5))
    lc.quantize(net)
    assert len(timer.calls) == 3
    lc.quantize(net)
    assert len(timer.calls) == 3
    lc.quantize(net, batch_size=8)
    assert len(timer.calls) == 6
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    lc.quantize(net)
    assert len(timer.calls) == 9


def test_inputs_of_usual_size_are_assumed_without_calibration_rows(timer):
    net = nn.ModuleList(
        [nn.Linear(3, 2), nn.Conv1d(3, 2, 3), nn.Conv2d(4, 2, 40, groups=2), nn.Embedding(9, 2), nn.LSTM(3, 2),
         nn.GRU(3, 2, batch_first=True), nn.LSTMCell(3, 2)]
    )  # fmt: skip
    lc.quantize(net, batch_size=7)
    shapes = [shape for _, shape in timer.calls]
    assert shapes == [(7, 3), (7, 3, 128), (7, 4, 40, 40), (7, 32), (32, 7, 3), (7, 32, 3), (7, 3)]


@pytest.mark.parametrize("n_rows", [2, 20])
def test_layers_are_timed_with_the_inputs_that_they_have_on_calibration_rows(timer, n_rows):
    x = np.random.RandomState(0).rand(n_rows, 1, 8, 8)
    lc.quantize(convolutional(), batch_size=3, calibration=x)
    assert timer.calls == [(Int8Conv2d, (3, 1, 8, 8)), (Int8Linear, (3, 144))]


def test_calibration_rows_of_estimators_and_pipelines_are_theirs(timer):
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    model = lt.TorchClassifier(lt.CNN(1, 10, (8, 8), channels=(4,)), max_epochs=1, random_state=0, progress=False)
    lc.quantize(model.fit(X.reshape(-1, 1, 8, 8), y), batch_size=5, calibration=X.reshape(-1, 1, 8, 8)[:9])
    assert (Int8Conv2d, (5, 1, 8, 8)) in timer.calls
    timer.calls.clear()
    model = make_pipeline(StandardScaler(), lt.TorchClassifier(max_epochs=1, random_state=0, progress=False))
    small = lc.quantize(model.fit(X, y), batch_size=6, calibration=X[:9])
    assert timer.calls[0] == (Int8Linear, (6, 64))
    assert any(isinstance(m, Int8Linear) for m in small[-1].module_.modules())


@pytest.mark.parametrize("calibrated", [False, True])
def test_layers_of_estimators_are_timed_with_the_threads_of_predict(monkeypatch, calibrated):
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    model = lt.TorchClassifier(net, max_epochs=1, random_state=0, progress=False).fit(X, y)
    seen, before = [], torch.get_num_threads()

    def measured(*_):
        seen.append(torch.get_num_threads())
        return Timing(1.0, 1.0)

    monkeypatch.setattr(layer_timing, "measure", measured)
    monkeypatch.setattr(layer_timing, "_measured", {})
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(intra_op_threads, "MIN_MULTIPLICATIONS", 8 * 64 * 32)
        rows = {"calibration": X[:9]} if calibrated else {}
        lc.quantize(model, batch_size=8, **rows)
        lc.quantize(model, batch_size=16, **rows)
        monkeypatch.setattr(intra_op_threads, "MIN_MULTIPLICATIONS", 16 * 64 * 32)
        lc.quantize(model, batch_size=16, **rows)  # the threads are a part of what was measured once
        lc.quantize(model.module_, batch_size=8, **rows)
        assert seen == [1, 1, 2, 2, 1, 1, 2, 2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "call",
    [
        lambda cells, x, state: cells(x, state),
        lambda cells, x, state: cells(x, hx=state),
        lambda cells, x, state: cells(hx=state, input=x),
    ],
)
def test_sequences_and_states_are_those_of_the_model(timer, call):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x):
            return call(self.cells, x, (torch.ones(1, len(x), 4),) * 2)[0]

    small = lc.quantize(Last(), batch_size=2, calibration=np.zeros((5, 11, 3)))
    assert timer.calls == [(Int8LSTM, (2, 11, 3))]
    assert type(small.cells) is Int8LSTM


def test_layers_of_four_bits_are_taken_where_they_are_faster(timer, monkeypatch):
    net = nn.Sequential(nn.Linear(128, 32), nn.Linear(32, 10), nn.Linear(10, 8))
    small = lc.quantize(net, bits=4, group_size=64)
    assert [type(m) for m in small] == [Int4Linear, nn.Linear, nn.Linear]  # the kernel takes multiples of 16 outputs
    timer.quantized = 1.0
    monkeypatch.setattr(layer_timing, "_measured", {})
    assert [type(m) for m in lc.quantize(net, bits=4, group_size=64)] == [nn.Linear] * 3
    assert [type(m) for m in lc.quantize(net, bits=4, group_size=64, activations=None)] == [nn.Linear] * 3


def test_a_real_decision_is_that_of_the_measured_times(monkeypatch):
    monkeypatch.setattr(layer_timing, "_measured", {})
    threads = torch.get_num_threads()
    small = lc.quantize(nn.Linear(64, 64), batch_size=4)
    (timing,) = layer_timing._measured.values()
    assert timing.floating > 0
    assert timing.quantized > 0
    assert isinstance(small, Int8Linear) == (timing.quantized <= 0.95 * timing.floating)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("training", [True, False])
def test_layers_are_timed_in_eval_mode_and_have_their_mode_behind_it(training):
    class Recording(nn.Identity):
        modes = ()

        def forward(self, x):
            self.modes += (self.training,)
            return x

    layers = Recording().train(training), Recording().train(training)
    layer_timing.measure(*layers, (torch.ones(2),))
    for layer in layers:
        assert set(layer.modes) == {False}
        assert layer.training == training
