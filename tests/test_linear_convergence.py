"""When training ends: tolerance, stalls, max_iter and divergence; and the objective of each epoch."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_wine, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier

import lifecycle as lc
from lifecycle.linear.epochs.stopping import estimate_gap
from lifecycle.linear.learning_rate import stage_ends

from .data import cancer, diabetes, wine
from .linear_models import by_fit_and_fit_many, kfold_rows, make_model, objective


@by_fit_and_fit_many
@pytest.mark.parametrize(("optimizer", "max_iter"), [("sgd", 1), ("sgd", 2), ("gd", 1), ("newton", 1)])
def test_a_max_iter_that_does_not_suffice_warns(optimizer, max_iter, fit):
    X, y = cancer()
    estimator = make_model("log_loss", optimizer=optimizer, max_iter=max_iter, alpha=1e-3)
    sentence = rf"LinearClassifier.* stopped at max_iter={max_iter} before .* increase max_iter"
    with pytest.warns(ConvergenceWarning, match=sentence):
        fit(estimator, X, y, kfold_rows(len(X)), [{}] * 3)


def test_tol_none_trains_for_max_iter_epochs_without_a_warning():
    assert lc.LinearClassifier(max_iter=2, tol=None, random_state=0).fit(*cancer()).n_iter_ == 2


def test_training_by_batches_ends_with_the_second_stage_at_the_earliest():
    rng = np.random.RandomState(0)
    X, y = rng.randn(50, 2), rng.choice([0, 1], 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = lc.LinearClassifier(optimizer="sgd", tol=1e3, n_iter_no_change=3, random_state=0).fit(X, y)
    assert model.n_iter_ == 6


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


# -- the end of training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_sgd_ends_as_early_as_scikit_learns_with_an_objective_that_is_no_worse(loss):
    X, y = make_classification(12_000, 40, n_informative=10, flip_y=0.1, random_state=0)
    peer = SGDClassifier(loss, random_state=0).fit(X, y)
    model = lc.LinearClassifier(loss, optimizer="sgd", random_state=0).fit(X, y)
    assert model.n_iter_ <= peer.n_iter_
    assert objective(model, X, y) <= objective(peer, X, y, model)


@pytest.mark.parametrize(("order", "curve"), [(1, lambda t: 3.0 + 5.0 / t), (2, lambda t: 3.0 + 5.0 / t**2)])
def test_the_estimate_of_the_gap_is_exact_for_its_rate(order, curve):
    assert estimate_gap(curve(9) - curve(27), 9, 27, order) == pytest.approx(curve(27) - 3.0)
    assert estimate_gap(np.array(-1.0), 9, 27, order) == 0.0  # noise


@pytest.mark.parametrize(
    ("first", "max_iter", "ends"),
    [(3, 100, [3, 9, 27, 100]), (3, 20, [3, 9, 20]), (3, 6, [3, 6]), (3, 5, [5]), (5, 1, [1])],
)
def test_the_last_stage_is_at_least_half_of_all_epochs(first, max_iter, ends):
    assert stage_ends(first, max_iter) == ends


def test_the_gap_bound_of_gd_holds_and_ends_training():
    X, y = cancer()
    arguments = {"alpha": 0.1, "max_iter": 5000}
    model = lc.LinearClassifier(optimizer="gd", tol=1e-4, **arguments).fit(X, y)
    best = lc.LinearClassifier(optimizer="newton", tol=1e-12, **arguments).fit(X, y)
    assert objective(model, X, y) - objective(best, X, y) <= 1e-4 * np.log(2)
    assert model.n_iter_ < 40


# -- warnings ------------------------------------------------------------------------------------------------------


def test_a_warning_points_to_the_line_that_asked_for_the_models():
    X, y = cancer()
    estimator = lc.LinearClassifier(optimizer="sgd", max_iter=2)
    lines = {}
    for fit in (lambda: estimator.fit(X, y), lambda: estimator.fit_many(X, y, train=[np.arange(99)], params=[{}])):
        with pytest.warns(ConvergenceWarning) as caught:
            fit()
        (warning,) = caught
        assert warning.filename == __file__
        lines[fit] = warning.lineno
    assert len(set(lines.values())) == 1
    with pytest.warns(ConvergenceWarning) as caught:
        lc.GridSearchCV(estimator, {"alpha": [1e-3, 1e-2]}, cv=2).fit(X, y)
    assert {warning.filename for warning in caught} == {__file__}


def test_one_warning_names_models_by_what_differs_and_tells_what_is_left():
    X, y = cancer()
    train, params = kfold_rows(len(X), 2), [{"alpha": a, "penalty": "l2"} for a in (1e-4, 1e-3)]
    estimator = lc.LinearClassifier(optimizer="sgd", max_iter=9, tol=1e-7)
    sentence = (
        r"^4 of 4 LinearClassifiers did not converge: model 0 \(alpha=0.0001, training set 1 of 2, 284 rows\) stopped "
        r"at max_iter=9 before the loss stopped falling, with an objective about [\d.e-]+ above its minimum "
        r"\([\d.e-]+ of the loss of zero coefficients\); model 1 .*; model 2 .*; and 1 more. What helps: "
    )
    with pytest.warns(ConvergenceWarning, match=sentence) as caught:
        estimator.fit_many(X, y, train=[*train, *train], params=[params[0]] * 2 + [params[1]] * 2)
    assert len(caught) == 1


@pytest.mark.parametrize("optimizer", ["sgd", "gd"])
def test_the_column_whose_scale_makes_steps_short_is_named(optimizer):
    X, y = load_wine(return_X_y=True, as_frame=True)
    if optimizer == "gd":
        with pytest.warns(ConvergenceWarning, match=r"column 'proline' has most of the variance of all columns"):
            lc.LinearClassifier(optimizer=optimizer).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"column 12 has most of the variance of all columns"):
        lc.LinearClassifier(optimizer=optimizer).fit(sparse.csr_array(X.to_numpy()), y)
