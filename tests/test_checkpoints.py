"""Checkpoints: a run continues with the same bits in a new process; what does not fit is named and nothing changes."""

import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.torch import modules
from lifecycle.torch.checkpoint import optimizer_state

from .resumed import bits, build, train


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


@pytest.mark.parametrize("rule", ["AdamW", "NAdam"])
@pytest.mark.parametrize("state", [None, "bfloat16", "int8"])
def test_continued_in_a_new_process_is_never_stopped(state, rule, path, tmp_path):
    def seeds():
        torch.manual_seed(3)
        np.random.seed(4)
        random.seed(5)

    seeds()
    whole = build(state, rule)
    train(*whole, 8)
    seeds()
    parts = build(state, rule)
    train(*parts, 4)
    lc.save_checkpoint(path, model=parts[0], optimizer=parts[1], scheduler=parts[2], metadata={"left": 4})
    out = tmp_path / "bits.json"
    command = [sys.executable, "-m", "tests.resumed", str(state), rule, str(path), str(out)]
    subprocess.run(command, check=True, timeout=300, cwd=Path(__file__).parents[1])
    assert json.loads(out.read_text()) == list(bits(*whole))


def small(names=("a", "b"), seed=0):
    torch.manual_seed(seed)
    return nn.ModuleDict({name: nn.Linear(3, 2 + k) for k, name in enumerate(sorted(names))})


def step(net, optimizer, steps=2):
    for _ in range(steps):
        for p in net.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()


def save_small(path):
    """Save a checkpoint after two steps, and return its module and optimizer."""
    net = small()
    optimizer = lt.AdamW(net.parameters())
    step(net, optimizer)
    lc.save_checkpoint(path, model=net, optimizer=optimizer)
    return net, optimizer


def test_parameters_are_found_by_name_in_any_order(path):
    net, optimizer = save_small(path)
    other = small(seed=1)
    again = lt.AdamW(reversed(list(other.parameters())))
    lc.load_checkpoint(path, model=other, optimizer=again)
    for name, p in net.named_parameters():
        q = other.get_parameter(name)
        assert torch.equal(p, q)
        for slot in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(optimizer.state[p][slot], again.state[q][slot])


@pytest.mark.parametrize(("saved", "loaded"), [(lt.AdamW, torch.optim.AdamW), (torch.optim.AdamW, lt.AdamW)])
def test_the_state_moves_between_twins(saved, loaded, path):
    net, other = small(), small(seed=1)
    first, second = saved(net.parameters(), lr=1e-2), loaded(other.parameters(), lr=1.0)
    step(net, first)
    lc.save_checkpoint(path, model=net, optimizer=first)
    lc.load_checkpoint(path, model=other, optimizer=second)
    for each in ((net, first), (other, second)):
        torch.manual_seed(2)
        step(*each)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


REGISTERED = '''
"""Momentum at a rate that falls with the sum of the rates so far."""
from lifecycle._jit import element

SLOTS = {"momentum_buffer": "signed"}
SCALARS = {"rate_sum": 0.0}


def step(t, lr=0.1, momentum=0.9, rate_sum=0.0):
    """Momentum at a falling rate."""
    rate_sum = rate_sum + lr
    return rate_sum, lr / (1.0 + rate_sum), momentum


@element
def update(p, g, momentum_buffer, s):
    _, rate, momentum = s
    momentum_buffer = momentum * momentum_buffer + g
    return p - rate * momentum_buffer, momentum_buffer
'''


@pytest.mark.parametrize("state", [None, "int8"])
def test_a_registered_rule_with_scalars_continues(state, path, tmp_path, monkeypatch):
    (tmp_path / "falling.py").write_text(REGISTERED)
    spec = importlib.util.spec_from_file_location("falling", tmp_path / "falling.py")
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    monkeypatch.setattr("lifecycle.rules._registered", {})
    lc.register_rule(module)
    net, other = small(), small(seed=1)
    optimizer, again = (lt.Falling(n.parameters(), state_dtype=state) for n in (net, other))
    step(net, optimizer, 3)
    lc.save_checkpoint(path, model=net, optimizer=optimizer)
    lc.load_checkpoint(path, model=other, optimizer=again)
    assert again.state[other["a"].weight]["rate_sum"] == pytest.approx(0.3)
    for each in ((net, optimizer), (other, again)):
        torch.manual_seed(2)
        step(*each)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiled_model_and_one_of_data_parallel_are_those_inside(path):
    net, other = small(), small(seed=1)
    lc.save_checkpoint(path, model=torch.compile(net))
    lc.load_checkpoint(path, model=nn.DataParallel(other))
    assert torch.equal(net["a"].weight, other["a"].weight)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("of_before", [False, True], ids=["now", "names of wrappers"])
def test_layers_in_wrappers_are_those_inside(of_before, path, monkeypatch):
    def made(seed):
        net = small(seed=seed)
        net["a"] = torch.compile(net["a"], backend="eager")
        return net

    net = made(0)
    optimizer = lt.Adam(net.parameters())
    net["a"].weight.grad = torch.ones_like(net["a"].weight)
    optimizer.step()
    with monkeypatch.context() as patched:
        if of_before:
            for module in (modules, optimizer_state):
                patched.setattr(module, "name_without_wrappers", lambda net: lambda name: name)
        lc.save_checkpoint(path, model=net, optimizer=optimizer)
    for other in (made(1), small(seed=1))[: 1 if of_before else 2]:
        again = lt.Adam(other.parameters())
        lc.load_checkpoint(path, model=other, optimizer=again)
        assert torch.equal(net["a"].weight, other["a"].weight)
        assert torch.equal(optimizer.state[net["a"].weight]["exp_avg"], again.state[other["a"].weight]["exp_avg"])


def test_the_options_of_the_file_hold(path):
    net = small()
    optimizer = lt.SGD(net.parameters(), lr=0.1, max_grad_norm=0.5, nonfinite="skip", state_dtype="bfloat16")
    lc.save_checkpoint(path, model=net, optimizer=optimizer)
    again = lt.SGD(net.parameters(), lr=0.2)
    lc.load_checkpoint(path, model=net, optimizer=again)
    assert (again.max_grad_norm, again.nonfinite) == (0.5, "skip")
    assert (again.param_groups[0]["lr"], again.param_groups[0]["state_dtype"]) == (0.1, "bfloat16")


def test_only_the_model_and_not_the_random_state(path):
    net, other = small(), small(seed=1)
    lc.save_checkpoint(path, model=net, optimizer=lt.SGD(net.parameters()))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert lc.load_checkpoint(path, model=other, random_state=False) == {}
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(net["a"].weight, other["a"].weight)
    lc.load_checkpoint(path, model=other)
    assert not torch.equal(torch.get_rng_state(), before)


def test_tied_complex_bfloat16_and_odd_layouts(path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight
            self.z = nn.Parameter(torch.randn(5, dtype=torch.complex64))
            self.h = nn.Parameter(torch.randn(6, 2).t().to(torch.bfloat16))
            self.register_buffer("n", torch.tensor(3))

    net, other = Net(), Net()
    optimizer = lt.Adam(net.parameters())
    step(net, optimizer)
    lc.save_checkpoint(path, model=net, optimizer=optimizer)
    again = lt.Adam(other.parameters())
    lc.load_checkpoint(path, model=other, optimizer=again)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        assert torch.equal(optimizer.state[p]["exp_avg"], again.state[q]["exp_avg"])
        assert optimizer.state[p]["exp_avg"].stride() == again.state[q]["exp_avg"].stride()
    assert other.a.weight is other.b.weight
    assert sum("model.a.weight" == name or "model.b.weight" == name for name in load_file(path)) == 1


def bits_of(*objects):
    return [
        [t.clone() for t in o.state_dict().values()]
        if isinstance(o, nn.Module)
        else json.dumps({k: v for k, v in o.state_dict().items() if k != "state"}, default=str)
        for o in objects
    ]


def mismatches():
    def named(names):
        return lambda: (net := small(names), lt.AdamW(net.parameters()), None)

    def wider():
        net = small()
        net["a"] = nn.Linear(4, 2)
        return net, lt.AdamW(net.parameters()), None

    def half():
        net = small().half()
        return net, lt.AdamW(net.parameters()), None

    def other_rule():
        net = small()
        return net, lt.SGD(net.parameters()), None

    def other_groups():
        net = small()
        groups = [{"params": net["a"].parameters()}, {"params": net["b"].parameters()}]
        return net, lt.AdamW(groups), None

    def fewer():
        net = small()
        return net, lt.AdamW(net["a"].parameters()), None

    def scheduler():
        net = small()
        optimizer = lt.AdamW(net.parameters())
        return net, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)

    return {
        "c.weight is missing in the file; c.bias is missing in the file; b.weight is not in the module": named("ac"),
        "a.weight has the shape (2, 3) in the file and (2, 4) in the module": wider,
        "a.weight is torch.float32 in the file and torch.float16 in the module": half,
        "holds the state of AdamW, the optimizer is SGD": other_rule,
        "has 1 parameter groups, this one 2": other_groups,
        "does not fit the optimizer: unexpected b.weight, b.bias": fewer,
        "holds the state of ConstantLR, the scheduler is StepLR": scheduler,
    }


@pytest.mark.parametrize("sentence", mismatches())
def test_what_does_not_fit_is_named_and_nothing_changes(sentence, path):
    net = small()
    optimizer = lt.AdamW(net.parameters())
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    step(net, optimizer)
    lc.save_checkpoint(path, model=net, optimizer=optimizer, scheduler=scheduler)
    given = mismatches()[sentence]()
    before, random_before = bits_of(*filter(None, given)), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"the (checkpoint|file)") as raised:
        lc.load_checkpoint(path, model=given[0], optimizer=given[1], scheduler=given[2])
    assert sentence in str(raised.value)
    after = bits_of(*filter(None, given))
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]
    assert not given[1].state
    assert torch.equal(torch.get_rng_state(), random_before)


def sequential(optimizer, *schedulers):
    made = [cls(optimizer) for cls in schedulers]
    return torch.optim.lr_scheduler.SequentialLR(optimizer, made, list(range(2, 1 + len(made))))


@pytest.mark.parametrize(
    ("inside", "sentence"), [("LL", "is made of 3 schedulers, this one of 2"), ("LCL", "unexpected")]
)
def test_the_schedulers_inside_of_one_are_compared(inside, sentence, path):
    torch_s = torch.optim.lr_scheduler
    kinds = {"L": torch_s.LinearLR, "C": lambda o: torch_s.CosineAnnealingLR(o, 5)}
    net = small()
    optimizer = lt.SGD(net.parameters(), lr=0.1)
    step(net, optimizer)
    scheduler = sequential(optimizer, *[kinds[k] for k in "LLL"])
    lc.save_checkpoint(path, model=net, optimizer=optimizer, scheduler=scheduler)
    other = small(seed=1)
    another = lt.SGD(other.parameters(), lr=0.3)
    before = bits_of(other, another)
    with pytest.raises(ValueError, match=sentence):
        lc.load_checkpoint(
            path, model=other, optimizer=another, scheduler=sequential(another, *[kinds[k] for k in inside])
        )
    after = bits_of(other, another)
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert "0.3" in after[1]


def test_a_hook_that_raises_changes_nothing(path):
    save_small(path)
    other = small(seed=1)
    another = lt.AdamW(other.parameters(), lr=0.3)
    other.register_load_state_dict_post_hook(lambda *_: 1 / 0)
    before = bits_of(other, another)
    with pytest.raises(ValueError, match="does not fit: division by zero"):
        lc.load_checkpoint(path, model=other, optimizer=another)
    after = bits_of(other, another)
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert "0.3" in after[1]
    assert not another.state


def test_milestones_come_back_as_what_they_were(path):
    net = small()
    optimizer = lt.SGD(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
    step(net, optimizer)
    lc.save_checkpoint(path, model=net, optimizer=optimizer, scheduler=scheduler)
    lc.load_checkpoint(path, model=net, optimizer=optimizer, scheduler=scheduler)
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


@pytest.mark.parametrize("state", [None, "int8"])
def test_a_number_as_a_parameter(state, path):
    """Like the temperature of a contrastive model; torch casts what has no dimension when it loads a state."""
    nets = [nn.Module() for _ in range(2)]
    for net in nets:
        net.scale = nn.Parameter(torch.tensor(2.6).to(torch.bfloat16 if state is None else torch.float32))
    optimizers = [lt.AdamW(net.parameters(), lr=0.01, state_dtype=state, ema_decay=0.9) for net in nets]
    step(nets[0], optimizers[0], 20)
    optimizers[0].skipped_steps = 3
    lc.save_checkpoint(path, model=nets[0], optimizer=optimizers[0])
    lc.load_checkpoint(path, model=nets[1], optimizer=optimizers[1])
    assert optimizers[1].skipped_steps == 3
    for net, optimizer in zip(nets, optimizers, strict=True):
        torch.manual_seed(1)
        step(net, optimizer, 20)
    assert torch.equal(nets[0].scale, nets[1].scale)
    own = [optimizer.state[net.scale] for net, optimizer in zip(nets, optimizers, strict=True)]
    assert all(torch.equal(own[0][name], own[1][name]) for name in own[0] if name != "step")


@pytest.mark.parametrize("state", [None, "int8"])
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("exp_avg", torch.zeros(3)),
        ("exp_avg", torch.zeros(4, 3, dtype=torch.int64)),
        ("exp_avg", 3.0),
        ("exp_avg_scale", torch.ones(7)),
        ("exp_avg_scale", torch.ones(1, dtype=torch.float64)),
        ("exp_avg_scale", "x"),
        ("ema", torch.tensor(1.0)),
        ("ema", torch.zeros(4, 3, dtype=torch.int32)),
        ("step", -5),
        ("step", float("nan")),
    ],
)
def test_a_state_that_is_not_the_parameter_s_is_refused(name, wrong, state, path):
    """A kernel would write beyond the end of it."""
    net = nn.Linear(3, 4, bias=False)
    optimizer = lt.AdamW(net.parameters(), state_dtype=state, ema_decay=0.9)
    step(net, optimizer)
    own = optimizer.state[net.weight]
    if name.endswith("_scale") and state is None:
        pytest.skip("float32 has no scales")
    own[name] = wrong
    lc.save_checkpoint(path, model=net, optimizer=optimizer)
    other = nn.Linear(3, 4, bias=False)
    before = other.weight.detach().clone()
    with pytest.raises(ValueError, match=r"does not fit the optimizer|does not describe a checkpoint"):
        lc.load_checkpoint(path, model=other, optimizer=lt.AdamW(other.parameters(), ema_decay=0.9))
    assert torch.equal(other.weight, before)


def test_models_without_numbers(path):
    lc.save_checkpoint(path, model=nn.Linear(3, 4))
    for model in (nn.Linear(3, 4, device="meta"), nn.LazyLinear(4)):
        for call in (lc.save_checkpoint, lc.load_checkpoint):
            with pytest.raises(ValueError, match="weight of the model has no values yet"):
                call(path, model=model)


def test_metadata_is_what_it_was(path):
    for wrong in ({1: "a"}, {"a": {None: 1}}, {"a": float("nan")}, {"a": object()}, [1]):
        with pytest.raises(ValueError, match="metadata must be"):
            lc.save_checkpoint(path, model=small(), metadata=wrong)


def test_what_a_checkpoint_cannot_hold(path):
    net = small()
    with pytest.raises(ValueError, match="that the model does not have"):
        lc.save_checkpoint(path, model=net["a"], optimizer=lt.SGD(net.parameters()))
    with pytest.raises(lc.UnsupportedModel, match=r"LinearClassifier: lifecycle\.save"):
        lc.save_checkpoint(path, model=lc.LinearClassifier())
    with pytest.raises(TypeError, match="optimizer must be a torch Optimizer; got a str"):
        lc.save_checkpoint(path, model=net, optimizer="adam")
    optimizer = lt.SGD(net.parameters(), momentum=0.9)
    step(net, optimizer)
    optimizer.state[net["a"].weight]["note"] = object()
    with pytest.raises(
        lc.UnsupportedModel, match=r"optimizer.state.a.weight.note is a object, which a checkpoint cannot hold"
    ):
        lc.save_checkpoint(path, model=net, optimizer=optimizer)
    assert not path.exists()


def test_other_files(path, tmp_path):
    net = small()
    lc.save_checkpoint(path, model=net)
    with pytest.raises(lc.UnsupportedModel, match="is a checkpoint: load_checkpoint"):
        lc.load(path)
    assert "ModuleDict (checkpoint): load_checkpoint reads it" in repr(lc.inspect(path))
    with pytest.raises(ValueError, match="holds no optimizer: leave optimizer= out"):
        lc.load_checkpoint(path, model=net, optimizer=lt.SGD(net.parameters()))
    model = tmp_path / "model.safetensors"
    lc.save(net, model)
    with pytest.raises(lc.CorruptBundle, match=r"holds a model \(torch.module\), not a checkpoint"):
        lc.load_checkpoint(model, model=net)
    torch.save(net.state_dict(), model)
    with pytest.raises(lc.CorruptBundle, match="zip archive"):
        lc.load_checkpoint(model, model=net)
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 997):
        altered = bytearray(data)
        altered[place] ^= 1
        path.write_bytes(altered)
        with pytest.raises(lc.CorruptBundle):
            lc.load_checkpoint(path, model=net)


def test_a_manifest_that_somebody_made_is_refused(path):
    """The digest is not a signature: anyone can compute it for another manifest."""
    from lifecycle.store import bundle, bundle_reader

    net, optimizer = save_small(path)
    stored = bundle_reader.read(path)
    arrays = bundle_reader.arrays_of(stored)
    whole = json.dumps(stored.manifest["config"])
    for old, new in (
        ('"dtype": "float32"', '"dtype": "object"'),
        ('"order": [0, 1]', '"order": [0, 0]'),
        ('"$tensor": "model.a.bias"', '"$tensor": "nothing"'),
        ('"$tuple"', '"$call"'),
        ('"groups"', '"group"'),
        ('"random"', '"chance"'),
        ('["python", {"$tuple": [3, ', '["python", {"$tuple": [7, '),
        ('["step", 2]', '["step", -2]'),
    ):
        assert old in whole
        bundle.write(Path(path), json.loads(whole.replace(old, new)), arrays, None, small=False)
        with pytest.raises(lc.CorruptBundle):
            lc.load_checkpoint(path, model=net, optimizer=optimizer)
