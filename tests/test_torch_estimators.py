"""TorchClassifier and TorchRegressor against loops written by hand, scikit-learn's checks and their named failures."""

import copy
import functools
import inspect
import json
import math
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_diabetes, load_digits, load_iris  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.metrics import accuracy_score, r2_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit, StratifiedShuffleSplit, cross_val_score  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.optim import swa_utils  # noqa: E402

import lifecycle as lc  # noqa: E402
import lifecycle.torch as lt  # noqa: E402

from .networks import ReferenceLSTM  # noqa: E402

BOTH = [lt.TorchClassifier, lt.TorchRegressor]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X[:500] / 16).astype(np.float32), y[:500]


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    return X, ((y - y.mean()) / y.std()).astype(np.float32)


def classifier(module=None, **kw):
    return lt.TorchClassifier(module, **{"max_epochs": 3, "random_state": 0, "progress": False, **kw})


def regressor(module=None, **kw):
    return lt.TorchRegressor(module, **{"max_epochs": 3, "random_state": 0, "progress": False, **kw})


def weights_of(estimator):
    return torch.cat([p.detach().double().ravel() for p in estimator.module_.parameters()])


def seed_of(random_state):
    """What torch's generator starts from."""
    return np.random.RandomState(random_state).randint(2**31 - 1)


def same(a, b):
    return torch.equal(weights_of(a), weights_of(b))


def losses(estimator, name="train_loss"):
    return [record[name] for record in estimator.history_]


# -- scikit-learn's own checks ---------------------------------------------------------------------------------------

WEIGHTS = "a sample of weight 0 stays in its batch, and one of weight 2 is in one batch, where repeated it is in two"


@parametrize_with_checks(
    [cls() for cls in BOTH],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
        "check_sample_weight_equivalence_on_sparse_data": WEIGHTS,
    },
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("cls", BOTH)
def test_each_parameter_is_documented_and_both_estimators_say_the_same(cls):
    def documented(of):
        part = inspect.getdoc(of).partition("Parameters\n")[2].partition("Attributes\n")[0]
        found = re.split(r"\n(?=[\w*])", part.strip("-\n"))
        return {re.split(" : |\n", entry)[0]: entry for entry in found}

    names = [name.strip() for key in documented(cls) for name in key.split(",")]
    parameters = inspect.signature(cls).parameters
    assert names == [("**" if p.kind is p.VAR_KEYWORD else "") + p.name for p in parameters.values()]
    for name, text in documented(lt.TorchRegressor).items():
        if name not in ("module", "loss", "early_stopping"):
            assert text == documented(lt.TorchClassifier)[name]
    for p in parameters.values():
        if p.default is not p.empty:
            (text,) = [t for key, t in documented(cls).items() if p.name in re.split(r", ", key)]
            assert f"default={p.default!r}".replace("'", '"') in text


# -- the loop --------------------------------------------------------------------------------------------------------


def by_hand(net, make, X, y, loss, *, epochs=3, batch_size=32, weights=None, clip=None, ema=None, scheduler=None):
    """The training loop that one writes; `make`: from parameters to an optimizer."""
    optimizer = make(net.parameters())
    schedule = scheduler(optimizer) if scheduler else None
    average = swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(ema)) if ema else None
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    history = []
    for _ in range(epochs):
        net.train()
        total = 0.0
        for rows in torch.randperm(len(X)).split(batch_size):
            optimizer.zero_grad()
            values = loss(net(X[rows]), y[rows], reduction="none")
            if weights is not None:
                values = values * torch.as_tensor(weights / weights.mean(), dtype=torch.float32)[rows]
            values.mean().backward()
            if clip:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            if average:
                average.update_parameters(net)
            total += values.mean().item() * len(rows)
        if schedule:
            schedule.step()
        history.append(total / len(X))
    return (average.module if average else net), history


OPTIMIZERS = {
    "lifecycle": (lc.SGD(lr=0.05, momentum=0.9), lambda params: lt.SGD(params, lr=0.05, momentum=0.9)),
    "torch": (functools.partial(torch.optim.AdamW, lr=0.01), functools.partial(torch.optim.AdamW, lr=0.01)),
}
COSINE = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=3)
STEP = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.1)
WEIGHTS_OF_500 = np.random.RandomState(1).uniform(0, 2, 500)
VARIANTS = {  # how we say it, how one writes it
    "plain": ({}, {}),
    "weights": ({"sample_weight": WEIGHTS_OF_500}, {"weights": WEIGHTS_OF_500}),
    "clipped": ({"max_grad_norm": 0.1}, {"clip": 0.1}),
    "averaged": ({"ema_decay": 0.9}, {"ema": 0.9}),
    "cosine": ({"lr_scheduler": "cosine"}, {"scheduler": COSINE}),
    "step": ({"lr_scheduler": STEP}, {"scheduler": STEP}),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_fit_is_the_loop_that_one_writes(variant, optimizer, digits):
    X, y = digits
    (ours, theirs), (arguments, hand) = OPTIMIZERS[optimizer], VARIANTS[variant]
    sample_weight = arguments.get("sample_weight")
    arguments = {k: v for k, v in arguments.items() if k != "sample_weight"}
    model = classifier(lt.MLP, module__dropout=0.2, optimizer=ours, batch_size=32, **arguments)
    model.fit(X, y, sample_weight=sample_weight)
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(0))
        net, history = by_hand(lt.MLP(64, 10, dropout=0.2), theirs, X, y, F.cross_entropy, **hand)
    for p, q in zip(model.module_.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses(model), history, rtol=1e-6)


def test_the_loop_of_a_regressor_to_the_last_bit(diabetes):
    X, y = diabetes
    model = regressor(optimizer=torch.optim.SGD, lr=0.01, weight_decay=0.1, batch_size=50).fit(X, y)
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(0))
        make = functools.partial(torch.optim.SGD, lr=0.01, weight_decay=0.1)
        net, _ = by_hand(lt.MLP(10, 1), make, X, y[:, None], F.mse_loss, batch_size=50)
    assert torch.equal(weights_of(model), torch.cat([p.detach().double().ravel() for p in net.parameters()]))


def test_lbfgs_calls_the_closure_and_finds_least_squares(diabetes):
    X, y = diabetes
    model = regressor(nn.Linear(10, 1), optimizer=lambda params: torch.optim.LBFGS(params, max_iter=50),
                      batch_size=len(X), max_epochs=4).fit(X, y)  # fmt: skip
    best = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)[0]
    found = np.append(model.module_.weight.detach().numpy()[0], model.module_.bias.detach().numpy())
    np.testing.assert_allclose(found, best, atol=1e-4)


def test_a_single_row_joins_the_last_batch(digits):
    sizes = []

    class Net(nn.Sequential):
        def forward(self, x):
            if self.training:
                sizes.append(len(x))
            return super().forward(x)

    X, y = digits
    net = Net(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    classifier(net, batch_size=40, max_epochs=2).fit(X[:81], y[:81])
    assert sizes == [40, 41] * 2
    X = X[y < 2]
    y = y[y < 2]
    for n, batch, wanted in ((82, 40, [40, 40, 2]), (41, 40, [41]), (3, 1, [1] * 3)):
        sizes.clear()
        classifier(Net(nn.Linear(64, 2)), batch_size=batch, max_epochs=1).fit(X[:n], y[:n])
        assert sizes == wanted


# -- randomness ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [classifier, regressor])
def test_the_seed_decides_and_torchs_generator_is_left_alone(make, digits):
    X, y = digits
    kw = {"module": lt.MLP, "module__dropout": 0.5, "early_stopping": True}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(**kw).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(make(**kw).fit(X, y), first)
    assert losses(make(**kw).fit(X, y), "valid_loss") == losses(first, "valid_loss")
    assert not same(make(**kw, random_state=1).fit(X, y), first)
    for seed in (np.random.RandomState, np.random.default_rng):
        a, b = (make(**kw, random_state=seed(3)).fit(X, y) for _ in range(2))
        assert same(a, b)


def test_without_a_seed_numpys_global_generator_decides(digits):
    X, y = digits
    state = np.random.get_state()
    try:
        fits = []
        for _ in range(2):
            np.random.seed(5)
            fits += [classifier(random_state=None).fit(X, y) for _ in range(2)]
    finally:
        np.random.set_state(state)
    assert same(fits[0], fits[2])
    assert not same(fits[0], fits[1])


def test_processes_and_threads_give_the_same_scores(digits):
    X, y = digits
    model = classifier(lt.MLP, module__dropout=0.5, lr=0.01)
    one = cross_val_score(model, X, y, cv=4)
    assert cross_val_score(model, X, y, cv=4, n_jobs=2).tolist() == one.tolist()
    before = torch.get_rng_state()
    with parallel_config("threading"):
        fits = Parallel(n_jobs=4)(delayed(clone(model).fit)(X, y) for _ in range(4))
    assert torch.equal(torch.get_rng_state(), before)
    alone = model.fit(X, y)
    for other in fits:
        torch.testing.assert_close(weights_of(other), weights_of(alone), rtol=1e-5, atol=1e-6)


NOTEBOOK = """
import json, lifecycle as lc, lifecycle.torch as lt
from torch import nn
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

X, y = load_iris(return_X_y=True)
cell = '''
class Net(nn.Module):
    def __init__(self, n_in, n_out, width=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, n_out))

    def forward(self, x):
        return self.layers(x)
'''
exec(compile(cell, "<ipython-input-1>", "exec"), globals())

def local():
    class Inner(Net):
        pass
    return Inner

found = {}
for name, module in (("typed", Net), ("object", Net(4, 3)), ("inner", local())):
    model = lt.TorchClassifier(module, lr=0.05, max_epochs=5, random_state=0)
    scores = [lc.cross_validate(model, X, y, cv=3, n_jobs=n, error_score="raise") for n in (1, 2)]
    found[name] = [s["test_score"].tolist() for s in scores]
search = GridSearchCV(lt.TorchClassifier(Net, max_epochs=5, random_state=0),
                      {"module__width": [4, 8], "lr": [1e-4, 0.05]}, cv=3, n_jobs=2, error_score="raise")
search.fit(X, y)
found["best"] = [search.best_params_["lr"], search.best_estimator_.module_.layers[0].out_features]
print(json.dumps(found))
"""


def test_a_module_class_typed_into_a_notebook_trains_in_two_processes():
    done = subprocess.run([sys.executable, "-"], input=NOTEBOOK, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("typed", "object", "inner"):
        one, two = found[name]
        assert one == two
    assert found["best"][0] == 0.05
    assert found["best"][1] in (4, 8)


# -- early stopping, history, callbacks, warm start ------------------------------------------------------------------


def test_early_stopping_keeps_the_best_epoch(digits):
    X, y = digits
    model = classifier(lt.MLP, lr=0.03, batch_size=16, max_epochs=60, early_stopping=True, n_iter_no_change=3,
                       validation_fraction=0.3)  # fmt: skip
    splitter = StratifiedShuffleSplit(1, test_size=0.3, random_state=seed_of(0))
    train, valid = next(splitter.split(X, y))
    model.fit(X, y)
    curve = losses(model, "valid_loss")
    assert model.n_iter_ == len(model.history_) == len(curve) < 60
    assert model.best_epoch_ == 1 + int(np.argmin(curve)) == model.n_iter_ - 3
    with torch.no_grad():
        out = model.module_(torch.from_numpy(X[valid]))
    np.testing.assert_allclose(F.cross_entropy(out, torch.from_numpy(y[valid])), min(curve), rtol=1e-5)
    assert model.history_[model.best_epoch_ - 1]["valid_score"] == model.score(X[valid], y[valid])
    # the held-out rows train nothing
    pair = clone(model).set_params(early_stopping=(X[valid], y[valid]))
    assert same(pair.fit(X[train], y[train]), model)


def test_early_stopping_with_a_splitter_and_with_a_pair(digits):
    X, y = digits
    model = classifier(lt.MLP, early_stopping=KFold(5), lr=0.01).fit(X, y)
    train, valid = next(KFold(5).split(X))
    pair = classifier(lt.MLP, early_stopping=(X[valid], y[valid]), lr=0.01).fit(X[train], y[train])
    assert same(model, pair)
    assert losses(model, "valid_loss") == losses(pair, "valid_loss")
    names = np.array([f"digit {k}" for k in range(10)])
    frame = pd.DataFrame(X).rename(columns=str)
    other = classifier(lt.MLP, early_stopping=[frame.iloc[valid], names[y[valid]]], lr=0.01)
    assert same(other.fit(frame.iloc[train], names[y[train]]), pair)


def test_early_stopping_of_a_regressor_scores_r2_with_weights(diabetes):
    X, y = diabetes
    Y = np.column_stack([y, -2 * y])
    w = np.random.RandomState(0).uniform(0.1, 3, len(y))
    valid = next(ShuffleSplit(1, test_size=0.1, random_state=0).split(X))[1]
    fit = regressor(early_stopping=ShuffleSplit(1, test_size=0.1, random_state=0), max_epochs=1).fit(X, Y, w)
    found, out = fit.history_[0], fit.predict(X[valid])
    assert found["valid_score"] == pytest.approx(r2_score(Y[valid], out, sample_weight=w[valid]), abs=1e-5)
    squares = ((Y[valid] - out) ** 2).mean(axis=1)
    assert found["valid_loss"] == pytest.approx(np.average(squares, weights=w[valid]), rel=1e-5)
    constant = regressor(early_stopping=(X[:5], np.ones(5)), max_epochs=1).fit(X, y)
    assert constant.history_[0]["valid_score"] == 0.0


def test_history_and_its_plot(digits):
    X, y = digits
    plain = classifier(lr_scheduler="cosine", lr=0.1).fit(X, y)
    assert [set(r) for r in plain.history_] == [{"epoch", "train_loss", "lr", "seconds"}] * 3
    np.testing.assert_allclose(losses(plain, "lr"), [0.05 * (1 + math.cos(math.pi * k / 3)) for k in range(3)])
    stopped = classifier(early_stopping=True).fit(X, y)
    assert set(stopped.history_[0]) == {"epoch", "train_loss", "lr", "seconds", "valid_loss", "valid_score"}
    for model, lines in ((plain, 1), (stopped, 3)):
        ax = model.plot_history()
        assert len(ax.lines) == lines
        assert ax.lines[0].get_ydata().tolist() == losses(model)
        assert model.plot_history(ax) is ax
    assert not hasattr(plain, "best_epoch_")


def test_the_learning_rate_falls_on_a_plateau(digits):
    X, y = digits
    model = classifier(lr_scheduler="plateau", lr=1e-12, max_epochs=7, early_stopping=True, n_iter_no_change=9)
    assert losses(model.fit(X, y), "lr")[-1] == pytest.approx(0.5e-12)


def test_callbacks_see_each_epoch_and_stop(digits):
    X, y = digits
    seen = []

    def watch(model, record):
        seen.append((record, model.predict(X[:5]).tolist(), model.n_iter_))
        record["epoch"] = 99  # a copy
        return len(seen) == 2

    also = []
    model = classifier(callbacks=[watch, lambda m, r: also.append(r)], max_epochs=9).fit(X, y)
    assert model.n_iter_ == len(model.history_) == len(seen) == len(also) == 2
    assert [r["epoch"] for r in model.history_] == [1, 2]
    assert seen[-1][1] == model.predict(X[:5]).tolist()
    assert classifier(callbacks=[lambda m, r: np.True_], max_epochs=9).fit(X, y).n_iter_ == 1
    # predicting in the middle changes nothing
    net = lt.MLP(64, 10, dropout=0.5)
    watched = classifier(net, callbacks=[lambda m, r: m.predict(X) is None]).fit(X, y)
    assert same(watched, classifier(net).fit(X, y))


def test_callbacks_see_the_averaged_weights(digits):
    X, y = digits
    seen = []
    model = classifier(ema_decay=0.5, callbacks=[lambda m, r: seen.append(weights_of(m))]).fit(X, y)
    assert torch.equal(seen[-1], weights_of(model))
    assert not torch.equal(seen[-2], seen[-1])


def test_warm_start_goes_on(digits):
    X, y = digits
    model = classifier(optimizer="sgd", lr=0.05, warm_start=True, early_stopping=KFold(5)).fit(X, y)
    before = losses(model)
    net = model.module_
    model.set_params(early_stopping=False, random_state=1).fit(X, y)
    assert model.module_ is net
    assert losses(model)[:3] == before
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4, 5, 6]
    assert losses(model)[3] < before[0]
    assert model.n_iter_ == 6
    assert not hasattr(model, "best_epoch_")
    with pytest.raises(ValueError, match="y has the class 11; this model knows"):
        model.fit(X, np.where(y == 3, 11, y))
    with pytest.raises(ValueError, match="X has 63 features"):
        model.fit(X[:, 1:], y)
    model.set_params(warm_start=False).fit(X, y)
    assert model.n_iter_ == 3


# -- module, loss, optimizer -----------------------------------------------------------------------------------------


def test_module_is_none_a_class_a_function_or_an_object(digits):
    X, y = digits
    default = classifier().fit(X, y)
    assert isinstance(default.module_, lt.MLP)
    for module in (lt.MLP, lambda n_in, n_out: lt.MLP(n_in, n_out), lambda **sizes: lt.MLP(n_in=64, n_out=10),
                   functools.partial(lt.MLP, hidden=(128,))):  # fmt: skip
        assert same(classifier(module).fit(X, y), default)
    net = lt.MLP(64, 10)
    before = copy.deepcopy(net.state_dict())
    model = classifier(net).fit(X, y)
    assert model.module is net
    assert model.module_ is not net
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not model.module_.training
    assert all(p.grad is None for p in model.module_.parameters())


def test_what_a_partial_sets_is_not_found_in_the_data():
    made = regressor(functools.partial(lt.CNN, image_size=(2, 8), channels=(3,)))
    net = made.fit(np.random.RandomState(0).normal(size=(20, 16)), np.arange(20.0)).module_
    assert (net.config["image_size"], net.config["channels"]) == ([2, 8], [3])


@pytest.mark.parametrize(
    ("cls", "shape", "config"),
    [
        (lt.MLP, (6,), {"n_in": 6}),
        (lt.MLP, (2, 3), {"n_in": 6}),
        (lt.CNN, (8, 12), {"n_in": 1, "image_size": [8, 12]}),
        (lt.CNN, (2, 8, 8), {"n_in": 2, "image_size": [8, 8]}),
        (lt.CNN, (64,), {"n_in": 1, "image_size": [8, 8]}),
        (functools.partial(lt.CNN, n_in=3), (192,), {"n_in": 3, "image_size": [8, 8]}),
        (functools.partial(lt.CNN, image_size=8), (128,), {"n_in": 2, "image_size": [8, 8]}),
        (lt.RNN, (5, 3), {"n_in": 3}),
        (functools.partial(lt.RNN, n_in=1), (7,), {"n_in": 1}),
    ],
)
def test_sizes_come_from_the_data(cls, shape, config):
    X = np.random.RandomState(0).normal(size=(12, *shape))
    small = {"module__channels": 2} if "channels" in inspect.signature(cls).parameters else {}
    model = classifier(cls, max_epochs=1, **small).fit(X, np.arange(12) % 3)
    assert {k: model.module_.config[k] for k in config} == config
    assert model.module_.config["n_out"] == 3
    assert model.predict_proba(X).shape == (12, 3)
    assert model.n_features_in_ == (shape[0] if len(shape) == 3 else shape[-1])


def test_parameters_of_the_module_are_parameters_of_the_estimator(digits):
    X, y = digits
    model = classifier(lt.MLP, module__hidden=(7,), optimizer=lc.SGD(lr=0.1))
    assert model.get_params()["module__hidden"] == (7,)
    assert model.get_params()["optimizer__lr"] == 0.1
    assert "module__hidden=(7,)" in repr(model)
    model._repr_html_()
    other = clone(model).set_params(module__hidden=(5,), module__dropout=0.1, optimizer__lr=0.2, batch_size=32)
    assert model.optimizer.lr == 0.1
    assert other.fit(X, y).module_.config == {"n_in": 64, "n_out": 10, "hidden": [5], "dropout": 0.1}
    assert other.history_[0]["lr"] == 0.2
    with pytest.raises(ValueError, match="Invalid parameter 'batchsize'"):
        model.set_params(batchsize=3)
    with pytest.raises(
        TypeError, match="TorchClassifier has no argument 'hidden'; those of the module are module__name"
    ):
        lt.TorchClassifier(hidden=(3,))


def test_grid_search_reaches_module_optimizer_and_lr(digits):
    X, y = digits
    grid = {"module__hidden": [(4,), (32,)], "optimizer__lr": [1e-5, 0.02]}
    search = GridSearchCV(classifier(lt.MLP, optimizer=lc.Adam()), grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["optimizer__lr"] == 0.02
    assert search.best_estimator_.module_.config["hidden"] == list(search.best_params_["module__hidden"])
    search = GridSearchCV(classifier(), {"lr": [1e-6, 1e-2]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_ == {"lr": 1e-2}


@pytest.mark.parametrize(
    ("optimizer", "given", "twin", "settings"),
    [
        ("adamw", {}, lt.AdamW, {"lr": 1e-3, "weight_decay": 1e-2}),
        ("adam", {"lr": 0.01, "weight_decay": 0.1}, lt.Adam, {"lr": 0.01, "weight_decay": 0.1}),
        (lc.Adam(lr=0.02, eps=1e-6), {}, lt.Adam, {"lr": 0.02, "eps": 1e-6}),
        (lt.SGD, {"lr": 0.3}, lt.SGD, {"lr": 0.3, "weight_decay": 0.0}),
        (torch.optim.RMSprop, {}, torch.optim.RMSprop, {"lr": 0.01}),
        (torch.optim.RMSprop, {"lr": 0.2, "weight_decay": 0.1}, torch.optim.RMSprop, {"lr": 0.2, "weight_decay": 0.1}),
        (lambda params: torch.optim.Adagrad(params, lr=0.7), {}, torch.optim.Adagrad, {"lr": 0.7}),
    ],
)  # fmt: skip
def test_optimizers_and_their_own_settings(optimizer, given, twin, settings, digits, monkeypatch):
    X, y = digits
    used = []
    step = twin.step

    def spy(self, *args, **kw):
        used.append(self)
        return step(self, *args, **kw)

    monkeypatch.setattr(twin, "step", spy)
    classifier(optimizer=optimizer, max_epochs=1, **given).fit(X, y)
    assert type(used[0]) is twin
    assert {k: used[0].param_groups[0][k] for k in settings} == settings


def test_frozen_parameters_stay(digits):
    X, y = digits
    net = lt.MLP(64, 10)
    net.layers[0].requires_grad_(False)
    model = classifier(net, optimizer=lc.AdamW(lr=0.1, weight_decay=0.5)).fit(X, y)
    assert torch.equal(model.module_.layers[0].weight, net.layers[0].weight)
    assert not torch.equal(model.module_.layers[2].weight, net.layers[2].weight)


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss,
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="none"),
        F.cross_entropy,
        lambda out, y: F.nll_loss(F.log_softmax(out, dim=1), y, reduction="none"),
    ],
)
def test_custom_losses_of_a_classifier(loss, digits):
    X, y = digits
    model, default = classifier(loss=loss).fit(X, y), classifier().fit(X, y)
    torch.testing.assert_close(weights_of(model), weights_of(default), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses(model), losses(default), rtol=1e-5)


@pytest.mark.parametrize(
    "loss", [nn.MSELoss, nn.MSELoss(reduction="none"), lambda o, y: (o - y) ** 2, lambda o, y: ((o - y) ** 2).mean(1)]
)  # fmt: skip
@pytest.mark.parametrize("weighted", [False, True])
def test_custom_losses_of_a_regressor_with_weights(loss, weighted, diabetes):
    X, y = diabetes
    Y = np.column_stack([y, y**2])
    w = np.random.RandomState(0).uniform(0, 2, len(y)) if weighted else None
    model, default = regressor(loss=loss).fit(X, Y, w), regressor().fit(X, Y, w)
    torch.testing.assert_close(weights_of(model), weights_of(default), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_summed_loss_trains_by_sums_and_is_recorded_per_sample(weighted, diabetes):
    X, y = diabetes[0][:400], diabetes[1][:400]
    w = np.random.RandomState(0).uniform(0, 2, len(y)) if weighted else None
    kw = {"optimizer": "sgd", "batch_size": 50, "early_stopping": KFold(4)}
    summed = regressor(loss=nn.MSELoss(reduction="sum"), lr=1e-4, **kw).fit(X, y, w)
    mean = regressor(lr=50e-4, **kw).fit(X, y, w)
    torch.testing.assert_close(weights_of(summed), weights_of(mean), rtol=1e-4, atol=1e-6)
    for name in ("train_loss", "valid_loss"):
        np.testing.assert_allclose(losses(summed, name), losses(mean, name), rtol=1e-5)


def test_a_loss_with_weights_of_its_own_is_copied(digits):
    X, y = digits
    loss = nn.CrossEntropyLoss(weight=torch.linspace(0.5, 1.5, 10))
    model = classifier(loss=loss).fit(X, y, sample_weight=np.ones(len(y)))
    assert loss.reduction == "mean"
    assert not same(model, classifier().fit(X, y))


# -- data ------------------------------------------------------------------------------------------------------------


def test_two_classes_with_one_logit(digits):
    X, y = digits
    two = np.where(y > 4, "large", "small")

    class Logit(nn.Module):
        def __init__(self, n_in, flat=False):
            super().__init__()
            self.layer, self.flat = nn.Linear(n_in, 1), flat
            nn.init.zeros_(self.layer.weight)

        def forward(self, x):
            return self.layer(x)[:, 0] if self.flat else self.layer(x)

    model = classifier(Logit, lr=0.05, early_stopping=KFold(5)).fit(X, two)
    for other in (
        classifier(Logit, module__flat=True, lr=0.05, early_stopping=KFold(5)),
        classifier(Logit, lr=0.05, early_stopping=KFold(5), loss=nn.BCEWithLogitsLoss),
    ):
        assert same(other.fit(X, two), model)
    with torch.no_grad():
        p = torch.sigmoid(model.module_(torch.from_numpy(X)).double()).numpy()
    np.testing.assert_allclose(model.predict_proba(X), np.hstack([1 - p, p]), atol=1e-7)
    assert model.predict(X).tolist() == np.where(p[:, 0] > 0.5, "small", "large").tolist()
    assert model.history_[-1]["valid_score"] > 0.7
    weighted = classifier(Logit, lr=0.05, class_weight={"large": 3.0, "small": 0.5}).fit(X, two)
    assert np.mean(weighted.predict(X) == "large") > np.mean(model.predict(X) == "large")


def test_labels_are_strings_and_probabilities_are_the_softmax(digits):
    X, y = digits
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    model = classifier(lr=0.01, max_epochs=10).fit(X, names[y])
    assert model.classes_.tolist() == sorted(names)
    with torch.no_grad():
        out = model.module_(torch.from_numpy(X)).double()
    p = model.predict_proba(X)
    np.testing.assert_allclose(p, torch.softmax(out, dim=1).numpy(), atol=1e-7)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert (model.predict(X) == model.classes_[p.argmax(axis=1)]).all()
    assert model.score(X, names[y]) == accuracy_score(names[y], model.predict(X)) > 0.9
    assert model.score(torch.from_numpy(X), names[y]) == model.score(X, names[y])


def test_regression_of_one_column_and_of_many(diabetes):
    X, y = diabetes
    flat, column, both = (regressor(nn.Linear(10, k), lr=0.01).fit(X, t) for k, t in
                          ((1, y), (1, y[:, None]), (2, np.column_stack([y, 2 * y]))))  # fmt: skip
    assert [m.predict(X[:4]).shape for m in (flat, column, both)] == [(4,), (4, 1), (4, 2)]
    assert flat.predict(X).dtype == np.float64
    one = regressor(lambda: nn.Sequential(nn.Linear(10, 1), nn.Flatten(0)), max_epochs=1).fit(
        X, y
    )  # a module that gives (n,)
    assert one.predict(X).shape == y.shape
    frame = regressor(max_epochs=1).fit(X, pd.DataFrame({"a": y, "b": y}))
    assert frame.predict(X).shape == (len(y), 2)


def test_kinds_of_rows_give_the_same_model(digits):
    X, y = digits
    whole = np.round(X * 16)
    model = classifier().fit(whole, y)
    frame = pd.DataFrame(whole, columns=[f"pixel {k}" for k in range(64)])
    kinds = {
        "float64": whole.astype(np.float64),
        "int64": whole.astype(np.int64),
        "uint8": whole.astype(np.uint8),
        "float16": whole.astype(np.float16),
        "columns": np.asfortranarray(whole),
        "list": whole.tolist(),
        "frame": frame,
        "tensor": torch.from_numpy(whole).requires_grad_(),
        "half tensor": torch.from_numpy(whole).to(torch.bfloat16),
        "list of tensors": list(torch.from_numpy(whole)),
    }
    for name, kind in kinds.items():
        other = classifier().fit(kind, torch.from_numpy(y) if "tensor" in name else y)
        assert same(other, model), name
        assert other.predict(kind).tolist() == model.predict(whole).tolist()
        assert hasattr(other, "feature_names_in_") == (name == "frame")
    other = classifier().fit(frame, y)
    assert other.feature_names_in_.tolist() == frame.columns.tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        other.predict(frame.rename(columns={"pixel 0": "pixel"}))
    other.fit(whole.reshape(-1, 8, 8), y)
    assert not hasattr(other, "feature_names_in_")


def test_a_double_module_trains_in_double(diabetes):
    X, y = diabetes
    model = regressor(lt.MLP(10, 1).double()).fit(X.astype(np.float64), y)
    assert model.module_.layers[0].weight.dtype == torch.float64
    with torch.no_grad():
        wanted = model.module_(torch.from_numpy(X.astype(np.float64)))[:, 0].numpy()
    np.testing.assert_allclose(model.predict(X.astype(np.float64)), wanted, rtol=1e-13)


def test_the_users_arrays_are_left_alone(digits):
    X, y = digits[0].copy(), digits[1].copy()

    class Writes(lt.MLP):
        def forward(self, x):
            return super().forward(x.mul_(0.5))

    before = X.copy()
    model = classifier(Writes, early_stopping=True).fit(X, y)
    model.predict(X[:96])  # whole groups of rows: a view would do
    X.flags.writeable = False
    model.fit(X, y).predict(X)
    assert np.array_equal(X, before)


def test_images(digits):
    X, y = digits
    images = X.reshape(-1, 8, 8)
    model = classifier(lt.CNN, module__channels=(8, 16), lr=0.01, max_epochs=5).fit(images, y)
    assert model.score(images, y) > 0.8
    four = classifier(lt.CNN, module__channels=(8, 16), lr=0.01, max_epochs=5).fit(images[:, None], y)
    assert same(four, model)
    assert four.n_features_in_ == 1
    with pytest.raises(ValueError, match="X has 3 features, but TorchClassifier is expecting 1 features"):
        four.predict(np.zeros((2, 3, 8, 8)))


# -- sequences -------------------------------------------------------------------------------------------------------


def sequences(n=60, features=3, seed=0):
    """Noise whose mean says the class, of 3 to 12 steps."""
    rng = np.random.RandomState(seed)
    y = rng.randint(2, size=n)
    return [rng.normal(k - 0.5, 0.5, size=(rng.randint(3, 13), features)) for k in y], y


def test_sequences_are_padded_batch_by_batch():
    X, y = sequences()
    calls = []

    class Spy(lt.RNN):
        def forward(self, x, lengths):
            calls.append((x.clone(), lengths))
            return super().forward(x, lengths)

    model = classifier(Spy, module__hidden_size=8, batch_size=16, lr=0.03, max_epochs=8).fit(X, y)
    assert model.n_features_in_ == 3
    of_epoch = calls[:4]
    assert [len(x) for x, _ in of_epoch] == [16, 16, 16, 12]
    assert sorted(int(n) for _, lengths in of_epoch for n in lengths) == sorted(map(len, X))
    for x, lengths in of_epoch:
        assert x.shape == (len(lengths), int(lengths.max()), 3)
        assert not x[torch.arange(x.shape[1]) >= lengths[:, None]].any()
    assert model.score(X, y) > 0.9
    alone = np.concatenate([model.predict_proba([x]) for x in X])
    np.testing.assert_allclose(model.predict_proba(X), alone, atol=1e-6)


@pytest.mark.parametrize("kind", ["arrays", "tuple", "tensors", "lists", "objects", "float32"])
def test_kinds_of_sequences(kind):
    X, y = sequences()
    X = [x.astype(np.float32) for x in X]
    objects = np.empty(len(X), dtype=object)
    objects[:] = X
    made = {"arrays": [x.astype(np.float64) for x in X], "tuple": tuple(X), "tensors": [torch.from_numpy(x) for x in X],
            "lists": [x.tolist() for x in X], "objects": objects, "float32": X}[kind]  # fmt: skip
    make = functools.partial(classifier, lt.RNN, module__hidden_size=4, early_stopping=True)
    model = make().fit(made, y)
    assert same(model, make().fit(X, y))
    assert model.predict(made[:5]).tolist() == model.predict(X[:5]).tolist()


def test_sequences_of_one_length_and_of_one_feature():
    X, y = sequences()
    model = classifier(lt.RNN, module__hidden_size=4).fit(X, y)
    equal = [x[:3] for x in X]
    found = model.predict_proba(equal)  # a fold may hold one length only
    model.module_.eval()
    with torch.no_grad():
        out = model.module_(torch.tensor(np.array(equal), dtype=torch.float32))
    np.testing.assert_allclose(found, torch.softmax(out.double(), dim=1).numpy(), atol=1e-6)
    flat = classifier(lt.RNN, module__hidden_size=4).fit([x[:, 0] for x in X], y)
    assert flat.module_.config["n_in"] == flat.n_features_in_ == 1
    array = classifier(lt.RNN, module__hidden_size=4).fit(np.array(equal), y)
    assert array.predict(X).shape == y.shape  # trained on one length, asked for others
    pair = classifier(lt.RNN, module__hidden_size=4, early_stopping=(equal[:9], y[:9])).fit(X, y)
    assert len(pair.history_) == 3


def test_sequences_are_cross_validated():
    X, y = sequences()
    model = classifier(lt.RNN, module__hidden_size=4, lr=0.03, max_epochs=6, batch_size=8)
    result = lc.cross_validate(model, X, y, cv=3, error_score="raise")
    assert result["test_score"].mean() > 0.8
    np.testing.assert_allclose(cross_val_score(model, X, y, cv=3, error_score="raise"), result["test_score"])


def test_token_ids_stay_integers():
    rng = np.random.RandomState(0)
    y = rng.randint(2, size=80)
    X = [rng.randint(5 * k, 5 * k + 5, size=rng.randint(2, 9)) for k in y]
    model = classifier(lt.RNN, module__n_tokens=10, module__n_in=4, module__hidden_size=8, lr=0.05, max_epochs=10)
    assert model.fit(X, y).score(X, y) > 0.95
    table = np.array([x[:2] for x in X])
    assert model.predict(list(table)).shape == y.shape
    assert clone(model).fit(table, y).score(table, y) > 0.95

    class Bag(nn.Module):
        def __init__(self, n_out):
            super().__init__()
            self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, n_out)

        def forward(self, ids):
            assert ids.dtype == torch.int64
            return self.head(self.table(ids).mean(dim=1))

    assert classifier(Bag, lr=0.05, max_epochs=10).fit(table.astype(np.int32), y).score(table, y) > 0.95


def test_the_reference_lstm_trains_in_an_estimator():
    """Two layers of 64 over (100 steps, 100 features); here the scores of the last step are those of the sequence."""

    class Last(ReferenceLSTM):
        def forward(self, x):
            return super().forward(x)[:, :, -1]

    rng = np.random.RandomState(0)
    y = np.arange(20) % 10
    X = rng.normal(size=(20, 100, 100)) + np.eye(10)[y].repeat(10, axis=1)[:, None, :]
    model = classifier(Last, optimizer=lc.SGD(lr=0.1), max_epochs=1).set_params(optimizer="adam", lr=0.01, max_epochs=5)
    curve = losses(model.fit(X, y))
    assert curve[-1] < 0.8 * curve[0]


# -- weights ---------------------------------------------------------------------------------------------------------


def test_weights_of_classes_are_weights_of_samples(digits):
    X, y = digits
    keep = np.r_[np.flatnonzero(y < 9), np.flatnonzero(y == 9)[:5]]
    X, y = X[keep], y[keep]
    w = np.random.RandomState(0).uniform(0.5, 2, len(y))
    counts = np.bincount(y)
    balanced = len(y) / (10 * counts)
    cases = (
        ({k: 1.0 + k for k in range(10)}, None, 1.0 + y),
        ({3: 5.0}, w, w * np.where(y == 3, 5.0, 1.0)),
        ("balanced", None, balanced[y]),
        ("balanced", w, w / np.bincount(y, w)[y]),
    )
    for class_weight, sample_weight, wanted in cases:
        model = classifier(class_weight=class_weight).fit(X, y, sample_weight)
        other = classifier().fit(X, y, sample_weight=wanted)
        torch.testing.assert_close(weights_of(model), weights_of(other), rtol=1e-4, atol=1e-6)
        assert not same(model, classifier().fit(X, y))


def test_weights_of_classes_count_in_validation_too(digits):
    X, y = digits
    model = classifier(class_weight={3: 5.0}, early_stopping=(X[:99], y[:99]), max_epochs=1).fit(X, y)
    with torch.no_grad():
        values = F.cross_entropy(model.module_(torch.from_numpy(X[:99])), torch.from_numpy(y[:99]), reduction="none")
    w = np.where(y[:99] == 3, 5.0, 1.0)
    assert model.history_[0]["valid_loss"] == pytest.approx(np.average(values.numpy(), weights=w), rel=1e-5)
    hits = model.predict(X[:99]) == y[:99]
    assert model.history_[0]["valid_score"] == pytest.approx(np.average(hits, weights=w))


def test_the_scale_of_the_weights_has_no_influence(digits):
    X, y = digits
    plain = classifier().fit(X, y)
    for scale in (1.0, 1e-30, 1e200):
        other = classifier().fit(X, y, np.full(len(y), scale))
        torch.testing.assert_close(weights_of(other), weights_of(plain), rtol=1e-5, atol=1e-7)
    stopped = classifier(early_stopping=True).fit(X, y, np.full(len(y), 7.0))
    alone = classifier(early_stopping=True).fit(X, y)
    np.testing.assert_allclose(losses(stopped, "valid_loss"), losses(alone, "valid_loss"), rtol=1e-5)


# -- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [classifier, regressor])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_fitted_estimators_are_copied(make, duplicate, digits):
    X, y = digits
    model = make(lt.MLP, module__hidden=(8,), optimizer=lc.Adam(lr=0.01), early_stopping=True).fit(X, y)
    other = duplicate(model)
    assert other.predict(X).tolist() == model.predict(X).tolist()
    assert other.history_ == model.history_
    before = weights_of(model)
    other.set_params(warm_start=True).fit(X, y)
    assert torch.equal(weights_of(model), before)
    assert same(other, copy.deepcopy(model).set_params(warm_start=True).fit(X, y))


# -- errors ----------------------------------------------------------------------------------------------------------


class Tuple(lt.MLP):
    def forward(self, x):
        return super().forward(x), x


V, T = ValueError, TypeError
RAGGED = sequences(20)[0]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"batch_size": 0}, V, "batch_size must be >= 1; got 0"),
        ({"max_epochs": 2.5}, T, "max_epochs must be an integer; got 2.5"),
        ({"n_iter_no_change": 0}, V, "n_iter_no_change must be >= 1"),
        ({"validation_fraction": 1.0}, V, "validation_fraction must be a finite number > 0.0 and < 1.0"),
        ({"max_grad_norm": 0}, V, "max_grad_norm must be a finite number > 0.0; got 0"),
        ({"ema_decay": 1}, V, "ema_decay must be a finite number > 0.0 and < 1.0; got 1"),
        ({"warm_start": "yes"}, V, "warm_start must be one of False, True; got 'yes'"),
        ({"progress": 1}, V, "progress must be one of None, False, True; got 1"),
        ({"callbacks": print}, T, "callbacks must be a list or tuple of callables; got <built-in function print>"),
        ({"early_stopping": "auto"}, V, r"early_stopping must be False, True, a splitter or a pair .*; got 'auto'"),
        ({"early_stopping": None}, V, r"early_stopping must be False, True, a splitter or a pair .*; got None"),
        ({"early_stopping": True, "validation_fraction": 0.01}, V, "early_stopping=True cannot hold rows out: The"),
        ({"early_stopping": (np.zeros((2, 3)), [0, 1])}, V, "X has 3 features, but TorchClassifier is expecting 64"),
        ({"early_stopping": (np.zeros((2, 64)), [0, 11])}, V, "y has the class 11; this model knows"),
        ({"random_state": "seed"}, V, "random_state must be an int"),
        ({"class_weight": "even"}, V, "class_weight must be one of 'balanced', None; got 'even'"),
        ({"class_weight": dict.fromkeys(range(10), 0)}, V, "all sample weights are zero in the part that is trained"),
        ({"optimizer": "adamm"}, V, "optimizer must be one of .*'adam', 'adamax', 'adamw', .*; got 'adamm'"),
        ({"optimizer": lc.Adam(lr=0.1), "lr": 0.2}, V, r"lr is set twice: in Adam\(lr=0.1\) and as lr=0.2; leave"),
        ({"optimizer": lc.Adam(), "weight_decay": 0.2}, V, "weight_decay is set twice"),
        ({"lr": -1.0}, V, "lr must be a finite number >= 0.0; got -1.0"),
        ({"lr_scheduler": "linear"}, V, "lr_scheduler must be one of 'cosine', 'plateau'; got 'linear'"),
        ({"lr_scheduler": 0.1}, T, "lr_scheduler must be None, 'cosine', 'plateau' or a callable .*; got 0.1"),
        ({"loss": "mse"}, T, "loss must be None, a torch loss or a callable .*; got 'mse'"),
        ({"loss": lambda out, y: 0.5}, T, "loss must return a tensor; it returned float"),
        ({"loss": F.cross_entropy, "class_weight": "balanced"}, V, "need a loss that gives a value per sample"),
        ({"module": "mlp"}, T, "module must be None, a torch module, or a callable that returns one; got 'mlp'"),
        ({"module": lambda: {}}, T, "module must return a torch module; .* returned dict"),
        ({"module": lt.MLP, "module__width": 3}, V, "module__width is no argument of MLP; it takes: n_in, n_out"),
        ({"module": lt.MLP(64, 10), "module__hidden": 3}, V, "module__hidden has no effect on a module"),
        ({"module": lambda depth: None}, V, "needs the argument depth: pass module__depth"),
        ({"module": lt.MLP(64, 9)}, V, r"must return a tensor \(n, 10\) for n samples; it returned shape \(100, 9\)"),
        ({"module": Tuple}, V, r"must return a tensor \(n, 10\) for n samples; it returned tuple"),
        ({"module": lt.MLP(64, 10).requires_grad_(False)}, V, "the module MLP has no parameters to train"),
        ({"module": nn.Flatten}, V, "the module Flatten has no parameters to train"),
        ({"module": lt.CNN, "module__image_size": (7, 7)}, V, r"of 64 values are no images of image_size=\(7, 7\)"),
        ({"module": lt.CNN, "module__n_in": 3}, V, "rows of 64 values are no square images of 3 channels"),
        ({"module": lt.RNN, "module__n_tokens": 9}, V, "with token ids n_in is the width of the embedding"),
        ({"optimizer": "sgd", "lr": 1e30}, V, r"the training loss is not finite, with lr=1e\+30: use a smaller lr"),
        ({"X": np.full((100, 64), 1e300)}, V, r"too large for dtype\('float32'\): scale it first"),
        ({"X": np.full((100, 64), np.nan)}, V, "Input X contains NaN"),
        ({"X": np.full((100, 4, 4), np.nan)}, V, "Input X contains NaN"),
        ({"y": np.zeros(100)}, V, "y has one class only, .*0.0.*: a classifier needs at least two classes"),
        ({"y": np.linspace(0, 1, 100)}, V, "Unknown label type: continuous"),
        ({"y": np.zeros((100, 2))}, V, r"y should be a 1d array, got an array of shape \(100, 2\)"),
        ({"sample_weight": np.ones(99)}, V, r"sample_weight must have the shape \(100,\), one weight"),
        ({"sample_weight": -np.ones(100)}, V, "sample_weight must not be negative, and not all zero"),
        ({"sample_weight": np.zeros(100)}, V, "sample_weight must not be negative, and not all zero"),
        ({"sample_weight": np.full(100, np.nan)}, V, "sample_weight contains NaN"),
        ({"X": RAGGED, "y": np.arange(20) % 2}, V, "MLP.forward takes no `lengths`: use lt.RNN, or add the argument"),
        ({"X": [*RAGGED, RAGGED[0][:0]], "y": np.arange(21) % 2}, V, "a sequence is empty; each needs one step"),
        ({"X": [*RAGGED, RAGGED[0][:, :2]], "y": np.arange(21) % 2}, V, "the same number of features; got 2, 3"),
        ({"X": [*RAGGED, RAGGED[0][:, 0]], "y": np.arange(21) % 2}, V, "sequences of one and of two dimensions"),
        ({"X": [*RAGGED, RAGGED[0] * np.nan], "y": np.arange(21) % 2}, V, "X contains NaN or infinity"),
        ({"X": [*RAGGED, RAGGED[0].astype(str)], "y": np.arange(21) % 2}, V, "each sequence must be an array of"),
        ({"X": RAGGED, "y": np.arange(19) % 2}, V, "inconsistent numbers of samples"),
    ],
)  # fmt: skip
def test_errors_of_fit(arguments, error, says, digits):
    data = {"X": digits[0][:100], "y": digits[1][:100]}
    data |= {k: arguments[k] for k in ("X", "y", "sample_weight") if k in arguments}
    model = classifier(**{k: v for k, v in arguments.items() if k not in data})
    with pytest.raises(error, match=says):
        model.fit(**data)


def test_errors_behind_fit(digits, diabetes):
    X, y = digits
    with pytest.raises(NotFittedError, match="This TorchClassifier instance is not fitted yet"):
        classifier().predict(X)
    with pytest.raises(NotFittedError):
        regressor().plot_history()
    model = classifier(max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="X has 63 features, but TorchClassifier is expecting 64 features"):
        model.predict(X[:, 1:])
    sequence_model = classifier(lt.RNN, max_epochs=1).fit(*sequences())
    with pytest.raises(ValueError, match="this TorchClassifier was fitted on a list of sequences; got ndarray"):
        sequence_model.predict(np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="X has 2 features, but TorchClassifier is expecting 3 features"):
        sequence_model.predict([np.zeros((4, 2)), np.zeros((5, 2))])
    X, y = diabetes
    fitted = regressor(max_epochs=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"y has the shape \(442, 1\); this model was fitted on \(n\)"):
        fitted.fit(X, y[:, None])
    with pytest.raises(ValueError, match=r"must return a tensor \(n, 1\) for n samples; it returned shape \(128, 2\)"):
        regressor(lt.MLP(10, 2)).fit(X, y)


def test_iris_is_learned_with_the_defaults():
    X, y = load_iris(return_X_y=True)
    model = lt.TorchClassifier(random_state=0, lr=0.01, progress=False).fit((X - X.mean(axis=0)) / X.std(axis=0), y)
    assert model.score((X - X.mean(axis=0)) / X.std(axis=0), y) > 0.95


def test_outputs_leave_the_mode_of_gradients_to_whoever_takes_them(digits):
    from lifecycle.torch.batches import to_batches
    from lifecycle.torch.training import outputs

    net = lt.MLP(64, 10)
    for _, out in outputs(net, to_batches(digits[0], net), torch.arange(500), 1):
        assert torch.is_grad_enabled()
        assert not out.requires_grad


def test_a_fit_that_fails_leaves_nothing_half_fitted(digits):
    def fail(estimator, record):
        raise KeyError("in a callback")

    for arguments, error in (({"lr": 1e30, "max_epochs": 3}, ValueError), ({"callbacks": [fail]}, KeyError)):
        model = lt.TorchClassifier(progress=False, random_state=0, **arguments)
        with pytest.raises(error):
            model.fit(*digits)
        assert not {"module_", "history_", "n_iter_"} & set(vars(model))
        with pytest.raises(NotFittedError):
            model.predict(digits[0])


def test_training_that_is_interrupted_leaves_what_it_reached(digits):
    def interrupt(estimator, record):
        raise KeyboardInterrupt

    model = lt.TorchClassifier(progress=False, random_state=0, callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        model.fit(*digits)
    assert model.predict(digits[0]).shape == (500,)


def test_a_grid_may_be_an_array(digits):
    grid = {"early_stopping": np.array([True, False]), "optimizer": np.array(["sgd", "adamw"])}
    model = lt.TorchClassifier(max_epochs=1, progress=False, random_state=0, lr_scheduler=np.str_("cosine"))
    GridSearchCV(model, grid, cv=2, error_score="raise").fit(*digits)
    net = lt.RNN(4, 2, cell=np.str_("gru"), bidirectional=np.True_)
    assert net.config == lt.RNN(4, 2, cell="gru", bidirectional=True).config
    assert type(net.config["cell"]) is str
