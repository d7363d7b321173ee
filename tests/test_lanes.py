"""Many linear models in one pass: each is what it would be by itself, whatever is trained beside it."""

import threading
import tracemalloc
import warnings
from itertools import combinations

import numpy as np
import pytest
import sklearn.model_selection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVC

import lifecycle as lc
from lifecycle._check import ModelsFailed
from lifecycle.linear import newton, objective, training
from lifecycle.loops import linear_many, linear_many_csr
from lifecycle.losses import list_losses
from lifecycle.penalties import find_penalty
from lifecycle.rules import list_rules
from lifecycle.solvers import lbfgs

from . import naive
from .data import cancer, diabetes, digits, wine

few = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
few_epochs = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CLASSIFICATION = [name for name, loss in list_losses().items() if loss.task == "classification"]


def folds(n, k=3):
    return [train for train, _ in lc.KFold(k).split(np.zeros(n))]


def maker(loss, **kind):
    kind = {"random_state": 0, "max_iter": 5, **kind}
    return (lc.LinearClassifier if loss in CLASSIFICATION else lc.LinearRegressor)(loss, **kind)


def same(one, other, tolerance, least=1e-3):
    """Coefficients and intercepts, relative to the largest coefficient of the model, or `least` if that is larger."""
    unit = max(np.abs(other.coef_).max(), np.abs(other.intercept_).max(), least)
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=0, atol=tolerance * unit)
    np.testing.assert_allclose(one.intercept_, other.intercept_, rtol=0, atol=tolerance * unit)
    if one.optimizer != "newton":  # whose last step is on the verge of being one
        assert one.n_iter_ == other.n_iter_
        for name in one.history_[-1]:
            curves = ([h[name] for h in model.history_] for model in (one, other))
            np.testing.assert_allclose(*curves, rtol=max(tolerance, 1e-6), atol=tolerance)


def same_bits(one, other):
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.intercept_, other.intercept_)
    assert one.history_ == other.history_


# -- many = one by one ----------------------------------------------------------------------------------------------
# huber and epsilon_insensitive with sgd and lr=None are left out: their steps are so long that rounding grows from
# step to step, in a model that is trained by itself as well.

ORDER_FREE = ("gd", "newton", "exact")
COMBINATIONS = [
    ("log_loss", "l2", "sgd"), ("hinge", "elasticnet", "sgd"), ("squared_error", "l1", "sgd"),
    ("log_loss", "elasticnet", "adam"), ("huber", "l2", "momentum"), ("squared_hinge", None, "nadam"),
    ("log_loss", "l2", "gd"), ("squared_error", "l1", "gd"), ("perceptron", "elasticnet", "gd"), ("huber", None, "gd"),
    ("log_loss", "l2", "newton"), ("squared_hinge", "l2", "newton"), ("huber", "l2", "newton"),
    ("squared_error", None, "newton"), ("squared_error", "l2", "exact"), ("squared_error", None, "exact"),
]  # fmt: skip
A_ROW_A_STEP = ("hinge", "squared_error")  # with sgd: the kernel of batches is compiled for log_loss


@st.composite
def problems(draw, loss, optimizer):
    """(estimator, X, y, sample weights or None, training sets, params)"""
    rng = np.random.RandomState(draw(st.integers(0, 2**31)))
    n, p = draw(st.integers(24, 60)), draw(st.integers(1, 5))
    X = rng.randn(n, p) * rng.uniform(0.5, 2.0, p) + rng.randn(p)
    classes = 2 if optimizer == "adam" else draw(st.sampled_from([2, 3]))
    z = X @ rng.randn(p, classes) + rng.randn(n, classes)
    if loss in CLASSIFICATION:
        y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
        y[: 4 * classes] = np.arange(4 * classes) % classes
        first = np.arange(4 * classes)  # in all training sets: a class that is missing makes another model
    else:
        y, first = z[:, 0] * 3.0 + 5.0, np.arange(8)
    sets = []
    for kind in draw(st.lists(st.sampled_from(["fold", "mask", "repeated"]), min_size=1, max_size=3)):
        if kind == "fold":
            held = np.arange(len(first) + rng.randint(3), n, rng.randint(2, 6))
            sets.append(np.setdiff1d(np.arange(n), held))
        elif kind == "mask":
            sets.append(np.union1d(first, np.flatnonzero(rng.uniform(size=n) < 0.5)))
        else:
            sets.append(np.sort(np.concatenate([first, rng.randint(0, n, n)])))
    # a rule that divides by the size of the slope makes a step of rounding errors where the classes have equal weights,
    # so that the intercept has no slope to begin with; so does a loss whose slope jumps at zero
    adaptive = optimizer in ("adam", "nadam") or loss == "perceptron"
    kind = {
        "fit_intercept": draw(st.booleans()),
        "max_iter": 500 if optimizer == "newton" else draw(st.integers(1, 6)),
        "tol": draw(st.sampled_from([None, 1e-4, 1e-2])) if optimizer != "newton" else 1e-8,
        "n_iter_no_change": draw(st.integers(1, 5)),
        "epsilon": draw(st.sampled_from([0.1, 1.0])) if optimizer != "newton" else 5.0,
        "l1_ratio": 0.4,
    }
    if loss in CLASSIFICATION:
        kind["class_weight"] = draw(st.sampled_from([None, {0: 2.0}, *([] if adaptive else ["balanced"])]))
    if optimizer not in ("newton", "exact"):
        kind["early_stopping"] = draw(st.booleans())
        kind["validation_fraction"] = 0.3
        kind["average"] = draw(st.sampled_from([False, True])) and loss not in A_ROW_A_STEP
    params, grid = [], draw(st.integers(1, 4))
    for _ in range(grid * len(sets)):
        own = {"alpha": float(rng.choice([1e-4, 1e-2, 0.5] if optimizer != "newton" else [1e-2, 0.5]))}
        if optimizer == "momentum":
            own["optimizer"] = lc.SGD(lr=float(rng.uniform(1e-3, 2e-2)), momentum=float(rng.uniform(0.1, 0.9)))
        elif optimizer == "nadam":
            own["optimizer"] = lc.NAdam(lr=float(rng.uniform(1e-3, 0.1)), betas=(0.8, float(rng.uniform(0.9, 0.99))))
        else:
            own["optimizer"] = optimizer
        if optimizer == "gd" and draw(st.booleans()):
            own["lr"] = 0.01
        params.append(own)
    if optimizer not in ORDER_FREE:
        kind["batch_size"] = "auto" if loss in A_ROW_A_STEP else draw(st.sampled_from(["auto", 1, 7]))
        kind["shuffle"] = draw(st.booleans())
    weights = rng.uniform(0.1, 3.0, n) if adaptive or draw(st.booleans()) else None
    return maker(loss, **kind), X, y, weights, [sets[k % len(sets)] for k in range(len(params))], params


def one_by_one(estimator, X, y, weights, train, params, tolerance, least=1e-3):
    given_weights = {} if weights is None else {"sample_weight": weights}
    many = estimator.fit_many(X, y, train=train, params=params, **given_weights)
    for i, (model, rows, own) in enumerate(zip(many, train, params, strict=True)):
        assert model.get_params()["alpha"] == own["alpha"]
        if i < 3:
            (alone,) = estimator.fit_many(X, y, train=[rows], params=[own], **given_weights)
            same(alone, model, tolerance, least)
        single = clone(estimator).set_params(**own)
        if own["optimizer"] in ORDER_FREE:
            if single.early_stopping and len(np.unique(rows)) < len(rows):
                continue  # a row that stands there twice is held out once, or twice
            single.fit(X[rows], y[rows], None if weights is None else weights[rows])
        else:
            times = np.bincount(rows, minlength=len(y)).astype(float)
            single.fit(X, y, times if weights is None else times * weights)
        same(single, model, tolerance, least)
    return many


@few_epochs
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), COMBINATIONS)
def test_many_are_as_one_by_one(loss, penalty, optimizer):
    @given(problems(loss, optimizer))
    @few
    def law(problem):
        estimator, *rest = problem
        one_by_one(estimator.set_params(penalty=penalty), *rest, tolerance=1e-6)

    law()


@few_epochs
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), [
    ("hinge", "elasticnet", "sgd"), ("log_loss", "l2", "gd"), ("squared_error", "l2", "exact"),
])  # fmt: skip
def test_in_float32_many_are_as_one_by_one(loss, penalty, optimizer, monkeypatch):
    monkeypatch.setattr(training, "_SMALL", 0)  # else few numbers are computed in float64
    # steps of single rows, of a tenth or more, are rounded on the way, however small the coefficient that they end at
    least = 0.1 if optimizer == "sgd" else 1e-3

    @given(problems(loss, optimizer))
    @few
    def law(problem):
        estimator, X, *rest = problem
        estimator.set_params(penalty=penalty, tol=None if optimizer == "sgd" else estimator.tol)
        many = one_by_one(estimator, X.astype(np.float32), *rest, tolerance=1e-4, least=least)
        double = estimator.fit_many(X.astype(np.float32).astype(np.float64), rest[0], train=rest[2], params=rest[3],
                                    sample_weight=rest[1])  # fmt: skip
        for one, other in zip(many, double, strict=True):
            same(one, other, 1e-4, least)

    law()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("alpha", [1e-3, 0.5])
def test_newton_in_float32_is_newton_in_float64(classes, alpha, monkeypatch):
    monkeypatch.setattr(training, "_SMALL", 0)
    for seed in range(20):
        rng = np.random.RandomState(seed)
        X = (rng.randn(200, 3) + rng.randn(3)).astype(np.float32)
        y = (X @ rng.randn(3, classes) + 2 * rng.gumbel(size=(200, classes))).argmax(axis=1)
        estimator = maker("log_loss", optimizer="newton", alpha=alpha, max_iter=100, tol=1e-8)
        single, double = (estimator.fit_many(a, y, train=folds(200), params=[{}] * 3) for a in (X, X.astype(float)))
        for one, other in zip(single, double, strict=True):
            same(one, other, 1e-4)


def test_models_that_differ_in_more_than_numbers_take_passes_of_their_own():
    X, y = wine()
    train = folds(len(X))
    params = [
        {"optimizer": "newton", "alpha": 0.1}, {"loss": "hinge", "penalty": "elasticnet"}, {"alpha": 0.1}, {},
        {"random_state": 5}, {"fit_intercept": False}, {"max_iter": 3}, {"optimizer": "gd", "lr": 0.1},
        {"optimizer": "newton", "class_weight": "balanced"}, {"class_weight": "balanced"},
    ]  # fmt: skip
    estimator, rows = maker("log_loss", tol=None), [train[i % 3] for i in range(len(params))]
    for i, model in enumerate(estimator.fit_many(X, y, train=rows, params=params)):
        (alone,) = estimator.fit_many(X, y, train=[rows[i]], params=[params[i]])
        same(model, alone, 1e-9)
        assert model.get_params() == clone(estimator).set_params(**params[i]).get_params()
    assert not hasattr(estimator, "coef_")


@few_epochs
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_more_classes_than_a_block_has_lanes(loss):
    rng = np.random.RandomState(0)
    y = np.arange(280) % 70
    X = rng.randn(70, 4)[y] * 2 + rng.randn(280, 4)
    estimator = maker(loss, max_iter=3, penalty="l2" if loss == "log_loss" else "elasticnet")
    train = [np.arange(280) % 4 != 0, np.arange(280) >= 70]
    many = estimator.fit_many(X, y, train=train, params=[{"alpha": 1e-3}, {"alpha": 1e-2}])
    for model, mask, alpha in zip(many, train, (1e-3, 1e-2), strict=True):
        kind = clone(estimator).set_params(alpha=alpha)
        if len(np.unique(y[mask])) == 70:
            same(kind.fit(X, y, mask.astype(float)), model, 1e-6)
        assert model.coef_.shape == (len(np.unique(y[mask])), 4)


@few_epochs
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("models", [31, 33, 70])
def test_more_models_than_a_block_has_lanes(models, dtype, monkeypatch):
    monkeypatch.setattr(training, "_SMALL", 0)
    X, y = cancer()
    X, y = X[:90, :4].astype(dtype), y[:90]
    train = [np.delete(np.arange(90), np.arange(k % 7, 90, 7)) for k in range(models)]
    params = [{"alpha": float(a)} for a in np.logspace(-5, 0, models)]
    estimator = maker("log_loss", max_iter=4)
    many = estimator.fit_many(X, y, train=train, params=params)
    for i in range(0, models, 6):
        (alone,) = estimator.fit_many(X, y, train=[train[i]], params=[params[i]])
        same(alone, many[i], 1e-6 if dtype == np.float64 else 1e-4)
    assert len({m.coef_.tobytes() for m in many}) == models


@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton", "exact"])
def test_training_sets_of_one_row_and_tests_of_one(optimizer):
    X, y = diabetes()
    X, y = X[:12], y[:12]
    estimator = maker("squared_error", optimizer=optimizer, alpha=0.1, tol=None, max_iter=50)
    train = [np.array([3]), np.arange(11), np.array([5, 5, 5])]
    many = estimator.fit_many(X, y, train=train, params=[{}] * 3, test=[[0], [11], [1]],
                              scoring="neg_mean_squared_error")  # fmt: skip
    for model, rows, test in zip(many, train, (0, 11, 1), strict=True):
        assert model.test_score_ == pytest.approx(-((model.predict(X[[test]])[0] - y[test]) ** 2))
        if len(set(rows)) == 1:
            np.testing.assert_allclose(model.predict(X[rows]), y[rows], rtol=1e-6)
            np.testing.assert_allclose(model.coef_, 0.0, atol=1e-6 * abs(y[rows[0]]))


@few_epochs
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
@pytest.mark.parametrize("lr", [None, 0.01])
def test_models_leave_when_they_are_done_and_the_others_go_on(loss, lr):
    X, y = cancer()
    X, y = X[:120, :6], y[:120]
    estimator = maker(loss, penalty="l2" if loss == "log_loss" else "elasticnet", lr=lr, max_iter=60, tol=1e-2,
                      n_iter_no_change=1)  # fmt: skip
    train = [np.delete(np.arange(120), np.arange(k % 5, 120, 5)) for k in range(20)]
    test = [np.arange(k % 5, 120, 5) for k in range(20)]
    params = [{"alpha": float(a)} for a in np.logspace(-5, 1, 20)]
    many = estimator.fit_many(X, y, train=train, params=params, test=test)
    assert len({m.n_iter_ for m in many}) > 2
    for i, model in enumerate(many):
        mask = np.isin(np.arange(120), train[i]).astype(float)
        same(clone(estimator).set_params(**params[i]).fit(X, y, mask), model, 1e-6)
        assert len(model.test_scores_) == model.n_iter_
        assert model.test_scores_[-1] == model.test_score_ == model.score(X[test[i]], y[test[i]])


# -- the kernels are what slow loops do -----------------------------------------------------------------------------

FORMULAS = {  # slope and value of the score z
    "squared_error": (lambda y, z: z - y, lambda y, z: 0.5 * (z - y) ** 2),
    "hinge": (lambda y, z: -y * (y * z < 1), lambda y, z: np.maximum(0.0, 1.0 - y * z)),
    "log_loss": (lambda y, z: -y * expit(-y * z), lambda y, z: np.logaddexp(0.0, -y * z)),
}
SHARES = {"l2": lambda r: (0.0, 1.0), "l1": lambda r: (1.0, 0.0), "elasticnet": lambda r: (r, 1.0 - r)}
TOLERANCE = {np.float64: 1e-10, np.float32: 2e-4}


class Lanes:
    """32 lanes of random numbers for a kernel, and each of them by the slow loop."""

    def __init__(self, loss, dtype, n=19, features=4, outputs=None, few_elements=False):
        rng = self.rng = np.random.RandomState(1)
        self.loss, self.made, self.width, self.dtype = loss, list_losses()[loss], 32, dtype
        regression = self.made.task == "regression"
        self.X = rng.randn(n, features)
        if few_elements:
            self.X[rng.uniform(size=self.X.shape) < 0.6] = 0.0
            self.X[3] = self.X[-1] = 0.0
            self.X[:, 1] = 0.0
        self.y = rng.randn(n) if regression else rng.randint(0, 4 if outputs is None else outputs, n).astype(float)
        self.weights = rng.uniform(0.0, 2.0, (n, 3)) * (rng.uniform(size=(n, 3)) < 0.7)  # masks of three folds
        self.weights[5] = 0.0
        self.column = rng.randint(0, 3, 32)
        self.label = np.resize(np.arange(4 if outputs is None else outputs), 32).astype(float)
        self.lr, self.alpha = rng.uniform(0.01, 0.2, 32), rng.choice([0.0, 1e-3, 0.5], 32)
        self.ratio, self.moves = rng.uniform(0.1, 0.9, 32), (rng.uniform(size=32) < 0.7).astype(float)
        self.centers = np.zeros((3, features)) if few_elements else rng.randn(3, features)
        self.coef, self.intercept = rng.randn(32, features), rng.randn(32)
        self.order = [rng.permutation(n) for _ in range(2)]
        for name in ("X", "y", "weights", "lr", "alpha", "ratio", "centers", "coef", "intercept"):
            setattr(self, name, getattr(self, name).astype(dtype).astype(float))
        self.center = self.centers[self.column]
        self.theta = self.cast(self.coef.T.ravel())
        self.total = np.zeros(32)

    def cast(self, x):
        return np.array(x, self.dtype, order="C")

    def targets(self, lane):
        return self.y if self.made.task == "regression" else np.where(self.y == self.label[lane], 1.0, -1.0)

    def check(self, intercept, penalty):
        slope, value = FORMULAS[self.loss]
        for lane in range(32):
            coef, b, total = self.coef[lane], self.intercept[lane], 0.0
            l1, l2 = np.array(SHARES[penalty](self.ratio[lane])) * self.alpha[lane]
            for order in self.order:
                coef, b, lost = naive.proximal_sgd(
                    self.X - self.center[lane], self.targets(lane), self.weights[:, self.column[lane]], order, coef, b,
                    slope, value, self.lr[lane], l1, l2, self.moves[lane] > 0)  # fmt: skip
                total += lost
            tolerance = TOLERANCE[self.dtype]
            np.testing.assert_allclose(self.theta.reshape(-1, 32)[:, lane], coef, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(intercept[lane], b, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(self.total[lane], total, rtol=tolerance)


@pytest.mark.parametrize(("loss", "penalty", "dtype", "factor"), [
    ("log_loss", "l2", np.float64, True), ("log_loss", "l2", np.float32, True), ("log_loss", "l2", np.float64, False),
    ("hinge", "elasticnet", np.float64, False), ("squared_error", "l1", np.float64, False)])  # fmt: skip
def test_the_kernel_of_a_step_for_each_row_is_the_slow_loop(loss, penalty, dtype, factor):
    a, made = Lanes(loss, dtype, n=150), find_penalty(penalty)  # so many that losses are added up on the way
    paces = a.cast(np.array([made.step(t, r) for t, r in zip(a.lr * a.alpha, a.ratio, strict=True)]).T.ravel())
    kernel, intercept = linear_many.samples(a.made, False, made, 32, factor), a.cast(a.intercept)
    shift = a.cast(a.centers.mean(axis=0))
    offset = a.centers - shift
    for order in a.order:
        kernel(a.cast(a.X), a.cast(a.y), a.cast(a.weights), a.cast((a.X - shift) @ offset.T), order, 1, a.theta,
               intercept, shift, a.cast(offset[a.column].T.ravel()), a.cast((offset**2).sum(axis=1)[a.column]),
               a.column, a.cast(a.label), a.cast(a.lr), paces, a.cast(np.full(32, 0.1)), a.cast(a.moves),
               a.total)  # fmt: skip
    a.check(intercept, penalty)


@pytest.mark.parametrize(("loss", "dtype"), [("log_loss", np.float64), ("log_loss", np.float32),
                                             ("hinge", np.float64), ("squared_error", np.float64)])  # fmt: skip
def test_the_sparse_kernel_is_the_slow_loop_over_the_dense_matrix(loss, dtype):
    a = Lanes(loss, dtype, n=41, few_elements=True)
    a.alpha[:8] = 60.0  # a factor so small that the coefficients are multiplied out within the epoch
    kernel, intercept = linear_many_csr.samples(a.made, False, 32), a.cast(a.intercept)
    X, keep = sparse.csr_array(a.cast(a.X)), a.cast(1.0 / (1.0 + a.lr * a.alpha))
    scales = a.cast(np.ones(32))
    for order in a.order:
        kernel(X.data, X.indices, X.indptr, a.cast(a.y), a.cast(a.weights), order, 1, a.theta, scales, intercept,
               a.column, a.cast(a.label), a.cast(a.lr), keep, a.cast(np.full(32, 0.1)), a.cast(a.moves),
               a.total)  # fmt: skip
    assert scales.min() < 1.0  # not just multiplied out
    a.theta *= np.tile(scales, a.X.shape[1])
    a.check(intercept, "l2")


@pytest.mark.parametrize(("rule", "hyper", "loss", "penalty", "batch"), [
    ("adam", {}, "log_loss", "elasticnet", 5), ("sgd", {}, "log_loss", "l2", 7),
    ("sgd", {"momentum": 0.9}, "huber", "l2", 1)])  # fmt: skip
def test_the_kernel_of_batches_is_the_slow_loop(rule, hyper, loss, penalty, batch):
    a = Lanes(loss, np.float64, n=17)
    if penalty == "elasticnet":
        a.alpha += 0.01  # lanes without a kink are not among those that have one
    tiles, start = 2, 3  # the lanes of the second see other weights
    optimizers = [getattr(lc, list_rules()[rule].class_name)(lr=float(lr), **hyper) for lr in a.lr] * tiles
    made, update_rule = find_penalty(penalty), optimizers[0].rule
    slots = update_rule.variant(optimizers[0].get_params()).slots
    proximal = not slots
    kernel = linear_many.batches(update_rule, optimizers[0].get_params(), a.made, False, made, 32)
    theta, intercept = np.tile(a.theta, tiles), np.tile(a.intercept, tiles)
    mean, intercept_mean = np.zeros_like(theta), np.zeros_like(intercept)
    memory, more = np.zeros((len(slots), theta.size)), np.zeros((len(slots), intercept.size))
    column = np.concatenate([a.column, (a.column + 1) % 3])
    wide = {name: np.tile(getattr(a, name), tiles) for name in ("label", "alpha", "ratio", "moves")}
    total, t = np.zeros(64), 0
    for order in a.order:
        kernel(a.X, a.y, a.weights, order, batch, theta, intercept, np.tile(a.center.T.ravel(), tiles), memory, more,
               mean, intercept_mean, column, wide["label"],
               (wide["alpha"], wide["ratio"], np.full(64, 0.3), wide["moves"]),
               np.array([linear_many.flat(update_rule.defaults, o.get_params()) for o in optimizers]), np.zeros(64), 1,
               1 if proximal else 2 if penalty == "elasticnet" else 0, t, start, total)  # fmt: skip
        t += -(-len(order) // batch)
    oracle = {"adam": naive.adam, "sgd": naive.sgd}[rule]
    slopes = {"log_loss": FORMULAS["log_loss"][0], "huber": lambda y, z: np.clip(z - y, -0.3, 0.3)}[loss]
    for lane in (0, 5, 13, 31, 32, 37, 63):
        own, weights = lane % 32, a.weights[:, column[lane]]
        coef, b, grads, path = a.coef[own][None], a.intercept[own][None], [], []
        l1, l2 = np.array(SHARES[penalty](a.ratio[own])) * a.alpha[own]
        for order in a.order:
            coef, b, thetas = naive.minibatch_epoch(
                a.X - a.center[own], a.targets(own)[:, None], weights, order, batch, coef, b,
                lambda p, g, lr: oracle(p, g, lr, **hyper), grads, slopes, a.lr[own], l1, l2, proximal,
                a.moves[own] > 0)  # fmt: skip
            path += thetas
        tile = theta.reshape(tiles, -1, 32)[lane // 32, :, own]
        np.testing.assert_allclose(np.append(tile, intercept[lane]), path[-1], rtol=1e-9, atol=1e-10)
        tile = mean.reshape(tiles, -1, 32)[lane // 32, :, own]
        expected = np.mean(path[start - 1 :], axis=0)
        np.testing.assert_allclose(np.append(tile, intercept_mean[lane]), expected, rtol=1e-9, atol=1e-10)


# -- rows that are held out -----------------------------------------------------------------------------------------

KINDS = [
    ("log_loss", "l2", "sgd"), ("log_loss", "elasticnet", "adam"), ("squared_error", "l1", "gd"),
    ("log_loss", "l2", "gd"), ("log_loss", "l2", "newton"), ("squared_error", "l2", "exact"),
]  # fmt: skip


@few_epochs
@pytest.mark.parametrize("batch", ["auto", 7])
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), KINDS)
def test_rows_outside_of_its_training_set_mean_nothing_to_a_model(loss, penalty, optimizer, batch):
    if batch != "auto" and optimizer not in ("sgd", "adam"):
        pytest.skip("all rows at once")
    X, y = cancer() if loss in CLASSIFICATION else diabetes()
    X, y = X[:150, :5].copy(), y[:150].copy()
    seen = np.arange(150) % 3 > 0
    train = [np.flatnonzero(seen & (np.arange(150) % 4 != k)) for k in range(4)]
    estimator = maker(loss, penalty=penalty, optimizer=optimizer, batch_size=batch, max_iter=100, tol=1e-6)
    params = [{"alpha": a} for a in (1e-3, 0.1, 1.0, 0.01)]
    weights = np.random.RandomState(0).uniform(0.5, 2.0, 150)
    before = estimator.fit_many(X, y, train=train, params=params, sample_weight=weights)
    rng = np.random.RandomState(3)
    X[~seen], weights[~seen] = 1e6 * rng.randn((~seen).sum(), 5), 1e3
    y[~seen] = rng.permutation(y[~seen]) if loss in CLASSIFICATION else 1e6 * rng.randn((~seen).sum())
    after = estimator.fit_many(X, y, train=train, params=params, sample_weight=weights)
    for one, other in zip(after, before, strict=True):
        if optimizer in ("newton", "exact"):
            same(one, other, 1e-6)
        else:
            same_bits(one, other)


@few_epochs
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), KINDS)
def test_the_number_of_threads_changes_no_bit(loss, penalty, optimizer, dtype, monkeypatch):
    if dtype == np.float32 and optimizer == "adam":
        pytest.skip("another kernel to compile, of the same code")
    monkeypatch.setattr(training, "_SMALL", 0)
    X, y = cancer() if loss in CLASSIFICATION else diabetes()
    X = X[:, :6].astype(dtype)
    train, params = folds(len(X), 5) * 8, [{"alpha": float(a)} for a in np.logspace(-4, 0, 40)]
    estimator = maker(loss, penalty=penalty, optimizer=optimizer, max_iter=4 if optimizer != "newton" else 100)
    whole = estimator.fit_many(X, y, train=train, params=params)
    monkeypatch.setattr(objective, "_ELEMENTS", 64)  # many chunks
    found = []
    for n in (1, 2, 3):
        with lc.threads(n):
            found.append(estimator.fit_many(X, y, train=train, params=params, test=folds(len(X), 5) * 8))
    for one, other in zip(found[0], whole, strict=True):
        same(one, other, 1e-6 if dtype == np.float64 else 1e-4)
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            same_bits(one, other)
            assert one.test_score_ == other.test_score_


# -- what X may be --------------------------------------------------------------------------------------------------


def few_elements(n=80, p=6):
    rng = np.random.RandomState(0)
    X = rng.randn(n, p) * (rng.uniform(size=(n, p)) < 0.4)
    X[:, 0] = X[11] = 0.0
    z = X @ rng.randn(p, 3) + 0.5 * rng.randn(n, 3)
    return X, z


@few_epochs
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), [
    ("log_loss", "l2", "sgd"), ("hinge", "l2", "sgd"), ("squared_error", None, "sgd"), *KINDS[2:],
    ("huber", "elasticnet", "gd"), ("squared_hinge", "l2", "newton"), ("log_loss", "l1", "gd"),
])  # fmt: skip
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_csr_matrix_gives_the_models_of_the_dense_one(loss, penalty, optimizer, classes, fit_intercept):
    X, z = few_elements()
    y = z[:, :classes].argmax(axis=1) if loss in CLASSIFICATION else z[:, 0] + 2.0
    if optimizer == "sgd" and fit_intercept:
        pytest.skip("the intercept of features that are not centred is on another way")
    if loss not in CLASSIFICATION and classes == 3:
        pytest.skip("regression has one output")
    converges = {"max_iter": 20_000 if optimizer == "gd" else 500, "tol": 1e-15 if optimizer == "gd" else 1e-10}
    estimator = maker(loss, penalty=penalty, optimizer=optimizer, fit_intercept=fit_intercept, alpha=0.05, epsilon=2.0,
                      **({} if optimizer == "sgd" else converges))  # fmt: skip
    if optimizer == "sgd":
        estimator.set_params(lr=0.05)
    train, params = folds(len(X)), [{"alpha": 0.05}, {"alpha": 0.2}, {"alpha": 0.5}]
    dense = estimator.fit_many(X, y, train=train, params=params, test=train)
    for form in (sparse.csr_array, sparse.csr_matrix, sparse.csc_array):
        thin = estimator.fit_many(form(X), y, train=train, params=params, test=train)
        for one, other in zip(thin, dense, strict=True):
            unit = np.abs(other.coef_).max()
            tolerance = 1e-10 if optimizer == "sgd" else 1e-6
            np.testing.assert_allclose(one.coef_, other.coef_, rtol=0, atol=tolerance * unit)
            away = one.intercept_ - other.intercept_
            if loss == "log_loss" and classes == 3:  # softmax does not see what all classes share
                away = away - away.mean()
            np.testing.assert_allclose(away, 0.0, atol=tolerance * 10)
            assert one.test_score_ == pytest.approx(other.test_score_, rel=1e-6)
            np.testing.assert_allclose(one.predict(form(X)), other.predict(X), rtol=1e-5, atol=1e-5)
    single = clone(estimator).set_params(alpha=0.2).fit(sparse.csr_array(X[train[1]]), y[train[1]])
    if optimizer in ORDER_FREE:
        np.testing.assert_allclose(single.coef_, dense[1].coef_, rtol=0, atol=1e-6 * np.abs(dense[1].coef_).max())


@few_epochs
@pytest.mark.parametrize(("kind", "reason"), [
    ({"optimizer": "adam"}, r"optimizer='adam' moves every coefficient at every step"),
    ({"optimizer": lc.SGD(lr=0.1, momentum=0.9)}, r"optimizer=SGD\(.*\) moves every coefficient at every step"),
    ({"penalty": "l1"}, r"penalty='l1' is not a factor of the coefficients"),
    ({"penalty": "elasticnet"}, r"penalty='elasticnet' is not a factor of the coefficients"),
    ({"average": True}, r"average goes through all coefficients at every step"),
    ({"batch_size": 4}, r"batch_size=4 goes through all coefficients at every step"),
])  # fmt: skip
def test_what_sparse_x_cannot_have_is_said(kind, reason):
    X, z = few_elements()
    y = z[:, 0] > 0
    sentence = rf"^X is sparse, and {reason}, which would make it dense: use optimizer='gd', .* or X.toarray\(\)$"
    with pytest.raises(ValueError, match=sentence):
        maker("log_loss", **kind).fit(sparse.csr_array(X), y)
    with pytest.raises(ModelsFailed) as caught:
        maker("log_loss").fit_many(sparse.csr_array(X), y, train=folds(80, 2), params=[kind, {}])
    assert list(caught.value.errors) == [0]
    assert np.isfinite(caught.value.models[1].coef_).all()


@few_epochs
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), KINDS)
def test_a_file_that_is_mapped_and_x_that_must_not_be_written_to(loss, penalty, optimizer, tmp_path):
    X, y = cancer() if loss in CLASSIFICATION else diabetes()
    X = np.ascontiguousarray(X[:, :5])
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    frozen = X.copy()
    frozen.flags.writeable = False
    labels = y.copy()
    labels.flags.writeable = False
    estimator = maker(loss, penalty=penalty, optimizer=optimizer)
    train, params = folds(len(X)), [{"alpha": a} for a in (0.01, 0.1, 1.0)]
    plain = estimator.fit_many(X, y, train=train, params=params, test=train)
    for given_X in (mapped, frozen):
        for one, other in zip(
            estimator.fit_many(given_X, labels, train=train, params=params, test=train), plain, strict=True
        ):
            same_bits(one, other)
            assert one.test_score_ == other.test_score_
    np.testing.assert_array_equal(X, frozen)


@few_epochs
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), [KINDS[0], *KINDS[2:]])
def test_x_is_not_copied(loss, penalty, optimizer):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((80_000, 100))  # 64 MB
    y = X[:, 0] + rng.randn(len(X))
    y = (y > 0) if loss in CLASSIFICATION else y
    estimator = maker(loss, penalty=penalty, optimizer=optimizer, max_iter=2, tol=None)
    half = np.arange(len(X)) % 2 == 0
    small = X[:100].copy()
    estimator.fit_many(small, y[:100], train=[half[:100], ~half[:100]], params=[{}, {}], test=[~half[:100], half[:100]])
    tracemalloc.start()
    try:
        estimator.fit_many(X, y, train=[half, ~half], params=[{}, {}], test=[~half, half])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # a number or two for each row, and pieces of a size that X does not change: less than the rows of one training set
    assert most < X.nbytes / 3, f"{most / X.nbytes:.0%} of X"


def test_features_that_say_nothing_leave_the_intercept_alone():
    y = np.arange(20) % 2
    train = [np.arange(10), np.arange(10, 20), np.arange(0, 20, 3)]
    constant = np.full((20, 2), 3.0)
    for X, fit_intercept in ((constant, True), (np.zeros((20, 2)), False)):
        for make in ("log_loss", "squared_error"):
            estimator = maker(make, optimizer="newton", fit_intercept=fit_intercept, max_iter=100)
            for model, rows in zip(estimator.fit_many(X, y, train=train, params=[{}] * 3), train, strict=True):
                np.testing.assert_array_equal(model.coef_, 0.0)
                share = y[rows].mean()
                expected = np.log(share / (1 - share)) if make == "log_loss" else share
                np.testing.assert_allclose(model.intercept_, expected if fit_intercept else 0.0, atol=1e-6)


# -- scores ---------------------------------------------------------------------------------------------------------


def negative_brier(model, X, y):
    return -float(((model.predict_proba(X)[:, 1] - (y == model.classes_[1])) ** 2).mean())


SCORINGS = [
    (cancer, "log_loss", None), (cancer, "log_loss", "accuracy"), (wine, "hinge", "accuracy"),
    (wine, "log_loss", "neg_log_loss"), (cancer, "log_loss", "roc_auc"), (cancer, "log_loss", negative_brier),
    (wine, "log_loss", ["accuracy", "neg_log_loss", "balanced_accuracy"]),
    (cancer, "log_loss", {"hits": "accuracy", "brier": negative_brier}),
    (diabetes, "squared_error", None), (diabetes, "squared_error", "r2"),
    (diabetes, "squared_error", ["neg_mean_squared_error", "neg_root_mean_squared_error", "neg_mean_absolute_error"]),
    (diabetes, "squared_error", "neg_median_absolute_error"),
]  # fmt: skip


@few_epochs
@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton"])
@pytest.mark.parametrize(("data", "loss", "scoring"), SCORINGS, ids=str)
def test_scores_are_those_of_scikit_learns_scorers_after_every_epoch(data, loss, scoring, optimizer):
    if loss == "hinge" and optimizer == "newton":
        pytest.skip("no curvature")
    X, y = data()
    split = list(lc.KFold(3, shuffle=True, random_state=0).split(X))
    train, test = [a for a, _ in split], [b for _, b in split]
    penalty = {"log_loss": "l2", "hinge": "elasticnet", "squared_error": "l1" if optimizer == "sgd" else "l2"}[loss]
    estimator = maker(loss, penalty=penalty, optimizer=optimizer, max_iter=3, tol=None)
    params = [{"alpha": a} for a in (0.01, 0.1, 1.0)]
    models = estimator.fit_many(X, y, train=train, params=params, test=test, scoring=scoring)
    names = {"score": "accuracy" if loss in CLASSIFICATION else "r2"} if scoring is None else {"score": scoring}
    if isinstance(scoring, list | dict):
        names = scoring if isinstance(scoring, dict) else {name: name for name in scoring}
    for i, (model, rows) in enumerate(zip(models, test, strict=True)):
        for name, one in names.items():
            scorer = one if callable(one) else get_scorer(one)
            found = model.test_score_[name] if isinstance(scoring, list | dict) else model.test_score_
            assert isinstance(found, float)
            assert found == pytest.approx(scorer(model, X[rows], y[rows]), rel=1e-9)
            if optimizer == "newton":
                assert not hasattr(model, "test_scores_")
                continue
            curve = model.test_scores_[name] if isinstance(scoring, list | dict) else model.test_scores_
            assert curve[-1] == pytest.approx(found, rel=1e-13)  # from the lanes, and from the coefficients
            (early,) = estimator.fit_many(X, y, train=[train[i]], params=[{**params[i], "max_iter": 1}])
            assert curve[0] == pytest.approx(scorer(early, X[rows], y[rows]), rel=1e-9)


def test_early_stopping_scores_the_epoch_that_is_kept():
    X, y = load_digits(return_X_y=True)
    X, y = X[:200] / 16.0, y[:200] > 4
    y[::4] = ~y[::4]
    estimator = maker("log_loss", alpha=0.0, early_stopping=True, validation_fraction=0.3, max_iter=60, tol=None)
    train = [np.arange(200) % 3 != k for k in range(3)]
    models = estimator.fit_many(X, y, train=train, params=[{"alpha": a} for a in (0.0, 1e-3, 0.1)],
                                test=[np.flatnonzero(~mask) for mask in train])  # fmt: skip
    for model, mask in zip(models, train, strict=True):
        best = int(np.argmin([h["valid_loss"] for h in model.history_]))
        assert len(model.history_) == len(model.test_scores_) == 60
        assert model.test_score_ == model.score(X[~mask], y[~mask]) == model.test_scores_[best]
    assert min(np.argmin([h["valid_loss"] for h in m.history_]) for m in models) < 50


# -- what goes wrong ------------------------------------------------------------------------------------------------


@few_epochs
def test_models_that_cannot_be_fitted_are_named_and_the_others_are_finished():
    X, y = cancer()
    rows = np.arange(len(X))
    train = [rows, rows, rows[y == 1], rows, rows[:0], np.array([0, 569]), rows[::2], rows % 2]
    params = [{}, {"alpha": -1.0}, {}, {"alpha": "1"}, {}, {}, {"alpha": 0.1}, {}]
    sentences = {
        1: r"alpha must be a finite number >= 0.0; got -1.0",
        2: r"y has one class only, 1: a classifier needs at least two classes",
        3: r"alpha must be a number >= 0.0; got '1'",
        4: r"there is no row to train on",
        5: r"rows must be numbers of rows of X, from 0 to 568, or a mask of dtype bool; got 0 to 569",
        7: r"rows of 569 zeros and ones look like a mask, which must be of dtype bool; got int64",
    }
    estimator = maker("log_loss", max_iter=20, tol=None)
    test = [rows[:50]] * 8
    with pytest.raises(ModelsFailed, match=r"^6 of 8 models could not be fitted; model 1: alpha must be") as caught:
        estimator.fit_many(X, y, train=train, params=params, test=test)
    assert isinstance(caught.value, ValueError)
    assert sorted(caught.value.errors) == [1, 2, 3, 4, 5, 7]
    for i, sentence in sentences.items():
        with pytest.raises((ValueError, TypeError), match=sentence):
            raise caught.value.errors[i]
        assert caught.value.models[i] is None
    for params_of_one in ({"alpha": 0.1}, ["alpha"]):
        with pytest.raises(TypeError, match="params must be a list of dicts, one a model"):
            estimator.fit_many(X, y, train=train[:1], params=params_of_one)
    for i in (0, 6):
        (alone,) = estimator.fit_many(X, y, train=[train[i]], params=[params[i]], test=[test[i]])
        same(caught.value.models[i], alone, 1e-9)
        assert caught.value.models[i].test_score_ == alone.test_score_


@few_epochs
@pytest.mark.parametrize(("optimizer", "batch"), [("gd", "auto"), ("sgd", "auto"), ("sgd", 7)])
def test_a_model_that_diverges_leaves_the_others_as_they_are(optimizer, batch):
    X, y = diabetes()
    estimator = maker("squared_error", penalty="l1", optimizer=optimizer, batch_size=batch, max_iter=400, tol=None)
    if batch == 7:
        estimator.set_params(loss="huber", penalty="l2", optimizer=lc.SGD(lr=0.01, momentum=0.5), max_iter=50)
        params = [{"optimizer": lc.SGD(lr=lr, momentum=0.5)} for lr in (1e-3, 1e300, 2e-3)]
        params[1]["alpha"] = 1e200
    else:
        params = [{"lr": lr} for lr in (1e-3, 1e3, 2e-3)]
    train = folds(len(X))
    with pytest.raises(
        ModelsFailed, match=r"^1 of 3 models could not be fitted; model 1: the coefficients grew"
    ) as caught:
        estimator.fit_many(X, y, train=train, params=params, test=train)
    assert list(caught.value.errors) == [1]
    assert "grew without bound in epoch " in str(caught.value.errors[1])
    for i in (0, 2):
        (alone,) = estimator.fit_many(X, y, train=[train[i]], params=[params[i]])
        same(caught.value.models[i], alone, 1e-9)
        assert len(caught.value.models[i].test_scores_) == estimator.max_iter


def test_a_class_that_a_training_set_lacks_does_not_exist_for_its_model():
    X, codes = wine()
    y = np.array(["red", "white", "rosé"])[codes]
    rows = np.arange(len(X))
    train = [rows, rows[codes != 1], rows[codes != 0], rows[::2]]
    estimator = maker("log_loss", optimizer="newton", alpha=0.01, max_iter=100, tol=1e-8)
    test = [rows[:60], rows[codes != 1][::3], rows, rows[1::2]]
    models = estimator.fit_many(X, y, train=train, params=[{}] * 4, test=test)
    assert [m.classes_.tolist() for m in models] == [
        ["red", "rosé", "white"], ["red", "rosé"], ["rosé", "white"], ["red", "rosé", "white"]]  # fmt: skip
    assert [m.coef_.shape for m in models] == [(3, 13), (1, 13), (1, 13), (3, 13)]
    for model, own, held in zip(models, train, test, strict=True):
        same(clone(estimator).fit(X[own], y[own]), model, 1e-6)
        assert model.test_score_ == model.score(X[held], y[held])
        assert set(model.predict(X)) <= set(y[own])


def test_numbers_of_arguments_must_agree():
    X, y = cancer()
    rows = np.arange(len(X))
    estimator = maker("log_loss")
    with pytest.raises(ValueError, match=r"train has rows for 1 models, params are of 2: one for each"):
        estimator.fit_many(X, y, train=[rows], params=[{}, {}])
    with pytest.raises(ValueError, match=r"test has rows for 3 models, params are of 1: one for each"):
        estimator.fit_many(X, y, train=[rows], params=[{}], test=[rows] * 3)
    with pytest.raises(ModelsFailed, match=r"a mask of rows must have as many elements as X has rows, 569; it has 3"):
        estimator.fit_many(X, y, train=[np.ones(3, bool)], params=[{}])
    with pytest.raises(ValueError, match="Invalid parameter 'beta'"):
        estimator.fit_many(X, y, train=[rows], params=[{"beta": 1}])
    assert estimator.fit_many(X, y, train=[], params=[]) == []


@few_epochs
@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton"])
def test_the_callback_hears_of_every_model(optimizer):
    X, y = cancer()
    heard = []
    estimator = maker("log_loss", optimizer=optimizer, max_iter=20, tol=1e-3)
    estimator.fit_many(X, y, train=folds(len(X)), params=[{"alpha": a} for a in (0.01, 0.1, 1.0)],
                       callback=lambda done, models: heard.append((done, models, threading.get_ident())))  # fmt: skip
    assert heard
    assert {models for _, models, _ in heard} == {3}
    assert {thread for *_, thread in heard} == {threading.get_ident()}
    done = [d for d, *_ in heard]
    assert done == sorted(done)
    assert done[-1] == 3
    heard.clear()  # models of two kinds are not trained in one pass
    estimator.fit_many(X, y, train=folds(len(X)), params=[{}, {"fit_intercept": False}, {}],
                       callback=lambda done, models: heard.append(done))  # fmt: skip
    assert heard == sorted(heard)
    assert heard[-1] == 3

    def stop(done, models):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimator.fit_many(X, y, train=folds(len(X)), params=[{}] * 3, callback=stop)


def test_max_iter_that_does_not_suffice_is_said_for_each_kind():
    X, y = cancer()
    for optimizer in ("sgd", "gd", "newton"):
        with pytest.warns(ConvergenceWarning, match=r"LinearClassifier stopped at max_iter=1 before"):
            maker("log_loss", optimizer=optimizer, max_iter=1).fit_many(
                X, y, train=folds(len(X)), params=[{"alpha": 1e-3}] * 3
            )


# -- the same solutions as scikit-learn's solvers -------------------------------------------------------------------


@pytest.mark.parametrize("data", [cancer, wine, load_digits], ids=["two classes", "three classes", "ten classes"])
def test_log_loss_is_logistic_regression(data):
    X, y = data() if data is not load_digits else (scale(load_digits().data), load_digits().target)
    train = folds(len(X))
    alphas = [1e-2, 0.3]
    models = maker("log_loss", optimizer="newton", tol=1e-12, max_iter=200).fit_many(
        X, y, train=train * 2, params=[{"alpha": a} for a in alphas for _ in train])  # fmt: skip
    for i, model in enumerate(models):
        rows = train[i % 3]
        twin = LogisticRegression(
            C=1 / (len(rows) * alphas[i // 3]), tol=1e-10, solver="newton-cholesky", max_iter=1000
        )
        twin.fit(X[rows], y[rows])
        np.testing.assert_allclose(model.coef_, twin.coef_, rtol=0, atol=1e-6 * np.abs(twin.coef_).max())
        np.testing.assert_allclose(model.predict_proba(X), twin.predict_proba(X), atol=1e-6)


def test_many_penalties_are_ridge():
    X, y = diabetes()
    train, alphas = folds(len(X), 5), np.logspace(-6, 2, 20)
    weights = np.random.RandomState(0).uniform(0.1, 3.0, len(X))
    for given_weights in (None, weights):
        models = maker("squared_error", optimizer="exact").fit_many(
            X, y, train=[t for t in train for _ in alphas], params=[{"alpha": float(a)} for _ in train for a in alphas],
            **({} if given_weights is None else {"sample_weight": given_weights}))  # fmt: skip
        for i, model in enumerate(models):
            rows, alpha = train[i // 20], alphas[i % 20]
            own = np.ones(len(rows)) if given_weights is None else given_weights[rows]
            twin = Ridge(alpha=alpha * own.sum(), solver="cholesky").fit(X[rows], y[rows], own)
            np.testing.assert_allclose(model.coef_, twin.coef_, rtol=0, atol=1e-8 * np.abs(twin.coef_).max())
            assert model.intercept_ == pytest.approx(twin.intercept_, rel=1e-8)


def test_squared_hinge_is_linear_svc():
    X, y = cancer()
    train, alphas = folds(len(X)), (0.1, 0.01, 1.0)
    models = maker("squared_hinge", optimizer="newton", fit_intercept=False, tol=1e-12, max_iter=200).fit_many(
        X, y, train=train, params=[{"alpha": a} for a in alphas])  # fmt: skip
    for model, rows, alpha in zip(models, train, alphas, strict=True):
        twin = LinearSVC(C=1 / (len(rows) * alpha), fit_intercept=False, dual=False, tol=1e-10, max_iter=10_000)
        twin.fit(X[rows], y[rows])
        np.testing.assert_allclose(model.coef_, twin.coef_, rtol=0, atol=1e-5 * np.abs(twin.coef_).max())


def test_l1_and_elasticnet_are_lasso_and_elastic_net():
    X, y = diabetes()
    train = folds(len(X))
    params = [{"alpha": a, "l1_ratio": r} for a in (0.5, 3.0) for r in (0.3, 0.8, 1.0)]
    models = maker("squared_error", penalty="elasticnet", optimizer="gd", tol=None, max_iter=1500).fit_many(
        X, y, train=train * 2, params=params)  # fmt: skip
    for i, (model, own) in enumerate(zip(models, params, strict=True)):
        rows = train[i % 3]
        lasso = own["l1_ratio"] == 1.0
        twin = Lasso(own["alpha"], tol=1e-12) if lasso else ElasticNet(**own, tol=1e-12)
        twin.fit(X[rows], y[rows])
        np.testing.assert_allclose(model.coef_, twin.coef_, rtol=0, atol=1e-6 * np.abs(twin.coef_).max())
        np.testing.assert_array_equal(model.coef_ == 0, twin.coef_ == 0)


# -- what a review found --------------------------------------------------------------------------------------------


def test_the_step_size_of_a_fold_is_the_one_that_was_asked_for():
    rng = np.random.RandomState(0)
    X, rows = rng.randn(300, 4), np.arange(0, 300, 10)
    y = X @ rng.randn(4) + 0.1 * rng.randn(300)
    model = lc.LinearRegressor(lr=0.01, alpha=0.0, shuffle=False, max_iter=3, tol=None)
    (lane,) = model.fit_many(X, y, train=[rows], params=[{}])
    np.testing.assert_allclose(lane.coef_, clone(model).fit(X[rows], y[rows]).coef_, rtol=1e-9)
    mask = np.isin(np.arange(300), rows)
    np.testing.assert_allclose(clone(model).fit(X, y, mask * 1.0).coef_, lane.coef_, rtol=1e-9)


@pytest.mark.parametrize("max_iter", [1, 2, 5])
def test_newton_that_does_not_arrive_has_seen_no_held_out_row(max_iter):
    rng = np.random.RandomState(0)
    X, y = rng.randn(200, 50), rng.randint(0, 2, 200)
    folds = list(lc.StratifiedKFold(5).split(X, y))
    model = lc.LinearClassifier(optimizer="newton", alpha=1e-3, max_iter=max_iter, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = model.fit_many(X, y, train=[train for train, _ in folds], params=[{}] * 5)
        for fitted, (train, _) in zip(many, folds, strict=True):
            one = clone(model).fit(X[train], y[train])
            np.testing.assert_allclose(fitted.coef_, one.coef_, rtol=1e-6, atol=1e-6)


def test_newton_that_stops_early_on_many_rows_has_seen_no_held_out_row():
    rng = np.random.RandomState(0)
    X, y = rng.randn(20_000, 4), rng.randint(0, 2, 20_000)
    train = [train for train, _ in lc.KFold(4).split(X)]
    changed = X.copy()
    changed[:5000] = 100.0 * rng.randn(5000, 4)  # the first fold's held-out rows
    model = lc.LinearClassifier(optimizer="newton", max_iter=1, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        before, after = (model.fit_many(table, y, train=train, params=[{}] * 4)[0] for table in (X, changed))
    assert before.n_iter_ == 1
    np.testing.assert_allclose(after.coef_, before.coef_, rtol=0, atol=1e-6 * np.abs(before.coef_).max())


def test_newton_goes_on_from_where_it_is():
    rng = np.random.RandomState(0)
    X = rng.randn(20_000, 4) * [1.0, 3.0, 9.0, 27.0]
    y = X @ [4.0, 0.5, -0.3, 0.1] + rng.logistic(size=20_000) > 0
    model = lc.LinearClassifier(optimizer="newton", max_iter=1, tol=1e-12, alpha=1e-6, warm_start=True)
    twin = clone(model).set_params(max_iter=100, warm_start=False).fit(X, y)
    away = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(8):
            away.append(np.abs(model.fit(X, y).coef_ - twin.coef_).max())
    assert away[-1] <= 1e-7 < away[0]


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_without_a_penalty_newton_does_not_depend_on_who_was_there_before(loss):
    X, y = cancer()  # 60 rows of 30 features: the classes can be parted, and minima lie at infinity
    rows = np.arange(60)
    params = [{"alpha": 1.0}, {"alpha": 0.1}]
    model = maker(loss, optimizer="newton", penalty=None, max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fitted, own in zip(model.fit_many(X, y, train=[rows] * 2, params=params), params, strict=True):
            (alone,) = model.fit_many(X, y, train=[rows], params=[own])
            same(alone, fitted, 1e-6)


@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
@pytest.mark.parametrize("data", [cancer, wine])
def test_those_who_are_slow_get_the_hessians_of_their_own_rows(monkeypatch, data, loss):
    X, y = data()
    groups = np.arange(len(X)) % 4
    train = [np.flatnonzero(~np.isin(groups, pair)) for pair in combinations(range(4), 2)]  # which overlap
    renewed = {}

    def renew(samples, guess, models, theta, own=newton._renew):
        own(samples, guess, models, theta)
        renewed.update({m: (samples.task, guess.of[m], theta[models].mean(axis=0)) for m in models})

    monkeypatch.setattr(newton, "_renew", renew)
    monkeypatch.setattr(newton, "FEW", 1)
    monkeypatch.setattr(lbfgs, "_SLOW", 0.0)
    model = maker(loss, optimizer="newton", alpha=0.01, tol=1e-12, max_iter=100)
    model.fit_many(X, y, train=train, params=[{}] * 6)
    assert sorted(renewed) == list(range(6))
    rng = np.random.RandomState(0)
    for m, (task, inverse, at) in renewed.items():
        one = newton._Solved(task, np.float64)

        def turned(step, one=one, m=m, at=at):  # the Hessian times a step
            (ahead,), (behind,) = (one.gradients((at + h * step)[None], np.array([m]))[1] for h in (1e-7, -1e-7))
            return (ahead - behind) / 2e-7

        step = rng.randn(len(at))
        if task.joint:  # softmax does not see what all classes share
            coef, intercept = one.parted(step[None])
            (step,) = one.joined(coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean())
        product = turned(step)
        again = turned(inverse(product[None])[0])  # where a row has no curvature there is nothing to invert
        np.testing.assert_allclose(again, product, atol=1e-3 * np.abs(product).max())


def test_a_path_leads_along_a_parabola_and_nowhere_else():
    path, start = newton._Path(), np.zeros(2)
    assert path.ahead(start, 1.0) is start

    def minimum(ridge):
        return np.array([1.0, -2.0]) * np.log(ridge) ** 2 + np.array([3.0, 0.5]) * np.log(ridge)

    for ridge in (1.0, 0.1, 0.03, 0.01):
        path.points.append((ridge, minimum(ridge)))
    np.testing.assert_allclose(path.ahead(start, 0.004), minimum(0.004), rtol=1e-12)
    for ridge in (0.01, 1e-6):  # no step, and a step too far
        np.testing.assert_array_equal(path.ahead(start, ridge), minimum(0.01))


@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton"])
def test_in_single_precision_a_group_far_from_the_others_takes_no_digits_from_them(optimizer):
    rng = np.random.RandomState(0)
    X, groups = rng.randn(20_000, 60).astype(np.float32), np.arange(20_000) % 5
    y = X[:, 0] + X[:, 1] > rng.logistic(size=len(X))
    X[groups == 4] += 1000.0
    train = [np.flatnonzero(groups != k) for k in range(5)]
    model = maker("log_loss", optimizer=optimizer, alpha=1e-3, max_iter=3 if optimizer == "sgd" else 50, tol=None)
    together = model.fit_many(X, y, train=train, params=[{}] * 5)[4]
    (alone,) = model.fit_many(X, y, train=[train[4]], params=[{}])
    np.testing.assert_allclose(together.coef_, alone.coef_, rtol=0, atol=1e-4 * np.abs(alone.coef_).max())


@pytest.mark.parametrize("optimizer", ["sgd", "gd", "newton"])
@pytest.mark.parametrize(("dtype", "mean", "odd"), [(np.float32, 2000.0, 1e6), (np.float64, 1e7, 1e12)])
def test_a_row_that_nobody_trains_on_changes_nothing(optimizer, dtype, mean, odd):
    rng = np.random.RandomState(0)
    X = (rng.randn(12_000, 100) + mean).astype(dtype)
    y = X[:, 0] + X[:, 1] - 2 * mean > rng.logistic(size=len(X))
    train = [np.arange(1, 9000), np.arange(3000, 12_000)]
    model = maker("log_loss", optimizer=optimizer, alpha=1e-3, max_iter=3, tol=None)
    before = model.fit_many(X, y, train=train, params=[{}] * 2)
    X[0] = odd
    for one, other in zip(before, model.fit_many(X, y, train=train, params=[{}] * 2), strict=True):
        np.testing.assert_array_equal(one.coef_, other.coef_)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("data", [wine, digits])  # of 3 classes, and of 10: no whole number of models fills a block
def test_steps_of_single_rows_for_several_classes_are_those_of_one_model(data, penalty):
    X, y = data()
    X, y = X[:600], y[:600]
    masks = [np.arange(len(X)) % 4 != k for k in range(4)]
    model = maker("log_loss", penalty=penalty, optimizer="sgd", alpha=1e-3, max_iter=3, tol=None, random_state=0)
    models = model.fit_many(X, y, train=masks, params=[{}] * 4)
    for mask, one in zip(masks, models, strict=True):
        other = clone(model).fit(X, y, sample_weight=mask.astype(float))
        np.testing.assert_allclose(one.coef_, other.coef_, rtol=0, atol=1e-9 * np.abs(other.coef_).max())
        np.testing.assert_allclose(one.intercept_, other.intercept_, rtol=0, atol=1e-9)
        np.testing.assert_allclose(one.history_[-1]["train_loss"], other.history_[-1]["train_loss"], rtol=1e-9)


def test_clones_of_many_models_share_nothing_that_changes():
    X, y = cancer()
    model = lc.LinearClassifier(optimizer=lc.SGD(lr=0.01), class_weight={0: 1.0, 1: 2.0}, max_iter=2, tol=None)
    one, other = model.fit_many(X, y, train=[np.arange(400)] * 2, params=[{}, {"optimizer__lr": 0.02}])
    assert (one.optimizer.lr, other.optimizer.lr, model.optimizer.lr) == (0.01, 0.02, 0.01)
    one.class_weight[0] = 9.0
    assert other.class_weight == model.class_weight == {0: 1.0, 1: 2.0}


@pytest.mark.parametrize("optimizer", ["newton", "exact", "gd", "sgd"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_means_near_and_far_from_zero(optimizer, dtype):
    X, y = diabetes()
    X, y = X[:, :5] / X[:, :5].std(axis=0), (y - y.mean()) / y.std()
    away = np.array([0.0, 1.0, 3.5, 30.0, 1e6 if dtype == np.float64 else 100.0])  # in standard deviations
    folds = np.array_split(np.argsort(X[:, 0]), 4)  # whose centres are apart
    train = [np.setdiff1d(np.arange(len(y)), fold) for fold in folds]
    model = maker("squared_error", optimizer=optimizer, alpha=1e-3, max_iter=300, tol=None, shuffle=False)
    near, far = (model.fit_many(Z.astype(dtype), y, train=train, params=[{}] * 4) for Z in (X, X + away))
    for one, other in zip(near, far, strict=True):
        # single precision has lost digits of X itself
        atol = 1e-6 if dtype == np.float64 else 1e-3
        np.testing.assert_allclose(one.coef_, other.coef_, rtol=0, atol=atol * np.abs(one.coef_).max())


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_gd_does_not_mind_the_unit_of_the_features(loss, unit):
    X, y = cancer() if loss == "log_loss" else diabetes()
    options = {"alpha": 0.01 * unit**2, "tol": 1e-9, "max_iter": 5000}
    exact = maker(loss, optimizer="newton", **options).fit(X * unit, y)
    found = maker(loss, optimizer="gd", **options).fit(X * unit, y)
    np.testing.assert_allclose(found.coef_, exact.coef_, rtol=0, atol=2e-3 * np.abs(exact.coef_).max())


def test_newton_arrives_at_a_tight_tol_where_single_precision_cannot_see_it():
    X, y = make_classification(6000, 20, n_informative=5, n_redundant=10, random_state=0)
    params = [{"alpha": a} for a in (1e-6, 1e-3) for _ in range(5)]
    train = [train for train, _ in lc.KFold(5).split(X)] * 2
    model = maker("log_loss", optimizer="newton", tol=1e-12, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        models = model.fit_many(X, y, train=train, params=params)
    assert max(len(model.history_) for model in models) < 60


@pytest.mark.parametrize("classes", [2, 3])
def test_newton_arrives_where_the_curvature_sits_in_the_rows_of_a_rare_class(classes):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(6000, 40))
    z = X @ rng.normal(size=(40, classes)) / 40**0.5
    z[:, 0] += 8
    y = (z + rng.gumbel(size=(6000, classes))).argmax(axis=1)
    few = maker("log_loss", optimizer="newton", alpha=1e-6, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = few.fit(X, y)
    pushes = model.predict_proba(X) - np.eye(classes)[y]
    outputs = pushes[:, 1:] if classes == 2 else pushes
    slopes = outputs.T @ X / 6000 + 1e-6 * model.coef_
    assert np.abs(slopes).max() <= 1e-8


def test_a_mean_of_y_far_from_zero_does_not_end_newton_sooner():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 12))
    y = X[:, 0] + rng.standard_t(1.5, size=6000)
    train = [rng.permutation(6000)[:4800] for _ in range(2)] + [rng.permutation(6000)[:60]]
    model = maker("huber", optimizer="newton", max_iter=100)
    for fitted, rows in zip(model.fit_many(X, y + 1e5, train=train, params=[{}] * 3), train, strict=True):
        near = clone(model).fit(X[rows], y[rows])
        np.testing.assert_allclose(fitted.coef_, near.coef_, rtol=0, atol=1e-6 * np.abs(near.coef_).max())


@pytest.mark.parametrize("unit", [1e-310, 1e306])
@pytest.mark.parametrize("optimizer", ["newton", "gd", "sgd"])
def test_only_the_ratios_of_weights_count(optimizer, unit):
    X, y = cancer()
    weights = 1.0 + np.arange(len(y)) % 3
    model = maker("log_loss", optimizer=optimizer, max_iter=1000)
    usual, extreme = (clone(model).fit(X, y, sample_weight=w) for w in (weights, weights * unit))
    np.testing.assert_allclose(extreme.coef_, usual.coef_, rtol=1e-6)


def test_rare_features_are_seen_by_the_sample():
    # some columns are not zero in a few rows only: of these the Hessian of evenly drawn rows would know nothing
    rng = np.random.RandomState(0)
    X = np.zeros((20_000, 60))
    X[np.arange(20_000), np.minimum(rng.geometric(0.1, 20_000), 55)] = 1.0
    X[:, 55:] = rng.randn(20_000, 5)
    y = X @ rng.randn(60) + rng.randn(20_000) > 0
    train = [train for train, _ in lc.KFold(5, shuffle=True, random_state=0).split(X)]
    model = maker("log_loss", optimizer="newton", max_iter=100)
    models = model.fit_many(X, y, train=train, params=[{"alpha": 1e-6}] * 5)
    twin = LogisticRegression(C=1 / (16_000 * 1e-6), solver="newton-cholesky", tol=1e-10).fit(X[train[0]], y[train[0]])
    np.testing.assert_allclose(models[0].coef_, twin.coef_, rtol=0, atol=1e-5 * np.abs(twin.coef_).max())
    assert max(len(model.history_) for model in models) <= 15


def test_sparse_features_that_are_not_centred_take_shorter_steps():
    rng = np.random.RandomState(0)
    X = np.ones((500, 1))
    X[::50] = 0.9
    y = 3 + 0.1 * rng.randn(500) + (X[:, 0] < 0.95)
    model = lc.LinearRegressor(optimizer="gd", alpha=0.0, tol=None, max_iter=300)
    assert model.fit(sparse.csr_matrix(X), y).score(sparse.csr_matrix(X), y) > -0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_long_run_of_sparse_rows_that_no_model_sees(dtype):
    rng = np.random.RandomState(0)
    X, y = rng.randn(5000, 6).astype(dtype), rng.randint(0, 2, 5000)
    rows = rng.choice(5000, 40, replace=False)
    rows[:2] = np.flatnonzero(y == 0)[0], np.flatnonzero(y == 1)[0]
    model = lc.LinearClassifier("hinge", alpha=3.0, lr=0.1, fit_intercept=False, max_iter=2, tol=None, random_state=0)
    dense, thin = (model.fit_many(table, y, train=[rows], params=[{}])[0] for table in (X, sparse.csr_matrix(X)))
    np.testing.assert_allclose(thin.coef_, dense.coef_, rtol=1e-4, atol=1e-7)


def test_sets_of_rows_of_the_same_bytes_are_told_apart():
    X, y = np.arange(8.0)[:, None], np.arange(8.0)
    mask = np.arange(8) == 0
    assert mask.tobytes() == np.array([1]).astype("<i8").tobytes()
    a, b = lc.LinearRegressor(optimizer="exact", alpha=1.0).fit_many(X, y, train=[mask, np.array([1])], params=[{}, {}])
    assert (a.predict([[0.0]])[0], b.predict([[1.0]])[0]) == (0.0, 1.0)


def test_rows_too_few_for_early_stopping_fail_alone():
    X, y = np.random.RandomState(0).randn(60, 2), np.arange(60) % 2
    lone = np.r_[0:60:2, 1]
    with pytest.raises(lc.ModelsFailed) as caught:
        lc.LinearClassifier(early_stopping=True, random_state=0).fit_many(
            X, y, train=[np.arange(60), lone], params=[{}, {}]
        )
    assert list(caught.value.errors) == [1]
    assert hasattr(caught.value.models[0], "coef_")


def test_a_search_over_a_subclass_uses_its_own_fit_and_predict():
    class Scaled(lc.LinearClassifier):
        fits = 0

        def fit(self, X, y, sample_weight=None):
            type(self).fits += 1
            return super().fit(X / 100.0, y, sample_weight)

        def decision_function(self, X):
            return super().decision_function(X / 100.0)

    X, y = load_breast_cancer(return_X_y=True)
    model = Scaled(optimizer="newton")
    ours, theirs = (
        kind(model, {"alpha": [1e-3, 1e-1]}, cv=3).fit(X, y).cv_results_["mean_test_score"]
        for kind in (lc.GridSearchCV, sklearn.model_selection.GridSearchCV)
    )
    np.testing.assert_array_equal(ours, theirs)
    assert Scaled.fits == 14


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_scorer_that_raises_is_no_fit_that_failed():
    X, y = load_diabetes(return_X_y=True)
    y = y - y.mean()  # of which there is no logarithm
    search = lc.GridSearchCV(lc.LinearRegressor(optimizer="exact"), {"alpha": [0.1, 1.0]}, cv=3, refit=False,
                             scoring="neg_mean_squared_log_error")  # fmt: skip
    with pytest.warns(UserWarning, match="Scoring failed"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    ("loss", "alpha"), [("squared_error", 1e-6), ("squared_hinge", 1e-6), ("modified_huber", 1e-4)]
)
def test_newton_learns_nothing_of_held_out_noise(loss, alpha):
    rng = np.random.RandomState(1)
    X, y = rng.randn(120, 150), rng.randint(0, 2, 120)
    model = maker(loss, optimizer="newton", alpha=alpha, max_iter=200)
    train = [a for a, _ in lc.KFold(5).split(X)]
    many = model.fit_many(X, y, train=train, params=[{}] * 5)
    for fitted, rows in zip(many, train, strict=True):
        one = clone(model).fit(X[rows], y[rows])
        np.testing.assert_allclose(fitted.coef_, one.coef_, rtol=0, atol=1e-6 * np.abs(one.coef_).max())
