"""Torch models trained on the CPU: optimizers, models and scikit-learn estimators (`import lifecycle.torch as lt`)."""

from importlib import import_module
from typing import Any

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("lifecycle.torch needs torch: pip install 'lifecycle-ml[torch]'") from error

# threads are imported at once: they must register what they do after a fork before there is one
from lifecycle import _OPTIMIZERS, _threads  # noqa: F401

_MODULES = dict.fromkeys(("MLP", "CNN", "RNN"), "models") | dict.fromkeys(
    ("TorchClassifier", "TorchRegressor"), "estimators"
)
__all__ = sorted([*_MODULES, *_OPTIMIZERS])


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name, "optimizers" if name[:1].isupper() else None)
    value = module and getattr(import_module(f"{__name__}.{module}"), name, None)
    if value is None:
        names = "" if name.startswith("_") else f"; it has {', '.join(__all__)}"
        raise AttributeError(f"module 'lifecycle.torch' has no attribute {name!r}{names}")
    return value


def __dir__() -> list[str]:
    return list(__all__)
