"""The step as torch operations, for devices that the kernels do not reach."""

import pytest

torch = pytest.importorskip("torch")

import lifecycle.torch as lt  # noqa: E402
from lifecycle.rules import list_rules  # noqa: E402
from lifecycle.torch import _step_plan  # noqa: E402

from .optimizer_steps import distance, ours, small_net, train  # noqa: E402


@pytest.mark.parametrize("name", list_rules())
def test_torch_operations_take_the_same_steps(name, monkeypatch):
    """On a GPU the rule runs as torch operations; they are tried here on the CPU."""
    nets = [small_net() for _ in range(2)]
    optimizers = [ours(name)(net.parameters(), max_grad_norm=1.0, ema_decay=0.9) for net in nets]
    train(nets[0], optimizers[0], 5)
    monkeypatch.setattr(_step_plan, "_KERNEL_DEVICES", ())
    train(nets[1], optimizers[1], 5)
    assert distance(nets[0].parameters(), nets[1].parameters()) < 1e-5
    means = [[o.state[p]["ema"] for p in net.parameters()] for o, net in zip(optimizers, nets, strict=True)]
    for a, b in zip(*means, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_two_byte_states_of_other_devices_are_rounded_stochastically(monkeypatch):
    """A mean that decays by 0.999 would stand still if it were rounded to the nearest."""
    monkeypatch.setattr(_step_plan, "_KERNEL_DEVICES", ())
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
