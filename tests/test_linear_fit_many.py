"""fit_many gives the models that fit gives one by one, whichever other models are trained in the same pass."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import lifecycle as lc

from .data import cancer, diabetes, digits, wine
from .linear_models import (
    CLASSIFICATION,
    ORDER_FREE,
    assert_close_to_largest,
    assert_same_model,
    fit_together,
    ignore_convergence,
    kfold_rows,
    make_model,
    train_small_tables_in_float32,
)

few_examples = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))

# -- many = one by one ----------------------------------------------------------------------------------------------
# huber and epsilon_insensitive with sgd and lr=None are left out: their steps are so long that rounding grows from
# step to step, in a model that is trained alone as well.

COMBINATIONS = [
    ("log_loss", "l2", "sgd"),
    ("hinge", "elasticnet", "sgd"),
    ("squared_error", "l1", "sgd"),
    ("log_loss", "elasticnet", "adam"),
    ("huber", "l2", "momentum"),
    ("squared_hinge", None, "nadam"),
    ("log_loss", "l2", "gd"),
    ("squared_error", "l1", "gd"),
    ("perceptron", "elasticnet", "gd"),
    ("huber", None, "gd"),
    ("log_loss", "l2", "newton"),
    ("squared_hinge", "l2", "newton"),
    ("huber", "l2", "newton"),
    ("squared_error", None, "newton"),
    ("squared_error", "l2", "exact"),
    ("squared_error", None, "exact"),
]
SINGLE_ROW_STEPS = ("hinge", "squared_error")  # with sgd; the kernel of batches is compiled for log_loss


@st.composite
def problems(draw, loss, optimizer):
    """(estimator, X, y, sample weights or None, training sets, params)"""
    rng = np.random.RandomState(draw(st.integers(0, 2**31)))
    n, p = draw(st.integers(24, 60)), draw(st.integers(1, 5))
    X = rng.randn(n, p) * rng.uniform(0.5, 2.0, p) + rng.randn(p)
    n_classes = 2 if optimizer == "adam" else draw(st.sampled_from([2, 3]))
    z = X @ rng.randn(p, n_classes) + rng.randn(n, n_classes)
    if loss in CLASSIFICATION:
        y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
        y[: 4 * n_classes] = np.arange(4 * n_classes) % n_classes
        first = np.arange(4 * n_classes)  # in all training sets: a class that is missing makes another model
    else:
        y, first = z[:, 0] * 3.0 + 5.0, np.arange(8)
    sets = []
    for kind in draw(st.lists(st.sampled_from(["fold", "mask", "repeated"]), min_size=1, max_size=3)):
        if kind == "fold":
            held_out = np.arange(len(first) + rng.randint(3), n, rng.randint(2, 6))
            sets.append(np.setdiff1d(np.arange(n), held_out))
        elif kind == "mask":
            sets.append(np.union1d(first, np.flatnonzero(rng.uniform(size=n) < 0.5)))
        else:
            sets.append(np.sort(np.concatenate([first, rng.randint(0, n, n)])))
    # where the classes have equal weights the first gradient of the intercept is zero up to rounding; a rule that
    # divides by the size of the gradient makes a step of that rounding, and so does a loss whose derivative jumps at 0
    amplifies_rounding = optimizer in ("adam", "nadam") or loss == "perceptron"
    arguments = {
        "fit_intercept": draw(st.booleans()),
        "max_iter": 500 if optimizer == "newton" else draw(st.integers(1, 6)),
        "tol": draw(st.sampled_from([None, 1e-4, 1e-2])) if optimizer != "newton" else 1e-14,
        "n_iter_no_change": draw(st.integers(1, 5)),
        "epsilon": draw(st.sampled_from([0.1, 1.0])) if optimizer != "newton" else 5.0,
        "l1_ratio": 0.4,
    }
    if loss in CLASSIFICATION:
        class_weights = [None, {0: 2.0}] if amplifies_rounding else [None, {0: 2.0}, "balanced"]
        arguments["class_weight"] = draw(st.sampled_from(class_weights))
    if optimizer not in ("newton", "exact"):
        arguments["early_stopping"] = draw(st.booleans())
        arguments["validation_fraction"] = 0.3
        arguments["average"] = draw(st.sampled_from([False, True])) and loss not in SINGLE_ROW_STEPS
    params, n_points = [], draw(st.integers(1, 4))
    for _ in range(n_points * len(sets)):
        point = {"alpha": float(rng.choice([1e-4, 1e-2, 0.5] if optimizer != "newton" else [1e-2, 0.5]))}
        if optimizer == "momentum":
            point["optimizer"] = lc.SGD(lr=float(rng.uniform(1e-3, 2e-2)), momentum=float(rng.uniform(0.1, 0.9)))
        elif optimizer == "nadam":
            point["optimizer"] = lc.NAdam(lr=float(rng.uniform(1e-3, 0.1)), betas=(0.8, float(rng.uniform(0.9, 0.99))))
        else:
            point["optimizer"] = optimizer
        if optimizer == "gd" and draw(st.booleans()):
            point["lr"] = 0.01
        params.append(point)
    if optimizer not in ORDER_FREE:
        arguments["batch_size"] = "auto" if loss in SINGLE_ROW_STEPS else draw(st.sampled_from(["auto", 1, 7]))
        arguments["shuffle"] = draw(st.booleans())
    weights = rng.uniform(0.1, 3.0, n) if amplifies_rounding or draw(st.booleans()) else None
    return make_model(loss, **arguments), X, y, weights, [sets[k % len(sets)] for k in range(len(params))], params


def check_one_by_one(estimator, X, y, weights, train, params, tolerance, smallest_unit=1e-3):
    """The models of fit_many are those of a fit_many with one of them, and those of fit; returns them."""
    models = fit_together(estimator, X, y, train, params, weights)
    for i, (model, rows, point) in enumerate(zip(models, train, params, strict=True)):
        assert model.get_params()["alpha"] == point["alpha"]
        if i < 3:
            (alone,) = fit_together(estimator, X, y, [rows], [point], weights)
            assert_same_model(alone, model, tolerance, smallest_unit)
        single = clone(estimator).set_params(**point)
        if point["optimizer"] in ORDER_FREE:
            if single.early_stopping and len(np.unique(rows)) < len(rows):
                continue  # fit may hold out one copy of a repeated row, fit_many holds out all of them or none
            single.fit(X[rows], y[rows], None if weights is None else weights[rows])
        else:
            counts = np.bincount(rows, minlength=len(y)).astype(float)
            single.fit(X, y, counts if weights is None else counts * weights)
        assert_same_model(single, model, tolerance, smallest_unit)
    return models


@ignore_convergence
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), COMBINATIONS)
def test_many_models_equal_models_fitted_one_by_one(loss, penalty, optimizer):
    @given(problems(loss, optimizer))
    @few_examples
    def law(problem):
        estimator, *data = problem
        check_one_by_one(estimator.set_params(penalty=penalty), *data, tolerance=1e-6)

    law()


@ignore_convergence
@pytest.mark.parametrize(
    ("loss", "penalty", "optimizer"),
    [("hinge", "elasticnet", "sgd"), ("log_loss", "l2", "gd"), ("squared_error", "l2", "exact")],
)
def test_many_models_equal_models_fitted_one_by_one_in_float32(loss, penalty, optimizer, monkeypatch):
    train_small_tables_in_float32(monkeypatch)
    # steps of single rows, of a tenth or more, are rounded on the way, however small the final coefficient is
    smallest_unit = 0.1 if optimizer == "sgd" else 1e-3

    @given(problems(loss, optimizer))
    @few_examples
    def law(problem):
        estimator, X, y, weights, train, params = problem
        estimator.set_params(penalty=penalty, tol=None if optimizer == "sgd" else estimator.tol)
        X = X.astype(np.float32)
        models = check_one_by_one(estimator, X, y, weights, train, params, 1e-4, smallest_unit)
        doubles = fit_together(estimator, X.astype(np.float64), y, train, params, weights)
        for model, double in zip(models, doubles, strict=True):
            assert_same_model(model, double, 1e-4, smallest_unit)

    law()


# -- which models share a pass --------------------------------------------------------------------------------------


def test_models_that_differ_in_more_than_numbers_are_trained_in_passes_of_their_own():
    X, y = wine()
    params = [
        {"optimizer": "newton", "alpha": 0.1},
        {"loss": "hinge", "penalty": "elasticnet"},
        {"alpha": 0.1},
        {},
        {"random_state": 5},
        {"fit_intercept": False},
        {"max_iter": 3},
        {"optimizer": "gd", "lr": 0.1},
        {"optimizer": "newton", "class_weight": "balanced"},
        {"class_weight": "balanced"},
    ]
    folds = kfold_rows(len(X))
    estimator, train = make_model("log_loss", tol=None), [folds[i % 3] for i in range(len(params))]
    for i, model in enumerate(estimator.fit_many(X, y, train=train, params=params)):
        (alone,) = estimator.fit_many(X, y, train=[train[i]], params=[params[i]])
        assert_same_model(model, alone, 1e-9)
        assert model.get_params() == clone(estimator).set_params(**params[i]).get_params()
    assert not hasattr(estimator, "coef_")


@ignore_convergence
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_more_classes_than_a_block_holds(loss):
    rng = np.random.RandomState(0)
    y = np.arange(280) % 70
    X = rng.randn(70, 4)[y] * 2 + rng.randn(280, 4)
    estimator = make_model(loss, max_iter=3, penalty="l2" if loss == "log_loss" else "elasticnet")
    train = [np.arange(280) % 4 != 0, np.arange(280) >= 70]
    models = estimator.fit_many(X, y, train=train, params=[{"alpha": 1e-3}, {"alpha": 1e-2}])
    for model, mask, alpha in zip(models, train, (1e-3, 1e-2), strict=True):
        single = clone(estimator).set_params(alpha=alpha)
        if len(np.unique(y[mask])) == 70:
            assert_same_model(single.fit(X, y, mask.astype(float)), model, 1e-6)
        assert model.coef_.shape == (len(np.unique(y[mask])), 4)


@ignore_convergence
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_models", [31, 33, 70])
def test_more_models_than_a_block_holds(n_models, dtype, monkeypatch):
    train_small_tables_in_float32(monkeypatch)
    X, y = cancer()
    X, y = X[:90, :4].astype(dtype), y[:90]
    train = [np.delete(np.arange(90), np.arange(k % 7, 90, 7)) for k in range(n_models)]
    params = [{"alpha": float(a)} for a in np.logspace(-5, 0, n_models)]
    estimator = make_model("log_loss", max_iter=4)
    models = estimator.fit_many(X, y, train=train, params=params)
    for i in range(0, n_models, 6):
        (alone,) = estimator.fit_many(X, y, train=[train[i]], params=[params[i]])
        assert_same_model(alone, models[i], 1e-6 if dtype == np.float64 else 1e-4)
    assert len({m.coef_.tobytes() for m in models}) == n_models


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("data", [wine, digits])  # 3 and 10 classes: the models do not fill a block
def test_models_of_several_classes_equal_one_model_with_single_row_steps(data, penalty):
    X, y = data()
    X, y = X[:600], y[:600]
    masks = [np.arange(len(X)) % 4 != k for k in range(4)]
    estimator = make_model("log_loss", penalty=penalty, optimizer="sgd", alpha=1e-3, max_iter=3, tol=None)
    models = estimator.fit_many(X, y, train=masks, params=[{}] * 4)
    for mask, model in zip(masks, models, strict=True):
        single = clone(estimator).fit(X, y, sample_weight=mask.astype(float))
        assert_close_to_largest(model.coef_, single.coef_, 1e-9)
        np.testing.assert_allclose(model.intercept_, single.intercept_, rtol=0, atol=1e-9)
        np.testing.assert_allclose(model.history_[-1]["train_loss"], single.history_[-1]["train_loss"], rtol=1e-9)


@ignore_convergence
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
@pytest.mark.parametrize("lr", [None, 0.01])
def test_models_that_converge_leave_and_the_others_are_trained_further(loss, lr):
    X, y = cancer()
    X, y = X[:120, :6], y[:120]
    penalty = "l2" if loss == "log_loss" else "elasticnet"
    estimator = make_model(loss, penalty=penalty, lr=lr, max_iter=60, tol=1e-2, n_iter_no_change=1)
    train = [np.delete(np.arange(120), np.arange(k % 5, 120, 5)) for k in range(20)]
    test = [np.arange(k % 5, 120, 5) for k in range(20)]
    params = [{"alpha": float(a)} for a in np.logspace(-5, 1, 20)]
    models = estimator.fit_many(X, y, train=train, params=params, test=test)
    assert len({m.n_iter_ for m in models}) > (1 if lr is None else 2)  # lr=None: training ends with a stage
    for i, model in enumerate(models):
        mask = np.isin(np.arange(120), train[i]).astype(float)
        assert_same_model(clone(estimator).set_params(**params[i]).fit(X, y, mask), model, 1e-6)
        assert len(model.test_scores_) == model.n_iter_
        assert model.test_scores_[-1] == model.test_score_ == model.score(X[test[i]], y[test[i]])


# -- training sets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton", "exact"])
def test_training_sets_and_test_sets_of_one_row(optimizer):
    X, y = diabetes()
    X, y = X[:12], y[:12]
    estimator = make_model("squared_error", optimizer=optimizer, alpha=0.1, tol=None, max_iter=50)
    train, test = [np.array([3]), np.arange(11), np.array([5, 5, 5])], [[0], [11], [1]]
    models = estimator.fit_many(X, y, train=train, params=[{}] * 3, test=test, scoring="neg_mean_squared_error")
    for model, rows, (row,) in zip(models, train, test, strict=True):
        assert model.test_score_ == pytest.approx(-((model.predict(X[[row]])[0] - y[row]) ** 2))
        if len(set(rows)) == 1:
            np.testing.assert_allclose(model.predict(X[rows]), y[rows], rtol=1e-6)
            np.testing.assert_allclose(model.coef_, 0.0, atol=1e-6 * abs(y[rows[0]]))


def test_a_class_that_is_missing_in_a_training_set_does_not_exist_for_its_model():
    X, codes = wine()
    y = np.array(["red", "white", "rosé"])[codes]
    rows = np.arange(len(X))
    train = [rows, rows[codes != 1], rows[codes != 0], rows[::2]]
    estimator = make_model("log_loss", optimizer="newton", alpha=0.01, max_iter=100, tol=1e-14)
    test = [rows[:60], rows[codes != 1][::3], rows, rows[1::2]]
    models = estimator.fit_many(X, y, train=train, params=[{}] * 4, test=test)
    three = ["red", "rosé", "white"]
    assert [m.classes_.tolist() for m in models] == [three, ["red", "rosé"], ["rosé", "white"], three]
    assert [m.coef_.shape for m in models] == [(3, 13), (1, 13), (1, 13), (3, 13)]
    for model, trained, tested in zip(models, train, test, strict=True):
        assert_same_model(clone(estimator).fit(X[trained], y[trained]), model, 1e-6)
        assert model.test_score_ == model.score(X[tested], y[tested])
        assert set(model.predict(X)) <= set(y[trained])


def test_a_mask_and_row_numbers_of_the_same_bytes_are_different_training_sets():
    X, y = np.arange(8.0)[:, None], np.arange(8.0)
    mask = np.arange(8) == 0
    assert mask.tobytes() == np.array([1]).astype("<i8").tobytes()
    a, b = lc.LinearRegressor(optimizer="exact", alpha=1.0).fit_many(X, y, train=[mask, np.array([1])], params=[{}, {}])
    assert (a.predict([[0.0]])[0], b.predict([[1.0]])[0]) == (0.0, 1.0)


def test_many_models_share_no_mutable_argument():
    X, y = cancer()
    model = lc.LinearClassifier(optimizer=lc.SGD(lr=0.01), class_weight={0: 1.0, 1: 2.0}, max_iter=2, tol=None)
    one, other = model.fit_many(X, y, train=[np.arange(400)] * 2, params=[{}, {"optimizer__lr": 0.02}])
    assert (one.optimizer.lr, other.optimizer.lr, model.optimizer.lr) == (0.01, 0.02, 0.01)
    one.class_weight[0] = 9.0
    assert other.class_weight == model.class_weight == {0: 1.0, 1: 2.0}


def test_models_of_the_same_shape_and_other_classes_are_scored_with_their_own():
    X, y = wine()
    train = [np.flatnonzero(y != lacking) for lacking in np.unique(y)]
    models = make_model("log_loss", optimizer="newton", alpha=1.0).fit_many(
        X, y, train=train, params=[{}] * 3, test=[np.arange(len(y))] * 3
    )
    assert [m.test_score_ for m in models] == [m.score(X, y) for m in models]
