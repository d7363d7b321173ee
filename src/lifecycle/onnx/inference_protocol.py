"""The Open Inference Protocol, version 2, which KServe, Triton and others speak: requests and answers as JSON.

Source: https://github.com/kserve/open-inference-protocol, the REST part of the specification.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lifecycle.onnx.interface import TEXT, Interface, Tensor

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", TEXT: "BYTES",
}  # fmt: skip
_DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}
PLATFORM = "onnx_onnxv1"


def metadata(name: str, interface: Interface) -> dict[str, Any]:
    """What ``GET v2/models/NAME`` answers."""
    return {
        "name": name,
        "versions": ["1"],
        "platform": PLATFORM,
        "inputs": [_describe(one) for one in interface.inputs],
        "outputs": [_describe(one) for one in interface.outputs],
    }


def _describe(one: Tensor) -> dict[str, Any]:
    shape = [-1 if size is None else size for size in one.shape]
    return {"name": one.name, "datatype": DATATYPES[one.dtype], "shape": shape}


def infer(
    name: str, interface: Interface, run: Callable[[dict[str, np.ndarray]], list[np.ndarray]], request: Any
) -> dict[str, Any]:
    """The answer to a request; ValueError if the request does not fit the interface."""
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise ValueError("a request is a JSON object with a list of inputs")
    given = {}
    for entry in request["inputs"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError("an input has a name, a shape, a datatype and data")
        given[entry["name"]] = entry
    known = {one.name: one for one in interface.inputs}
    if set(given) != set(known) or len(given) != len(request["inputs"]):
        raise ValueError(f"the model takes the inputs {', '.join(known)}; the request has {', '.join(given) or 'none'}")
    feeds = {one.name: _tensor(one, given[one.name]) for one in interface.inputs}
    if len({len(array) for array in feeds.values()}) > 1:
        raise ValueError("the inputs have different numbers of rows")
    feeds = interface.checked(feeds)
    wanted = _wanted(interface, request.get("outputs"))
    outputs = [
        {"name": one.name, "shape": list(array.shape), "datatype": DATATYPES[one.dtype], "data": _data(array)}
        for one, array in zip(interface.outputs, run(feeds), strict=True)
        if one.name in wanted
    ]
    answer = {"model_name": name, "model_version": "1", "outputs": outputs}
    return {**answer, "id": request["id"]} if "id" in request else answer


def _wanted(interface: Interface, outputs: Any) -> set[str]:
    known = {one.name for one in interface.outputs}
    if not outputs:
        return known
    if not isinstance(outputs, list) or not all(isinstance(entry, dict) for entry in outputs):
        raise ValueError("outputs is a list of objects with a name")
    names = {str(entry.get("name")) for entry in outputs}
    if not names <= known:
        raise ValueError(f"the model gives the outputs {', '.join(sorted(known))}")
    return names


def _tensor(one: Tensor, entry: dict[str, Any]) -> np.ndarray:
    """The array of an input."""
    datatype, shape, data = entry.get("datatype"), entry.get("shape"), entry.get("data")
    dtype = _DTYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise ValueError(f"{one.name} has the unknown datatype {datatype!r}; known: {', '.join(_DTYPES)}")
    if dtype != one.dtype and not _are_both_floats(dtype, one.dtype):
        raise ValueError(f"{one.name} has the datatype {datatype}; the model takes {DATATYPES[one.dtype]}")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"the shape of {one.name} must be a list of sizes")
    if len(shape) != len(one.shape) or any(w is not None and w != s for w, s in zip(one.shape, shape, strict=True)):
        wanted = ", ".join("-1" if size is None else str(size) for size in one.shape)
        raise ValueError(f"{one.name} has the shape {shape}; the model takes [{wanted}]")
    flat = _flattened(data, shape)
    if len(flat) != math.prod(shape):
        raise ValueError(f"{one.name} has {len(flat)} values; its shape {shape} asks for {math.prod(shape)}")
    if one.dtype == TEXT:
        if not all(isinstance(value, str) for value in flat):
            raise ValueError(f"the data of {one.name} must be strings")
        return np.array(flat, object).reshape(shape)
    kinds: tuple[type, ...] = (bool,) if one.dtype == "bool" else (int, float)
    if not all(isinstance(value, kinds) and (one.dtype == "bool" or type(value) is not bool) for value in flat):
        raise ValueError(f"the data of {one.name} must be numbers of the datatype {DATATYPES[one.dtype]}")
    if "int" in one.dtype:
        limits = np.iinfo(one.dtype)
        if not all(type(value) is int and limits.min <= value <= limits.max for value in flat):
            raise ValueError(f"the data of {one.name} must be integers of the datatype {DATATYPES[one.dtype]}")
    array: Any
    try:
        with np.errstate(over="ignore"):
            array = np.array(flat, one.dtype).reshape(shape)
    except OverflowError:
        array = np.full(1, np.inf)
    if array.dtype.kind == "f" and np.isinf(array).sum() > sum(map(_is_infinite, flat)):
        raise ValueError(f"the data of {one.name} holds a number too large for {DATATYPES[one.dtype]}")
    return array


def _is_infinite(value: float) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _are_both_floats(given: str, wanted: str) -> bool:
    """Whether numbers of one datatype may stand for those of another: floating-point numbers for each other."""
    return given.startswith("float") and wanted.startswith("float")


def _flattened(data: Any, shape: list[int]) -> list[Any]:
    """The values of data that are flat, or nested as the shape says."""
    if not isinstance(data, list):
        raise ValueError("the data of an input must be a list")
    if not any(isinstance(part, list) for part in data):
        return data
    n = 1
    for size, inner in itertools.pairwise(shape):
        n *= size
        if len(data) != n or not all(isinstance(part, list) and len(part) == inner for part in data):
            raise ValueError("the data of an input is nested, and not as its shape says")
        data = [value for part in data for value in part]
    return data


def _data(array: np.ndarray) -> list[Any]:
    flat: list[Any] = array.reshape(-1).tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("the answer holds NaN or infinity, which JSON cannot")
    return flat
