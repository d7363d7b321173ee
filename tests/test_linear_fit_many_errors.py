"""fit_many: what its arguments must be, models that fail beside others, and the callback."""

import threading

import numpy as np
import pytest

import lifecycle as lc

from .data import cancer, diabetes
from .linear_models import assert_same_model, ignore_convergence, kfold_rows, make_model


def test_the_numbers_of_training_sets_test_sets_and_params_must_agree():
    X, y = cancer()
    rows = np.arange(len(X))
    estimator = make_model("log_loss")
    with pytest.raises(ValueError, match=r"train has rows for 1 models, params are of 2: one for each"):
        estimator.fit_many(X, y, train=[rows], params=[{}, {}])
    with pytest.raises(ValueError, match=r"test has rows for 3 models, params are of 1: one for each"):
        estimator.fit_many(X, y, train=[rows], params=[{}], test=[rows] * 3)
    with pytest.raises(
        lc.ModelsFailed, match=r"a mask of rows must have as many elements as X has rows, 569; it has 3"
    ):
        estimator.fit_many(X, y, train=[np.ones(3, bool)], params=[{}])
    with pytest.raises(ValueError, match="Invalid parameter 'beta'"):
        estimator.fit_many(X, y, train=[rows], params=[{"beta": 1}])
    assert estimator.fit_many(X, y, train=[], params=[]) == []


@ignore_convergence
def test_models_that_cannot_be_fitted_are_named_and_the_others_are_fitted():
    X, y = cancer()
    rows = np.arange(len(X))
    train = [rows, rows, rows[y == 1], rows, rows[:0], np.array([0, 569]), rows[::2], rows % 2]
    params = [{}, {"alpha": -1.0}, {}, {"alpha": "1"}, {}, {}, {"alpha": 0.1}, {}]
    sentences = {
        1: r"alpha must be a finite number >= 0.0; got -1.0",
        2: r"y has one class only, 1: a classifier needs at least two classes",
        3: r"alpha must be a number >= 0.0; got '1'",
        4: r"there is no row to train on",
        5: r"rows must be numbers of rows of X, from 0 to 568, or a mask of dtype bool; got 0 to 569",
        7: r"rows are 569 zeros and ones, as in a mask, but a mask must be of dtype bool; got int64",
    }
    estimator = make_model("log_loss", max_iter=20, tol=None)
    test = [rows[:50]] * 8
    with pytest.raises(lc.ModelsFailed, match=r"^6 of 8 models could not be fitted; model 1: alpha must be") as caught:
        estimator.fit_many(X, y, train=train, params=params, test=test)
    assert isinstance(caught.value, ValueError)
    assert sorted(caught.value.errors) == [1, 2, 3, 4, 5, 7]
    for i, sentence in sentences.items():
        with pytest.raises((ValueError, TypeError), match=sentence):
            raise caught.value.errors[i]
        assert caught.value.models[i] is None
    for params_of_one in ({"alpha": 0.1}, ["alpha"]):
        with pytest.raises(TypeError, match="params must be a list of dicts, one a model"):
            estimator.fit_many(X, y, train=train[:1], params=params_of_one)
    for i in (0, 6):
        (alone,) = estimator.fit_many(X, y, train=[train[i]], params=[params[i]], test=[test[i]])
        assert_same_model(caught.value.models[i], alone, 1e-9)
        assert caught.value.models[i].test_score_ == alone.test_score_


@ignore_convergence
@pytest.mark.parametrize(("optimizer", "batch_size"), [("gd", "auto"), ("sgd", "auto"), ("sgd", 7)])
def test_a_model_that_diverges_leaves_the_others_as_they_are(optimizer, batch_size):
    X, y = diabetes()
    estimator = make_model("squared_error", penalty="l1", optimizer=optimizer, batch_size=batch_size, tol=None)
    if batch_size == 7:
        estimator.set_params(loss="huber", penalty="l2", optimizer=lc.SGD(lr=0.01, momentum=0.5), max_iter=50)
        params = [{"optimizer": lc.SGD(lr=lr, momentum=0.5)} for lr in (1e-3, 1e300, 2e-3)]
        params[1]["alpha"] = 1e200
    else:
        estimator.set_params(max_iter=400)
        params = [{"lr": lr} for lr in (1e-3, 1e3, 2e-3)]
    train, sentence = kfold_rows(len(X)), r"^1 of 3 models could not be fitted; model 1: the coefficients grew"
    with pytest.raises(lc.ModelsFailed, match=sentence) as caught:
        estimator.fit_many(X, y, train=train, params=params, test=train)
    assert list(caught.value.errors) == [1]
    assert "grew without bound in epoch " in str(caught.value.errors[1])
    for i in (0, 2):
        (alone,) = estimator.fit_many(X, y, train=[train[i]], params=[params[i]])
        assert_same_model(caught.value.models[i], alone, 1e-9)
        assert len(caught.value.models[i].test_scores_) == estimator.max_iter


@ignore_convergence
@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton"])
def test_the_callback_is_called_in_the_calling_thread_with_the_number_of_finished_models(optimizer):
    X, y = cancer()
    train, calls = kfold_rows(len(X)), []
    estimator = make_model("log_loss", optimizer=optimizer, max_iter=20, tol=1e-3)

    def record(done, n_models):
        calls.append((done, n_models, threading.get_ident()))

    estimator.fit_many(X, y, train=train, params=[{"alpha": a} for a in (0.01, 0.1, 1.0)], callback=record)
    assert calls
    assert {n_models for _, n_models, _ in calls} == {3}
    assert {thread for *_, thread in calls} == {threading.get_ident()}
    done = [d for d, *_ in calls]
    assert done == sorted(done)
    assert done[-1] == 3
    calls.clear()  # models of two kinds are not trained in one pass
    estimator.fit_many(X, y, train=train, params=[{}, {"fit_intercept": False}, {}], callback=record)
    done = [d for d, *_ in calls]
    assert done == sorted(done)
    assert done[-1] == 3

    def stop(done, n_models):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimator.fit_many(X, y, train=train, params=[{}] * 3, callback=stop)
