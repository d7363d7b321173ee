"""Torch models trained on the CPU: optimizers, models and scikit-learn estimators (`import lifecycle.torch as lt`)."""

from importlib import import_module
from typing import Any

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("lifecycle.torch needs torch: pip install 'lifecycle-ml[torch]'") from error

from lifecycle import _threads as _threads  # now: what it does after a fork must be known before one
from lifecycle._registry import class_names

_ROOMS = {"models": ("MLP", "CNN", "RNN"), "estimators": ("TorchClassifier", "TorchRegressor")}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted([*_HOME, *class_names("rules")])


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'lifecycle.torch' has no attribute {name!r}")
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    found = getattr(import_module(f"{__name__}.optimizers"), name, None) if name[0].isupper() else None
    if found is None:
        raise AttributeError(f"module 'lifecycle.torch' has no attribute {name!r}; it has {', '.join(__all__)}")
    return found


def __dir__() -> list[str]:
    return list(__all__)
