"""The torch face against torch.optim."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lifecycle as lc  # noqa: E402
import lifecycle.torch as lt  # noqa: E402
from lifecycle.rules import list_rules  # noqa: E402

from . import networks  # noqa: E402

TWINS = [
    ("gd", torch.optim.SGD, {}),
    ("gd", torch.optim.SGD, {"weight_decay": 0.1, "maximize": True}),
    ("sgd", torch.optim.SGD, {}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("adam", torch.optim.Adam, {}),
    ("adam", torch.optim.Adam, {"amsgrad": True, "weight_decay": 0.1}),
    ("adamw", torch.optim.AdamW, {}),
    ("adamw", torch.optim.AdamW, {"amsgrad": True, "maximize": True}),
    ("adam", torch.optim.Adam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("adagrad", torch.optim.Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}),
    ("rmsprop", torch.optim.RMSprop, {"weight_decay": 0.1}),
    ("rmsprop", torch.optim.RMSprop, {"centered": True, "momentum": 0.9}),
    ("adadelta", torch.optim.Adadelta, {"weight_decay": 0.1, "maximize": True}),
    ("adamax", torch.optim.Adamax, {"weight_decay": 0.1}),
    ("nadam", torch.optim.NAdam, {}),
    ("nadam", torch.optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("radam", torch.optim.RAdam, {}),
    ("radam", torch.optim.RAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
]
FUSED = ("gd", "sgd", "adam", "adamw", "adagrad")
IDS = [f"{name}-{'-'.join(hyper) or 'plain'}" for name, _, hyper in TWINS]


def ours(name):
    return getattr(lt, list_rules()[name].class_name)


def parameters(arrays, dtype):
    return [torch.nn.Parameter(torch.tensor(a, dtype=dtype)) for a in arrays]


def step(optimizer, params, grads):
    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else g.to(p.dtype)
    optimizer.step()


def distance(a, b):
    a, b = (torch.cat([p.detach().double().ravel() for p in x]) for x in (a, b))
    return float((a - b).norm() / b.norm())


@pytest.fixture(scope="module")
def recorded():
    return networks.recorded_gradients(100)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize(("name", "twin", "hyper"), TWINS, ids=IDS)
def test_a_hundred_steps_and_a_checkpoint_swapped_in_the_middle(name, twin, hyper, dtype, bound, recorded):
    start, grads = recorded
    if name not in ("gd", "sgd", "adam", "adamw"):
        grads = grads[30:70]  # the others are made of the same parts
    hyper = {"lr": 1e-3, **hyper}
    a, b, reference = (parameters(start, t) for t in (dtype, dtype, torch.float64))
    mine, theirs = ours(name)(a, **hyper), twin(b, foreach=False, **hyper)
    exact = twin(reference, foreach=False, **hyper)
    best_params = parameters(start, dtype)
    best = twin(best_params, **({"fused": True} if name in FUSED else {"foreach": False}), **hyper)
    if name == "nadam" and dtype == torch.float64:
        bound = 1e-9  # torch keeps its product of momenta in float32
    for k, g in enumerate(grads):
        if k == len(grads) // 2 and name != "gd":  # torch has no twin of gd, only an SGD that can do the same
            mine_saved, theirs_saved = copy.deepcopy(mine.state_dict()), copy.deepcopy(theirs.state_dict())
            mine, theirs = ours(name)(a, lr=1.0), twin(b, lr=1.0)
            mine.load_state_dict(theirs_saved)
            theirs.load_state_dict(mine_saved)
        for optimizer, params in ((mine, a), (theirs, b), (exact, reference), (best, best_params)):
            step(optimizer, params, g)
    assert distance(a, b) <= bound
    if name in FUSED:
        assert distance(a, reference) <= 1.05 * distance(best_params, reference) + 1e-15


@pytest.mark.parametrize(("name", "twin", "hyper"), TWINS, ids=IDS)
def test_memory_layouts_that_differ(name, twin, hyper):
    """torch 2.13's fused CPU kernels pair the wrong elements here."""
    gradient = torch.tensor([1.0, -2, 3, -4, 5, 6]).view(2, 3).t()
    starts = {
        "gradient transposed": torch.zeros(3, 2),
        "parameter transposed": torch.zeros(2, 3).t(),
        "parameter with gaps": torch.zeros(6, 4)[::2, ::2],
    }
    for how, start in starts.items():
        p, q = torch.nn.Parameter(start), torch.nn.Parameter(torch.zeros(3, 2))
        mine, theirs = ours(name)([p], lr=0.1, **hyper), twin([q], lr=0.1, foreach=False, **hyper)
        for k in range(4):
            p.grad = gradient if k != 2 else gradient.contiguous()
            q.grad = gradient.clone()
            mine.step()
            theirs.step()
        torch.testing.assert_close(p, q, msg=lambda text, how=how: f"{how}: {text}")


def test_the_fault_in_the_fused_kernel_is_still_what_we_say():
    p, q = (torch.nn.Parameter(torch.zeros(3, 2)) for _ in range(2))
    p.grad = q.grad = torch.tensor([1.0, -2, 3, -4, 5, 6]).view(2, 3).t()
    torch.optim.SGD([p], lr=1.0, fused=True).step()
    torch.optim.SGD([q], lr=1.0, fused=False).step()
    assert not torch.equal(p, q), "torch has mended its fused kernel: say so in README and docs"


@pytest.mark.parametrize("name", list_rules())
def test_torch_face_and_numpy_face_have_the_same_bits(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 3)).astype(np.float32)
    p = torch.nn.Parameter(torch.tensor(x))
    a, b = ours(name)([p]), getattr(lc, list_rules()[name].class_name)()
    state = b.init(x)
    for g in rng.normal(size=(10, 5, 3)).astype(np.float32):
        step(a, [p], [torch.tensor(g)])
        b.step(x, g, state)
    assert p.detach().numpy().tobytes() == x.tobytes()


@pytest.mark.parametrize("name", list_rules())
def test_the_rule_works_on_tensors(name):
    rule = list_rules()[name]
    update, slots = rule.variant(rule.defaults)
    s = rule.step(1, **rule.defaults)
    p, g = torch.randn(7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    got = update(p, g, *(torch.zeros(7, dtype=torch.float64) for _ in slots), s)
    wanted = update(p.numpy(), g.numpy(), *(np.zeros(7) for _ in slots), s)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-15)


def test_groups_schedulers_closures_ties_and_missing_gradients():
    def train(cls, **kw):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
        net[1].weight = net[0].weight  # tied
        unused = torch.nn.Parameter(torch.ones(2))
        groups = [{"params": [*net[:2].parameters()], "lr": 0.05}, {"params": [*net[2].parameters(), unused]}]
        optimizer = cls(groups, lr=0.01, **kw)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
        x = torch.randn(16, 4)
        losses = []

        def closure():
            optimizer.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            return loss

        for _ in range(8):
            losses.append(float(optimizer.step(closure).detach()))
            scheduler.step()
        return losses, net, unused

    mine, _, unused = train(lt.AdamW)
    theirs, _, _ = train(torch.optim.AdamW, foreach=False)
    np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert unused.tolist() == [1, 1]


def test_autograd_sees_the_step():
    p = torch.nn.Parameter(torch.ones(3))
    loss = (p**2).sum()
    p.grad = torch.ones(3)
    lt.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_options_changed_in_the_middle():
    """Schedulers cycle momentum, and people switch AMSGrad on: a slot that is missing is made."""
    p, q = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    a, b = lt.SGD([p], lr=0.1), torch.optim.SGD([q], lr=0.1, foreach=False)
    for k in range(6):
        for o in (a, b):
            o.param_groups[0]["momentum"] = 0.9 if k > 2 else 0.0
        step(a, [p], [torch.full((3,), 1.0 + k)])
        step(b, [q], [torch.full((3,), 1.0 + k)])
    torch.testing.assert_close(p, q)


@pytest.mark.parametrize(
    ("parameter", "gradient", "says"),
    [
        (torch.ones(3), torch.sparse_coo_tensor([[0]], [1.0], (3,), check_invariants=False), "sparse"),
        (torch.ones(3, device="meta"), torch.ones(3, device="meta"), "meta"),
    ],
)
def test_what_is_not_served_is_refused_and_nothing_moves(parameter, gradient, says):
    good, bad = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(parameter)
    optimizer = lt.Adam([good, bad])
    good.grad, bad.grad = torch.ones(2), gradient
    with pytest.raises(TypeError, match=says):
        optimizer.step()
    assert good.tolist() == [1, 1]


def test_hyperparameters_are_checked():
    p = [torch.nn.Parameter(torch.ones(2))]
    with pytest.raises(TypeError, match="Adam has no 'momentum'; it has lr, betas"):
        lt.Adam(p, momentum=0.9)
    with pytest.raises(ValueError, match="lr must be"):
        lt.Adam([{"params": p, "lr": -1.0}])
    optimizer = lt.SGD(p, 0.1, 0.9, 0.0, 0.01, True)
    assert optimizer.defaults["nesterov"] is True
    assert optimizer.defaults["weight_decay"] == 0.01
    p[0].grad = torch.ones(2)
    optimizer.step()
    assert optimizer.state_bytes() == 8


def test_keras_lstm_on_the_torch_backend_trains_with_our_adam():
    """The reference LSTM in Keras, a softmax over 10 classes at every step, against the same with torch's Adam."""
    keras = pytest.importorskip("keras")

    class Net(keras.Sequential):
        def train_step(self, data):
            x, y = data
            self.adam.zero_grad()
            loss = self.compute_loss(x, y, self(x, training=True))
            loss.backward()
            self.adam.step()
            (tracker,) = self.metrics
            tracker.update_state(loss.detach())
            return {"loss": tracker.result()}

    def train(adam):
        keras.utils.set_random_seed(0)
        layers = keras.layers
        net = Net([layers.Input((100, 100)), layers.LSTM(64, return_sequences=True),
                   layers.LSTM(64, return_sequences=True), layers.Dense(10, activation="softmax")])  # fmt: skip
        net.adam = adam([v.value for v in net.trainable_variables], lr=1e-2)
        net.compile(loss="sparse_categorical_crossentropy")
        return net.fit(x, y, batch_size=4, epochs=4, verbose=0).history["loss"]

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 100, 100)).astype(np.float32), rng.integers(10, size=(4, 100))
    with torch.random.fork_rng():
        mine, theirs = train(lt.Adam), train(torch.optim.Adam)
    assert mine[-1] < 0.95 * mine[0]
    np.testing.assert_allclose(mine, theirs, rtol=1e-3)


def test_reference_lstm_trains():
    torch.manual_seed(0)
    net = networks.ReferenceLSTM()
    x, y = torch.randn(4, 100, 100), torch.randint(10, (4, 100))
    optimizer = lt.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


# -- what torch.optim does not have ------------------------------------------------------------------------------------


def small_net(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(20, 300), torch.nn.Tanh(), torch.nn.Linear(300, 3))


def train(net, optimizer, steps, *, before=lambda: None, after=lambda: None, seed=1):
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(steps):
        x = torch.randn(64, 20, generator=generator)
        loss = torch.nn.functional.cross_entropy(net(x), x[:, :3].argmax(dim=1))
        optimizer.zero_grad()
        loss.backward()
        before()
        optimizer.step()
        after()
        losses.append(loss.item())
    return losses


def test_clipping_is_clip_grad_norm_then_a_step():
    mine, theirs = small_net(), small_net()
    a = lt.AdamW(mine.parameters(), lr=1e-2, max_grad_norm=0.1)
    b = torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    norms = []

    def clip():
        norms.append(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1)))

    for k in range(5):
        train(mine, a, 1, seed=k)
        train(theirs, b, 1, before=clip, seed=k)
        assert a.last_grad_norm == pytest.approx(norms[-1], rel=1e-6)
    assert max(norms) > 0.1
    assert distance(mine.parameters(), theirs.parameters()) < 1e-6
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.full((3,), 7.0)
    lt.SGD([p], lr=0.1, max_grad_norm=1.0).step()
    assert p.grad.tolist() == [7, 7, 7], "the gradient itself is left alone"


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


def test_what_is_not_finite_is_left_out_or_raised():
    for bad in (float("nan"), float("inf")):
        p, q = (torch.nn.Parameter(torch.ones(4)) for _ in range(2))
        optimizer = lt.Adam([p, q], nonfinite="skip")
        p.grad, q.grad = torch.ones(4), torch.tensor([1.0, bad, 1.0, 1.0])
        optimizer.step()
        assert optimizer.skipped_steps == 1
        assert p.tolist() == q.tolist() == [1, 1, 1, 1]
        assert optimizer.state[p].get("step", 0) == 0
        q.grad = torch.ones(4)
        optimizer.step()
        assert optimizer.skipped_steps == 1
        assert (p < 1).all()
        q.grad[2] = bad
        raising = lt.Adam([p, q], nonfinite="raise")
        raising.load_state_dict(optimizer.state_dict())
        with pytest.raises(lc.NonFiniteGradient, match=r"step 2: that of parameter 1, \(4,\)"):
            raising.step()
        spreading = lt.Adam([q])
        spreading.step()
        assert torch.isnan(q).tolist() == [False, False, True, False]


RULES_BY_STATE = [(name, state) for name in list_rules() for state in ("bfloat16", "int8")]


@pytest.mark.parametrize(("name", "state"), RULES_BY_STATE)
def test_low_precision_states_train_as_well(name, state):
    hyper = {"lr": {"adadelta": 1.0, "gd": 0.1, "sgd": 0.1, "lion": 3e-4, "rmsprop": 1e-3}.get(name, 3e-3)}
    hyper |= {"momentum": 0.9} if "momentum" in list_rules()[name].defaults else {}
    losses = {}
    for dtype in (None, state):
        net = small_net()
        optimizer = ours(name)(net.parameters(), state_dtype=dtype, **hyper)
        losses[dtype] = np.mean(train(net, optimizer, 150)[-20:])
        n = sum(p.numel() for p in net.parameters())
        per_slot = {None: 4.0, "bfloat16": 2.0, "int8": 1.0}[dtype]
        slots = len(list_rules()[name].variant({**list_rules()[name].defaults, **hyper}).slots)
        assert optimizer.state_bytes() <= (per_slot + (0.03 if dtype == "int8" else 0)) * slots * n
    assert losses[state] < losses[None] + 0.05


def test_a_dead_unit_does_not_explode_in_int8():
    """Its second moment shrinks below the smallest code; stored as zero, the next gradient would step by lr / eps."""
    for state in ("bfloat16", "int8"):
        p = torch.nn.Parameter(torch.zeros(512))
        optimizer = lt.Adam([p], lr=1e-3, state_dtype=state)
        p.grad = torch.ones(512)
        optimizer.step()
        p.grad[:256] = 0.0
        for _ in range(3000):
            optimizer.step()
        before = p.detach().clone()
        p.grad[:256] = 1e-3
        optimizer.step()
        assert (p.detach() - before).abs().max() < 0.1
        assert torch.isfinite(p).all()


@pytest.mark.parametrize("state", [None, "float32", "bfloat16", "int8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sixteen_bit_parameters_train(dtype, state):
    net = small_net().to(dtype)
    optimizer = lt.AdamW(net.parameters(), lr=1e-2, state_dtype=state)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(80):
        x = torch.randn(64, 20, generator=generator).to(dtype)
        loss = torch.nn.functional.cross_entropy(net(x).float(), x[:, :3].argmax(dim=1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.6 * losses[0]
    assert {p.dtype for p in net.parameters()} == {dtype}


def test_a_small_step_of_a_bfloat16_parameter_is_not_lost():
    """lr times the gradient is a hundredth of a unit in the last place: rounded to the nearest, nothing would move."""
    p = torch.nn.Parameter(torch.ones(10_000, dtype=torch.bfloat16))
    optimizer = lt.SGD([p], lr=1.0)
    for _ in range(100):
        p.grad = torch.full_like(p, 2.0**-14)
        optimizer.step()
    assert float(p.detach().double().mean()) == pytest.approx(1 - 100 * 2.0**-14, abs=2e-4)


@pytest.mark.parametrize("name", list_rules())
def test_complex_parameters_are_pairs_of_real_ones(name):
    z = torch.nn.Parameter(torch.randn(7, 3, dtype=torch.complex64))
    x = torch.nn.Parameter(torch.view_as_real(z.detach()).clone())
    a, b = ours(name)([z]), ours(name)([x])
    for _ in range(5):
        g = torch.randn(7, 3, dtype=torch.complex64)
        step(a, [z], [g])
        step(b, [x], [torch.view_as_real(g)])
    assert torch.equal(torch.view_as_real(z.detach()), x.detach())


@pytest.mark.parametrize("name", list_rules())
def test_the_path_of_other_devices_takes_the_same_steps(name, monkeypatch):
    """On a GPU the rule runs as torch operations; they are tried here on the CPU."""
    from lifecycle.torch import _step_plan

    nets = [small_net() for _ in range(2)]
    optimizers = [ours(name)(net.parameters(), max_grad_norm=1.0, ema_decay=0.9) for net in nets]
    train(nets[0], optimizers[0], 5)
    monkeypatch.setattr(_step_plan, "_BY_KERNEL", ())
    train(nets[1], optimizers[1], 5)
    assert distance(nets[0].parameters(), nets[1].parameters()) < 1e-5
    means = [[o.state[p]["ema"] for p in net.parameters()] for o, net in zip(optimizers, nets, strict=True)]
    for a, b in zip(*means, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_two_byte_states_of_other_devices_are_rounded_stochastically(monkeypatch):
    """A mean that decays by 0.999 would stand still if it were rounded to the nearest."""
    from lifecycle.torch import _step_plan

    monkeypatch.setattr(_step_plan, "_BY_KERNEL", ())
    p = torch.nn.Parameter(torch.zeros(2000, dtype=torch.bfloat16))
    optimizer = lt.AdamW([p], lr=1e-3)
    p.grad = torch.ones_like(p)
    optimizer.step()
    p.grad = torch.zeros_like(p)
    for _ in range(300):
        optimizer.step()
    assert float(optimizer.state[p]["exp_avg_sq"].float().mean()) == pytest.approx(1e-3 * 0.999**300, rel=0.01)
    assert optimizer.state[p]["exp_avg_sq"].min() > 0
    p.grad = torch.full_like(p, float("nan"))
    optimizer.step()
    assert torch.isnan(p).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("state", [None, "bfloat16"])
@pytest.mark.parametrize("name", list_rules())
def test_a_gpu_takes_the_same_steps(name, state):
    nets = [small_net(), small_net()]
    nets[1].to("cuda")
    optimizers = [ours(name)(net.parameters(), max_grad_norm=1.0, ema_decay=0.9, state_dtype=state) for net in nets]
    for _ in range(5):
        for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.to("cuda")
        for optimizer in optimizers:
            optimizer.step()
    moved = [p.detach().cpu() for p in nets[1].parameters()]
    assert distance(nets[0].parameters(), moved) < (1e-5 if state is None else 1e-2)
    assert optimizers[0].last_grad_norm == pytest.approx(optimizers[1].last_grad_norm, rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_parameters_on_both_devices():
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3, device="cuda"))
    optimizer = lt.AdamW([p, q], lr=0.1)
    for _ in range(3):
        p.grad, q.grad = torch.ones(3), torch.ones(3, device="cuda")
        optimizer.step()
    torch.testing.assert_close(p.detach(), q.detach().cpu())


@pytest.mark.parametrize("state", [None, "bfloat16", "int8"])
def test_saved_and_continued_is_never_stopped(state, tmp_path):
    whole, parts = small_net(), small_net()
    options = {"lr": 1e-2, "state_dtype": state, "max_grad_norm": 0.5, "ema_decay": 0.99, "seed": 7}
    one = lt.NAdam(whole.parameters(), **options)
    train(whole, one, 4, seed=3)
    train(whole, one, 4, seed=4)
    first = lt.NAdam(parts.parameters(), **options)
    train(parts, first, 4, seed=3)
    torch.save({"net": parts.state_dict(), "optimizer": first.state_dict()}, tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    again = small_net(seed=9)
    again.load_state_dict(saved["net"])
    second = lt.NAdam(again.parameters(), lr=1.0)
    second.load_state_dict(saved["optimizer"])
    second.max_grad_norm = 0.5
    train(again, second, 4, seed=4)
    for p, q in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)
        for name, value in one.state[p].items():
            other = second.state[q][name]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def test_slots_change_their_format_with_the_checkpoint():
    """A run in float32 goes on in int8, and back into torch's own optimizer."""
    net = small_net()
    a = torch.optim.AdamW(net.parameters(), lr=1e-2)
    train(net, a, 10)
    b = lt.AdamW(net.parameters(), lr=1e-2, state_dtype="int8")
    saved = a.state_dict()
    b.load_state_dict(saved)
    train(net, b, 10)
    assert {v.dtype for own in b.state.values() for v in own.values() if isinstance(v, torch.Tensor)} == {
        torch.uint8,
        torch.float32,
    }
    for group in b.param_groups:
        group["state_dtype"] = None
    losses = train(net, b, 10)
    c = torch.optim.AdamW(net.parameters(), lr=1e-2)
    c.load_state_dict(b.state_dict())
    losses += train(net, c, 10)
    assert losses[-1] < 1.0
    assert all(v.dtype == torch.float32 for own in c.state.values() for k, v in own.items() if k != "step")


def test_low_precision_states_in_any_memory_layout():
    start, g = torch.randn(30, 20), torch.randn(30, 20)
    for state in ("bfloat16", "int8"):
        found = []
        for layout in (start.clone(), start.t().contiguous().t(), start.repeat_interleave(2, 1)[:, ::2]):
            p = torch.nn.Parameter(layout)
            optimizer = lt.AdamW([p], lr=0.1, state_dtype=state)
            for _ in range(3):
                p.grad = g.clone()
                optimizer.step()
            found.append(p.detach().clone())
        for other in found[1:]:  # blocks and noise follow the memory, so the last digits differ
            torch.testing.assert_close(other, found[0], rtol=0.2, atol=0.05)


def test_the_options_are_checked():
    p = [torch.nn.Parameter(torch.ones(2))]
    for options, sentence in (
        ({"state_dtype": "int4"}, "state_dtype must be None"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be"),
        ({"ema_decay": 1.0}, "ema_decay must be"),
        ({"nonfinite": "ignore"}, "nonfinite must be one of 'propagate', 'skip', 'raise'"),
        ({"capturable": True}, "capturable=True is not served"),
        ({"differentiable": True}, "differentiable=True is not served"),
        ({"fused": "yes"}, "fused must be one of"),
    ):
        with pytest.raises(ValueError, match=sentence):
            lt.Adam(p, **options)
    with pytest.raises(TypeError, match="seed must be an int"):
        lt.Adam(p, seed=0.5)
    with pytest.raises(ValueError, match="a parameter group has no option 'learning_rate'"):
        lt.Adam([{"params": p, "learning_rate": 1.0}])
    lt.Adam(p, foreach=True)
    lt.Adam(p, fused=True, foreach=None, state_dtype=torch.bfloat16)
    z = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
    z.grad = torch.ones_like(z)
    with pytest.raises(TypeError, match="complex parameters keep float32 slots"):
        lt.Adam([z], state_dtype="int8").step()


def test_groups_with_states_and_averages_of_their_own():
    net = small_net()
    optimizer = lt.AdamW(
        [
            {"params": [net[0].weight], "state_dtype": "int8", "ema_decay": 0.9},
            {"params": [net[0].bias, *net[2].parameters()], "lr": 1e-2},
        ],
        lr=1e-3,
    )
    train(net, optimizer, 5)
    assert optimizer.state[net[0].weight]["exp_avg"].dtype == torch.uint8
    assert optimizer.state[net[0].bias]["exp_avg"].dtype == torch.float32
    assert ["ema" in optimizer.state[p] for p in net.parameters()] == [True, False, False, False]


def test_tensors_that_are_replaced_between_steps_are_seen():
    """The second step begins with the tensors of the first; whatever a user puts in their place must count."""

    def run(meddle):
        p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
        optimizer = lt.SGD([p, q], lr=0.1, momentum=0.9)
        for k in range(3):
            p.grad, q.grad = torch.ones(3), torch.ones(2)
            if k == 2:
                meddle(p, q, optimizer)
            optimizer.step()
        return p.detach().tolist(), q.detach().tolist()

    same = run(lambda p, q, o: None)

    def new_memory(p, q, optimizer):
        p.data = p.data.clone()
        optimizer.state[p]["momentum_buffer"] = optimizer.state[p]["momentum_buffer"].clone()

    assert run(new_memory) == same
    assert run(lambda p, q, o: o.load_state_dict(o.state_dict())) == same

    def forget(p, q, optimizer):
        optimizer.state[p] = {}

    forgot = run(forget)
    assert forgot[0] == pytest.approx([1 - 0.1 - 0.19 - 0.1] * 3)
    assert forgot[1] == same[1]

    def no_gradient(p, q, optimizer):
        q.grad = None

    assert run(no_gradient)[0] == same[0]
    assert run(no_gradient)[1] == pytest.approx([1 - 0.1 - 0.19] * 2)

    def zeroed(p, q, optimizer):
        optimizer.state[p]["momentum_buffer"].zero_()

    assert run(zeroed)[0] == forgot[0]

    def elsewhere(p, q, optimizer):  # as a snippet that moves optimizers between devices does
        for own in optimizer.state.values():
            own["momentum_buffer"].data = own["momentum_buffer"].data.clone()

    assert run(elsewhere) == same

    def larger_rate(p, q, optimizer):
        optimizer.param_groups[0]["lr"] = 1.0

    assert run(larger_rate)[0] == pytest.approx([1 - 0.1 - 0.19 - 2.71] * 3)

    def first_two(p, q, optimizer):
        p.data, p.grad = p.data[:2], None
        p.grad = torch.ones(2)
        optimizer.state[p]["momentum_buffer"] = optimizer.state[p]["momentum_buffer"][:2]

    assert run(first_two) == (same[0][:2], same[1])

    def strided(p, q, optimizer):
        p.grad = torch.ones(6)[::2]

    assert run(strided) == same

    def missing_slot(p, q, optimizer):
        del optimizer.state[p]["momentum_buffer"]

    assert run(missing_slot)[0] == forgot[0]

    def transposed(p, q, optimizer):
        q.data, q.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        optimizer.state[q].clear()
        optimizer.step()
        q.data = q.data.t()
        optimizer.state[q]["momentum_buffer"] = torch.zeros(2, 2)

    assert run(transposed)[1] == [pytest.approx([0.8, 2.5]), pytest.approx([1.5, 3.2])]


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


def test_a_young_average_is_said_to_be_one_and_a_step_inside_is_refused():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = lt.SGD([p], lr=0.1, ema_decay=0.99)
    for _ in range(20):
        p.grad = torch.ones(3)
        optimizer.step()
    net = torch.nn.Module()
    net.p = p
    block = optimizer.averaged_weights()
    with pytest.warns(UserWarning, match="consists to 83% of those after the first step: it looks back 100 steps"):
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
def test_the_average_after_a_first_step_that_was_none(nonfinite):
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


@pytest.mark.parametrize("kind", ["another head", "enlarged"])
def test_a_state_of_another_shape_is_refused(kind):
    p = torch.nn.Parameter(torch.ones(6, 50))
    optimizer = lt.AdamW([p])
    p.grad = torch.ones_like(p)
    optimizer.step()
    if kind == "another head":
        q = torch.nn.Parameter(torch.ones(60_000, 50))
        q.grad = torch.ones_like(q)
        other = lt.AdamW([q])
        other.load_state_dict(optimizer.state_dict())
        p, optimizer = q, other
    else:
        p.grad = None
        p.data = torch.ones(60_000, 50)
        p.grad = torch.ones_like(p)
    before = p.detach().clone()
    with pytest.raises(ValueError, match=r"exp_avg of a parameter of shape .* belongs to another one"):
        optimizer.step()
    assert torch.equal(p, before)


def test_conjugate_and_negative_views():
    x = torch.tensor([1 + 2j, 3 + 4j])
    found = []
    for cls in (lt.SGD, torch.optim.SGD):
        p = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        q = torch.nn.Parameter(torch.tensor([1 + 2j]).conj())
        r = torch.nn.Parameter(torch.ones(2))
        optimizer = cls([p, q, r], lr=1.0)
        for _ in range(3):
            optimizer.zero_grad()
            (p.conj() * x).real.sum().backward()
            q.grad, r.grad = torch.tensor([1j]), torch._neg_view(torch.ones(2))
            assert p.grad.is_conj()
            optimizer.step()
        found.append([p.detach().resolve_conj(), q.detach().resolve_conj(), r.detach()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("before", "now"), [("complex64", "complex128"), ("complex64", "float32"), ("float32", "complex64")]
)
def test_states_of_another_kind_of_number(before, now):
    p = torch.nn.Parameter(torch.ones(2000, dtype=getattr(torch, before)))
    optimizer = lt.Adam([p], lr=0.1)
    p.grad = torch.ones_like(p)
    optimizer.step()
    q = torch.nn.Parameter(torch.ones(2000, dtype=getattr(torch, now)))
    other = lt.Adam([q], lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    q.grad = torch.ones_like(q)
    if now == "complex128":
        other.step()
        assert other.state[q]["exp_avg"].dtype is torch.complex128
        torch.testing.assert_close(other.state[q]["exp_avg"].real, torch.full((2000,), 0.19, dtype=torch.float64))
    else:
        with pytest.raises(ValueError, match="both must be complex, or none"):
            other.step()


def test_what_is_no_number_in_a_group_or_a_state_changes_nothing():
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = lt.SGD([{"params": [p]}, {"params": [q]}], lr=0.1, momentum=0.9)
    for each in (p, q):
        each.grad = torch.ones_like(each)
    optimizer.step()
    for wrong in ("x", None):
        optimizer.param_groups[1]["lr"] = wrong
        with pytest.raises(TypeError, match="lr of a parameter group must be a number"):
            optimizer.step()
    optimizer.param_groups[1]["lr"] = 0.1
    assert (p[0].item(), q[0].item()) == pytest.approx((0.9, 0.9))
    for wrong in (None, float("nan"), "x"):
        state = optimizer.state_dict()
        state["state"] = {**state["state"], 0: {**state["state"][0], "step": wrong}}
        before = optimizer.state[p]
        with pytest.raises(ValueError, match="step in the state of a parameter must be a number"):
            optimizer.load_state_dict(state)
        assert optimizer.state[p] is before
    state = optimizer.state_dict()
    state["state"] = {**state["state"], 99: {"note": torch.ones(1)}}
    optimizer.load_state_dict(state)
    optimizer.step()


def test_tensors_without_memory_are_refused():
    two = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor
    p = torch.nn.Parameter(two(torch.ones(3), torch.ones(3)))
    p.grad = two(torch.ones(3), torch.ones(3))
    with pytest.raises(TypeError, match="TwoTensor without memory of its own"):
        lt.SGD([p]).step()


def test_a_parameter_twice_in_a_group_is_refused():
    p = torch.nn.Parameter(torch.ones(3))
    with pytest.warns(UserWarning, match="duplicate"), pytest.raises(ValueError, match="stands twice in its group"):
        lt.SGD([p, p])


def test_options_of_a_group_are_checked_when_they_change():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = lt.AdamW([{"params": [p], "name": "all", "lr_scale": 0.5, "capturable": False}])
    p.grad = torch.ones(3)
    optimizer.step()
    group = optimizer.param_groups[0]
    assert (group["name"], group["lr_scale"]) == ("all", 0.5)
    group["state_dtype"] = torch.bfloat16
    optimizer.step()
    assert optimizer.state[p]["exp_avg"].dtype is torch.bfloat16
    for name, wrong in (("state_dtype", "int4"), ("ema_decay", 2.0), ("ema_decay", "x"), ("seed", 1.5)):
        kept, group[name], before = group[name], wrong, p.tolist()
        with pytest.raises((ValueError, TypeError), match=name):
            optimizer.step()
        assert p.tolist() == before
        group[name] = kept
    for name in ("weight_decy", "beta", "capturable"):
        with pytest.raises(ValueError, match=name):
            optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], name: True})


def test_the_options_of_one_s_own_groups_stay_when_a_twin_s_state_says_nothing():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = lt.AdamW([{"params": [p], "state_dtype": "int8", "seed": 5, "ema_decay": 0.9}])
    seen = []
    optimizer.register_load_state_dict_pre_hook(lambda o, d: seen.append(type(d["state"][0]["exp_avg"])) or None)
    twin = torch.optim.AdamW([p])
    p.grad = torch.ones(3)
    twin.step()
    optimizer.load_state_dict(twin.state_dict())
    group = optimizer.param_groups[0]
    assert (group["state_dtype"], group["seed"], group["ema_decay"]) == ("int8", 5, 0.9)
    assert seen == [torch.Tensor]


def test_a_gradient_of_another_shape_is_refused():
    p = torch.nn.Parameter(torch.ones(4))
    p.grad = torch.ones(4)
    p.data = torch.ones(6)
    with pytest.raises(TypeError, match="must match"):
        lt.SGD([p]).step()


def test_hooks_scaler_deepcopy_and_pickle():
    import pickle

    net = small_net()
    optimizer = lt.AdamW(net.parameters(), lr=torch.tensor(1e-2), state_dtype="int8")
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.register_state_dict_post_hook(lambda o, d: {**d, "note": 1})
    train(net, optimizer, 2)
    assert seen == ["before", "after"] * 2
    assert optimizer.state_dict()["note"] == 1
    both = copy.deepcopy((net, optimizer))
    for kept in (both, pickle.loads(pickle.dumps((net, lt.AdamW(net.parameters()))))):
        train(*kept, 2)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    x = torch.randn(4, 20)
    before = net[0].weight.detach().clone()
    for value, moves in ((1.0, True), (float("inf"), False)):
        optimizer.zero_grad()
        scaler.scale(net(x).sum() * value).backward()
        scaler.step(optimizer)
        scaler.update()
        assert (not torch.equal(before, net[0].weight)) == moves
        before = net[0].weight.detach().clone()


@pytest.mark.parametrize("name", ["CosineAnnealingLR", "OneCycleLR", "CyclicLR", "ReduceLROnPlateau", "LambdaLR"])
def test_schedulers(name):
    options = {
        "CosineAnnealingLR": {"T_max": 4},
        "OneCycleLR": {"max_lr": 0.1, "total_steps": 8},
        "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2},
        "ReduceLROnPlateau": {"patience": 0},
        "LambdaLR": {"lr_lambda": lambda k: 0.9**k},
    }[name]
    values = []
    for cls in (lt.SGD, torch.optim.SGD):
        p = torch.nn.Parameter(torch.ones(3))
        optimizer = cls([p], lr=0.05, momentum=0.9)
        scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
        for _ in range(6):
            p.grad = torch.ones(3)
            optimizer.step()
            scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
        values.append((p.detach(), optimizer.param_groups[0]["lr"]))
    torch.testing.assert_close(values[0][0], values[1][0])
    assert values[0][1] == pytest.approx(values[1][1])


def test_zero_dimensional_empty_and_channels_last():
    scalar, empty = torch.nn.Parameter(torch.tensor(1.0)), torch.nn.Parameter(torch.zeros(0, 3))
    conv = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    twin = torch.nn.Conv2d(3, 4, 3)
    twin.load_state_dict(conv.state_dict())
    for state in (None, "int8"):
        optimizer = lt.AdamW([scalar, empty, *conv.parameters()], lr=0.1, state_dtype=state)
        scalar.grad, empty.grad = torch.tensor(2.0), torch.zeros(0, 3)
        conv(torch.randn(1, 3, 5, 5).to(memory_format=torch.channels_last)).sum().backward()
        optimizer.step()
        if state is None:
            other = torch.optim.AdamW(twin.parameters(), lr=0.1)
            for p, q in zip(conv.parameters(), twin.parameters(), strict=True):
                q.grad = p.grad.clone()
            other.step()
            assert distance(conv.parameters(), twin.parameters()) < 1e-6
    assert scalar.item() < 0.9
