"""lifecycle: the whole life of a model on an ordinary CPU: build, train, validate, compress, ship, apply.

Names are resolved on first use, so importing this package imports no framework.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# public name -> the room it lives in
_ROOMS = {
    "_threads": ("set_num_threads", "threads"),
    "rules": ("list_rules", "register_rule"),
    "optim": ("minimize",),
    "_check": ("CorruptBundle", "ModelsFailed", "NonFiniteGradient", "UnsupportedModel"),
    "validation": (
        "CVResult",
        "GridSearchCV",
        "OneStandardError",
        "RandomizedSearchCV",
        "check_fit_many",
        "compare",
        "cross_validate",
    ),
    "linear": ("LinearClassifier", "LinearRegressor"),
    "compression": ("prune", "quantize", "size_of"),
    "store": ("save", "load", "inspect", "save_checkpoint", "load_checkpoint"),
    "evaluation": ("evaluate",),
    "reporting": ("report",),
    "_versions": ("show_versions",),
    "splits": (
        "KFold",
        "StratifiedKFold",
        "GroupKFold",
        "StratifiedGroupKFold",
        "TimeSeriesSplit",
        "PurgedKFold",
        "GroupTimeSeriesSplit",
        "check_folds",
    ),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
# scikit-learn's other splitters, handed on
_SKLEARN_SPLITTERS = (
    "RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit", "StratifiedShuffleSplit",
    "GroupShuffleSplit", "LeaveOneOut", "LeavePOut", "LeaveOneGroupOut", "LeavePGroupsOut", "PredefinedSplit",
)  # fmt: skip
# the optimizers' class names come from the files in rules/; these are listed so that dir() needs no numba
_OPTIMIZERS = (
    "GD", "SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "Adadelta", "Adamax", "NAdam", "RAdam", "Lion",
)  # fmt: skip

_OF_TORCH = ("MLP", "CNN", "RNN", "TorchClassifier", "TorchRegressor")

__all__ = sorted([*_HOME, *_SKLEARN_SPLITTERS, *_OPTIMIZERS])


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module 'lifecycle' has no attribute {name!r}")
    if name == "torch":  # an ImportError says which extra is missing
        return import_module("lifecycle.torch")
    if name in _HOME:
        return getattr(import_module(f"lifecycle.{_HOME[name]}"), name)
    if name in _SKLEARN_SPLITTERS:
        return getattr(import_module("sklearn.model_selection"), name)
    found = getattr(import_module("lifecycle.optim"), name, None) if name[0].isupper() else None
    if found is None:
        from difflib import get_close_matches

        if name in _OF_TORCH:
            raise AttributeError(f"lifecycle has no {name!r}: it is in lifecycle.torch")
        near = get_close_matches(name, __all__, n=3, cutoff=0.7)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(__all__)}"
        raise AttributeError(f"lifecycle has no {name!r}; {hint}")
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
