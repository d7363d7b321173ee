"""CSR matrices: the models of the dense matrix, and what would make the matrix dense."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import lifecycle as lc

from .linear_models import (
    CLASSIFICATION,
    ORDER_FREE,
    SOLVER_CASES,
    assert_close_to_largest,
    ignore_convergence,
    kfold_rows,
    make_model,
)


def mostly_zeros(n=80, p=6):
    """Features of which six in ten are zero, a column and a row of zeros among them, and three scores."""
    rng = np.random.RandomState(0)
    X = rng.randn(n, p) * (rng.uniform(size=(n, p)) < 0.4)
    X[:, 0] = X[11] = 0.0
    z = X @ rng.randn(p, 3) + 0.5 * rng.randn(n, 3)
    return X, z


@ignore_convergence
@pytest.mark.parametrize(
    ("loss", "penalty", "optimizer"),
    [
        ("log_loss", "l2", "sgd"),
        ("hinge", "l2", "sgd"),
        ("squared_error", None, "sgd"),
        *SOLVER_CASES[2:],
        ("huber", "elasticnet", "gd"),
        ("squared_hinge", "l2", "newton"),
        ("log_loss", "l1", "gd"),
    ],
)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_csr_matrix_gives_the_models_of_the_dense_matrix(loss, penalty, optimizer, classes, fit_intercept):
    X, z = mostly_zeros()
    y = z[:, :classes].argmax(axis=1) if loss in CLASSIFICATION else z[:, 0] + 2.0
    if optimizer == "sgd" and fit_intercept:
        pytest.skip("sparse features are not centred, so that the intercept takes other steps")
    if loss not in CLASSIFICATION and classes == 3:
        pytest.skip("regression has one output")
    arguments = {"penalty": penalty, "optimizer": optimizer, "fit_intercept": fit_intercept, "epsilon": 2.0}
    if optimizer == "sgd":
        arguments["lr"] = 0.05
    elif optimizer == "gd":
        arguments.update(max_iter=20_000, tol=1e-15)
    else:
        arguments.update(max_iter=500, tol=1e-14)
    estimator = make_model(loss, alpha=0.05, **arguments)
    train, params = kfold_rows(len(X)), [{"alpha": 0.05}, {"alpha": 0.2}, {"alpha": 0.5}]
    dense = estimator.fit_many(X, y, train=train, params=params, test=train)
    tolerance = 1e-10 if optimizer == "sgd" else 1e-6
    for form in (sparse.csr_array, sparse.csr_matrix, sparse.csc_array):
        models = estimator.fit_many(form(X), y, train=train, params=params, test=train)
        for model, expected in zip(models, dense, strict=True):
            assert_close_to_largest(model.coef_, expected.coef_, tolerance)
            difference = model.intercept_ - expected.intercept_
            if loss == "log_loss" and classes == 3:  # the softmax ignores a constant that is added to all classes
                difference = difference - difference.mean()
            np.testing.assert_allclose(difference, 0.0, atol=tolerance * 10)
            assert model.test_score_ == pytest.approx(expected.test_score_, rel=1e-6)
            np.testing.assert_allclose(model.predict(form(X)), expected.predict(X), rtol=1e-5, atol=1e-5)
    single = clone(estimator).set_params(alpha=0.2).fit(sparse.csr_array(X[train[1]]), y[train[1]])
    if optimizer in ORDER_FREE:
        assert_close_to_largest(single.coef_, dense[1].coef_, 1e-6)


@ignore_convergence
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"optimizer": "adam"}, r"optimizer='adam' moves every coefficient at every step"),
        ({"optimizer": lc.SGD(lr=0.1, momentum=0.9)}, r"optimizer=SGD\(.*\) moves every coefficient at every step"),
        ({"penalty": "l1"}, r"penalty='l1' is not a factor of the coefficients"),
        ({"penalty": "elasticnet"}, r"penalty='elasticnet' is not a factor of the coefficients"),
        ({"average": True}, r"average goes through all coefficients at every step"),
        ({"batch_size": 4}, r"batch_size=4 goes through all coefficients at every step"),
    ],
)
def test_what_would_make_x_dense_is_refused(arguments, reason):
    X, z = mostly_zeros()
    y = z[:, 0] > 0
    sentence = rf"^X is sparse, and {reason}, which would make it dense: use optimizer='gd', .* or X.toarray\(\)$"
    with pytest.raises(ValueError, match=sentence):
        make_model("log_loss", **arguments).fit(sparse.csr_array(X), y)
    with pytest.raises(lc.ModelsFailed) as caught:
        make_model("log_loss").fit_many(sparse.csr_array(X), y, train=kfold_rows(80, 2), params=[arguments, {}])
    assert list(caught.value.errors) == [0]
    assert np.isfinite(caught.value.models[1].coef_).all()


def test_sparse_features_that_are_not_centred_take_shorter_steps():
    rng = np.random.RandomState(0)
    X = np.ones((500, 1))
    X[::50] = 0.9
    y = 3 + 0.1 * rng.randn(500) + (X[:, 0] < 0.95)
    model = lc.LinearRegressor(optimizer="gd", alpha=0.0, tol=None, max_iter=300)
    assert model.fit(sparse.csr_matrix(X), y).score(sparse.csr_matrix(X), y) > -0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_sparse_rows_in_a_row_that_no_model_is_trained_on(dtype):
    rng = np.random.RandomState(0)
    X, y = rng.randn(5000, 6).astype(dtype), rng.randint(0, 2, 5000)
    rows = rng.choice(5000, 40, replace=False)
    rows[:2] = np.flatnonzero(y == 0)[0], np.flatnonzero(y == 1)[0]
    model = lc.LinearClassifier("hinge", alpha=3.0, lr=0.1, fit_intercept=False, max_iter=2, tol=None, random_state=0)
    dense, csr = (model.fit_many(table, y, train=[rows], params=[{}])[0] for table in (X, sparse.csr_matrix(X)))
    np.testing.assert_allclose(csr.coef_, dense.coef_, rtol=1e-4, atol=1e-7)
