"""State and parameters of few bits: bfloat16, float16 and int8."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lifecycle.torch as lt  # noqa: E402
from lifecycle._jit import hashed_keys  # noqa: E402
from lifecycle.rules import list_rules  # noqa: E402

from .optimizer_steps import ours, small_net, train  # noqa: E402

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


def test_the_mean_over_seeds_has_less_rounding_noise():
    """Less by the root of their number, as that of independent runs. Steps stay on one grid, where noise adds up."""
    n_seeds = n_steps = 64
    step = 0.3 * 2.0**-8  # of the distance of neighbours between 0.5 and 1
    runs = []
    for seed in range(n_seeds):
        p = torch.nn.Parameter(torch.full((2000,), 0.75, dtype=torch.bfloat16))
        optimizer, p.grad = lt.GD([p], lr=step, seed=seed), torch.ones_like(p)
        for _ in range(n_steps):
            optimizer.step()
        runs.append(p.detach().double() - (0.75 - n_steps * step))
    errors = torch.stack(runs)
    of_one, of_mean = errors.square().mean().sqrt(), errors.mean(0).square().mean().sqrt()
    assert of_one > 2.0**-8
    assert float(of_mean) == pytest.approx(float(of_one) / n_seeds**0.5, rel=0.1)


def test_no_two_seeds_steps_or_tensors_share_a_stream():
    indices = np.arange(4)
    pairs = {(seed, t): hashed_keys(seed, t, indices) for seed in range(-1, 40) for t in range(1, 40)}
    keys = np.concatenate(list(pairs.values()))
    assert len(np.unique(keys)) == len(keys)
    # nor the same numbers in another order: the noise is a hash of key ^ index, so keys must differ in their upper bits
    for (seed, t), key in pairs.items():
        for neighbour in ((seed + 1, t), (seed, t + 1), (seed + 1, t - 1), (t, seed), (seed ^ 1, t ^ 1)):
            if neighbour in pairs and neighbour != (seed, t):
                assert ((key ^ pairs[neighbour]) >> 8).all()
    large = hashed_keys(2**63 + 5, 1, indices)
    assert large.dtype == np.uint32
    assert (large != hashed_keys(5, 1, indices)).all()


def test_codes_of_another_dtype_are_refused():
    """The kernels read uint8; the bits of torch.int8 would mean other numbers."""
    p = torch.nn.Parameter(torch.ones(300))
    optimizer = lt.Adam([p], state_dtype=torch.int8)
    p.grad = torch.ones(300)
    optimizer.step()
    assert optimizer.state[p]["exp_avg"].dtype == torch.uint8
    optimizer.state[p]["exp_avg"] = optimizer.state[p]["exp_avg"].view(torch.int8)
    with pytest.raises(ValueError, match=r"exp_avg is stored as torch\.int8; a slot is .*uint8"):
        optimizer.step()


LARGE_GRADIENTS = [
    ("float32", "bfloat16", {}),
    ("float32", "int8", {}),
    ("float32", None, {"max_grad_norm": 1.0, "nonfinite": "skip"}),
    ("float32", "int8", {"max_grad_norm": 1.0}),
    ("bfloat16", None, {}),
    ("bfloat16", "int8", {"nonfinite": "skip"}),
    ("float16", None, {}),
    ("float16", "float32", {}),
]


@pytest.mark.parametrize(("dtype", "state", "options"), LARGE_GRADIENTS)
@pytest.mark.parametrize("name", [name for name in list_rules() if name not in ("gd", "sgd")])
def test_finite_gradients_of_any_size_never_give_nan(name, dtype, state, options):
    largest = min(3e38, torch.finfo(getattr(torch, dtype)).max)
    p = torch.nn.Parameter(torch.ones(700, dtype=getattr(torch, dtype)))
    optimizer = getattr(lt, list_rules()[name].class_name)([p], lr=1e-3, state_dtype=state, **options)
    generator = torch.Generator().manual_seed(0)
    for t in range(12):
        g = torch.randn(700, generator=generator)
        if t in (6, 8):
            g[::7], g[3::7] = largest, -largest
        p.grad = g.to(p.dtype)
        optimizer.step()
    assert torch.isfinite(p).all()
    assert optimizer.skipped_steps == 0


def test_a_large_gradient_that_is_clipped_by_the_norm_takes_its_whole_step():
    """The norm is 1e20: 1.0 is left of the gradient, which is not clipped before."""
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = lt.RMSprop([p], lr=1.0, alpha=0.0, eps=1.0, max_grad_norm=1.0)
    p.grad = torch.tensor([1e20, 0.0, 0.0])
    optimizer.step()
    assert p.tolist() == pytest.approx([0.5, 1.0, 1.0], rel=1e-5)


def test_codes_stay_where_only_axes_of_length_one_have_other_strides():
    """A loaded slot may have them. Encoded again, a block whose largest number was rounded up lost precision."""
    p = torch.nn.Parameter(torch.ones(8, 1, 3, 3).contiguous(memory_format=torch.channels_last))
    optimizer = lt.AdamW([p], state_dtype="int8")
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        p.grad = torch.randn(p.shape, generator=generator).contiguous(memory_format=torch.channels_last)
        optimizer.step()
        states = []
        for strides in (p.stride(), (9, 3, 3, 1)):
            other = lt.AdamW([q := torch.nn.Parameter(p.detach().clone())], state_dtype="int8")
            other.load_state_dict(optimizer.state_dict())
            for name in ("exp_avg", "exp_avg_sq"):
                other.state[q][name] = other.state[q][name].as_strided(p.shape, strides)
            q.grad = p.grad
            other.step()
            states.append(q.detach())
        assert torch.equal(*states)
