"""Comparison of what a checkpoint holds with what it is loaded into; each difference is a ValueError that names it."""

from collections.abc import Iterable
from typing import Any


def check_class(what: str, stored: str, given: Any) -> None:
    """The class of the object whose state is stored."""
    name = type(given).__name__
    if stored != name:
        raise ValueError(f"the checkpoint holds the state of {stored}, the {what} is {name}: make the same one")


def check_names(what: str, stored: Iterable[str], given: Iterable[str]) -> None:
    """The names of parameters or entries, in any order."""
    stored, given = list(stored), list(given)
    missing, unexpected = [n for n in given if n not in set(stored)], [n for n in stored if n not in set(given)]
    differences = [f"{label} {_listed(n)}" for label, n in (("missing", missing), ("unexpected", unexpected)) if n]
    if differences:
        raise ValueError(f"the checkpoint does not fit the {what}: {'; '.join(differences)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def check_scheduler(stored: dict[str, Any], state: dict[str, Any]) -> None:
    """The entries of a scheduler's state and of the schedulers in it, whose classes are not in a state dict."""
    check_names("scheduler", map(str, stored), map(str, state))
    inner = stored.get("_schedulers", ()), state.get("_schedulers", ())
    if len(inner[0]) != len(inner[1]):
        raise ValueError(
            f"the checkpoint's scheduler is made of {len(inner[0])} schedulers, this one of {len(inner[1])}"
        )
    for pair in zip(*inner, strict=True):
        check_scheduler(*pair)
