"""State dicts that move both ways between an optimizer of ours and the one of the same name in torch.optim.

A slot has the same name in both, so that our state dicts need no conversion on the way out. On the way in torch must
leave the tensors as they are, and what a state dict of torch.optim does not say is completed.
"""

from typing import Any

import torch

from lifecycle.torch._openmp import serial_in_forked_child
from lifecycle.torch.parameter_groups import OPTIONS


class _Unchanged:
    """A tensor that `torch.optim.Optimizer.load_state_dict` is to leave as it is."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor


def before_loading(optimizer: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Pre-hook of `load_state_dict`: check the numbers, protect the tensors, complete the groups.

    torch would cast every tensor to the parameter's dtype: codes, scales and averages too.
    """
    known = {k for group in state_dict["param_groups"] for k in group["params"]}
    states = {}
    for k, state in state_dict["state"].items():
        if k in known:
            for name in ("step", *optimizer.rule.scalars):
                value = state.get(name, 0)
                if not isinstance(value, (int, float, torch.Tensor)) or not float(value) == float(value):
                    raise ValueError(f"{name} in the state of a parameter must be a number; got {value!r}")
            state = {
                name: _Unchanged(v) if isinstance(v, torch.Tensor) and name != "step" else v
                for name, v in state.items()
            }
        states[k] = state
    groups = [dict(group) for group in state_dict["param_groups"]]
    for group, current in zip(groups, optimizer.param_groups, strict=False):
        for name in OPTIONS:
            group.setdefault(name, current[name])
    return {**state_dict, "state": states, "param_groups": groups}


@serial_in_forked_child()
def after_loading(optimizer: Any) -> None:
    """Complete what a state dict of torch.optim, or an unpickled optimizer, does not say."""
    for group in optimizer.param_groups:
        for name, default in optimizer.defaults.items():
            group.setdefault(name, default)
        if isinstance(group.get("betas"), list):  # JSON and older checkpoints make lists of tuples
            group["betas"] = tuple(group["betas"])
    for p, state in optimizer.state.items():
        if not isinstance(p, torch.Tensor):  # an entry that belongs to no parameter
            continue
        for name, value in list(state.items()):
            if isinstance(value, _Unchanged):
                state[name] = value.tensor.to(p.device, copy=True)
            elif value is None:
                del state[name]
        has_slots = any(name != "step" for name in state)
        state["step"] = int(state.get("step", has_slots))  # torch's SGD does not count its steps
        for name in optimizer.rule.scalars.keys() & state.keys():
            state[name] = float(state[name])
