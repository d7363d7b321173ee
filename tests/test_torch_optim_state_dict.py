"""State dicts of the torch optimizers: saved, loaded, and exchanged with torch.optim."""

import pytest

torch = pytest.importorskip("torch")

import lifecycle.torch as lt  # noqa: E402

from .optimizer_steps import small_net, train  # noqa: E402


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


def test_options_of_a_group_stay_when_the_state_dict_of_torch_has_none():
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
