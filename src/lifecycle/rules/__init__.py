"""Update rules: one file for each, which says how a parameter changes, given its gradient and its slots.

`step` computes the coefficients of a step, once per step and in double precision. `update` computes the new value of
one element, in kernels, on arrays and on torch tensors. Names are torch's where torch has one. The docstring of `step`
is the documentation of the rule in every API. A new file in this package is a new rule (docs/add-a-rule.md).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Annotated, Any, NamedTuple

from lifecycle._registry import camel_case, read, registry

__all__ = ["Rule", "list_rules", "register_rule"]

KINDS = ("signed", "non-negative", "weight")


@dataclass(frozen=True)
class RuleFile:
    """What the file of a rule defines.

    `step` takes the number of the step (from 1), the hyperparameters and the values of SCALARS. It returns a tuple of
    floats, which begins with the new values of SCALARS. `update` takes a parameter, its gradient, its slots and this
    tuple, and returns the new parameter and slots. Where an option needs other slots, `variant` takes the
    hyperparameters and returns an update function and its SLOTS. Where a slot does not start from zero, `initial` takes
    the hyperparameters and returns the values from which slots start.
    """

    name: str
    SLOTS: Mapping  # the state arrays, and what each holds: one of KINDS
    step: Annotated[Callable[..., tuple[float, ...]], "t", "lr"]
    update: Annotated[Callable, "p", "g", "*slots", "s"]
    variant: Annotated[Callable[..., tuple[Callable, Mapping[str, str]]] | None, "**hyper"] = None
    initial: Annotated[Callable[..., Mapping[str, float]] | None, "**hyper"] = None
    SCALARS: Mapping | None = None  # numbers carried from step to step, and their first values
    NAME: str | None = None  # of the class, if it is not called after the file


class Variant(NamedTuple):
    """What a loop needs of a rule: the update of one element and the kind of each of its slots."""

    update: Callable
    slots: Mapping[str, str]


class Rule:
    """One update rule, made from its module; compare `list_rules()`."""

    def __init__(self, module: ModuleType):
        file = read(module, RuleFile)
        self.name = file.name
        self.class_name: str = file.NAME or camel_case(file.name)
        self.doc: str = inspect.getdoc(file.step) or ""
        self.step = file.step
        self.scalars: dict[str, float] = dict(file.SCALARS or {})
        parameters = inspect.signature(file.step).parameters.values()
        if [p.name for p in parameters][len(parameters) - len(self.scalars) :] != list(self.scalars):
            raise ValueError(f"step of rule {self.name!r} must end with its SCALARS, {', '.join(self.scalars)}")
        self.defaults: dict[str, Any] = {
            p.name: p.default for p in parameters if p.name != "t" and p.name not in self.scalars
        }
        if self.defaults["lr"] is inspect.Parameter.empty:
            raise ValueError(f"step of rule {self.name!r} gives no default for lr")
        signature = ["p", "g", *file.SLOTS, "s"]
        if list(inspect.signature(file.update).parameters) != signature:
            raise ValueError(f"update of rule {self.name!r} must take ({', '.join(signature)}), as its SLOTS say")
        if unknown := set(file.SLOTS.values()) - set(KINDS):
            raise ValueError(f"a slot of rule {self.name!r} is {unknown.pop()!r}; a slot is one of {KINDS}")
        self._file = file
        self._default_variant = Variant(file.update, file.SLOTS)

    def variant(self, hyper: Mapping[str, Any]) -> Variant:
        """The update and the slots that these hyperparameters need."""
        return self._default_variant if self._file.variant is None else Variant(*self._file.variant(**hyper))

    def initial(self, hyper: Mapping[str, Any], slot: str) -> float:
        """The value from which a slot starts."""
        return 0.0 if self._file.initial is None else self._file.initial(**hyper).get(slot, 0.0)

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
    return registry(__name__, Rule)


def register_rule(module: ModuleType) -> Rule:
    """Add the rule that a module defines; from then on every API has it.

    Raises
    ------
    ValueError
        If the module does not define a rule, or the name is taken.
    """
    rule = Rule(module)
    if rule.name in list_rules():
        raise ValueError(f"there is a rule {rule.name!r} already; rename the module")
    _registered[rule.name] = rule
    return rule
