"""Values of state dicts as JSON, with their tensors and arrays beside it, and back."""

from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import torch

from lifecycle._check import UnsupportedModel
from lifecycle.store.json_values import NotSerializable, deserialize_value, serialize_value
from lifecycle.torch import tensors


def serialize_state(value: Any, path: str, arrays: dict[str, np.ndarray], seen: dict[int, dict] | None = None) -> Any:
    """A value as JSON; its tensors and arrays are added with names that begin with `path`, tied ones once."""
    seen = {} if seen is None else seen
    if isinstance(value, torch.Tensor):
        if id(value) not in seen:
            dtype, order = tensors.dtype_name(path, value), tensors.memory_order(value)
            # in memory order, which int8 codes follow
            name = _add(arrays, path, tensors.to_array(value.detach().permute(order)))
            seen[id(value)] = {"$tensor": name, "dtype": dtype, "order": order}
        return seen[id(value)]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"$ndarray": _add(arrays, path, np.ascontiguousarray(value))}
    if type(value) in (dict, OrderedDict, Counter):
        tag = "$counter" if isinstance(value, Counter) else "$dict"
        pairs = value.items()
        return {tag: [[serialize_value(k), serialize_state(v, f"{path}.{k}", arrays, seen)] for k, v in pairs]}
    if type(value) in (list, tuple):
        items = [serialize_state(v, f"{path}.{i}", arrays, seen) for i, v in enumerate(value)]
        return items if type(value) is list else {"$tuple": items}
    try:
        return serialize_value(value)
    except NotSerializable:
        raise UnsupportedModel(f"{path} is a {type(value).__name__}, which a checkpoint cannot hold") from None


def _add(arrays: dict[str, np.ndarray], name: str, array: np.ndarray) -> str:
    while name in arrays:  # keys such as 1 and "1" give the same name
        name += "'"
    arrays[name] = array
    return name


def deserialize_state(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The value that `serialize_state` was given."""
    if isinstance(value, list):
        return [deserialize_state(v, arrays) for v in value]
    if isinstance(value, dict):
        match next(iter(value), None):
            case "$tensor":
                return _tensor(value, arrays)
            case "$ndarray":
                return arrays[value["$ndarray"]]
            case "$dict":
                return {deserialize_value(k): deserialize_state(v, arrays) for k, v in value["$dict"]}
            case "$counter":
                return Counter({deserialize_value(k): deserialize_state(v, arrays) for k, v in value["$counter"]})
            case "$tuple":
                return tuple(deserialize_state(v, arrays) for v in value["$tuple"])
    return deserialize_value(value)


def _tensor(value: dict[str, Any], arrays: dict[str, np.ndarray]) -> torch.Tensor:
    name, order = value["$tensor"], value["order"]
    tensor = tensors.from_array(name, arrays[name], value["dtype"])
    if sorted(order) != list(range(tensor.ndim)):
        raise ValueError(f"{name} has {tensor.ndim} dimensions in the order {order}")
    return tensor.permute(*np.argsort(order).tolist()) if order else tensor
