"""The state of an optimizer by parameter name, and its options."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle._check import integer, number, one_of
from lifecycle.optim import check_hyperparameters
from lifecycle.rules import list_rules
from lifecycle.torch.checkpoint.comparison import check_class, check_names
from lifecycle.torch.modules import name_without_wrappers
from lifecycle.torch.optimizers import RuleOptimizer
from lifecycle.torch.parameter_groups import OPTIONS, check_options, to_numbers
from lifecycle.torch.state_tensors import SCALE_SUFFIX, check_slots

# attributes of a RuleOptimizer that its state dict lacks
ATTRIBUTES = ("max_grad_norm", "nonfinite", "skipped_steps")
# options that torch fills in where an older checkpoint lacks them
_OPTIONAL = {
    *("foreach", "fused", "capturable", "differentiable", "maximize", "amsgrad", "nesterov", "decoupled_weight_decay")
}


def state_by_name(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state dict of an optimizer, with the names of its parameters in place of their numbers."""
    names, state = _names(model, optimizer), optimizer.state_dict()
    groups = [
        {k: to_numbers(v) if isinstance(v, (np.ndarray, tuple)) else v for k, v in group.items()}
        | {"params": [names[i] for i in group["params"]]}
        for group in state["param_groups"]
    ]
    return {"groups": groups, "state": {names[i]: slots for i, slots in state["state"].items()}}


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The name of every parameter of the optimizer, in its order."""
    name_of: dict[int, str] = {}
    without_wrappers = name_without_wrappers(model)
    for name, p in model.named_parameters(remove_duplicate=False):
        name_of.setdefault(id(p), without_wrappers(name))
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for p in params:
        if id(p) not in name_of:
            raise ValueError(
                f"the optimizer has a parameter of shape {tuple(p.shape)} that the model does not have: pass the model "
                "that it trains"
            )
    return [name_of[id(p)] for p in params]


def renamed(stored_state: tuple[str, dict], name_of: Callable[[str], str]) -> tuple[str, dict]:
    """A class name and a state by name, with other names."""
    class_name, stored = stored_state
    groups = [{**group, "params": [name_of(name) for name in group["params"]]} for group in stored["groups"]]
    return class_name, {"groups": groups, "state": {name_of(name): slots for name, slots in stored["state"].items()}}


def state_by_number(stored_state: tuple[str, dict], model: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    """The state dict for this optimizer from a class name and a state by name; ValueError if it does not fit."""
    class_name, stored = stored_state
    check_class("optimizer", class_name, optimizer)
    names, groups = _names(model, optimizer), list(stored["groups"])
    check_names("optimizer", [name for group in groups for name in group["params"]], names)
    if len(groups) != len(optimizer.param_groups):
        raise ValueError(
            f"the checkpoint's optimizer has {len(groups)} parameter groups, this one {len(optimizer.param_groups)}"
        )
    number_of, numbered, begin = {name: i for i, name in enumerate(names)}, [], 0
    for k, (group, given) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        group_names = names[begin : begin + len(given["params"])]
        check_names(f"optimizer's parameter group {k}", group["params"], group_names)
        _check_options(group, optimizer)
        numbered.append({**group, "params": [number_of[name] for name in group_names]})
        if "param_names" in group:
            numbered[-1]["param_names"] = given.get("param_names", group_names)
        begin += len(group_names)
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for name, slots in stored["state"].items():
        if name not in number_of:
            raise ValueError(f"the checkpoint does not fit the optimizer: unexpected {name}")
        _check_slots(name, slots, params[number_of[name]], class_name)
    return {"param_groups": numbered, "state": {number_of[name]: slots for name, slots in stored["state"].items()}}


def _check_slots(name: str, slots: dict[str, Any], p: torch.Tensor, class_name: str) -> None:
    """Check the slots of an optimizer that follows one of our rules: they have the shape of the parameter."""
    rule = next((rule for rule in list_rules().values() if rule.class_name == class_name), None)
    if rule is None:
        return
    scalars = {"step", *rule.scalars}
    try:
        tensors = [slot for slot in slots if slot not in scalars and not slot.endswith(SCALE_SUFFIX)]
        check_slots(p, slots, tensors, any_device=True)
    except ValueError as error:
        raise ValueError(f"the checkpoint does not fit the optimizer: {name}: {error}") from None


def _check_options(group: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    class_name = type(optimizer).__name__
    try:
        if isinstance(optimizer, RuleOptimizer):
            rule = optimizer.rule
            check_hyperparameters(rule, {k: to_numbers(group[k]) for k in rule.defaults if k in group})
            check_options({k: group[k] for k in OPTIONS if k in group})
        elif group.get("state_dtype") not in (None, "float32"):
            raise ValueError(f"its state is {group['state_dtype']}, which torch's {class_name} cannot read")
        elif missing := sorted(set(optimizer.defaults) - _OPTIONAL - set(group)):
            raise ValueError(f"missing {', '.join(missing)} of a parameter group")
    except (ValueError, TypeError) as error:
        raise ValueError(f"the checkpoint does not fit the optimizer: {error}") from None


def check_malformed(stored: dict[str, Any], attributes: dict[str, Any]) -> None:
    """Check what a file says of an optimizer as far as possible without one."""
    names = [name for group in stored["groups"] for name in group["params"]]
    if len(set(names)) < len(names) or not all(isinstance(name, str) for name in [*names, *stored["state"]]):
        raise ValueError("the optimizer's parameters are malformed")
    for slots in stored["state"].values():
        step = slots.get("step", 0)
        if not all(isinstance(slot, str) for slot in slots):
            raise ValueError("the optimizer's state is malformed")
        if not isinstance(step, (int, float, torch.Tensor)) or not float(step) >= 0 or float(step) != int(step):
            raise ValueError("the optimizer's number of steps is malformed")
    if attributes.get("max_grad_norm") is not None:
        number("max_grad_norm", attributes["max_grad_norm"], above=0.0)
    integer("skipped_steps", attributes.get("skipped_steps", 0), low=0)
    one_of("nonfinite", attributes.get("nonfinite", "propagate"), ("propagate", "skip", "raise"))
