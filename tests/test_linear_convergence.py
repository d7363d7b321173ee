"""When training ends: tolerance, stalls, max_iter and divergence; and the objective of each epoch."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import lifecycle as lc

from .data import cancer, diabetes, wine
from .linear_models import by_fit_and_fit_many, kfold_rows, make_model, objective


@by_fit_and_fit_many
@pytest.mark.parametrize(("optimizer", "max_iter"), [("sgd", 1), ("sgd", 2), ("gd", 1), ("newton", 1)])
def test_a_max_iter_that_does_not_suffice_warns(optimizer, max_iter, fit):
    X, y = cancer()
    estimator = make_model("log_loss", optimizer=optimizer, max_iter=max_iter, alpha=1e-3)
    sentence = rf"LinearClassifier stopped at max_iter={max_iter} before .* increase max_iter"
    with pytest.warns(ConvergenceWarning, match=sentence):
        fit(estimator, X, y, kfold_rows(len(X)), [{}] * 3)


def test_tol_none_trains_for_max_iter_epochs_without_a_warning():
    assert lc.LinearClassifier(max_iter=2, tol=None, random_state=0).fit(*cancer()).n_iter_ == 2


def test_training_ends_with_the_fifth_stall():
    rng = np.random.RandomState(0)
    X, y = rng.randn(50, 2), rng.choice([0, 1], 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = lc.LinearClassifier(tol=1e3, n_iter_no_change=3, random_state=0).fit(X, y)
    assert model.n_iter_ == 16  # the first epoch is never without progress


def test_a_step_size_that_is_too_large_warns_where_the_loss_stays_finite_and_raises_where_it_does_not():
    with pytest.warns(ConvergenceWarning, match=r"LinearRegressor ended with a loss of .*: use a smaller lr \(lr=N"):
        lc.LinearRegressor(optimizer="gd", lr=1.0).fit(*diabetes())
    for lr in (10.0, 1e300):
        with pytest.warns(ConvergenceWarning, match=r"ended with a loss of .* by a constant: use a smaller lr"):
            lc.LinearClassifier(lr=lr, random_state=0).fit(*cancer())
    with pytest.raises(ValueError, match=r"the coefficients grew without bound in epoch 1 with lr=1: use a smaller lr"):
        lc.LinearRegressor(lr=1.0, random_state=0).fit(*diabetes())


def test_history_holds_the_objective_of_each_epoch():
    X, y = diabetes()
    model = lc.LinearRegressor(optimizer="gd", alpha=0.1, penalty="elasticnet", max_iter=7, tol=None).fit(X, y)
    before = lc.LinearRegressor(optimizer="gd", alpha=0.1, penalty="elasticnet", max_iter=6, tol=None).fit(X, y)
    assert [epoch["epoch"] for epoch in model.history_] == [1, 2, 3, 4, 5, 6, 7]
    assert model.history_[-1]["train_loss"] == pytest.approx(objective(before, X, y), rel=1e-12)
    exact = lc.LinearRegressor(optimizer="exact", alpha=0.1).fit(X, y)
    assert [epoch["train_loss"] for epoch in exact.history_] == [pytest.approx(objective(exact, X, y), rel=1e-12)]
    newton = lc.LinearClassifier("squared_hinge", optimizer="newton").fit(*wine())
    assert np.all(np.diff([epoch["train_loss"] for epoch in newton.history_]) <= 0)
