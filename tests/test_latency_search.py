"""compress(objective="latency"): what becomes a candidate, in which order, and that rows stay independent."""

from itertools import cycle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.compression import _candidate_search, _latency_search
from lifecycle.compression._candidate_search import CandidateSearch
from lifecycle.compression._latency_search import _fastest, _Timed
from lifecycle.torch.quantized import QuantizedModule, layer_timing

from .networks import Untraceable

OPTIONS = {"objective": "latency", "random_state": 0, "progress": False}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return np.float32(X / 16).reshape(-1, 1, 8, 8), y


@pytest.fixture(scope="module")
def trained(digits):
    X, y = digits
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(),
        nn.Linear(32, 10),
    )  # fmt: skip
    return lt.TorchClassifier(net, max_epochs=12, lr=3e-3, random_state=0, progress=False).fit(X[:800], y[:800])


@pytest.fixture
def time_of_bytes(monkeypatch):
    """A call takes as long as the model has bytes, three times that in every other comparison, beside other work.

    All layers but the first are faster in int8.
    """
    speeds = cycle((1e-6, 3e-6))

    def seconds(calls):
        for call in calls:
            call()
        speed = next(speeds)
        sizes = [speed * lc.size_of(call.args[0]) for call in calls]
        return [(size, size, size) for size in sizes]

    monkeypatch.setattr(_latency_search, "alternating_quartiles", seconds)
    monkeypatch.setattr(_candidate_search, "AMOUNTS", (0.0, 0.125))
    monkeypatch.setattr(layer_timing, "_measured", {})
    monkeypatch.setattr(layer_timing, "measure", lambda layer, floating, arguments: _timing(arguments[0].shape[1]))


def _timing(n_channels):
    return layer_timing.Timing(2.0, 1.0) if n_channels > 1 else layer_timing.Timing(1.0, 2.0)


def test_the_frontier_has_no_model_that_another_surpasses():
    def timed(ratio, damage):
        return _Timed(None, f"{ratio}, {damage}", ratio, ratio, damage)

    found = _fastest([timed(0.5, 3.0), timed(0.96, 0.0), timed(0.7, 4.0), timed(0.6, 1.0), timed(0.9, 0.5)])
    assert [(one.ratio, one.damage) for one in found] == [(0.9, 0.5), (0.6, 1.0), (0.5, 3.0)]
    assert _fastest([timed(0.96, 0.0)]) == []


def test_channels_go_and_layers_that_are_faster_in_int8_have_static_ranges(trained, digits, time_of_bytes, monkeypatch):
    X, y = digits
    # what a network loses depends on the processor that trained it; here a smaller one loses more
    monkeypatch.setattr(CandidateSearch, "damage", lambda self, model: 1.0 / lc.size_of(model))
    result = lc.compress(trained, X[800:], y[800:], max_drop=0.03, batch_size=16, **OPTIONS)
    assert result.certificate.holds
    assert result.batch_size == 16
    assert result.best is not None
    assert result.best.times_faster == pytest.approx(result.size_before / result.size_after)
    gains = [one.times_faster for one in result.candidates]
    assert len(gains) > 2
    assert gains == sorted(gains)  # seconds of different comparisons do not compare
    assert any("channels removed" in one.description for one in result.candidates)
    int8 = [module for module in result.model.module_.modules() if isinstance(module, QuantizedModule)]
    assert int8
    assert all(module.is_static for module in int8)
    # the prediction of a row does not depend on the rows beside it
    outliers = np.concatenate([X[800:816], 1e3 * X[:4]])
    alone = result.model.predict_proba(X[800:816])
    np.testing.assert_allclose(result.model.predict_proba(outliers)[:16], alone, rtol=1e-5, atol=1e-6)
    assert "times faster for 16 rows a call" in repr(result)
    assert list(result.table[0])[:4] == ["candidate", "bytes", "milliseconds", "times faster"]
    assert result.plot().get_xlabel() == "milliseconds for 16 rows"


def test_what_cannot_be_traced_is_noted_and_nothing_faster_is_an_error(digits, time_of_bytes, monkeypatch):
    X, y = torch.from_numpy(digits[0]), digits[1]
    monkeypatch.setattr(layer_timing, "measure", lambda *_: layer_timing.Timing(1.0, 2.0))
    with pytest.raises(ValueError, match=r"no candidate is faster .* 1 rows a call; no channels were removed: "):
        lc.compress(Untraceable(), X, y, max_drop=0.05, **OPTIONS)


def test_a_network_whose_view_needs_the_order_in_memory_keeps_it(digits, time_of_bytes):
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.out = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3), nn.Linear(256, 10)

        def forward(self, x):
            x = self.second(self.first(x).relu()).relu()
            return self.out(x.view(len(x), -1))

    X, y = digits
    net = lt.TorchClassifier(Views, max_epochs=12, lr=3e-3, random_state=0, progress=False).fit(X[:800], y[:800])
    result = lc.compress(net, X[800:], y[800:], max_drop=0.03, batch_size=16, **OPTIONS)
    assert any("channels were not laid out last in memory: view size" in note for note in result.notes)
    assert any("int8" in one.description for one in result.candidates)


def test_arguments_that_do_not_fit(trained, digits):
    X, y = digits
    with pytest.raises(ValueError, match='batch_size is of the calls that are timed: it needs objective="latency"'):
        lc.compress(trained, X, y, batch_size=4)
    with pytest.raises(ValueError, match="calibration must not be X"):
        lc.compress(trained, X, y, calibration=X)
    with pytest.raises(ValueError, match="objective"):
        lc.compress(trained, X, y, objective="speed")


@pytest.fixture(scope="module")
def sequences(digits):
    """The rows of the images one after another, and an LSTM that was trained on them."""
    X, y = digits
    X = X[:, 0]
    model = lt.TorchClassifier(
        lt.RNN, module__hidden_size=32, max_epochs=25, lr=3e-3, batch_size=64, random_state=0, progress=False
    )
    return model.fit(X[:800], y[:800]), X[800:], y[800:]


def test_recurrent_networks_lose_units(sequences, time_of_bytes):
    model, X, y = sequences
    found = lc.compress(model, X, y, max_drop=0.1, **OPTIONS)
    assert found.certificate.holds
    cells = found.model.module_.cells
    assert type(cells) is nn.LSTM  # its kernel for int8 has one scale for all rows of a batch
    assert cells.hidden_size == 28


def test_recurrent_networks_have_fewer_bytes_and_each_row_a_prediction_of_its_own(sequences, tmp_path):
    model, X, y = sequences
    found = lc.compress(model, X, y, max_drop=0.05, random_state=0, progress=False)
    assert found.certificate.holds
    assert found.size_after < found.size_before / 4
    assert type(found.model.module_.cells) is nn.LSTM
    together = found.model.predict_proba(X[:50])
    one_by_one = np.concatenate([found.model.predict_proba(row[None]) for row in X[:50]])
    np.testing.assert_allclose(one_by_one, together, rtol=1e-4, atol=1e-6)
    lc.save(found.model, tmp_path / "m")
    lc.save(model, tmp_path / "before")
    assert (tmp_path / "m").stat().st_size < (tmp_path / "before").stat().st_size / 3
    np.testing.assert_array_equal(lc.load(tmp_path / "m").predict(X), found.model.predict(X))
