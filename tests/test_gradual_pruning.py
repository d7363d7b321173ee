"""GradualPruning: the schedule of Zhu & Gupta, zeros that stay, in an estimator and in a loop of one's own."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import nn

import lifecycle.torch as lt
from lifecycle import prune

from . import data


def task():
    X, y = data.digits()
    return torch.from_numpy(np.float32(X)), torch.from_numpy(y)


def zeros(net):
    return np.mean(np.concatenate([p.detach().numpy().ravel() == 0 for p in net.parameters() if p.ndim > 1]))


@pytest.mark.parametrize("make", [lt.AdamW, lt.SGD, torch.optim.AdamW])
def test_zeros_follow_the_schedule_and_stay(make):
    X, y = task()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))
    optimizer = make(net.parameters(), lr=1e-3)
    pruning = lt.GradualPruning(0.8, begin=0.2, end=0.6, n_updates=10).attach(net, optimizer, n_steps=100)
    seen, gone = [], torch.zeros(50, 64, dtype=torch.bool)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X[:200]), y[:200]).backward()
        optimizer.step()
        now = net[0].weight == 0
        assert (now | ~gone).all()  # what is zero stays zero
        gone = now
        seen.append(zeros(net))
    assert seen[18] == 0
    for step in (24, 40, 60, 100):
        done = min((step - 20) / 40, 1.0)
        assert seen[step - 1] == pytest.approx(0.8 * (1 - (1 - done) ** 3), abs=1e-3)
    pruning.finish()
    assert zeros(net) == pytest.approx(0.8, abs=1e-3)
    optimizer.step()
    assert not optimizer._optimizer_step_post_hooks


def test_in_an_estimator_and_better_than_pruning_afterwards():
    X, y = load_digits(return_X_y=True)
    X = np.float32(X / 16)
    options = {"module": lt.MLP, "module__hidden": (64,), "max_epochs": 30, "random_state": 0, "progress": False}
    model = lt.TorchClassifier(**options, callbacks=[lt.GradualPruning(0.95)]).fit(X[:1000], y[:1000])
    assert zeros(model.module_) == pytest.approx(0.95, abs=1e-3)
    dense = lt.TorchClassifier(**options).fit(X[:1000], y[:1000])
    assert model.score(X[1000:], y[1000:]) > prune(dense, 0.95).score(X[1000:], y[1000:]) + 0.05
    again = clone(model).fit(X[:1000], y[:1000])
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    copy.deepcopy(model).predict(X)


def test_early_stopping_and_averages_keep_the_full_amount():
    X, y = load_digits(return_X_y=True)
    options = {"max_epochs": 40, "early_stopping": True, "n_iter_no_change": 2, "random_state": 0, "progress": False}
    for more in ({}, {"ema_decay": 0.9}):
        model = lt.TorchClassifier(lt.MLP, **options, **more, callbacks=[lt.GradualPruning(0.7)])
        assert zeros(model.fit(np.float32(X / 16), y).module_) == pytest.approx(0.7, abs=1e-3)


def test_scope_and_protected_layers():
    net = nn.Sequential(nn.Linear(8, 10), nn.Linear(10, 6), nn.Linear(6, 2))
    optimizer = lt.SGD(net.parameters(), lr=0.0)
    pruning = lt.GradualPruning(0.5, scope="layer", protect=["2"]).attach(net, optimizer, 1)
    net(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    pruning.finish()
    assert [int((layer.weight == 0).sum()) for layer in net] == [40, 30, 0]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 1}, "amount"),
        ({"begin": 0.5, "end": 0.4}, "end"),
        ({"method": "wanda"}, "method must be one of 'magnitude'"),
        ({"n_updates": 0}, "n_updates"),
        ({"scope": "all"}, "scope"),
    ],
)
def test_bad_arguments(arguments, error):
    with pytest.raises(ValueError, match=error):
        lt.GradualPruning(**{"amount": 0.5, **arguments})
