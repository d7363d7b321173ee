"""Training that continues: partial_fit over chunks of rows, and fit with warm_start."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import lifecycle as lc

from .data import cancer, diabetes
from .linear_models import ignore_convergence


def fit_in_chunks(model, X, y, size=100, rounds=1, **options):
    for _ in range(rounds):
        for begin in range(0, X.shape[0], size):
            model.partial_fit(X[begin : begin + size], y[begin : begin + size], **options)
    return model


def forget_optimizer_state(model):
    """Drop the slots that partial_fit keeps between calls, a private attribute."""
    model._partial_fit_state.optimizer = {}


@pytest.mark.parametrize("optimizer", [lc.Adam(lr=0.01), lc.SGD(lr=0.01, momentum=0.9), lc.NAdam(lr=0.01)], ids=str)
def test_calls_with_all_rows_are_the_epochs_of_a_fit(optimizer):
    X, y = cancer()
    arguments = {"optimizer": optimizer, "shuffle": False}
    fitted = lc.LinearClassifier(max_iter=3, tol=None, **arguments).fit(X, y)
    model = fit_in_chunks(lc.LinearClassifier(**arguments), X, y, size=len(X), rounds=3, classes=[0, 1])
    np.testing.assert_allclose(model.coef_, fitted.coef_, rtol=1e-9)
    assert model.n_iter_ == 3
    assert [epoch["epoch"] for epoch in model.history_] == [1, 2, 3]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_without_a_step_size_chunks_come_near_a_fit(optimizer, form):
    if form is sparse.csr_matrix and optimizer == "adam":
        pytest.skip("adam moves every coefficient at every step")
    X, y = cancer()
    model = lc.LinearClassifier(optimizer=optimizer, alpha=1e-3, random_state=0)
    fit_in_chunks(model, form(X), y, rounds=10, classes=[0, 1])
    assert model.score(form(X), y) > 0.97


def test_a_pickle_continues_with_the_same_bits_and_a_clone_is_not_fitted():
    X, y = diabetes()
    model = fit_in_chunks(lc.LinearRegressor(optimizer="adam", random_state=0), X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(fit_in_chunks(again, X, y).coef_, fit_in_chunks(model, X, y).coef_)
    assert not hasattr(clone(model), "coef_")


def test_another_optimizer_starts_with_a_new_state():
    X, y = diabetes()
    model = fit_in_chunks(lc.LinearRegressor(optimizer=lc.SGD(lr=0.01, momentum=0.9), shuffle=False), X, y)
    without_state = pickle.loads(pickle.dumps(model))
    forget_optimizer_state(without_state)
    for one in (model, without_state):
        one.set_params(optimizer=lc.Adam(lr=0.01)).partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, without_state.coef_)


def test_sparse_rows_after_dense_rows_continue_from_the_same_model():
    rng = np.random.RandomState(0)
    X = rng.randn(500, 3) + 3.0
    y = X @ [1.0, -2.0, 0.5] + 0.1 * rng.randn(500)
    model = fit_in_chunks(lc.LinearRegressor(random_state=0), X, y, rounds=5)
    assert model.score(X, y) > 0.99
    model.partial_fit(sparse.csr_matrix(X[:1]), y[:1])
    assert model.score(X, y) > 0.99


def test_a_call_that_fails_changes_nothing():
    X, y = diabetes()
    model = fit_in_chunks(lc.LinearRegressor(optimizer=lc.SGD(lr=0.01, momentum=0.9), random_state=0), X, y)
    copy = pickle.loads(pickle.dumps(model))
    with pytest.raises(ValueError, match="grew without bound"), np.errstate(all="ignore"):
        model.partial_fit(1e30 * X, y)
    np.testing.assert_array_equal(model.partial_fit(X, y).coef_, copy.partial_fit(X, y).coef_)


def test_a_loaded_model_predicts_the_same_and_starts_with_a_new_state(tmp_path):
    X, y = cancer()
    model = fit_in_chunks(lc.LinearClassifier(random_state=0), X, y, classes=[0, 1])
    lc.save(model, tmp_path / "model")
    again = lc.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    again.partial_fit(X, y)


@pytest.mark.parametrize(
    ("arguments", "call", "sentence"),
    [
        ({}, {}, "the first call of partial_fit needs classes=, all labels that will come"),
        ({}, {"classes": [1]}, r"there is one class only, 1: a classifier needs"),
        ({}, {"classes": [1, 2]}, r"y has the labels \[0\], which are not among the classes \[1, 2\]"),
        ({"early_stopping": True}, {"classes": [0, 1]}, "early_stopping=True needs all: leave it at False"),
        ({"class_weight": "balanced"}, {"classes": [0, 1]}, "class_weight='balanced' needs all rows"),
        ({"class_weight": "even"}, {"classes": [0, 1]}, "class_weight must be one of 'balanced', None; got 'even'"),
    ],
)
def test_invalid_arguments_of_partial_fit_raise(arguments, call, sentence):
    X, y = cancer()
    with pytest.raises(ValueError, match=sentence):
        lc.LinearClassifier(**arguments).partial_fit(X, y, **call)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("class_weight", "sentence"),
    [
        ({"a": -5.0}, r"finite weights >= 0; the one of 'a' is -5\.0"),
        ({"a": np.nan}, "finite weights >= 0; the one of 'a' is nan"),
        ({"a": "2"}, "finite weights >= 0; the one of 'a' is '2'"),
        (
            {"a": 1.0, "B": 2.0},
            r"weights of \['B'\], which are not among the classes .*, and none of \['b'\]",
        ),
        ({"a": 0.0, "b": 0.0}, "all sample weights are zero"),
        ({"a": 0.0, "b": 1.0}, "only the class 'b' has a weight above zero"),
        (3.0, "class_weight must be 'balanced', a dict or None"),
    ],
)
def test_partial_fit_checks_class_weights_as_fit_does(method, class_weight, sentence):
    X, y = cancer()
    labels = np.array(["a", "b"])[y.astype(int)]
    model = lc.LinearClassifier(class_weight=class_weight, optimizer="sgd")
    with pytest.raises(ValueError, match=sentence):
        getattr(model, method)(X, labels, **({"classes": ["a", "b"]} if method == "partial_fit" else {}))
    assert not hasattr(model, "coef_")


def test_solvers_that_need_all_rows_have_no_partial_fit():
    for optimizer in ("newton", "exact"):
        model = lc.LinearRegressor(optimizer=optimizer)
        assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        model.partial_fit([[1.0]], [1.0])


@ignore_convergence
def test_warm_start_continues_from_the_last_fit():
    X, y = cancer()
    X = X + 2.0  # so that the intercept of the centred features is another
    arguments = {"optimizer": "gd", "lr": 0.3, "tol": None}  # without lr there is momentum, which starts at zero
    uninterrupted = lc.LinearClassifier(max_iter=40, **arguments).fit(X, y)
    halves = lc.LinearClassifier(max_iter=20, warm_start=True, **arguments).fit(X, y)
    first = halves.coef_.copy()
    halves.fit(X, y)
    np.testing.assert_allclose(halves.coef_, uninterrupted.coef_, rtol=1e-9)
    assert np.abs(first - uninterrupted.coef_).max() > 0.01
    cold = lc.LinearClassifier(max_iter=20, **arguments).fit(X, y)
    np.testing.assert_array_equal(cold.fit(X, y).coef_, first)
    converged = lc.LinearClassifier(optimizer="newton", warm_start=True, tol=1e-10).fit(X, y)
    assert converged.n_iter_ > 3
    assert converged.fit(X, y).n_iter_ <= 1
    with pytest.raises(ValueError, match=r"warm_start: y has the classes \[0, 2\], the last fit had \[0, 1\]; fit a"):
        halves.fit(X, 2 * y)
