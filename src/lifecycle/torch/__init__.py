"""Torch models trained on the CPU: optimizers, models and scikit-learn estimators (`import lifecycle.torch as lt`)."""

from importlib import import_module
from typing import Any

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("lifecycle.torch needs torch: pip install 'lifecycle-ml[torch]'") from error

from lifecycle import _threads as _threads  # at once: it must register what it does after a fork before there is one
from lifecycle._registry import class_names

_MODULE_OF = {"MLP": "models", "CNN": "models", "RNN": "models"}
_MODULE_OF |= {"TorchClassifier": "estimators", "TorchRegressor": "estimators", "GradualPruning": "gradual_pruning"}
__all__ = sorted([*_MODULE_OF, *class_names("rules")])


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name, "optimizers" if name[:1].isupper() else None)
    value = module and getattr(import_module(f"{__name__}.{module}"), name, None)
    if value is None:
        names = "" if name.startswith("_") else f"; it has {', '.join(__all__)}"
        raise AttributeError(f"module 'lifecycle.torch' has no attribute {name!r}{names}")
    return value


def __dir__() -> list[str]:
    return list(__all__)
