"""Early stopping: the rows that are held out, and the epoch that is kept."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import lifecycle as lc

from .data import cancer
from .linear_models import make_model


def noisy_digits(n):
    """Digits above 4, with every fourth label wrong, so that training for long overfits."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:n] / 16.0, y[:n] > 4
    y[::4] = ~y[::4]
    return X, y


@pytest.mark.parametrize("optimizer", ["sgd", "gd"])
def test_early_stopping_keeps_the_epoch_that_was_best_on_the_rows_held_out(optimizer):
    X, y = noisy_digits(150)
    arguments = {"optimizer": optimizer, "alpha": 0.0, "random_state": 0}
    arguments |= {"lr": 0.05} if optimizer == "sgd" else {}  # step sizes that decay depend on max_iter
    arguments |= {"early_stopping": True, "validation_fraction": 0.3}
    model = lc.LinearClassifier(max_iter=200, tol=None, **arguments).fit(X, y)
    losses = [epoch["valid_loss"] for epoch in model.history_]
    best = int(np.argmin(losses)) + 1
    assert len(losses) == model.n_iter_ == 200
    assert best < 200
    shorter = lc.LinearClassifier(max_iter=best, tol=None, **arguments).fit(X, y)
    np.testing.assert_array_equal(model.coef_, shorter.coef_)
    stopped = lc.LinearClassifier(max_iter=5000, tol=1e-3, **arguments).fit(X, y)
    assert stopped.n_iter_ < 5000


def test_the_test_score_is_that_of_the_epoch_that_is_kept():
    X, y = noisy_digits(200)
    estimator = make_model("log_loss", early_stopping=True, validation_fraction=0.3, max_iter=60, tol=None)
    masks = [np.arange(200) % 3 != k for k in range(3)]
    test = [np.flatnonzero(~mask) for mask in masks]
    models = estimator.fit_many(X, y, train=masks, params=[{"alpha": a} for a in (0.0, 1e-3, 0.1)], test=test)
    best = [int(np.argmin([epoch["valid_loss"] for epoch in model.history_])) for model in models]
    for model, rows, k in zip(models, test, best, strict=True):
        assert len(model.history_) == len(model.test_scores_) == 60
        assert model.test_score_ == model.score(X[rows], y[rows]) == model.test_scores_[k]
    assert min(best) < 50


def test_a_fraction_that_holds_out_no_row_is_refused():
    X, y = cancer()
    with pytest.raises(ValueError, match=r"early_stopping cannot set validation_fraction=0\.1 aside: With n_samples=1"):
        lc.LinearRegressor(early_stopping=True, random_state=0).fit(X, y, np.eye(len(X))[0])


def test_a_training_set_with_too_few_rows_to_hold_out_fails_without_the_others():
    X, y = np.random.RandomState(0).randn(60, 2), np.arange(60) % 2
    one_of_class_1 = np.r_[0:60:2, 1]
    estimator = lc.LinearClassifier(early_stopping=True, random_state=0)
    with pytest.raises(lc.ModelsFailed) as caught:
        estimator.fit_many(X, y, train=[np.arange(60), one_of_class_1], params=[{}, {}])
    assert list(caught.value.errors) == [1]
    assert hasattr(caught.value.models[0], "coef_")
