"""Parameter groups of our optimizers: what a group may set, and how it is checked."""

from typing import Any

import numpy as np
import torch

from lifecycle._check import integer, number, to_scalar
from lifecycle.optim import check_hyperparameters
from lifecycle.rules import Rule
from lifecycle.torch.state_tensors import check_state_dtype

OPTIONS = ("state_dtype", "ema_decay", "seed")  # besides the hyperparameters of the rule
NOT_SUPPORTED = ("capturable", "differentiable")
# entries of schedulers and training libraries
_FOREIGN = frozenset(
    "params initial_lr max_lr min_lr base_momentum max_momentum swa_lr param_names name lr_scale".split()
)


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a group, checked; `options` may hold only some of `OPTIONS`."""
    if "state_dtype" in options:
        options["state_dtype"] = check_state_dtype(options["state_dtype"])
    if options.get("ema_decay") is not None:
        options["ema_decay"] = number("ema_decay", options["ema_decay"], low=0.0, below=1.0)
    if "seed" in options:
        options["seed"] = integer("seed", options["seed"])
    return options


def check_supported(arguments: dict[str, Any]) -> None:
    """ValueError for a flag of torch.optim that a compiled step cannot have."""
    for name in NOT_SUPPORTED:
        if arguments.get(name):
            raise ValueError(f"{name}=True is not served: the step runs in a compiled kernel; leave it out")


def check_group(rule: Rule, defaults: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    """A new group of an optimizer with these defaults, checked."""
    hyper = {name: to_numbers(group.get(name, defaults[name])) for name in rule.defaults}
    check_hyperparameters(rule, hyper)
    check_supported(group)
    for name in group:
        if name not in defaults and name not in _FOREIGN and name not in NOT_SUPPORTED:
            raise ValueError(f"a parameter group has no option {name!r}; it has {', '.join(sorted(defaults))}")
    return {**group, **check_options({name: group[name] for name in OPTIONS if name in group})}


def to_numbers(value: Any) -> Any:
    """A hyperparameter with Python numbers in the place of tensors and numpy scalars."""
    if isinstance(value, (int, float)) and not isinstance(value, np.generic):  # np.float64 is a float
        return value
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise ValueError(f"a hyperparameter must be one number; got a tensor of shape {tuple(value.shape)}")
        return value.item()
    value = to_scalar(value)
    return tuple(map(to_numbers, value)) if isinstance(value, (tuple, list, np.ndarray)) else value


def hyperparameters(rule: Rule, group: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a group as numbers, at each step."""
    hyper = {}
    for name in rule.defaults:
        value = to_numbers(group[name])
        if not isinstance(value, (int, float, tuple)):
            raise TypeError(f"{name} of a parameter group must be a number, or a tuple of some; got {value!r}")
        hyper[name] = value
    return hyper
