"""The transformers that a file can hold, by their arguments and what they learned, as JSON and arrays.

Each class is one row of a table: in `numbers`, `categories` or `text`. What a row says is in `stored`.
"""

import inspect
from importlib import import_module
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.store import json_values, limits
from lifecycle.store.adapters.sklearn import layouts
from lifecycle.store.adapters.sklearn.transformers import categories, numbers, text
from lifecycle.store.adapters.sklearn.transformers.stored import Stored

__all__ = [
    "TRANSFORMERS",
    "changed_params",
    "checked_params",
    "deserialize_transformer",
    "is_supported",
    "refuse_output_config",
    "serialize_transformer",
]

TRANSFORMERS: dict[str, Stored] = {**categories.TRANSFORMERS, **numbers.TRANSFORMERS, **text.TRANSFORMERS}


def _class(name: str) -> Any:
    return getattr(import_module(TRANSFORMERS[name].module), name)


def is_supported(step: Any) -> bool:
    """Whether a step is one of these transformers, not of a subclass."""
    name = type(step).__name__
    return name in TRANSFORMERS and type(step) is _class(name)


def serialize_transformer(step: Any, path: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """A fitted transformer as JSON; its arrays are added with names that begin with `path`."""
    name = type(step).__name__
    stored = TRANSFORMERS[name]
    if stored.fitted is not None and not hasattr(step, stored.fitted):
        raise UnsupportedModel(f"this {name} is not fitted yet: call fit first")
    params = _serialize_params(step, stored)
    try:
        values = stored.values_of(step)
        stored.check_values(step, values)
    except limits.ExceedsLimit:
        raise
    except ValueError as error:
        raise UnsupportedModel(f"this {name} cannot be stored: {error}") from None
    fitted, fitted_arrays = json_values.serialize_attributes(name, values)
    arrays.update({f"{path}{k}": array for k, array in fitted_arrays.items()})
    config = {"class": name, "params": params, "fitted": fitted}
    strides = {k: found for k in fitted_arrays if (found := layouts.strides_of(values[k])) is not None}
    if strides:
        config["strides"] = strides
    if vars(step).get("_sklearn_output_config"):
        config["set_output"] = "default"
    return config


def changed_params(step: Any) -> dict[str, Any]:
    """Arguments that are not the defaults."""
    defaults = {k: p.default for k, p in inspect.signature(type(step)).parameters.items()}
    return {k: v for k, v in step.get_params(deep=False).items() if not _is_same(v, defaults[k])}


def refuse_output_config(step: Any) -> None:
    """UnsupportedModel for a step that makes DataFrames."""
    if vars(step).get("_sklearn_output_config", {}).get("transform") not in (None, "default"):
        raise UnsupportedModel(f"a {type(step).__name__} after set_output cannot be stored: leave set_output out")


def _serialize_params(step: Any, stored: Stored) -> dict[str, Any]:
    """Arguments that are not the defaults, as JSON."""
    name = type(step).__name__
    refuse_output_config(step)
    changed = changed_params(step)
    for k, value in changed.items():
        if k not in stored.params:
            raise UnsupportedModel(f"a {name} with {k}={value!r} cannot be stored")
        if k in stored.functions and value is not None:
            changed[k] = stored.functions[k].name_of(value)
            if changed[k] is None:
                module, names = stored.functions[k]
                raise UnsupportedModel(
                    f"a {name} with {k}={value!r} cannot be stored; functions of {module} that can: {', '.join(names)}"
                )
    config, missing = json_values.serialize_params(changed)
    if missing:
        raise UnsupportedModel(f"{missing[0]} of this {name} is not a plain value and cannot be stored")
    return config


def _is_same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, (str, bool, int, float)) and a == b)


def deserialize_transformer(config: dict[str, Any], path: str, remaining: dict[str, np.ndarray]) -> Any:
    """The transformer that `serialize_transformer` was given; takes its arrays out of `remaining`."""
    name = config["class"]
    stored = TRANSFORMERS[name]
    known = {*stored.learned, "n_features_in_", "feature_names_in_"}
    arrays = {k: remaining.pop(path + k) for k in known if path + k in remaining}
    values = json_values.deserialize_attributes(config["fitted"], arrays)
    if not set(values) <= known:
        raise ValueError(f"a {name} does not learn {sorted(values)}")
    for k, strides in config.get("strides", {}).items():
        values[k] = layouts.with_strides(values[k], strides)
    params = checked_params(name, config["params"], stored.params)
    params.update({k: f.named(params[k]) for k, f in stored.functions.items() if params.get(k) is not None})
    step = _class(name)(**params)
    stored.check_values(step, values)
    step = stored.restore(step, values)
    return step.set_output(transform="default") if config.get("set_output") == "default" else step


def checked_params(name: str, config: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Arguments of a step; ValueError for any that is never stored, such as n_jobs."""
    if not set(config) <= set(allowed):
        raise ValueError(f"a {name} is stored with {', '.join(allowed)} only; the file has {', '.join(config)}")
    return json_values.deserialize_params(config)
