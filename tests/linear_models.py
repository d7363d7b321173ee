"""What the tests of linear models share: making, fitting and comparing models, and their objective."""

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.base import clone

import lifecycle as lc
from lifecycle.linear import objective as linear_objective
from lifecycle.linear import training
from lifecycle.losses import find_loss, list_losses
from lifecycle.penalties import find_penalty

LOSSES = list_losses()
CLASSIFICATION = [name for name, loss in LOSSES.items() if loss.task == "classification"]
REGRESSION = [name for name, loss in LOSSES.items() if loss.task == "regression"]
ORDER_FREE = (
    "gd",
    "newton",
    "exact",
    "coordinate_descent",
)  # optimizers whose steps do not depend on the order of the rows
SOLVER_CASES = [  # (loss, penalty, optimizer), each with code of its own
    ("log_loss", "l2", "sgd"),
    ("log_loss", "elasticnet", "adam"),
    ("squared_error", "l1", "gd"),
    ("log_loss", "l2", "gd"),
    ("log_loss", "l2", "newton"),
    ("squared_error", "l2", "exact"),
    ("log_loss", "l1", "coordinate_descent"),
    ("squared_error", "elasticnet", "coordinate_descent"),
]
ignore_convergence = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# -- private names of the library that several files replace --------------------------------------------------------


def train_small_tables_in_float32(monkeypatch):
    """Small float32 tables are otherwise trained in float64."""
    monkeypatch.setattr(training, "_SMALL_TABLE", 0)


def split_rows_into_many_chunks(monkeypatch):
    """Chunks of full-batch losses hold 64 elements of X."""
    monkeypatch.setattr(linear_objective, "_CHUNK_ELEMENTS", 64)


# -- models ---------------------------------------------------------------------------------------------------------


def make_model(loss, **arguments):
    """The estimator of the loss, with a seed and few epochs of "sgd" unless `arguments` say otherwise."""
    arguments = {"optimizer": "sgd", "random_state": 0, "max_iter": 5, **arguments}
    return (lc.LinearClassifier if loss in CLASSIFICATION else lc.LinearRegressor)(loss, **arguments)


def kfold_rows(n, k=3):
    """Training rows of each fold."""
    return [train for train, _ in lc.KFold(k).split(np.zeros(n))]


def fit_each(estimator, X, y, train, params, sample_weight=None):
    """One call of `fit` for each model, with the training rows only."""
    models = []
    for rows, changes in zip(train, params, strict=True):
        weights = None if sample_weight is None else sample_weight[rows]
        models.append(clone(estimator).set_params(**changes).fit(X[rows], y[rows], weights))
    return models


def fit_together(estimator, X, y, train, params, sample_weight=None):
    """One call of `fit_many` for all models."""
    return estimator.fit_many(X, y, train=train, params=params, sample_weight=sample_weight)


by_fit_and_fit_many = pytest.mark.parametrize("fit", [fit_each, fit_together], ids=["fit", "fit_many"])


# -- comparisons ----------------------------------------------------------------------------------------------------


def assert_same_model(model, expected, tolerance, smallest_unit=1e-3):
    """Coefficients and intercepts agree, relative to the largest of them, or to `smallest_unit` if that is larger."""
    unit = max(np.abs(expected.coef_).max(), np.abs(expected.intercept_).max(), smallest_unit)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=tolerance * unit)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=0, atol=tolerance * unit)
    if model.solver_ != "newton":  # rounding decides whether newton's last step is made
        assert model.n_iter_ == expected.n_iter_
        for name in expected.history_[-1]:
            curves = ([epoch[name] for epoch in m.history_] for m in (model, expected))
            np.testing.assert_allclose(*curves, rtol=max(tolerance, 1e-6), atol=tolerance)


def assert_same_bits(model, expected):
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.intercept_, expected.intercept_)
    assert model.history_ == expected.history_


def assert_close_to_largest(actual, expected, tolerance):
    """Arrays agree, relative to the largest element."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# -- the objective --------------------------------------------------------------------------------------------------


def signed_targets(codes, z):
    """(n, outputs) targets ±1 for the scores z of classes 0, 1, …"""
    return np.where(codes[:, None] == (np.arange(z.shape[1]) if z.shape[1] > 1 else 1), 1.0, -1.0)


def objective(model, X, y, params=None, sample_weight=None):
    """Mean loss + alpha * penalty of any fitted linear model; `params`: the estimator that holds loss and penalty."""
    params = params or model
    z = X @ np.atleast_2d(model.coef_).T + model.intercept_
    loss, penalty = LOSSES[params.loss], find_penalty(params.penalty)
    if loss.task == "regression":
        losses = loss.value(y, z[:, 0], params.epsilon)
    else:
        codes = np.searchsorted(model.classes_, y)
        if params.loss == "log_loss" and z.shape[1] > 1:
            losses = logsumexp(z, axis=1) - z[np.arange(len(y)), codes]
        else:
            losses = loss.value(signed_targets(codes, z), z, params.epsilon).sum(axis=1)
    mean_loss = np.average(losses, weights=sample_weight)
    return mean_loss + params.alpha * penalty.value(model.coef_, params.l1_ratio).sum()


def null_loss(loss, y, sample_weight=None):
    """The loss of zero scores, or for regression of the mean of y: the unit of tol."""
    if loss in REGRESSION:
        mean = np.average(y, weights=sample_weight)
        return np.average(find_loss(loss, "regression").value(y, mean, 0.1), weights=sample_weight)
    n_classes = len(np.unique(y))
    if loss == "log_loss":
        return np.log(n_classes)
    return float(n_classes if n_classes > 2 else 1)
