"""The training loop of the torch estimators against loops in torch: randomness, early stopping, losses, callbacks."""

import functools
import itertools
import math
import signal
import sys

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.metrics import r2_score  # noqa: E402
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedShuffleSplit  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.optim import swa_utils  # noqa: E402

import lifecycle as lc  # noqa: E402
import lifecycle.torch as lt  # noqa: E402
from lifecycle.torch import training  # noqa: E402
from lifecycle.torch.batches import to_batches  # noqa: E402
from lifecycle.torch.training import predict_batches  # noqa: E402

from .torch_estimators import classifier, losses, regressor, same, seed_of, weights_of  # noqa: E402


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


def test_predicting_in_batches_keeps_the_callers_gradient_mode(digits):
    net = lt.MLP(64, 10)
    for _, out in predict_batches(net, to_batches(digits[0], net), torch.arange(500), 1):
        assert torch.is_grad_enabled()
        assert not out.requires_grad


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


def test_training_that_is_interrupted_leaves_what_it_reached(digits):
    def interrupt(estimator, record):
        raise KeyboardInterrupt

    model = lt.TorchClassifier(progress=False, random_state=0, callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        model.fit(*digits)
    assert model.predict(digits[0]).shape == (500,)


def probabilities(outputs):
    net = torch.nn.Linear(64, outputs)
    return torch.nn.Sequential(net, torch.nn.Sigmoid() if outputs == 1 else torch.nn.Softmax(dim=1))


@pytest.mark.parametrize(("outputs", "loss"), [(1, None), (2, None), (1, torch.nn.BCELoss), (2, torch.nn.NLLLoss)])
def test_probabilities_in_the_place_of_logits_warn(outputs, loss, digits):
    X, y = digits
    model = lt.TorchClassifier(probabilities(outputs), loss=loss, max_epochs=1, progress=False, random_state=0)
    with pytest.warns(UserWarning, match="the outputs of Sequential are probabilities, and are taken as logits"):
        model.fit(X, y == 3)


@pytest.mark.parametrize("end", [torch.nn.Identity(), torch.nn.LogSoftmax(dim=1)])
def test_logits_and_logarithms_of_probabilities_do_not_warn(end, digits):
    net = torch.nn.Sequential(torch.nn.Linear(64, 10), end)
    lt.TorchClassifier(net, max_epochs=1, progress=False, random_state=0).fit(*digits)


def test_the_seconds_of_an_epoch_are_its_own(digits, monkeypatch):
    monkeypatch.setattr(training.time, "perf_counter", itertools.count().__next__)
    model = lt.TorchClassifier(max_epochs=3, progress=False, random_state=0).fit(*digits)
    assert len({record["seconds"] for record in model.history_}) == 1


@pytest.mark.parametrize("arguments", [{}, {"ema_decay": 0.5, "early_stopping": True, "n_iter_no_change": 99}])
def test_an_interrupt_at_any_time_leaves_a_model_or_none(arguments, digits):
    """Interrupts come before every 300th line of this library that a fit runs."""
    fitted = 0
    for moment in range(1, 6000, 300):
        model = lt.TorchClassifier(max_epochs=4, progress=False, random_state=0, **arguments)
        lines = itertools.count(1)

        def trace(frame, event, argument, lines=lines, moment=moment):
            if "lifecycle" not in frame.f_code.co_filename:
                return None
            if event == "line" and next(lines) == moment:
                signal.raise_signal(signal.SIGINT)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            model.fit(*digits)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if not hasattr(model, "module_"):
            with pytest.raises(NotFittedError):
                model.predict(digits[0])
            continue
        fitted += 1
        assert not model.module_.training
        assert all(p.grad is None for p in model.module_.parameters())
        assert model.n_iter_ == len(model.history_)
        if "early_stopping" in arguments and model.history_:
            scores = [record["valid_loss"] for record in model.history_]
            assert model.best_epoch_ == 1 + scores.index(min(scores))
        assert model.predict(digits[0]).shape == (500,)
    assert fitted > 3
