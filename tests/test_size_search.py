"""compress(objective="bytes"): fewer channels, zeros and bits together, in which order, and on which rows."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.compression import _candidate_search
from lifecycle.compression._layer_options import OPTIONS, LayerOptions
from lifecycle.compression._plans import frontier
from lifecycle.compression._scorer import Scorer
from lifecycle.compression._search_rows import SearchRows
from lifecycle.compression._size_search import SizeSearch
from lifecycle.compression.row_losses import row_loss
from lifecycle.store.adapters import adapter_for
from lifecycle.torch.folding import folded_paths

from .networks import Untraceable

MAX_DROP = 0.03


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return np.float32(X[order] / 16).reshape(-1, 1, 8, 8), y[order]


@pytest.fixture(scope="module")
def trained(digits):
    """A wide network for an easy task: many of its channels can go."""
    X, y = digits
    net = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(384, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    return lt.TorchClassifier(net, max_epochs=12, lr=3e-3, random_state=0, progress=False).fit(X[:700], y[:700])


@pytest.fixture(scope="module")
def compressed(trained, digits):
    return lc.compress(trained, digits[0][700:], digits[1][700:], max_drop=MAX_DROP, random_state=0, progress=False)


def search_of(model, X, y):
    """The search of `compress`, before it knows a candidate."""
    rows = SearchRows(X, y, None, 0.5, 0)
    scorer = Scorer(model, None, rows.y)
    predictions = scorer.predictions(model, rows.X_search)
    loss = row_loss(None, scorer.is_classifier, rows.y_search, predictions)
    return SizeSearch(scorer.adapter.copy(model), rows, scorer, loss, predictions, None)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_a_frontier_is_ordered_and_keeps_one_that_is_as_good_as_each(points):
    best = frontier(points, lambda one: one[0], lambda one: one[1])
    assert best == sorted(set(best), reverse=True)
    assert [one[1] for one in best] == sorted({one[1] for one in best})
    assert set(best) <= set(points)
    assert all(any(b[0] <= p[0] and b[1] <= p[1] for b in best) for p in points)


def test_fewer_channels_give_fewer_bytes_than_bits_and_zeros_alone(trained, digits, compressed, monkeypatch):
    assert compressed.certificate.holds
    assert compressed.best.channels_removed > 0
    assert "% of the channels removed; " in compressed.best.description
    assert len(compressed.model.module_[5].weight) < 64
    monkeypatch.setattr(_candidate_search, "AMOUNTS", (0.0,))
    alone = lc.compress(trained, digits[0][700:], digits[1][700:], max_drop=MAX_DROP, random_state=0, progress=False)
    assert compressed.size_after < alone.size_after


def test_candidates_go_from_mild_to_strong(compressed):
    sizes, drops = zip(*((one.size, one.search_drop) for one in compressed.candidates), strict=True)
    assert list(sizes) == sorted(set(sizes), reverse=True)
    assert all(drop <= MAX_DROP for drop in drops[:-1])
    for k, drop in enumerate(drops):  # one that loses much is tested before those alone that lose more
        assert drop <= MAX_DROP / 2 or drop < min(drops[k + 1 :], default=np.inf)


def test_batch_normalizations_are_folded_and_the_result_is_stored(trained, compressed, digits, tmp_path):
    assert folded_paths(compressed.model.module_) == ["1"]
    lc.save(compressed.model, tmp_path / "small.safetensors")
    loaded = lc.load(tmp_path / "small.safetensors", into=adapter_for(trained).copy(trained))
    np.testing.assert_array_equal(loaded.predict(digits[0]), compressed.model.predict(digits[0]))
    assert lc.size_of(loaded) == compressed.size_after


def test_rows_to_certify_on_have_no_part_in_the_search(trained, digits, monkeypatch):
    monkeypatch.setattr(_candidate_search, "AMOUNTS", (0.0, 0.5))
    X, y = digits[0][700:], digits[1][700:]
    rows = SearchRows(X, y, None, 0.5, 0)
    proposed = []
    for filler in (0.0, 1.0):  # whatever the rows to certify on are, the candidates are the same
        changed, labels = X.copy(), y.copy()
        if filler:
            changed[rows.certify], labels[rows.certify] = filler, (y[rows.certify] + 1) % 10
        proposed.append(search_of(trained, changed, labels).proposals(lambda: None, MAX_DROP))
    first, second = ([one.candidate for one in found] for found in proposed)
    assert first == second
    for one, other in zip(*proposed, strict=True):
        tensors = (adapter_for(trained).tensors(found.build()).values() for found in (one, other))
        assert all(np.array_equal(a, b) for a, b in zip(*tensors, strict=True))


def test_only_options_that_no_other_surpasses_are_kept_and_give_what_they_promise(trained, digits):
    adapter, rows, name = adapter_for(trained), digits[0][:64], "7.weight"
    options = LayerOptions(adapter, trained, rows, lambda model: float(model is not trained), lambda: None)
    k = [layer.name for layer in options.layers].index(name)
    kept = [OPTIONS.index(option) for option in options.packed[name]]
    by_size = sorted(kept, key=lambda place: options.sizes[k][place])
    assert len(by_size) > 4
    assert all(a > b for a, b in pairwise(options.damages[k][by_size]))
    others = np.setdiff1d(np.arange(1, len(OPTIONS)), kept)
    assert np.isinf(options.damages[k][others]).all()
    for place in kept:
        option, model = OPTIONS[place], options.apply({name: OPTIONS[place]})
        weight = adapter.read_weight(model, name)
        assert np.mean(weight == 0) >= option.amount - 1e-9
        assert len(np.unique(weight[0])) <= 2**option.bits - 1 or option.group_size
        assert lc.size_of(trained) - lc.size_of(model) == options.sizes[k][0] - options.sizes[k][place]
    plans = options.plans(10)
    sizes = [lc.size_of(options.apply(plan)) for plan in plans]
    assert len(sizes) > 4
    assert sizes == sorted(sizes, reverse=True)
    assert all(set(options.packed[layer]) <= {plan[layer] for plan in plans} for layer in options.packed)


def test_the_damage_of_channels_that_are_gone_is_in_no_option(trained, digits):
    adapter, rows = adapter_for(trained), digits[0][:64]

    def change(model):
        before, after = (
            [adapter.read_weight(one, layer.name) for layer in adapter.layers(trained)] for one in (trained, model)
        )
        return sum(float(np.square(a - b).sum()) for a, b in zip(before, after, strict=True))

    alone, beside = (
        LayerOptions(adapter, trained, rows, lambda model, more=more: change(model) + more, lambda: None)
        for more in (0.0, 0.5)
    )
    for a, b in zip(alone.damages, beside.damages, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_network_that_cannot_be_traced_keeps_its_channels_and_says_so(digits):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Untraceable()
    X = torch.from_numpy(digits[0]) + 0.01
    result = lc.compress(net, X, net(X).argmax(1).numpy(), max_drop=0.05, random_state=0, progress=False)
    assert any(note.startswith("no channels were removed: ") for note in result.notes)
    assert "no channels were removed: " in repr(result)
