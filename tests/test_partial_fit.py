"""partial_fit: rows that come in parts, and what is kept between them."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import lifecycle as lc

from .data import cancer, diabetes


def in_parts(model, X, y, size=100, rounds=1, **options):
    for _ in range(rounds):
        for begin in range(0, X.shape[0], size):
            model.partial_fit(X[begin : begin + size], y[begin : begin + size], **options)
    return model


@pytest.mark.parametrize("optimizer", [lc.Adam(lr=0.01), lc.SGD(lr=0.01, momentum=0.9), lc.NAdam(lr=0.01)], ids=str)
def test_calls_with_all_rows_are_the_epochs_of_a_fit(optimizer):
    X, y = cancer()
    kind = {"optimizer": optimizer, "shuffle": False}
    whole = lc.LinearClassifier(max_iter=3, tol=None, **kind).fit(X, y)
    model = in_parts(lc.LinearClassifier(**kind), X, y, size=len(X), rounds=3, classes=[0, 1])
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-9)
    assert model.n_iter_ == 3
    assert [h["epoch"] for h in model.history_] == [1, 2, 3]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_without_a_step_size_parts_arrive_near_a_fit(optimizer, kind):
    if kind is sparse.csr_matrix and optimizer == "adam":
        pytest.skip("adam moves every coefficient at every step")
    X, y = cancer()
    model = lc.LinearClassifier(optimizer=optimizer, alpha=1e-3, random_state=0)
    in_parts(model, kind(X), y, rounds=10, classes=[0, 1])
    assert model.score(kind(X), y) > 0.97


def test_a_pickle_goes_on_with_the_same_bits_and_a_clone_begins_anew():
    X, y = diabetes()
    model = in_parts(lc.LinearRegressor(optimizer="adam", random_state=0), X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(in_parts(again, X, y).coef_, in_parts(model, X, y).coef_)
    assert not hasattr(clone(model), "coef_")


def test_another_optimizer_begins_with_a_state_of_its_own():
    X, y = diabetes()
    model = in_parts(lc.LinearRegressor(optimizer=lc.SGD(lr=0.01, momentum=0.9), shuffle=False), X, y)
    forgot = pickle.loads(pickle.dumps(model))
    forgot._stream.state = {}
    for one in (model, forgot):
        one.set_params(optimizer=lc.Adam(lr=0.01)).partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, forgot.coef_)


def test_sparse_rows_after_dense_ones_go_on_from_the_same_model():
    rng = np.random.RandomState(0)
    X = rng.randn(500, 3) + 3.0
    y = X @ [1.0, -2.0, 0.5] + 0.1 * rng.randn(500)
    model = in_parts(lc.LinearRegressor(random_state=0), X, y, rounds=5)
    assert model.score(X, y) > 0.99
    model.partial_fit(sparse.csr_matrix(X[:1]), y[:1])
    assert model.score(X, y) > 0.99


def test_a_part_that_fails_changes_nothing():
    X, y = diabetes()
    model = in_parts(lc.LinearRegressor(optimizer=lc.SGD(lr=0.01, momentum=0.9), random_state=0), X, y)
    twin = pickle.loads(pickle.dumps(model))
    with pytest.raises(ValueError, match="grew without bound"), np.errstate(all="ignore"):
        model.partial_fit(1e30 * X, y)
    np.testing.assert_array_equal(model.partial_fit(X, y).coef_, twin.partial_fit(X, y).coef_)


def test_a_file_holds_the_model_and_the_steps_begin_anew(tmp_path):
    X, y = cancer()
    model = in_parts(lc.LinearClassifier(random_state=0), X, y, classes=[0, 1])
    lc.save(model, tmp_path / "model")
    again = lc.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    again.partial_fit(X, y)


@pytest.mark.parametrize(("arguments", "call", "sentence"), [
    ({}, {}, "the first call of partial_fit needs classes=, all labels that will come"),
    ({}, {"classes": [1]}, r"there is one class only, 1: a classifier needs"),
    ({}, {"classes": [1, 2]}, r"y has the labels \[0\], which are not among the classes \[1, 2\]"),
    ({"early_stopping": True}, {"classes": [0, 1]}, "early_stopping=True needs all: leave it at False"),
    ({"class_weight": "balanced"}, {"classes": [0, 1]}, "class_weight='balanced' needs all rows"),
])  # fmt: skip
def test_what_cannot_be_served_is_said(arguments, call, sentence):
    X, y = cancer()
    with pytest.raises(ValueError, match=sentence):
        lc.LinearClassifier(**arguments).partial_fit(X, y, **call)


def test_solvers_of_all_rows_have_no_partial_fit():
    for optimizer in ("newton", "exact"):
        model = lc.LinearRegressor(optimizer=optimizer)
        assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        model.partial_fit([[1.0]], [1.0])
