"""The header of a safetensors file: written, and read so strictly that no two readers can disagree about it.

The format of safetensors: the length of the header as 8 bytes, the header as JSON, and the tensors without gaps. An
entry of the header gives the dtype, shape and place of a tensor; `__metadata__` maps strings to strings.
"""

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, NoReturn

import numpy as np

from lifecycle.store import limits
from lifecycle.store.json_memory import check_json

METADATA = "__metadata__"
ALIGNMENT = 64  # bytes: where the tensors begin; a cache line
# names of numpy and of safetensors
DTYPES = {
    **{"bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32"},
    **{"uint64": "U64", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64"},
}
_STORED_DTYPES = {stored: np.dtype(name).newbyteorder("<") for name, stored in DTYPES.items()}
_LARGEST = 2**63 - 1  # what a place in memory can be


@cache
def dtype_name(dtype: np.dtype) -> str:
    """The name of a dtype, which numpy makes anew each time."""
    return dtype.name


class Section(NamedTuple):
    """The place of a tensor among the bytes after the header."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def to_json(value: Any) -> str:
    """Compact JSON in ASCII; ValueError for NaN and infinity."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def write_header(metadata: dict[str, str], tensors: Mapping[str, np.ndarray]) -> bytes:
    """The bytes before the tensors, which follow in the order of `tensors`; ExceedsLimit where they are too many."""
    entries: dict[str, Any] = {METADATA: metadata}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        entries[name] = {
            "dtype": DTYPES[dtype_name(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = to_json(entries)
    length = 8 + len(text)
    text = text.ljust(-(-length // ALIGNMENT) * ALIGNMENT - 8)
    if len(text) > limits.MAX_HEADER:
        raise limits.ExceedsLimit("it takes more than 100 MB in one header")
    allowance = limits.json_allowance(8 + len(text) + end, 8 + len(text))
    for json_text in (text, *metadata.values()):  # as a reader does
        allowance = check_json(json_text, allowance)
    return len(text).to_bytes(8, "little") + text.encode("ascii")


def parse_json(text: str, allowance: int) -> tuple[dict[str, Any], int]:
    """A JSON object without duplicate keys, NaN or infinity, and what remains of the allowance of `check_json`.

    ExceedsLimit if it is too large.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key occurs twice")
        return found

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def finite(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(digits)

    allowance = check_json(text, allowance)
    value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=finite)
    if not isinstance(value, dict):
        raise ValueError("the JSON is not an object")
    return value, allowance


def parse_header(entries: dict[str, Any], start: int, *, ordered: bool) -> tuple[dict[str, str], dict[str, Section]]:
    """Metadata and sections, in the order of their places; `ordered`: the entries must be in this order.

    The tensors begin at the byte `start` of the file. ValueError unless they follow each other without a gap and have
    the sizes that their shapes say.
    """
    metadata = entries.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the metadata is not made of strings")
    sections = {name: _section(name, entry, start) for name, entry in entries.items()}
    if not ordered:
        sections = dict(sorted(sections.items(), key=lambda item: item[1][2:]))
    end = 0
    for name, section in sections.items():
        if section.begin != end:
            raise ValueError(f"{name} does not begin where the tensor before it ends")
        end = section.end
    return metadata, sections


def _section(name: str, entry: Any, start: int) -> Section:
    if not limits.is_name(name):
        raise ValueError(f"the name {name[:100]!r} is empty, too long, or does not print")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of {name} is malformed")
    dtype = _STORED_DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise ValueError(f"{name} is of a dtype that this library does not store")
    shape, offsets = check_shape(name, entry["shape"]), entry["data_offsets"]
    if type(offsets) is not list or list(map(type, offsets)) != [int, int]:  # a truth value is no int here
        raise ValueError(f"the place of {name} is malformed")
    begin, end = offsets
    if not 0 <= begin <= end <= _LARGEST or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the place of {name} does not fit its shape and dtype")
    if (start + begin) % dtype.itemsize:
        raise ValueError(f"{name} is not aligned to the size of its numbers")
    return Section(dtype, shape, begin, end)


def check_shape(name: str, shape: Any) -> tuple[int, ...]:
    """The shape of an array in a file; ValueError if no array can have it."""
    if type(shape) is not list or len(shape) > limits.MAX_DIMENSIONS or not set(map(type, shape)) <= {int}:
        raise ValueError(f"the shape of {name} is malformed")
    # numpy multiplies the strides of an empty array too
    if min(shape, default=0) < 0 or math.prod([n or 1 for n in shape]) > _LARGEST // 8:
        raise ValueError(f"the shape of {name} is malformed")
    return tuple(shape)
