"""Averages of the weights: in the step of an optimizer, and in the estimators."""

import functools
import itertools

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import lifecycle as lc  # noqa: E402
import lifecycle.torch as lt  # noqa: E402
from lifecycle.torch import training  # noqa: E402
from lifecycle.torch.averaged_weights import WeightAverage  # noqa: E402

from .optimizer_steps import small_net  # noqa: E402
from .torch_estimators import classifier, losses, weights_of  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_average_is_that_of_torch(dtype):
    net, twin = small_net().to(dtype), small_net().to(dtype)
    optimizer = lt.AdamW(net.parameters(), lr=1e-2, ema_decay=0.9)
    plain = lt.AdamW(twin.parameters(), lr=1e-2)
    means = []

    def average():
        with torch.no_grad():
            wide = [p.detach().double().clone() for p in twin.parameters()]
            if not means:
                means.extend(wide)
            for mean, p in zip(means, wide, strict=True):
                mean.lerp_(p, 0.1)

    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        for p, q in zip(net.parameters(), twin.parameters(), strict=True):
            p.grad = q.grad = torch.randn(p.shape, generator=generator).to(dtype)
        optimizer.step()
        plain.step()
        average()
    before = [p.detach().clone() for p in net.parameters()]
    # a bfloat16 parameter is averaged as it is computed, before it is rounded
    kept = [optimizer.state[p]["ema"].double() for p in net.parameters()]
    bound = {torch.float32: 1e-6, torch.float64: 1e-13, torch.bfloat16: 2e-3}[dtype]
    for mean, other in zip(kept, means, strict=True):
        torch.testing.assert_close(mean, other, rtol=bound, atol=bound)
    with optimizer.averaged_weights():
        for p, mean in zip(net.parameters(), kept, strict=True):
            assert torch.equal(p, mean.to(dtype))
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    with pytest.raises(ValueError, match="keeps no average"), plain.averaged_weights():
        pass


def test_averages_follow_the_parameter_s_type_and_layout():
    net = torch.nn.Conv2d(2, 3, 2)
    optimizer = lt.SGD(net.parameters(), lr=0.0, ema_decay=0.5)
    for change in (lambda: None, net.double, net.float, lambda: net.to(memory_format=torch.channels_last), net.half):
        change()
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        for p in net.parameters():
            torch.testing.assert_close(optimizer.state[p]["ema"].to(p.dtype), p.detach())


def test_an_average_dominated_by_the_first_weights_warns_and_a_step_inside_is_refused():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = lt.SGD([p], lr=0.1, ema_decay=0.99)
    for _ in range(20):
        p.grad = torch.ones(3)
        optimizer.step()
    net = torch.nn.Module()
    net.p = p
    block = optimizer.averaged_weights()
    with pytest.warns(UserWarning, match="consists to 83% of those after the first step: it averages over 100 steps"):
        block.__enter__()
    with pytest.raises(ValueError, match="would be lost"):
        optimizer.step()
    with pytest.raises(ValueError, match="already"):
        optimizer.averaged_weights().__enter__()
    with pytest.raises(ValueError, match="outside the block"):
        lc.save_checkpoint("nowhere", model=net, optimizer=optimizer)
    block.__exit__(None, None, None)
    optimizer.step()
    assert "max_grad_norm: None" in repr(optimizer)
    assert "state_dtype" in lt.AdamW.__doc__
    with pytest.raises(TypeError, match=r"no 'weigth_decay'; it has lr, .*state_dtype, max_grad_norm"):
        lt.AdamW([p], weigth_decay=0.1)


@pytest.mark.parametrize("nonfinite", ["skip", "raise"])
def test_the_average_starts_at_the_first_step_that_is_taken(nonfinite):
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = lt.SGD([p], lr=0.1, ema_decay=0.9, nonfinite=nonfinite)
    p.grad = torch.full((3,), float("inf"))
    try:
        optimizer.step()
    except lc.NonFiniteGradient:
        assert nonfinite == "raise"
    with optimizer.averaged_weights():
        assert p.tolist() == [1, 1, 1]
    p.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[p]["ema"].tolist() == pytest.approx([0.9] * 3)


def test_callbacks_see_the_averaged_weights(digits):
    X, y = digits
    seen = []
    model = classifier(ema_decay=0.5, callbacks=[lambda m, r: seen.append(weights_of(m))]).fit(X, y)
    assert torch.equal(seen[-1], weights_of(model))
    assert not torch.equal(seen[-2], seen[-1])


# -- in the step of our optimizers, or beside it -----------------------------------------------------------------------


@pytest.fixture
def beside_the_step(monkeypatch):
    """Have the estimators treat every optimizer as one that neither clips nor averages."""

    def patch():
        monkeypatch.setattr(training, "RuleOptimizer", type("Other", (), {}))

    return patch


def in_and_beside_the_step(beside_the_step, data, net=None, **arguments):
    """The same fit in double precision, clipped and averaged in the step, then by torch and after the step."""
    X, y = data[0].astype("float64"), data[1]
    net = (net or lt.MLP(64, 10, hidden=(16,))).double()
    models = [classifier(net, batch_size=32, **arguments) for _ in range(2)]
    models[0].fit(X, y)
    beside_the_step()
    models[1].fit(X, y)
    return models


@pytest.mark.parametrize(
    "arguments",
    [
        {"ema_decay": 0.9},
        {"ema_decay": 0.9, "max_grad_norm": 0.1, "early_stopping": True, "lr_scheduler": "plateau"},
        {"ema_decay": 0.5, "max_grad_norm": 0.5, "early_stopping": True, "n_iter_no_change": 1, "lr": 0.1},
        {"max_grad_norm": 0.1, "lr_scheduler": "cosine"},
    ],
)
@pytest.mark.parametrize("optimizer", ["adamw", lc.SGD(lr=0.05, momentum=0.9), lt.NAdam])
def test_estimators_clip_and_average_in_the_step_as_beside_it(optimizer, arguments, digits, beside_the_step):
    if isinstance(optimizer, lc.SGD):
        arguments = {k: v for k, v in arguments.items() if k != "lr"}
    first = nn.Linear(64, 16, bias=False)  # batch normalization leaves a bias nothing but rounding errors as gradient
    net = nn.Sequential(first, nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))
    fits = in_and_beside_the_step(beside_the_step, digits, net, optimizer=optimizer, max_epochs=6, **arguments)
    for name, value in fits[0].module_.state_dict().items():
        torch.testing.assert_close(value, fits[1].module_.state_dict()[name], rtol=1e-9, atol=1e-11)
    assert len(fits[0].history_) == len(fits[1].history_)
    for name in fits[0].history_[0].keys() - {"seconds"}:
        assert losses(fits[0], name) == pytest.approx(losses(fits[1], name), rel=1e-9)
    assert getattr(fits[0], "best_epoch_", None) == getattr(fits[1], "best_epoch_", None)


def test_what_a_callback_writes_enters_the_average(digits, beside_the_step):
    def clip(model, record):
        with torch.no_grad():
            for p in model.module_.parameters():
                p.clamp_(-0.05, 0.05)

    fits = in_and_beside_the_step(beside_the_step, digits, ema_decay=0.9, callbacks=[clip])
    assert weights_of(fits[0]).abs().max() <= 0.05
    torch.testing.assert_close(weights_of(fits[0]), weights_of(fits[1]), rtol=1e-10, atol=1e-12)


class Branches(nn.Module):
    """One of three layers for each batch: the others get no gradient."""

    def __init__(self, n_branches_at_first):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 10) for _ in range(3))
        self.calls, self.n_branches_at_first = 0, n_branches_at_first

    def forward(self, x):
        self.calls += self.training
        if self.calls <= self.n_branches_at_first:
            return sum(layer(x) for layer in self.layers)
        return self.layers[torch.randint(3, ()) if self.training else 0](x)


@pytest.mark.parametrize("n_branches_at_first", [0, 5])
def test_parameters_without_a_gradient_enter_the_average_of_an_estimator(n_branches_at_first, digits, beside_the_step):
    """As torch's AveragedModel does; the step of an optimizer averages only the parameters that it moves."""
    net = Branches(n_branches_at_first)
    fits = in_and_beside_the_step(beside_the_step, digits, net, ema_decay=0.9, lr=0.01)
    torch.testing.assert_close(weights_of(fits[0]), weights_of(fits[1]), rtol=1e-10, atol=1e-12)


def test_a_skipped_step_enters_the_average_of_an_estimator(digits, beside_the_step):
    def break_gradients(model, record):
        if record["epoch"] == 1:
            calls = itertools.count()
            next(model.module_.parameters()).register_hook(lambda g: g * float("nan") if next(calls) % 3 == 1 else g)

    arguments = {"optimizer": functools.partial(lt.SGD, lr=0.05, nonfinite="skip"), "callbacks": [break_gradients]}
    fits = in_and_beside_the_step(beside_the_step, digits, ema_decay=0.9, **arguments)
    torch.testing.assert_close(weights_of(fits[0]), weights_of(fits[1]), rtol=1e-10, atol=1e-12)


def test_ema_decay_is_an_option_of_the_optimizer_or_an_argument_of_the_estimator(digits):
    def fit(optimizer, **arguments):
        return classifier(optimizer=optimizer, batch_size=32, early_stopping=True, **arguments).fit(*digits)

    in_optimizer = fit(functools.partial(lt.AdamW, lr=0.01, ema_decay=0.9))
    in_estimator = fit(functools.partial(lt.AdamW, lr=0.01), ema_decay=0.9)
    assert torch.equal(weights_of(in_optimizer), weights_of(in_estimator))
    assert losses(in_optimizer, "valid_loss") == losses(in_estimator, "valid_loss")
    assert not torch.equal(weights_of(in_optimizer), weights_of(fit(functools.partial(lt.AdamW, lr=0.01))))
    with pytest.raises(ValueError, match=r"ema_decay is set twice: in the optimizer and as ema_decay=0\.5"):
        fit(functools.partial(lt.AdamW, ema_decay=0.9), ema_decay=0.5)


def test_groups_of_an_optimizer_in_an_estimator_may_differ_in_ema_decay(digits):
    """Averaged where the group says so, else as trained."""

    def groups(params):
        *first, weight, bias = params
        return lt.SGD([{"params": first, "ema_decay": 0.9}, {"params": [weight, bias]}], lr=0.05)

    some, none, every = (
        classifier(lt.MLP, optimizer=optimizer, batch_size=32, **arguments).fit(*digits).module_.layers
        for optimizer, arguments in (
            (groups, {}),
            (functools.partial(lt.SGD, lr=0.05), {}),
            (functools.partial(lt.SGD, lr=0.05), {"ema_decay": 0.9}),
        )
    )
    assert torch.equal(some[0].weight, every[0].weight)
    assert torch.equal(some[2].weight, none[2].weight)
    assert not torch.equal(none[0].weight, every[0].weight)


def test_an_estimators_average_of_few_steps_warns(digits):
    for optimizer in (lt.SGD, torch.optim.SGD, functools.partial(lt.SGD, ema_decay=0.999)):
        arguments = {} if isinstance(optimizer, functools.partial) else {"ema_decay": 0.999}
        with pytest.warns(UserWarning, match="of 4 steps with ema_decay=0.999 still consists to 100% of those after"):
            classifier(optimizer=optimizer, lr=0.01, max_epochs=1, **arguments).fit(*digits)


def test_averages_beside_the_step_of_16_bit_weights_are_float32():
    p = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    average = WeightAverage(torch.optim.SGD([p], lr=1.0), 0.999, in_step=False)
    average.update()
    with torch.no_grad():
        p.fill_(2.0)
    for _ in range(100):
        average.update()
    (mean,) = average.means
    assert torch.allclose(mean, torch.full_like(mean, 2.0 - 0.999**100), rtol=1e-5)
    assert mean.dtype == torch.float32
