"""Splitters: one file for each; one with a scikit-learn twin returns its twin's indices for the same arguments.

A new file in this package is a new splitter (docs/add-a-splitter.md).
"""

from functools import cache
from typing import Any

from lifecycle._registry import class_names, read_class, registry
from lifecycle.splits._leakage import check_folds
from lifecycle.splits._splitter import Splitter

__all__ = ["check_folds", "list_splitters", *class_names("splits")]


@cache
def list_splitters() -> dict[str, type[Splitter]]:
    """All splitters by the names of their classes."""
    splitters = registry(__name__, lambda module: read_class(module, Splitter))
    return {splitter.__name__: splitter for splitter in splitters.values()}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return list_splitters()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
