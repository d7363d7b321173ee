"""The kernels of linear models against naive loops over rows, batches and coefficients."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit, softmax

import lifecycle as lc
from lifecycle.loops.linear_minibatch import BatchModels, BatchRows, BatchState, minibatch_epoch
from lifecycle.loops.linear_minibatch_single import Model, ModelState, single_minibatch_epoch
from lifecycle.loops.linear_sgd import SgdModels, SgdRows, sgd_epoch
from lifecycle.loops.linear_sgd_csr import CsrModels, CsrRows, csr_sgd_epoch
from lifecycle.loops.linear_update import flatten_hyperparameters, update_kind
from lifecycle.losses import list_losses
from lifecycle.penalties import find_penalty
from lifecycle.rules import list_rules

from . import naive
from .linear_models import REGRESSION

EPSILON = 0.3
WIDTH = 32  # models in a block
DLOSS = {
    "squared_error": lambda y, z: z - y,
    "huber": lambda y, z: np.clip(z - y, -EPSILON, EPSILON),
    "hinge": lambda y, z: np.where(y * z < 1, -y, 0.0),
    "log_loss": lambda y, z: -y * expit(-y * z),
    "multinomial": lambda y, z: softmax(z, axis=1) - y,
}
VALUE = {
    "squared_error": lambda y, z: 0.5 * (z - y) ** 2,
    "hinge": lambda y, z: np.maximum(0.0, 1.0 - y * z),
    "log_loss": lambda y, z: np.logaddexp(0.0, -y * z),
}
L1_L2 = {  # penalty -> weights of |w| and of w²/2 for an l1_ratio
    None: lambda r: (0.0, 0.0),
    "l2": lambda r: (0.0, 1.0),
    "l1": lambda r: (1.0, 0.0),
    "elasticnet": lambda r: (r, 1.0 - r),
}
TOLERANCE = {np.float64: 1e-10, np.float32: 2e-4}
RULES = {  # id -> options, reference implementation
    "sgd": ({}, naive.sgd),
    "sgd momentum": ({"momentum": 0.9, "nesterov": True}, naive.sgd),
    "gd": ({}, naive.gd),
    "adam": ({}, naive.adam),
    "adam amsgrad": ({"amsgrad": True}, naive.adam),
    "adamw": ({"weight_decay": 0.0}, naive.adam),
}


class RandomModels:
    """WIDTH models with random numbers; `check` trains each of them with the naive loop."""

    def __init__(self, loss, dtype, n=19, features=4, has_zeros=False):
        rng = self.rng = np.random.RandomState(1)
        self.loss_name, self.loss, self.dtype = loss, list_losses()[loss], dtype
        self.X = rng.randn(n, features)
        if has_zeros:
            self.X[rng.uniform(size=self.X.shape) < 0.6] = 0.0
            self.X[3] = self.X[-1] = 0.0
            self.X[:, 1] = 0.0
        self.y = rng.randn(n) if self.loss.task == "regression" else rng.randint(0, 4, n).astype(float)
        self.weights = rng.uniform(0.0, 2.0, (n, 3)) * (rng.uniform(size=(n, 3)) < 0.7)  # of three training sets
        self.weights[5] = 0.0
        self.train_set = rng.randint(0, 3, WIDTH)
        self.label = np.resize(np.arange(4), WIDTH).astype(float)
        self.lr, self.alpha = rng.uniform(0.01, 0.2, WIDTH), rng.choice([0.0, 1e-3, 0.5], WIDTH)
        self.l1_ratio = rng.uniform(0.1, 0.9, WIDTH)
        self.fit_intercept = (rng.uniform(size=WIDTH) < 0.7).astype(float)
        self.centers = np.zeros((3, features)) if has_zeros else rng.randn(3, features)
        self.coef, self.intercept = rng.randn(WIDTH, features), rng.randn(WIDTH)
        self.orders = [rng.permutation(n) for _ in range(2)]  # one an epoch
        for name in ("X", "y", "weights", "lr", "alpha", "l1_ratio", "centers", "coef", "intercept"):
            setattr(self, name, self.cast(getattr(self, name)).astype(float))
        self.center = self.centers[self.train_set]
        self.theta, self.trained_intercept = self.cast(self.coef.T.ravel()), self.cast(self.intercept)
        self.total_loss = np.zeros(WIDTH)

    def cast(self, x):
        return np.array(x, self.dtype, order="C")

    def targets(self, m):
        return self.y if self.loss.task == "regression" else np.where(self.y == self.label[m], 1.0, -1.0)

    def l1_l2(self, penalty, m):
        return np.array(L1_L2[penalty](self.l1_ratio[m])) * self.alpha[m]

    def check(self, penalty):
        tolerance = TOLERANCE[self.dtype]
        for m in range(WIDTH):
            coef, intercept, total = self.coef[m], self.intercept[m], 0.0
            for order in self.orders:
                coef, intercept, loss = naive.proximal_sgd(
                    self.X - self.center[m],
                    self.targets(m),
                    self.weights[:, self.train_set[m]],
                    order,
                    coef,
                    intercept,
                    DLOSS[self.loss_name],
                    VALUE[self.loss_name],
                    self.lr[m],
                    *self.l1_l2(penalty, m),
                    self.fit_intercept[m] > 0,
                )
                total += loss
            np.testing.assert_allclose(self.theta.reshape(-1, WIDTH)[:, m], coef, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(self.trained_intercept[m], intercept, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(self.total_loss[m], total, rtol=tolerance)


# -- the calls of kernels, whose arguments are private --------------------------------------------------------------


def run_sgd(models, penalty, prox_scales):
    """Epochs of dense single-row steps; `prox_scales`: the proximal step multiplies coefficients by a factor."""
    m, cast = models, models.cast
    kernel = sgd_epoch(m.loss, False, penalty, WIDTH, prox_scales)
    prox_params = [penalty.prox_params(t, r) for t, r in zip(m.lr * m.alpha, m.l1_ratio, strict=True)]
    parameters = SgdModels(
        center=cast(m.center.T.ravel()),
        center_norm2=cast((m.center**2).sum(axis=1)),
        train_set=m.train_set,
        label=cast(m.label),
        step_size=cast(m.lr),
        preconditioner=cast(np.empty(0)),
        prox_params=cast(np.array(prox_params).T.ravel()),
        epsilon=cast(np.full(WIDTH, 0.1)),
        has_intercept=cast(m.fit_intercept),
    )
    for order in m.orders:
        rows = SgdRows(cast(m.X), cast(m.y), cast(m.weights), cast(m.X @ m.centers.T), order)
        kernel(rows, parameters, 1, m.theta, m.trained_intercept, m.total_loss)


def run_sgd_csr(models):
    """Epochs of single-row steps on a CSR matrix with an l2 penalty; returns the factors of the coefficients."""
    m, cast = models, models.cast
    kernel, X = csr_sgd_epoch(m.loss, False, WIDTH), sparse.csr_array(cast(m.X))
    scale, shrinkage = cast(np.ones(WIDTH)), cast(1.0 / (1.0 + m.lr * m.alpha))
    epsilon = cast(np.full(WIDTH, 0.1))
    parameters = CsrModels(m.train_set, cast(m.label), cast(m.lr), shrinkage, epsilon, cast(m.fit_intercept))
    for order in m.orders:
        rows = CsrRows(X.data, X.indices, X.indptr, cast(m.y), cast(m.weights), order)
        kernel(rows, parameters, 1, m.theta, scale, m.trained_intercept, m.total_loss)
    return scale


def run_minibatches(models, penalty, optimizers, batch_size, average_from, kind, tiles, train_set):
    """Epochs of batches for `tiles` copies of the models; (theta, intercept) and their means from a step on."""
    m, rule = models, optimizers[0].rule
    n_slots = len(rule.variant(optimizers[0].get_params()).slots)
    kernel = minibatch_epoch(rule, optimizers[0].get_params(), m.loss, False, penalty, WIDTH)
    n_models, t = tiles * WIDTH, 0
    theta, intercept = np.tile(m.theta, tiles), np.tile(m.intercept, tiles)
    slots, intercept_slots = np.zeros((n_slots, theta.size)), np.zeros((n_slots, intercept.size))
    state = BatchState(
        *(theta, intercept, slots, intercept_slots),
        *(np.zeros_like(theta), np.zeros_like(intercept), np.zeros(n_models)),
    )
    parameters = BatchModels(
        center=np.tile(m.center.T.ravel(), tiles),
        preconditioner=np.empty(0),
        train_set=train_set,
        label=np.tile(m.label, tiles),
        alpha=np.tile(m.alpha, tiles),
        l1_ratio=np.tile(m.l1_ratio, tiles),
        epsilon=np.full(n_models, EPSILON),
        has_intercept=np.tile(m.fit_intercept, tiles),
        hyper=np.array([flatten_hyperparameters(rule.defaults, o.get_params()) for o in optimizers]),
    )
    for order in m.orders:
        rows = BatchRows(m.X, m.y, m.weights, order, batch_size)
        kernel(rows, parameters, state, 1, kind, t, average_from, np.zeros(n_models))
        t += -(-len(order) // batch_size)
    return (theta, intercept), (state.mean, state.intercept_mean)


def single_model_kernel(optimizer, loss, is_multinomial, penalty):
    """epoch(rows, theta, slots, mean, settings, t, average_from) -> sum of losses; and the number of slots."""
    update, slots = optimizer.rule.variant(optimizer.get_params())
    step = optimizer.rule.step
    kernel = single_minibatch_epoch(update, len(slots), step, 0, loss, is_multinomial, penalty)
    hyper = tuple(optimizer.get_params()[name] for name in optimizer.rule.defaults)

    def epoch(rows, theta, slots, mean, settings, t, average_from):
        model = Model(np.zeros(rows.X.shape[1]), np.empty(0), *settings, hyper)
        return kernel(rows, model, ModelState(theta, slots, mean, np.empty(0)), t, average_from)

    return epoch, len(slots)


# -- many models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "penalty", "dtype", "prox_scales"),
    [
        ("log_loss", "l2", np.float64, True),
        ("log_loss", "l2", np.float32, True),
        ("log_loss", "l2", np.float64, False),
        ("hinge", "elasticnet", np.float64, False),
        ("squared_error", "l1", np.float64, False),
    ],
)
def test_single_row_steps_of_many_models_equal_the_naive_loop(loss, penalty, dtype, prox_scales):
    models = RandomModels(loss, dtype, n=150)  # more rows than losses that are added in the precision of the models
    run_sgd(models, find_penalty(penalty), prox_scales)
    models.check(penalty)


@pytest.mark.parametrize(
    ("loss", "dtype"),
    [("log_loss", np.float64), ("log_loss", np.float32), ("hinge", np.float64), ("squared_error", np.float64)],
)
def test_single_row_steps_on_csr_rows_equal_the_naive_loop_over_the_dense_matrix(loss, dtype):
    models = RandomModels(loss, dtype, n=41, has_zeros=True)
    models.alpha[:8] = 60.0  # the factor gets so small that it is multiplied into the coefficients within the epoch
    scale = run_sgd_csr(models)
    assert scale.min() < 1.0  # not multiplied in at the end for all
    models.theta *= np.tile(scale, models.X.shape[1])
    models.check("l2")


@pytest.mark.parametrize(
    ("rule", "hyper", "loss", "penalty", "batch_size"),
    [
        ("adam", {}, "log_loss", "elasticnet", 5),
        ("sgd", {}, "log_loss", "l2", 7),
        ("sgd", {"momentum": 0.9}, "huber", "l2", 1),
    ],
)
def test_batches_of_many_models_equal_the_naive_loop(rule, hyper, loss, penalty, batch_size):
    models, tiles, average_from = RandomModels(loss, np.float64, n=17), 2, 3
    if penalty == "elasticnet":
        models.alpha += 0.01  # models without an l1 term are not trained with those that have one
    optimizers = [getattr(lc, list_rules()[rule].class_name)(lr=float(lr), **hyper) for lr in models.lr] * tiles
    is_proximal = not optimizers[0].rule.variant(optimizers[0].get_params()).slots
    kind = update_kind(is_proximal, float(penalty == "elasticnet"))
    train_set = np.concatenate([models.train_set, (models.train_set + 1) % 3])  # other rows in the second tile
    trained, means = run_minibatches(
        models, find_penalty(penalty), optimizers, batch_size, average_from, kind, tiles, train_set
    )
    oracle = {"adam": naive.adam, "sgd": naive.sgd}[rule]
    for place in (0, 5, 13, 31, 32, 37, 63):
        m = place % WIDTH
        coef, intercept, grads, path = models.coef[m][None], models.intercept[m][None], [], []
        for order in models.orders:
            coef, intercept, thetas = naive.minibatch_epoch(
                models.X - models.center[m],
                models.targets(m)[:, None],
                models.weights[:, train_set[place]],
                order,
                batch_size,
                coef,
                intercept,
                lambda p, g, lr: oracle(p, g, lr, **hyper),
                grads,
                DLOSS[loss],
                models.lr[m],
                *models.l1_l2(penalty, m),
                is_proximal,
                models.fit_intercept[m] > 0,
            )
            path += thetas
        for (theta, b), expected in ((trained, path[-1]), (means, np.mean(path[average_from - 1 :], axis=0))):
            actual = np.append(theta.reshape(tiles, -1, WIDTH)[place // WIDTH, :, m], b[place])
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-10)


# -- one model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "loss", "penalty"),
    [
        ("sgd", "hinge", "l2"),
        ("sgd", "multinomial", "elasticnet"),
        ("sgd", "squared_error", "l1"),
        ("sgd momentum", "squared_error", "l1"),
        ("sgd momentum", "multinomial", "l2"),
        ("gd", "huber", None),
        ("adam", "multinomial", "l1"),
        ("adam", "huber", "elasticnet"),
        ("adam", "log_loss", "l2"),
        ("adam amsgrad", "hinge", "elasticnet"),
        ("adamw", "log_loss", None),
    ],
)
def test_batches_of_one_model_equal_the_naive_loop(rule, loss, penalty):
    hyper, oracle = RULES[rule]
    is_multinomial = loss == "multinomial"
    rng = np.random.RandomState(0)
    X, weights, alpha, lr, l1_ratio = rng.randn(23, 4), rng.uniform(0.0, 2.0, 23), 0.1, 0.05, 0.4
    if is_multinomial:
        Y = np.eye(3)[rng.randint(0, 3, 23)]
    else:
        Y = rng.randn(23, 1) if loss in REGRESSION else rng.choice([-1.0, 1.0], (23, 2))  # two: one versus rest
    outputs = Y.shape[1]
    optimizer = getattr(lc, list_rules()[rule.split()[0]].class_name)(lr=lr, **hyper)
    epoch, n_slots = single_model_kernel(
        optimizer, list_losses()["log_loss" if is_multinomial else loss], is_multinomial, find_penalty(penalty)
    )
    is_proximal = n_slots == 0
    l1, l2 = L1_L2[penalty](l1_ratio)
    for batch_size, fit_intercept in ((1, True), (5, False), (23, True)):
        theta, mean = np.zeros(outputs * 5), np.zeros(outputs * 5)
        theta[::3] = 0.3
        coef, intercept = theta[: outputs * 4].reshape(outputs, 4).copy(), theta[outputs * 4 :].copy()
        grads, path, slots, average_from, t = [], [], np.zeros((n_slots, theta.size)), 2, 0
        for _ in range(2):
            order = rng.permutation(23)
            settings = (EPSILON, alpha, l1_ratio, update_kind(is_proximal, alpha * l1), fit_intercept)
            rows = BatchRows(X, Y, weights, order, batch_size)
            total = epoch(rows, theta, slots, mean, settings, t, average_from)
            assert np.isfinite(total)
            t += -(-23 // batch_size)
            coef, intercept, thetas = naive.minibatch_epoch(
                X,
                Y,
                weights,
                order,
                batch_size,
                coef,
                intercept,
                lambda p, g, lr: oracle(p, g, lr, **hyper),
                grads,
                DLOSS[loss],
                lr,
                alpha * l1,
                alpha * l2,
                is_proximal,
                fit_intercept,
            )
            path += thetas
        np.testing.assert_allclose(theta, path[-1], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(mean, np.mean(path[average_from - 1 :], axis=0), rtol=1e-10, atol=1e-12)


# -- the disk cache -------------------------------------------------------------------------------------------------


def test_kernels_from_the_disk_cache_are_not_confused_with_each_other(tmp_path):
    # compiled in different processes they bear the same names, and they are linked by name in one process
    code = """if True:
        import sys
        import numpy as np, lifecycle as lc
        X = np.random.RandomState(0).randn(40, 3)
        y = np.arange(40) % 3
        targets = {"two": y > 0, "three": y, "real": y}
        for name in sys.argv[1:]:
            estimator, target = lc.LinearRegressor if name == "real" else lc.LinearClassifier, targets[name]
            print(name, estimator(random_state=0, max_iter=5, tol=None).fit(X, target).coef_.ravel().tolist())
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def run(*names):
        command = [sys.executable, "-c", code, *names]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    separate = [run(name)[0] for name in ("two", "three", "real")]
    assert run("two", "three", "real") == separate
