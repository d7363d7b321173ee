"""The adapter of TreeClassifier and TreeRegressor; `lifecycle.store.adapters.Adapter` documents its functions."""

import copy as _copy
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from lifecycle._check import UnsupportedModel, one_of
from lifecycle.store import json_values, limits
from lifecycle.store.adapters import TREE_MODEL, Layer
from lifecycle.store.adapters.coefficients import channels_last, fold_batch_norms, integer_layers, remove_channels
from lifecycle.store.adapters.labels import check_classes, check_feature_names
from lifecycle.store.json_values import pop_prefixed
from lifecycle.tree_models import Rows, TreeClassifier, TreeRegressor
from lifecycle.trees import CATEGORIES, TreeEnsemble, decode, encode

__all__ = [
    "channels_last",
    "copy",
    "deserialize",
    "first_trees",
    "fold_batch_norms",
    "integer_layers",
    "layers",
    "quantize_layers",
    "read_weight",
    "remove_channels",
    "replace_weight",
    "second_moments",
    "serialize",
    "squared_gradients",
    "tensors",
]

_CLASSES = {cls.__name__: cls for cls in (TreeClassifier, TreeRegressor)}
_FLAGS = ("allow_infinite", "allow_missing", "allow_sparse")
_COLUMN_BYTES = 500  # of the input that a predictor has for each column of a table with categories


def layers(model: Any) -> list[Layer]:
    return []


def refuse_weights(model: Any, *arguments: Any, **options: Any) -> NoReturn:
    raise UnsupportedModel(f"a {type(model).__name__} has trees and no weights: lc.compress leaves trees out")


read_weight = replace_weight = quantize_layers = second_moments = squared_gradients = refuse_weights


def first_trees(model: Any, share: float) -> Any:
    """The model with that share of its trees; boosting keeps whole iterations."""
    step = 1 if model.averages else model.ensemble.n_outputs
    n = step * max(round(share * model.n_trees / step), 1)
    shorter = _copy.copy(model)
    vars(shorter).update(ensemble=model.ensemble.first(n), _nodes=None)
    return shorter


def copy(model: Any) -> Any:
    return _copy.copy(model)  # its arrays are never written to


def tensors(model: Any) -> dict[str, np.ndarray]:
    return serialize(model)[1]


def serialize(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    numbers, arrays = encode(model.ensemble)
    rows = model.rows
    _spend_columns(rows.encoded, model.ensemble)
    attributes = {} if rows.feature_names is None else {"feature_names": rows.feature_names}
    encoded, encoded_arrays = serialize_categories(dict(rows.encoded))
    config = {
        "kind": TREE_MODEL,
        "class": type(model).__name__,
        "trees": numbers,
        "averages": bool(model.averages),
        "link": model.link,
        "rows": {flag: bool(getattr(rows, flag)) for flag in _FLAGS},
        **encoded,
    }
    if isinstance(model, TreeClassifier):
        attributes.update({f"classes.{k}": labels for k, labels in enumerate(model.labels)})
        config.update(targets=len(model.labels), zero_is_second=bool(model.zero_is_second))
    learned, stored = json_values.serialize_attributes(type(model).__name__, attributes)
    return {**config, "learned": learned}, {**arrays, **stored, **encoded_arrays, "baseline": model.baseline}


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    name = one_of("the model's class", config["class"], _CLASSES)
    if into is not None and type(into) is not _CLASSES[name]:
        raise ValueError(f"the file holds a {name}; into is a {type(into).__name__}")
    baseline = arrays.pop("baseline")
    ensemble = decode(config["trees"], arrays)
    encoded = tuple(deserialize_categories(config, arrays, ensemble.n_features).items())
    _spend_columns(encoded, ensemble)
    learned = json_values.deserialize_attributes(config["learned"], arrays)
    if baseline.shape != (ensemble.n_outputs,) or baseline.dtype != np.float64 or not np.isfinite(baseline).all():
        raise ValueError("the baseline is not a number for each output")
    if ensemble.n_categorical != len(encoded):
        raise ValueError(f"{len(encoded)} columns have categories, and {ensemble.n_categorical} features")
    rows = Rows(
        ensemble.n_features,
        learned.pop("feature_names", None),
        **{flag: _bool(flag, config["rows"][flag]) for flag in _FLAGS},
        encoded=encoded,
    )
    check_feature_names(rows.feature_names, ensemble.n_features)
    arguments = (ensemble, rows, baseline, _bool("averages", config["averages"]))
    if not config["averages"] and ensemble.n_trees % ensemble.n_outputs:
        raise ValueError("the trees of boosting are not those of whole iterations")
    model: TreeClassifier | TreeRegressor
    if name == "TreeRegressor":
        model = TreeRegressor(*arguments, link=config["link"])
    else:
        n_targets = config["targets"]
        if type(n_targets) is not int or not 1 <= n_targets <= ensemble.n_outputs:
            raise ValueError("the number of targets is malformed")
        classes = [learned.pop(f"classes.{k}") for k in range(n_targets)]
        for labels in classes:
            check_classes(labels)
        model = TreeClassifier(*arguments, classes=classes, link=config["link"],
                               zero_is_second=_bool("zero_is_second", config["zero_is_second"]))  # fmt: skip
        widths = [len(labels) for labels in classes]
        fits = {"identity": ensemble.n_outputs == sum(widths), "softmax": [ensemble.n_outputs] == widths}
        if not fits.get(model.link, ensemble.n_outputs == 1 and widths == [2]):
            raise ValueError(f"{ensemble.n_outputs} outputs are not those of the classes")
    if learned:
        raise ValueError(f"the file holds what a {name} does not have: {', '.join(list(learned)[:5])}")
    return model if into is None else json_values.become(into, model)


def _spend_columns(encoded: Sequence[Any], ensemble: TreeEnsemble) -> None:
    """Account for the columns of a table with categories, each of which is an input; else all are one array."""
    if encoded:
        limits.spend_bytes(_COLUMN_BYTES * ensemble.n_features, "its table with categories is")


def _bool(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{name} is not true or false")
    return value


def serialize_categories(categories: dict[int, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The categories of columns, as JSON and arrays."""
    named = {f"categories.{k}": values for k, values in enumerate(categories.values())}
    config, arrays = json_values.serialize_attributes("model", named)
    return {"columns": list(categories), "categories": config}, arrays


def deserialize_categories(
    config: dict[str, Any], arrays: dict[str, np.ndarray], n_features: int
) -> dict[int, np.ndarray]:
    """The categories that `serialize_categories` was given; ValueError if they are malformed."""
    columns = config["columns"]
    learned = json_values.deserialize_attributes(config["categories"], pop_prefixed(arrays, "categories."))
    learned = {name.removeprefix("categories."): values for name, values in learned.items()}
    if not all(type(c) is int and 0 <= c < n_features for c in columns) or sorted(set(columns)) != list(columns):
        raise ValueError("the columns of categories are malformed")
    if len(learned) != len(columns):
        raise ValueError("the categories are not those of the columns")
    found = {column: learned[str(k)] for k, column in enumerate(columns)}
    for values in found.values():
        if not isinstance(values, np.ndarray) or values.ndim != 1 or not 1 <= len(values) <= CATEGORIES:
            raise ValueError("the categories of a column are malformed")
    return found
