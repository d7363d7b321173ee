"""Helpers of the tests of the torch estimators: estimators that fit briefly, and what they have learned."""

import numpy as np
import torch

import lifecycle.torch as lt


def classifier(module=None, **kw):
    return lt.TorchClassifier(module, **{"max_epochs": 3, "random_state": 0, "progress": False, **kw})


def regressor(module=None, **kw):
    return lt.TorchRegressor(module, **{"max_epochs": 3, "random_state": 0, "progress": False, **kw})


def weights_of(estimator):
    return torch.cat([p.detach().double().ravel() for p in estimator.module_.parameters()])


def seed_of(random_state):
    """What torch's generator starts from."""
    return np.random.RandomState(random_state).randint(2**31 - 1)


def same(a, b):
    return torch.equal(weights_of(a), weights_of(b))


def losses(estimator, name="train_loss"):
    return [record[name] for record in estimator.history_]


def sequences(n=60, features=3, seed=0):
    """Noise whose mean says the class, of 3 to 12 steps."""
    rng = np.random.RandomState(seed)
    y = rng.randint(2, size=n)
    return [rng.normal(k - 0.5, 0.5, size=(rng.randint(3, 13), features)) for k in y], y
