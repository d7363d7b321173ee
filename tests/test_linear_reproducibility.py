"""The same bits from the same seed, with any number of threads."""

import numpy as np
import pytest
from sklearn.base import clone

import lifecycle as lc

from .data import cancer, diabetes
from .linear_models import (
    CLASSIFICATION,
    SOLVER_CASES,
    assert_same_bits,
    assert_same_model,
    ignore_convergence,
    kfold_rows,
    make_model,
    split_rows_into_many_chunks,
    train_small_tables_in_float32,
)


@ignore_convergence
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), SOLVER_CASES)
def test_the_number_of_threads_changes_no_bit(loss, penalty, optimizer, dtype, monkeypatch):
    if dtype == np.float32 and optimizer == "adam":
        pytest.skip("another kernel to compile, of the same code")
    train_small_tables_in_float32(monkeypatch)
    X, y = cancer() if loss in CLASSIFICATION else diabetes()
    X = X[:, :6].astype(dtype)
    train, test = kfold_rows(len(X), 5) * 8, kfold_rows(len(X), 5) * 8
    params = [{"alpha": float(a)} for a in np.logspace(-4, 0, 40)]
    max_iter = 4 if optimizer != "newton" else 100
    estimator = make_model(loss, penalty=penalty, optimizer=optimizer, max_iter=max_iter)
    one_chunk = estimator.fit_many(X, y, train=train, params=params)
    split_rows_into_many_chunks(monkeypatch)
    by_threads = []
    for n in (1, 2, 3):
        with lc.threads(n):
            by_threads.append(estimator.fit_many(X, y, train=train, params=params, test=test))
    for one, other in zip(by_threads[0], one_chunk, strict=True):
        assert_same_model(one, other, 1e-6 if dtype == np.float64 else 1e-4)
    for others in by_threads[1:]:
        for one, other in zip(by_threads[0], others, strict=True):
            assert_same_bits(one, other)
            assert one.test_score_ == other.test_score_


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(optimizer):
    X, y = cancer()
    model = lc.LinearClassifier(optimizer=optimizer, max_iter=5, tol=None, early_stopping=True, average=True)
    first = clone(model).set_params(random_state=7).fit(X, y)
    for seed in (7, np.random.RandomState(7)):
        assert_same_bits(clone(model).set_params(random_state=seed).fit(X, y), first)
    assert (clone(model).set_params(random_state=8).fit(X, y).coef_ != first.coef_).any()
    generators = [clone(model).set_params(random_state=np.random.default_rng(3)).fit(X, y).coef_ for _ in range(2)]
    np.testing.assert_array_equal(*generators)


def test_without_shuffle_the_rows_keep_their_order():
    X, y = diabetes()
    arguments = {"optimizer": "sgd", "shuffle": False, "max_iter": 3, "tol": None}
    models = [lc.LinearRegressor(random_state=seed, **arguments).fit(X, y) for seed in (1, 2)]
    np.testing.assert_array_equal(models[0].coef_, models[1].coef_)
    reversed_rows = lc.LinearRegressor(**arguments).fit(X[::-1], y[::-1])
    assert np.abs(reversed_rows.coef_ - models[0].coef_).max() > 1e-3
