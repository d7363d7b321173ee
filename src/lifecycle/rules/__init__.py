"""Update rules, one per file: how a parameter moves, given its gradient and its slots.

A rule file has
  `step(t, lr, …) -> tuple of floats`: the coefficients of step t (from 1), in double precision;
  `SLOTS`: name of each state array and what it holds ("signed", "non-negative" or "weight");
  `update(p, g, *slots, s) -> (p, *slots)`: the new value of one element;
  where an option needs other slots, `variant(**hyper) -> (update, SLOTS)`;
  where a slot does not start at zero, `initial(**hyper) -> {slot: value}`;
  where a number is carried from step to step, `SCALARS`, its name and first value: `step` takes it after the
  hyperparameters and returns the new one at the front of its tuple;
  where the class is not called after the file, `NAME`.
The docstring of `step` is the documentation of the rule in every face.
"""

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["Rule", "list_rules", "register_rule"]

KINDS = ("signed", "non-negative", "weight")


class Variant(NamedTuple):
    """What a loop needs of a rule: the update of one element and the kind of each of its slots."""

    update: Callable
    slots: Mapping[str, str]


class Rule:
    """One update rule, read off its module; compare `list_rules()`."""

    def __init__(self, module: ModuleType):
        self.name = module.__name__.rpartition(".")[2]
        for wanted in ("step", "update", "SLOTS"):
            if not hasattr(module, wanted):
                raise ValueError(f"rule {self.name!r} has no {wanted}; a rule needs step, update and SLOTS")
        parameters = list(inspect.signature(module.step).parameters.values())
        if [p.name for p in parameters[:2]] != ["t", "lr"]:
            raise ValueError(
                f"step of rule {self.name!r} must begin with (t, lr, …); it has {[p.name for p in parameters]}"
            )
        self.step: Callable[..., tuple] = module.step
        self.scalars: dict[str, float] = dict(getattr(module, "SCALARS", {}))
        if [p.name for p in parameters][len(parameters) - len(self.scalars) :] != list(self.scalars):
            raise ValueError(f"step of rule {self.name!r} must end with its SCALARS, {', '.join(self.scalars)}")
        self.defaults: dict[str, Any] = {p.name: p.default for p in parameters[1:] if p.name not in self.scalars}
        missing = [name for name, default in self.defaults.items() if default is inspect.Parameter.empty]
        if missing:
            raise ValueError(f"step of rule {self.name!r} gives no default for {', '.join(missing)}")
        short = self.name.upper() if len(self.name) <= 3 else self.name.title().replace("_", "")
        self.class_name: str = getattr(module, "NAME", short)
        self.doc: str = inspect.getdoc(module.step) or ""
        self._variant: Callable | None = getattr(module, "variant", None)
        self._initial: Callable | None = getattr(module, "initial", None)
        self._plain = Variant(module.update, module.SLOTS)
        arguments = ["p", "g", *module.SLOTS, "s"]
        if list(inspect.signature(module.update).parameters) != arguments:
            raise ValueError(f"update of rule {self.name!r} must take ({', '.join(arguments)}), as its SLOTS say")
        unknown = set(module.SLOTS.values()) - set(KINDS)
        if unknown:
            raise ValueError(f"a slot of rule {self.name!r} is {unknown.pop()!r}; a slot is one of {KINDS}")

    def variant(self, hyper: Mapping[str, Any]) -> Variant:
        """The update and the slots that these hyperparameters need."""
        return self._plain if self._variant is None else Variant(*self._variant(**hyper))

    def initial(self, hyper: Mapping[str, Any], slot: str) -> float:
        """Where a slot starts."""
        return 0.0 if self._initial is None else self._initial(**hyper).get(slot, 0.0)

    def advance(self, t: int, hyper: Mapping[str, Any], scalars: dict[str, float]) -> tuple[float, ...]:
        """The coefficients of step t; `scalars` become those of the next step."""
        s = self.step(t, **hyper, **scalars)
        scalars.update(zip(self.scalars, s, strict=False))
        return s

    def __repr__(self) -> str:
        return f"<rule {self.name}({', '.join(f'{k}={v!r}' for k, v in self.defaults.items())})>"


_registered: dict[str, Rule] = {}


def list_rules() -> dict[str, Rule]:
    """The update rules by name, built in and registered."""
    return {**_built_in(), **_registered}


@cache
def _built_in() -> dict[str, Rule]:
    names = [found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")]
    return {name: Rule(import_module(f"{__name__}.{name}")) for name in names}


def register_rule(module: ModuleType) -> Rule:
    """Add the rule that a module defines; from now on it is in every face.

    Raises
    ------
    ValueError
        If the module lacks a part of a rule, or the name is taken.
    """
    rule = Rule(module)
    if rule.name in list_rules():
        raise ValueError(f"there is a rule {rule.name!r} already; rename the module")
    _registered[rule.name] = rule
    return rule
