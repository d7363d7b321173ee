"""Comparison of what a checkpoint holds with what it is loaded into; each difference is a ValueError that names it."""

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

_OF_EACH_GROUP = ("base_lrs", "_last_lr", "min_lrs", "max_lrs", "lr_lambdas")  # entries of torch's schedulers


def check_class(what: str, stored: str, given: Any) -> None:
    """The class of the object whose state is stored."""
    name = type(given).__name__
    if stored != name:
        raise ValueError(f"the checkpoint holds the state of {stored}, the {what} is {name}: make the same one")


def check_names(what: str, stored: Iterable[str], given: Iterable[str]) -> None:
    """The names of parameters or entries, in any order."""
    stored, given = dict.fromkeys(stored), dict.fromkeys(given)
    missing, unexpected = [n for n in given if n not in stored], [n for n in stored if n not in given]
    differences = [f"{label} {_listed(n)}" for label, n in (("missing", missing), ("unexpected", unexpected)) if n]
    if differences:
        raise ValueError(f"the checkpoint does not fit the {what}: {'; '.join(differences)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def check_scheduler(stored: dict[str, Any], state: dict[str, Any], *, same_kinds: bool) -> None:
    """The entries of a scheduler's state and of the schedulers in it, whose classes are not in a state dict.

    `stored` passed `check_malformed_scheduler`. `same_kinds`: values are of the kinds that the scheduler has, as
    those of torch's are; a scheduler of somebody else may change them.
    """
    check_names("scheduler", map(str, stored), map(str, state))
    for name, value in stored.items() if same_kinds else ():
        if name in _OF_EACH_GROUP and isinstance(value, list) and len(value) != len(state[name]):
            raise ValueError(f"the checkpoint's scheduler has {len(value)} {name}, this one {len(state[name])}")
        if not _may_replace(state[name], value):
            raise ValueError(
                f"the checkpoint does not fit the scheduler: {name} is {_described(value)} in the file and "
                f"{_described(state[name])} in the scheduler"
            )
    inner = stored.get("_schedulers", ()), state.get("_schedulers", ())
    if len(inner[0]) != len(inner[1]):
        raise ValueError(
            f"the checkpoint's scheduler is made of {len(inner[0])} schedulers, this one of {len(inner[1])}"
        )
    for pair in zip(*inner, strict=True):
        check_scheduler(*pair, same_kinds=same_kinds)


def check_malformed_scheduler(stored: Any) -> None:
    """ValueError for what is not the state of a scheduler, as far as that can be said without one."""
    if not isinstance(stored, dict) or not all(isinstance(name, str) for name in stored):
        raise ValueError("the scheduler's state is malformed")
    inner = stored.get("_schedulers", [])
    if not isinstance(inner, (list, tuple)):
        raise ValueError("the schedulers inside of the scheduler are malformed")
    for state in inner:
        check_malformed_scheduler(state)


def _may_replace(given: Any, stored: Any) -> bool:
    """Whether a scheduler that has one value can have the other: None and anything, or values of one kind."""
    if given is None or stored is None:
        return True
    if _described(given) != _described(stored):
        return False
    if isinstance(given, (list, tuple)) and given:
        return all(_may_replace(given[0], value) for value in stored)
    return True


def _described(value: Any) -> str:
    """The kind of a value, as an error calls it."""
    if isinstance(value, (numbers.Number, np.generic)) or (isinstance(value, torch.Tensor) and value.numel() == 1):
        return "a number"
    for kinds, name in ((str, "a string"), ((list, tuple), "a list"), (dict, "a dict")):
        if isinstance(value, kinds):
            return name
    return f"a {type(value).__name__}"
