"""The transformers that a file can hold, by their arguments and what they learned, as JSON and arrays.

To deserialize one, scikit-learn fits it to a few synthetic rows from which it learns the same. So no private attribute
of another version of scikit-learn is ever set.
"""

import inspect
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.store import json_values, limits


def _restore_scaler(step: Any, learned: dict[str, Any]) -> Any:
    width = learned["n_features_in_"]
    for k in ("mean_", "var_", "scale_"):
        if learned[k] is not None and (np.shape(learned[k]) != (width,) or not np.isfinite(learned[k]).all()):
            raise ValueError(f"{k} of a StandardScaler is malformed")
    vars(step).update(learned)
    return step


def _restore_encoder(step: Any, learned: dict[str, Any]) -> Any:
    categories = learned["categories_"]
    if not categories or not all(isinstance(c, np.ndarray) and c.ndim == 1 and c.size for c in categories):
        raise ValueError("the categories of a OneHotEncoder are malformed")
    if np.dtype(step.dtype).kind not in "biuf":
        raise ValueError(f"the dtype {step.dtype} of a OneHotEncoder is not one of numbers")
    given = step.categories
    step.set_params(categories=categories)  # one row is enough then
    row = np.empty((1, len(categories)), dtype=object)
    row[0] = [values[0] for values in categories]
    return _refit(step, row, learned).set_params(categories=given)


def _restore_imputer(step: Any, learned: dict[str, Any]) -> Any:
    given = {k: getattr(step, k) for k in ("strategy", "fill_value")}
    if step.strategy == "most_frequent":  # it counts the values of each column, which takes a millisecond
        step.set_params(strategy="constant", fill_value=None)
    return _refit(step, np.array([learned["statistics_"]]), learned).set_params(**given)


def _refit(step: Any, rows: np.ndarray, learned: dict[str, Any]) -> Any:
    if rows.shape[1] != learned["n_features_in_"]:
        raise ValueError(f"a {type(step).__name__} of {learned['n_features_in_']} columns learned {rows.shape[1]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about columns without values, which the first fit warned of
        step.fit(rows)
    vars(step).update(learned)
    return step


class _Transformer(NamedTuple):
    """How a class is stored: its module, the attributes that its fit leaves, the arguments that a file may hold."""

    module: str
    learned: tuple[str, ...]
    params: tuple[str, ...]
    restore: Callable[[Any, dict[str, Any]], Any]


TRANSFORMERS = {
    "StandardScaler": _Transformer(
        "sklearn.preprocessing",
        ("mean_", "var_", "scale_", "n_samples_seen_", "n_features_in_", "feature_names_in_"),
        ("copy", "with_mean", "with_std"),
        _restore_scaler,
    ),
    "OneHotEncoder": _Transformer(
        "sklearn.preprocessing",
        ("categories_", "n_features_in_", "feature_names_in_"),
        ("categories", "drop", "sparse_output", "dtype", "handle_unknown", "feature_name_combiner"),
        _restore_encoder,
    ),
    "SimpleImputer": _Transformer(
        "sklearn.impute",
        ("statistics_", "n_features_in_", "feature_names_in_"),
        ("missing_values", "strategy", "fill_value", "copy", "keep_empty_features"),
        _restore_imputer,
    ),
}


def _class(name: str) -> Any:
    return getattr(import_module(TRANSFORMERS[name].module), name)


def is_supported(step: Any) -> bool:
    """Whether a step is one of these transformers, not of a subclass."""
    name = type(step).__name__
    return name in TRANSFORMERS and type(step) is _class(name)


def serialize_transformer(step: Any, path: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """A fitted transformer as JSON; its arrays are added with names that begin with `path`."""
    name = type(step).__name__
    if not hasattr(step, "n_features_in_"):
        raise UnsupportedModel(f"this {name} is not fitted yet: call fit first")
    params = _serialize_params(step)
    learned = {k: getattr(step, k) for k in TRANSFORMERS[name].learned if hasattr(step, k)}
    limits.spend_work(limits.COLUMN * len(learned.get("categories_", ())))
    fitted, fitted_arrays = json_values.serialize_attributes(name, learned)
    arrays.update({f"{path}{k}": array for k, array in fitted_arrays.items()})
    return {"class": name, "params": params, "fitted": fitted}


def changed_params(step: Any) -> dict[str, Any]:
    """Arguments that are not the defaults."""
    defaults = {k: p.default for k, p in inspect.signature(type(step)).parameters.items()}
    return {k: v for k, v in step.get_params(deep=False).items() if not _is_same(v, defaults[k])}


def _serialize_params(step: Any) -> dict[str, Any]:
    """Arguments that are not the defaults, as JSON."""
    name = type(step).__name__
    if vars(step).get("_sklearn_output_config"):
        raise UnsupportedModel(f"a {name} after set_output cannot be stored: leave set_output out")
    changed = changed_params(step)
    for k in changed:
        if k not in TRANSFORMERS[name].params:
            raise UnsupportedModel(f"a {name} with {k}={changed[k]!r} cannot be stored")
    config, missing = json_values.serialize_params(changed)
    if missing:
        raise UnsupportedModel(f"{missing[0]} of this {name} is not a plain value and cannot be stored")
    return config


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, (str, bool, int, float)) and a == b)


def deserialize_transformer(config: dict[str, Any], path: str, remaining: dict[str, np.ndarray]) -> Any:
    """The transformer that `serialize_transformer` was given; takes its arrays out of `remaining`."""
    name = config["class"]
    transformer = TRANSFORMERS[name]
    arrays = {k: remaining.pop(path + k) for k in transformer.learned if path + k in remaining}
    learned = json_values.deserialize_attributes(config["fitted"], arrays)
    if not set(learned) <= set(transformer.learned):
        raise ValueError(f"a {name} does not learn {sorted(learned)}")
    if not isinstance(learned["n_features_in_"], (int, np.integer)) or learned["n_features_in_"] < 1:
        raise ValueError(f"the number of columns of a {name} is malformed")
    limits.spend_work(limits.COLUMN * len(learned.get("categories_", ())))
    step = _class(name)(**checked_params(name, config["params"], transformer.params))
    return transformer.restore(step, learned)


def checked_params(name: str, config: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Arguments of a step; ValueError for any that is never stored, such as n_jobs."""
    if not set(config) <= set(allowed):
        raise ValueError(f"a {name} is stored with {', '.join(allowed)} only; the file has {', '.join(config)}")
    return json_values.deserialize_params(config)
