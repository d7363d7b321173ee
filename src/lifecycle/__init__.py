"""lifecycle: the whole life of a model on an ordinary CPU: build, train, validate, compress, ship, apply.

Names are resolved on first use, so importing this package imports no framework.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# the public names of each module, without those of registries (see `_class_names`)
_NAMES = {
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
    "compression": ("audit", "compress", "prune", "quantize", "size_of"),
    "store": ("save", "load", "inspect", "save_checkpoint", "load_checkpoint"),
    "onnx": ("ParityError", "export_onnx", "export_repository", "load_predictor"),
    "evaluation": ("evaluate",),
    "reporting": ("report",),
    "_versions": ("show_versions",),
    "splits": ("check_folds",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
# scikit-learn's other splitters are public names of this package too
_SKLEARN_SPLITTERS = (
    "RepeatedKFold RepeatedStratifiedKFold ShuffleSplit StratifiedShuffleSplit GroupShuffleSplit LeaveOneOut LeavePOut "
    "LeaveOneGroupOut LeavePGroupsOut PredefinedSplit"
).split()
_TORCH_NAMES = ("MLP", "CNN", "RNN", "TorchClassifier", "TorchRegressor", "GradualPruning")


def _class_names(package: str) -> tuple[str, ...]:
    from lifecycle._registry import class_names

    return class_names(package)


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted([*_MODULE_OF, *_SKLEARN_SPLITTERS, *_class_names("rules"), *_class_names("splits")])
    if name.startswith("_"):
        raise AttributeError(f"module 'lifecycle' has no attribute {name!r}")
    if name == "torch":  # an ImportError says which extra is missing
        return import_module("lifecycle.torch")
    if name in _MODULE_OF:
        return getattr(import_module(f"lifecycle.{_MODULE_OF[name]}"), name)
    if name in _SKLEARN_SPLITTERS:
        return getattr(import_module("sklearn.model_selection"), name)
    if name[0].isupper():
        module = "splits" if name in _class_names("splits") else "optim"
        if (cls := getattr(import_module(f"lifecycle.{module}"), name, None)) is not None:
            return cls
    if name in _TORCH_NAMES:
        raise AttributeError(f"lifecycle has no {name!r}: it is in lifecycle.torch")
    from difflib import get_close_matches

    names = __getattr__("__all__")
    near = get_close_matches(name, names, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(names)}"
    raise AttributeError(f"lifecycle has no {name!r}; {hint}")


def __dir__() -> list[str]:
    return [*__getattr__("__all__"), "__version__"]
