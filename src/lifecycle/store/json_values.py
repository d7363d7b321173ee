"""Plain Python values to strict JSON and back, and the parts that every fitted estimator of ours falls into."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel

_LARGEST = 10**8  # bytes of all arrays inside the JSON of a file: none may ask for more
_LARGEST_PARAM = 8192  # bytes of arrays in an argument: more is data, not a setting
_left: ContextVar[int] = ContextVar("bytes of arrays that a file may still ask for", default=_LARGEST)

__all__ = [
    "NotPlain",
    "attributes_apart",
    "from_plain",
    "one_file",
    "params_apart",
    "params_together",
    "set_attributes",
    "to_plain",
]


class NotPlain(TypeError):
    """A value that has no place in JSON."""


def to_plain(value: Any) -> Any:
    """A value as strict JSON; what JSON lacks (tuples, NaN, numpy scalars, optimizers) is tagged with "$"."""
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    # a longdouble is no Python number
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biuf" and value.dtype.itemsize > 8:
        raise NotPlain(f"a {value.dtype} cannot be written as JSON")
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return {"$numpy": value.dtype.str, "value": to_plain(value.item())}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufUO" and value.nbytes <= _LARGEST:
        if value.dtype.kind == "U":  # as wide as its longest string: no file may ask for more
            value = value.astype(f"U{max(map(len, value.flat), default=0) or 1}")
        return {"$array": value.dtype.str, "value": to_plain(value.tolist())}
    if type(value) is list:
        return [to_plain(v) for v in value]
    if type(value) is tuple:
        return {"$tuple": [to_plain(v) for v in value]}
    if type(value) is dict:
        return {"$dict": [[to_plain(k), to_plain(v)] for k, v in value.items()]}
    kind: type = type(value)
    if _optimizers().get(kind.__name__) is kind:
        return {"$optimizer": kind.__name__, "value": to_plain(dict(value.get_params()))}
    raise NotPlain(f"a {type(value).__name__} cannot be written as JSON")


def from_plain(value: Any) -> Any:
    """The value that `to_plain` was given; ValueError if it is malformed."""
    if isinstance(value, list):
        return [from_plain(v) for v in value]
    if not isinstance(value, dict):
        return value
    inner = value.get("value")
    match next(iter(value), None):
        case "$float" if value["$float"] in ("nan", "inf", "-inf"):
            return float(value["$float"])
        case "$numpy" if isinstance(value["$numpy"], str) and re.fullmatch(r"[<>|=][biufU]\d+", value["$numpy"]):
            return _array(from_plain(inner), np.dtype(value["$numpy"]))[()]
        case "$array" if isinstance(value["$array"], str) and re.fullmatch(r"\|O|[<>|=][biufU]\d+", value["$array"]):
            return _array(from_plain(inner), np.dtype(value["$array"]))
        case "$tuple" if isinstance(value["$tuple"], list):
            return tuple(from_plain(v) for v in value["$tuple"])
        case "$dict" if isinstance(value["$dict"], list):
            return {from_plain(k): from_plain(v) for k, v in value["$dict"]}
        case "$optimizer" if value["$optimizer"] in _optimizers():
            return _optimizers()[value["$optimizer"]](**from_plain(inner))
    raise ValueError(f"a value that no version of this library wrote: {str(value)[:60]}")


@contextmanager
def one_file() -> Iterator[None]:
    """Inside the block all arrays that `from_plain` makes count as one file's."""
    token = _left.set(_LARGEST)
    try:
        yield
    finally:
        _left.reset(token)


def _array(value: Any, dtype: np.dtype) -> np.ndarray:
    found = np.array(value, dtype=object)
    longest = max((len(v) for v in found.flat if isinstance(v, str)), default=0)
    if dtype.kind == "U" and dtype.itemsize > 4 * max(longest, 1):
        raise ValueError("an array in the manifest asks for strings longer than it holds")
    left = _left.get() - found.size * dtype.itemsize
    if left < 0:
        raise ValueError("the arrays in the manifest are too large")
    _left.set(left)
    return found.astype(dtype)


def _optimizers() -> dict[str, type]:
    """Our optimizers by class name: the only objects of ours that may stand in a file."""
    from lifecycle import optim
    from lifecycle.rules import list_rules

    return {rule.class_name: getattr(optim, rule.class_name) for rule in list_rules().values()}


def params_apart(params: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Constructor arguments as JSON, and the names of those that cannot be written, or that hold somebody's data."""
    plain, missing = {}, []
    for name, value in params.items():
        pair = name == "early_stopping" and isinstance(value, (tuple, list))  # rows to validate on
        try:
            if pair or _array_bytes(value) > _LARGEST_PARAM:
                raise NotPlain(f"{name} holds data")
            plain[name] = to_plain(value)
        except NotPlain:
            missing.append(name)
    return plain, missing


def _array_bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(_array_bytes, inner))


def params_together(params: Any) -> dict[str, Any]:
    """The arguments again."""
    if not isinstance(params, dict):
        raise ValueError("the estimator's parameters are missing")
    return {str(name): from_plain(value) for name, value in params.items()}


def attributes_apart(estimator: Any, params: dict[str, Any], skip: tuple[str, ...] = ()) -> tuple[dict, dict]:
    """What `fit` left on an estimator: (JSON, arrays); UnsupportedModel names what can be neither."""
    plain: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, value in vars(estimator).items():
        if name in params or name in skip:
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
            continue
        try:
            plain[name] = to_plain(value)
        except NotPlain as error:
            raise UnsupportedModel(f"the attribute {name} of this {type(estimator).__name__}: {error}") from None
    return plain, arrays


def set_attributes(estimator: Any, plain: Any, arrays: dict[str, np.ndarray]) -> None:
    """Put back what `attributes_apart` took; only names that a fit may leave are set."""
    if not isinstance(plain, dict):
        raise ValueError("the estimator's attributes are missing")
    params = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else ()
    for name, value in {**{k: from_plain(v) for k, v in plain.items()}, **arrays}.items():
        if (
            not re.fullmatch(r"_?[A-Za-z][A-Za-z0-9_]*", name)
            or name.startswith(("__", "_sklearn", "_metadata"))
            or name in params
            or hasattr(type(estimator), name)
        ):
            raise ValueError(f"{name!r} is no name of a fitted attribute")
        setattr(estimator, name, value)
