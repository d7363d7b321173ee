"""A law: rows outside of a model's training set change no bit of it, and Newton's objective by less than tol."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

import lifecycle as lc

from .linear_models import CLASSIFICATION, REGRESSION, assert_same_bits, make_model, null_loss, objective

OTHER_VALUES = {
    "NaN": lambda rng, shape: np.full(shape, np.nan),
    "infinity": lambda rng, shape: np.full(shape, -np.inf),
    "1e300": lambda rng, shape: 1e300 * rng.choice([-1.0, 1.0], shape),
    "other units": lambda rng, shape: 1e9 * rng.randn(*shape),
    "far away": lambda rng, shape: rng.randn(*shape) + 365_243.0,
    "an integer's largest value": lambda rng, shape: np.where(rng.uniform(size=shape) < 0.2, 2147483647.0, 0.5),
    "any exponent": lambda rng, shape: rng.randn(*shape) * 10.0 ** rng.randint(-20, 90, shape),
    "zero": lambda rng, shape: np.zeros(shape),
}
SETS = {  # of 60 rows
    "folds": lambda rng: [np.setdiff1d(np.arange(60), fold) for fold in np.array_split(rng.permutation(60), 5)],
    "times": lambda rng: [np.arange(end) for end in (20, 35, 50)],
    "draws": lambda rng: [rng.choice(60, 45) for _ in range(4)],
    "a set twice and few rows": lambda rng: [np.arange(40), np.arange(40), np.arange(30, 60), np.arange(45, 52)],
}
cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "values": st.sampled_from(sorted(OTHER_VALUES)),
        "sets": st.sampled_from(sorted(SETS)),
        "rows": st.sampled_from(["all", "one"]),
        "mean": st.sampled_from([0.0, 2.0, 30.0, 1e5]),
        "dtype": st.sampled_from([np.float64, np.float32]),
        "is_sparse": st.booleans(),
        "weighted": st.booleans(),
        "n_classes": st.sampled_from([2, 3]),
        "lr": st.sampled_from([None, 1e-3]),
    }
)


def make_case(case, loss):
    """A table, its training sets, and the same table with other values in rows outside of the first of these."""
    rng = np.random.RandomState(case["seed"])
    X = rng.randn(60, 4) + case["mean"]
    if case["is_sparse"]:
        X = X * (rng.uniform(size=X.shape) < 0.4)
    y = (X - X.mean(axis=0)) @ [1.0, -2.0, 0.5, 0.0] + 0.3 * rng.randn(60)
    if loss in CLASSIFICATION:
        y = np.digitize(y, np.quantile(y, np.arange(1, case["n_classes"]) / case["n_classes"]))
    train = SETS[case["sets"]](rng)
    weights = rng.uniform(0.5, 2.0, 60) if case["weighted"] else None
    outside = np.setdiff1d(np.arange(60), train[0])
    outside = outside[:1] if case["rows"] == "one" else outside
    other_X, other_y = X.copy(), y.copy()
    with np.errstate(over="ignore"):
        other_X[outside] = OTHER_VALUES[case["values"]](rng, (len(outside), 4))
        X, other_X = (Z.astype(case["dtype"]) for Z in (X, other_X))
    if loss in REGRESSION:
        other_y[outside] = OTHER_VALUES[case["values"]](rng, (len(outside), 1))[:, 0]
    else:  # each training set keeps its classes
        other_y[outside] = rng.permutation(y[outside])
    other_weights = None if weights is None else weights.copy()
    if weights is not None:
        other_weights[outside] = 10.0 ** rng.randint(-30, 30, len(outside))
    if case["is_sparse"]:
        X, other_X = sparse.csr_array(X), sparse.csr_array(other_X)
    return train, (X, y, weights), (other_X, other_y, other_weights)


def fit_first(model, X, y, weights, train, params):
    """The models of the first training set, trained among the others; None: those that cannot be fitted."""
    sets, values = [rows for rows in train for _ in params], params * len(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            models = model.fit_many(X, y, train=sets, params=values, sample_weight=weights)
        except lc.ModelsFailed as failed:
            models = failed.models
    return models[: len(params)]


@pytest.mark.parametrize("optimizer", ["exact", "gd", "sgd", "adam"])
@given(case=cases, loss=st.sampled_from(["log_loss", "hinge", "squared_error", "huber"]),
       penalty=st.sampled_from(["l2", "l1", "elasticnet"]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_other_rows_change_no_bit(optimizer, case, loss, penalty):
    if optimizer == "exact":
        loss, penalty, case = "squared_error", "l2", {**case, "lr": None}
    if case["is_sparse"]:
        penalty = "l2"
        case = {**case, "mean": 0.0}
    if case["is_sparse"] and optimizer == "adam":
        optimizer = "gd"
    train, before, after = make_case(case, loss)
    model = make_model(loss, optimizer=optimizer, penalty=penalty, lr=case["lr"], max_iter=12, tol=1e-3, random_state=0)
    params = [{"alpha": 1e-3}, {"alpha": 0.1}]
    for one, other in zip(*(fit_first(model, *data, train, params) for data in (before, after)), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_same_bits(one, other)
            assert one.history_ == other.history_


@given(case=cases, loss=st.sampled_from(["log_loss", "squared_hinge", "squared_error", "huber"]),
       alpha=st.sampled_from([0.0, 1e-8, 1e-3, 1.0]), n_copies=st.sampled_from([1, 6]))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_other_rows_leave_newton_within_tol_of_a_fit_of_its_own_rows(case, loss, alpha, n_copies):
    train, before, after = make_case({**case, "lr": None}, loss)
    if n_copies > 1:  # enough rows for a Hessian that models share
        stack = sparse.vstack if case["is_sparse"] else np.concatenate
        train = [np.concatenate([rows + 60 * i for i in range(n_copies)]) for rows in train]
        before, after = (
            (stack([X] * n_copies).tocsr() if case["is_sparse"] else stack([X] * n_copies), np.tile(y, n_copies),
             None if weights is None else np.tile(weights, n_copies))
            for X, y, weights in (before, after)
        )  # fmt: skip
    model = make_model(loss, optimizer="newton", alpha=alpha, max_iter=200)
    X, y, weights = before
    (one,) = fit_first(model, *after, train, [{}])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = train[0]
        alone = clone(model).fit(X[rows], y[rows], None if weights is None else weights[rows])
    own = X[rows].astype(np.float64), y[rows], None, None if weights is None else weights[rows]
    values = objective(one, *own), objective(alone, *own)
    assert values[0] - values[1] <= 1.01 * model.tol * null_loss(loss, y[rows], own[3]), values
