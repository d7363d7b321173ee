"""Rows that a model is not trained on do not change it, whatever they hold."""

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import cross_validate

import lifecycle as lc
from lifecycle.linear import base_estimator, usable_rows

from .data import cancer, diabetes
from .linear_models import (
    CLASSIFICATION,
    REGRESSION,
    SOLVER_CASES,
    assert_close_to_largest,
    assert_same_bits,
    assert_same_model,
    ignore_convergence,
    kfold_rows,
    make_model,
    null_loss,
    objective,
)


@ignore_convergence
@pytest.mark.parametrize("batch_size", ["auto", 7])
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), SOLVER_CASES)
def test_rows_outside_of_its_training_set_do_not_change_a_model(loss, penalty, optimizer, batch_size):
    if batch_size != "auto" and optimizer not in ("sgd", "adam"):
        pytest.skip("all rows at once")
    X, y = cancer() if loss in CLASSIFICATION else diabetes()
    X, y = X[:150, :5].copy(), y[:150].copy()
    trained = np.arange(150) % 3 > 0
    train = [np.flatnonzero(trained & (np.arange(150) % 4 != k)) for k in range(4)]
    estimator = make_model(loss, penalty=penalty, optimizer=optimizer, batch_size=batch_size, max_iter=100, tol=1e-6)
    params = [{"alpha": a} for a in (1e-3, 0.1, 1.0, 0.01)]
    weights = np.random.RandomState(0).uniform(0.5, 2.0, 150)
    before = estimator.fit_many(X, y, train=train, params=params, sample_weight=weights)
    rng = np.random.RandomState(3)
    X[~trained], weights[~trained] = 1e6 * rng.randn((~trained).sum(), 5), 1e3
    y[~trained] = rng.permutation(y[~trained]) if loss in CLASSIFICATION else 1e6 * rng.randn((~trained).sum())
    after = estimator.fit_many(X, y, train=train, params=params, sample_weight=weights)
    for one, other in zip(after, before, strict=True):
        if optimizer == "newton":
            assert_same_model(one, other, 1e-6)
        else:
            assert_same_bits(one, other)


@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton"])
@pytest.mark.parametrize(("dtype", "mean", "outlier"), [(np.float32, 2000.0, 1e6), (np.float64, 1e7, 1e12)])
def test_an_outlier_that_no_model_is_trained_on_changes_no_bit(optimizer, dtype, mean, outlier):
    rng = np.random.RandomState(0)
    X = (rng.randn(12_000, 100) + mean).astype(dtype)
    y = X[:, 0] + X[:, 1] - 2 * mean > rng.logistic(size=len(X))
    train = [np.arange(1, 9000), np.arange(3000, 12_000)]
    model = make_model("log_loss", optimizer=optimizer, alpha=1e-3, max_iter=3, tol=None)
    before = model.fit_many(X, y, train=train, params=[{}] * 2)
    X[0] = outlier
    for one, other in zip(before, model.fit_many(X, y, train=train, params=[{}] * 2), strict=True):
        np.testing.assert_array_equal(one.coef_, other.coef_)


@pytest.mark.parametrize("max_iter", [1, 2, 5])
def test_newton_that_stops_before_it_converges_has_not_used_held_out_rows(max_iter):
    rng = np.random.RandomState(0)
    X, y = rng.randn(200, 50), rng.randint(0, 2, 200)
    train = [train for train, _ in lc.StratifiedKFold(5).split(X, y)]
    model = lc.LinearClassifier(optimizer="newton", alpha=1e-3, max_iter=max_iter, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = model.fit_many(X, y, train=train, params=[{}] * 5)
        for k, rows in enumerate(train):
            changed = X + 5.0 * ~np.isin(np.arange(200), rows)[:, None]
            after = model.fit_many(changed, y, train=train, params=[{}] * 5)[k]
            np.testing.assert_allclose(after.coef_, before[k].coef_, rtol=1e-6, atol=1e-6)


def test_newton_that_stops_early_on_many_rows_has_not_used_held_out_rows():
    rng = np.random.RandomState(0)
    X, y = rng.randn(20_000, 4), rng.randint(0, 2, 20_000)
    train = kfold_rows(len(X), 4)
    changed = X.copy()
    changed[:5000] = 100.0 * rng.randn(5000, 4)  # the first fold's held-out rows
    model = lc.LinearClassifier(optimizer="newton", max_iter=1, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        before, after = (model.fit_many(table, y, train=train, params=[{}] * 4)[0] for table in (X, changed))
    assert before.n_iter_ == 1
    assert_close_to_largest(after.coef_, before.coef_, 1e-6)


@pytest.mark.parametrize(
    ("loss", "alpha"), [("squared_error", 1e-6), ("squared_hinge", 1e-6), ("modified_huber", 1e-4)]
)
def test_newton_with_fewer_rows_than_features_learns_nothing_of_held_out_noise(loss, alpha):
    rng = np.random.RandomState(1)
    X, y = rng.randn(120, 150), rng.randint(0, 2, 120)
    model, train = make_model(loss, optimizer="newton", alpha=alpha, max_iter=200), kfold_rows(len(X), 5)
    before = model.fit_many(X, y, train=train, params=[{}] * 5)
    for k, rows in enumerate(train):
        noise = rng.randn(*X.shape) * ~np.isin(np.arange(120), rows)[:, None]
        after = model.fit_many(X + noise, y, train=train, params=[{}] * 5)[k]
        assert_close_to_largest(after.coef_, before[k].coef_, 1e-6)


# -- the law: any value in any other row ----------------------------------------------------------------------------

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


def make_case(case, loss, scales=(1.0, 1.0, 1.0, 1.0)):
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
    X = X * scales
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


@pytest.mark.parametrize("optimizer", ["exact", "gd", "sgd", "adam", "coordinate_descent"])
@given(case=cases, loss=st.sampled_from(["log_loss", "hinge", "squared_error", "huber"]),
       penalty=st.sampled_from(["l2", "l1", "elasticnet"]),
       scales=st.sampled_from([(1.0, 1.0, 1.0, 1.0), (1e-3, 1.0, 1e3, 1.0)]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_other_rows_change_no_bit(optimizer, case, loss, penalty, scales):
    if optimizer == "exact":
        loss, penalty, case = "squared_error", "l2", {**case, "lr": None}
    if optimizer == "coordinate_descent" and loss == "hinge":
        loss = "squared_hinge"
    if case["is_sparse"]:
        penalty = "l1" if optimizer == "coordinate_descent" else "l2"
        case = {**case, "mean": 0.0}
    if case["is_sparse"] and optimizer == "adam":
        optimizer = "gd"
    train, before, after = make_case(case, loss, scales)
    model = make_model(loss, optimizer=optimizer, penalty=penalty, lr=case["lr"], max_iter=12, tol=1e-3, random_state=0)
    params = [{"alpha": 1e-3}, {"alpha": 0.1}]
    for one, other in zip(*(fit_first(model, *data, train, params) for data in (before, after)), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_same_bits(one, other)
            assert one.history_ == other.history_


# a sparse X without a penalty, whose preconditioner was damped by the largest of all rows
SPARSE_CASE = {
    "seed": 1229574641, "values": "any exponent", "sets": "folds", "rows": "all", "mean": 1e5, "dtype": np.float64,
    "is_sparse": True, "weighted": False, "n_classes": 3, "lr": None,
}  # fmt: skip


# sparse features far from zero, and a loss whose curvature jumps: the gap that is left was 2.9 times tol
FAR_CASE = {
    "seed": 425445, "values": "1e300", "sets": "a set twice and few rows", "rows": "all", "mean": 30.0,
    "dtype": np.float64, "is_sparse": True, "weighted": False, "n_classes": 3, "lr": None,
}  # fmt: skip


@example(case=SPARSE_CASE, loss="log_loss", alpha=0.0, n_copies=6)
@example(case=SPARSE_CASE, loss="squared_error", alpha=0.0, n_copies=6)
@example(case=FAR_CASE, loss="squared_hinge", alpha=1e-3, n_copies=6)
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
    # the gap is estimated where the loss has kinks in its slope: what is promised is ten times tol
    assert values[0] - values[1] <= 10 * model.tol * null_loss(loss, y[rows], own[3]), values


# -- cross-validation of tables with such rows ----------------------------------------------------------------------

LINEAR = ["exact", "newton", "coordinate_descent", "gd", "sgd", "adam"]


def regression_table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    return X, X @ [1.0, -2.0, 0.5]


def validate(optimizer, X, y, cv, function=lc.cross_validate, **more):
    tol = 1e-14 if optimizer == "newton" else 1e-4
    model = lc.LinearRegressor(optimizer=optimizer, tol=tol, random_state=0)
    return function(model, X, y, cv=cv, return_estimator=True, **more)


@ignore_convergence
@pytest.mark.parametrize("optimizer", LINEAR)
@pytest.mark.parametrize("value", [365_243.0, 2147483647.0, 1e20])
def test_a_wild_value_in_the_held_out_rows_of_a_fold_is_scored_and_moves_no_model(optimizer, value):
    X, y = regression_table()
    clean = validate(optimizer, X, y, 5)
    X[7, 0] = value  # held out by the first fold
    result = validate(optimizer, X, y, 5)
    for name in ("coef_", "intercept_"):
        np.testing.assert_allclose(*(getattr(r["estimator"][0], name) for r in (result, clean)), rtol=1e-7, atol=1e-7)
    rows = lc.KFold(5).split(X).__next__()[1]
    expected = 1.0 - (clean["estimator"][0].coef_[0] * value) ** 2 / ((y[rows] - y[rows].mean()) ** 2).sum()
    assert result["test_score"][0] == pytest.approx(expected, rel=1e-3)


@ignore_convergence
@pytest.mark.parametrize("optimizer", LINEAR)
def test_a_group_in_other_units_moves_no_model_of_the_others(optimizer):
    X, y = regression_table()
    groups = np.arange(400) // 80
    cv = [(np.flatnonzero(groups != k), np.flatnonzero(groups == k)) for k in range(5)]
    clean = validate(optimizer, X, y, cv)["estimator"][4]
    X[groups == 4] *= 1e9
    np.testing.assert_allclose(validate(optimizer, X, y, cv)["estimator"][4].coef_, clean.coef_, rtol=1e-7, atol=1e-7)


@ignore_convergence
@pytest.mark.parametrize("optimizer", LINEAR)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_rows_that_no_fold_uses_may_hold_anything(optimizer, value, is_sparse):
    if is_sparse and optimizer == "adam":
        pytest.skip("not for sparse X")
    X, y = regression_table()
    cv = [(np.arange(10, 200), np.arange(200, 400)), (np.arange(200, 400), np.arange(10, 200))]
    wrap = sparse.csr_array if is_sparse else np.asarray
    clean = validate(optimizer, wrap(X), y, cv)
    X[:10], y[:10] = value, value
    result = validate(optimizer, wrap(X), y, cv)
    for one, other in zip(result["estimator"], clean["estimator"], strict=True):
        np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(result["test_score"], clean["test_score"])


@pytest.mark.parametrize("optimizer", LINEAR)
def test_a_row_with_nan_fails_the_models_that_train_on_it_as_in_scikit_learn(optimizer):
    X, y = regression_table()
    X[7, 1] = np.nan
    cv = [(np.arange(100, 300), np.arange(300, 400)), (np.arange(100), np.arange(100, 200))]
    with pytest.warns(FitFailedWarning, match=r"Input X contains NaN in row 7: impute it"):
        result = validate(optimizer, X, y, cv)
    with pytest.warns(FitFailedWarning):
        expected = validate(optimizer, X, y, cv, cross_validate)
    np.testing.assert_array_equal(np.isnan(result["test_score"]), np.isnan(expected["test_score"]))
    assert np.isnan(result["test_score"]).tolist() == [False, True]
    with pytest.raises(ValueError, match="Input X contains NaN in row 7"):
        validate(optimizer, X, y, cv, error_score="raise")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_test_row_with_nan_is_not_scored(task):
    X, y = regression_table()
    model = (
        lc.LinearClassifier(optimizer="newton") if task == "classification" else lc.LinearRegressor(optimizer="exact")
    )
    y = np.where(np.arange(400) < 390, y > 0, 0) if task == "classification" else y
    X[390:] = np.nan
    rows = {"train": [np.arange(300)] * 2, "test": [np.arange(390, 400), np.arange(300, 390)], "params": [{}] * 2}
    with pytest.warns(UserWarning, match=r"Scoring failed.*Input X contains NaN"):
        models = model.fit_many(X, y, **rows)
    assert np.isnan(models[0].test_score_)
    assert models[1].test_score_ > 0.9


@pytest.mark.parametrize("optimizer", ["exact", "sgd", "gd"])
@pytest.mark.parametrize("weight", [1e200, 1.5e308])
def test_a_huge_weight_of_another_row_moves_no_model(optimizer, weight):
    X, y = regression_table()
    weights = np.random.RandomState(0).uniform(0.5, 2.0, 400) * 1e-30
    train, model = kfold_rows(400, 5), make_model("squared_error", optimizer=optimizer, max_iter=20)
    before = model.fit_many(X, y, train=train, params=[{}] * 5, sample_weight=weights)[0]
    weights[0] = weight  # held out by the first fold
    after = model.fit_many(X, y, train=train, params=[{}] * 5, sample_weight=weights)[0]
    np.testing.assert_allclose(after.coef_, before.coef_, rtol=1e-12)


def test_where_every_model_trains_on_nan_none_is_trained(monkeypatch):
    X, y = regression_table()
    X[:, 1] = np.nan
    monkeypatch.setattr(base_estimator, "fit_models", lambda *_: pytest.fail("models that cannot be kept are trained"))
    with pytest.raises(lc.ModelsFailed, match=r"5 of 5 models .* Input X contains NaN in row 80"):
        lc.LinearRegressor().fit_many(X, y, train=kfold_rows(400, 5), params=[{}] * 5)


def test_a_copy_of_a_large_table_is_said(monkeypatch):
    monkeypatch.setattr(usable_rows, "_LARGE", 0)
    X, y = regression_table()
    model, rows = lc.LinearRegressor(optimizer="exact"), {"train": [np.arange(10, 400)], "params": [{}]}
    y[0] = np.nan
    model.fit_many(X, y, **rows)
    X[0, 0] = np.nan
    with pytest.warns(UserWarning, match=r"X is copied .* rows such as 0 hold numbers"):
        model.fit_many(X, y, **rows)


def test_stored_numbers_of_sparse_rows_are_judged_by_themselves():
    X = sparse.csr_array((np.array([2e100, -2e100, 1.0, 1.0]), [0, 0, 1, 0], [0, 2, 3, 4]), shape=(3, 2))
    with pytest.raises(ValueError, match=r"hold a value of 2e\+100 in row 0"):
        lc.LinearRegressor(optimizer="exact").fit(X, [1.0, 2.0, 3.0])
