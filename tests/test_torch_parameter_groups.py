"""Parameter groups of the torch optimizers: options and hyperparameters, and when they are checked."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lifecycle as lc  # noqa: E402
import lifecycle.torch as lt  # noqa: E402
from lifecycle.rules import list_rules  # noqa: E402

from .optimizer_steps import small_net, step, train  # noqa: E402


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


def test_a_parameter_twice_in_a_group_is_refused():
    p = torch.nn.Parameter(torch.ones(3))
    with pytest.warns(UserWarning, match="duplicate"), pytest.raises(ValueError, match="stands twice in its group"):
        lt.SGD([p, p])


def test_what_is_not_a_number_in_a_group_or_a_state_changes_nothing():
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


AS_SCALARS = {
    "numpy scalar": np.float32,
    "numpy array without dimensions": np.array,
    "tensor without dimensions": torch.tensor,
}


@pytest.mark.parametrize("as_scalar", AS_SCALARS.values(), ids=AS_SCALARS)
@pytest.mark.parametrize("name", list_rules())
def test_every_hyperparameter_may_be_a_scalar_of_numpy_or_torch(name, as_scalar):
    rule = list_rules()[name]
    for option, default in rule.defaults.items():
        if isinstance(default, bool):
            value = np.bool_(default) if as_scalar is np.float32 else as_scalar(default)
        else:
            value = tuple(map(as_scalar, default)) if isinstance(default, tuple) else as_scalar(default)
        of_numpy = getattr(lc, rule.class_name)(**{option: value}).get_params()[option]
        assert of_numpy == pytest.approx(default)
        assert type(of_numpy) is type(default)
        p = torch.nn.Parameter(torch.ones(3))
        optimizer = getattr(lt, rule.class_name)([p], **{option: value})
        p.grad = torch.ones(3)
        optimizer.step()
        optimizer.param_groups[0][option] = value  # as a scheduler sets it between two steps
        optimizer.step()
        expected = torch.nn.Parameter(torch.ones(3))
        default_optimizer = getattr(lt, rule.class_name)([expected])
        expected.grad = torch.ones(3)
        for _ in range(2):
            default_optimizer.step()
        torch.testing.assert_close(p, expected, rtol=1e-6, atol=1e-6)


def test_a_schedule_of_numpy_scalars(tmp_path):
    net = torch.nn.Linear(3, 1)
    optimizer = lt.AdamW(net.parameters(), max_grad_norm=np.array(1.0), ema_decay=torch.tensor(0.9), seed=np.int64(3))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: np.float32(0.5))
    for _ in range(3):
        net(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        scheduler.step()
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(5e-4)
    for lr in (np.float32(0.25), np.array(0.25)):
        optimizer.param_groups[0]["lr"] = lr
        lc.save_checkpoint(tmp_path / "state.safetensors", model=net, optimizer=optimizer)
        lc.load_checkpoint(tmp_path / "state.safetensors", model=net, optimizer=optimizer)
        assert float(optimizer.param_groups[0]["lr"]) == 0.25
        optimizer.step()
