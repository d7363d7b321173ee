"""Plain Python values as strict JSON, and the arguments and fitted attributes of estimators as JSON and arrays."""

import math
import re
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.store import limits

_MAX_PARAM_BYTES = 8192  # of the arrays in an argument: a larger one is data, not a setting
_NUMPY_TYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
# the classes that an argument such as dtype may be
_TYPES = {"bool": bool, "int": int, "float": float, **{f"numpy.{name}": np.dtype(name).type for name in _NUMPY_TYPES}}
_NAMES_OF_TYPES = {cls: name for name, cls in _TYPES.items()}


class NotSerializable(TypeError):
    """A value that JSON cannot hold."""


def serialize_value(value: Any) -> Any:
    """A value as strict JSON; what JSON lacks (tuples, NaN, numpy scalars and types, optimizers) is tagged with "$"."""
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    # a longdouble cannot become a Python number without loss
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biuf" and value.dtype.itemsize > 8:
        raise NotSerializable(f"a {value.dtype} cannot be written as JSON")
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return {"$numpy": value.dtype.str, "value": serialize_value(value.item())}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufUO" and value.nbytes <= limits.MAX_ARRAY_BYTES:
        if value.dtype.kind == "U":  # as wide as its longest string: a reader refuses wider ones
            value = value.astype(f"U{max(map(len, value.flat), default=0) or 1}")
        limits.spend_bytes(value.nbytes)
        return {"$array": value.dtype.str, "value": serialize_value(value.tolist())}
    if type(value) is list:
        return [serialize_value(v) for v in value]
    if type(value) is tuple:
        return {"$tuple": [serialize_value(v) for v in value]}
    if type(value) is dict:
        return {"$dict": [[serialize_value(k), serialize_value(v)] for k, v in value.items()]}
    if isinstance(value, type) and value in _NAMES_OF_TYPES:
        return {"$type": _NAMES_OF_TYPES[value]}
    cls: type = type(value)
    if _optimizers().get(cls.__name__) is cls:
        return {"$optimizer": cls.__name__, "value": serialize_value(dict(value.get_params()))}
    raise NotSerializable(f"a {cls.__name__} cannot be written as JSON")


def deserialize_value(value: Any) -> Any:
    """The value that `serialize_value` was given; ValueError if it is malformed."""
    if isinstance(value, list):
        return [deserialize_value(v) for v in value]
    if not isinstance(value, dict):
        return value
    inner = value.get("value")
    match next(iter(value), None):
        case "$float" if value["$float"] in ("nan", "inf", "-inf"):
            return float(value["$float"])
        case "$numpy" if isinstance(value["$numpy"], str) and re.fullmatch(r"[<>|=][biufU]\d+", value["$numpy"]):
            return _array(deserialize_value(inner), np.dtype(value["$numpy"]))[()]
        case "$array" if isinstance(value["$array"], str) and re.fullmatch(r"\|O|[<>|=][biufU]\d+", value["$array"]):
            return _array(deserialize_value(inner), np.dtype(value["$array"]))
        case "$tuple" if isinstance(value["$tuple"], list):
            return tuple(deserialize_value(v) for v in value["$tuple"])
        case "$dict" if isinstance(value["$dict"], list):
            return {deserialize_value(k): deserialize_value(v) for k, v in value["$dict"]}
        case "$type" if value["$type"] in _TYPES:
            return _TYPES[value["$type"]]
        case "$optimizer" if value["$optimizer"] in _optimizers():
            return _optimizers()[value["$optimizer"]](**deserialize_value(inner))
    raise ValueError(f"a value that no version of this library wrote: {str(value)[:60]}")


def _array(value: Any, dtype: np.dtype) -> np.ndarray:
    objects = np.array(value, dtype=object)
    longest = max((len(v) for v in objects.flat if isinstance(v, str)), default=0)
    if dtype.kind == "U" and not dtype.itemsize:
        raise ValueError("an array in the manifest has strings of no width")
    if dtype.kind == "U" and dtype.itemsize > 4 * max(longest, 1):
        raise ValueError("an array in the manifest requests longer strings than it holds")
    limits.spend_bytes(objects.size * dtype.itemsize)
    return objects.astype(dtype)


def _optimizers() -> dict[str, type]:
    """Our optimizers by class name: the only objects that a file may name."""
    from lifecycle import optim
    from lifecycle.rules import list_rules

    return {rule.class_name: getattr(optim, rule.class_name) for rule in list_rules().values()}


def serialize_params(params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Constructor arguments as JSON, and the names of those that are not plain values or that hold data."""
    config, missing = {}, []
    for name, value in params.items():
        is_validation_set = name == "early_stopping" and isinstance(value, (tuple, list))
        try:
            if is_validation_set or _array_bytes(value) > _MAX_PARAM_BYTES:
                raise NotSerializable(f"{name} holds data")
            config[name] = serialize_value(value)
        except NotSerializable:
            missing.append(name)
    return config, missing


def _array_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(_array_bytes, inner))


def deserialize_params(config: Any) -> dict[str, Any]:
    """The constructor arguments that `serialize_params` was given."""
    if not isinstance(config, dict):
        raise ValueError("the estimator's parameters are missing")
    return {str(name): deserialize_value(value) for name, value in config.items()}


def serialize_attributes(owner: str, attributes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a fit left, as JSON and as arrays; UnsupportedModel names what is neither."""
    config: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, value in attributes.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
            continue
        try:
            config[name] = serialize_value(value)
        except NotSerializable as error:
            raise UnsupportedModel(f"the attribute {name} of this {owner}: {error}") from None
    return config, arrays


def deserialize_attributes(config: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The attributes that `serialize_attributes` was given; their names are whatever the file says."""
    if not isinstance(config, dict):
        raise ValueError("the estimator's attributes are missing")
    twice = config.keys() & arrays.keys()
    if twice:
        raise ValueError(f"the attributes {', '.join(sorted(twice))} are stored twice")
    return {**{name: deserialize_value(value) for name, value in config.items()}, **arrays}


def restore_attributes(estimator: Any, attributes: dict[str, Any]) -> None:
    """Set attributes of a file in place of those of an earlier fit; ValueError for names that no fit leaves."""
    params = estimator.get_params(deep=False)
    for name in attributes:
        if (
            not re.fullmatch(r"_?[A-Za-z][A-Za-z0-9_]*", name)
            or name.startswith(("__", "_sklearn", "_metadata"))
            or name in params
            or hasattr(type(estimator), name)
        ):
            raise ValueError(f"{name!r} is not the name of a fitted attribute")
    for name in set(vars(estimator)) - set(params):
        if name.endswith("_") or (name.startswith("_") and not name.startswith(("_sklearn", "_metadata"))):
            delattr(estimator, name)
    vars(estimator).update(attributes)


def become(estimator: Any, other: Any) -> Any:
    """The estimator, with all attributes of another one of its class: at once, so that no error leaves half of them."""
    attributes = dict(vars(other))
    vars(estimator).clear()
    vars(estimator).update(attributes)
    return estimator


def pop_prefixed(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Take the arrays whose names begin with a prefix out of `arrays`; their names without it."""
    return {name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)}


def serialize_fitted(estimator: Any, skip: set[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Arguments and fitted attributes of an estimator, except those of `skip`, as JSON and arrays."""
    params = estimator.get_params(deep=False)
    params_config, missing = serialize_params({name: value for name, value in params.items() if name not in skip})
    attributes = {name: value for name, value in vars(estimator).items() if name not in skip | params.keys()}
    fitted, arrays = serialize_attributes(type(estimator).__name__, attributes)
    config = {"class": type(estimator).__name__, "params": params_config, "missing": missing, "fitted": fitted}
    return config, {f"fitted.{name}": array for name, array in arrays.items()}


def deserialize_fitted(config: Any, arrays: dict[str, np.ndarray], cls: type, into: Any) -> tuple[dict, dict]:
    """Arguments and fitted attributes that `serialize_fitted` read; `into` is needed if some arguments are missing."""
    if into is not None and type(into) is not cls:
        raise ValueError(f"the file holds a {cls.__name__}; into is a {type(into).__name__}")
    if into is None and config["missing"]:
        raise UnsupportedModel(
            f"this {cls.__name__} was saved without its arguments {', '.join(config['missing'])}, which are not plain "
            "values: make it again and pass it, load(path, into=estimator)"
        )
    attributes = deserialize_attributes(config["fitted"], pop_prefixed(arrays, "fitted."))
    if arrays:
        raise ValueError(f"the file holds arrays that the estimator does not have: {', '.join(list(arrays)[:5])}")
    params, known = deserialize_params(config["params"]), cls().get_params(deep=False)
    for name in params:
        if name not in known and not (name.startswith("module__") and "module" in known):
            raise ValueError(f"{name!r} is no argument of {cls.__name__}")
    return params, attributes
