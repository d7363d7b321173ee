"""Reading of the file format of `lifecycle.store.bundle`: every byte is checked, and no code from the file is run."""

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lifecycle._check import CorruptBundle, UnsupportedModel, one_of
from lifecycle.codecs import unpack
from lifecycle.store import limits
from lifecycle.store.bundle import DIGEST_PATTERN, DIGEST_PLACEHOLDER, DTYPES, FORMAT, MANIFEST

MAX_DIMENSIONS, MAX_PARTS = 64, 8  # of an array: numpy has no more; no codec has more parts
_TOO_LARGE = "{} needs more memory than there is: its arrays, or what its manifest asks for, are too large"


def read(path: Path) -> bytes:
    """The bytes of a regular file; CorruptBundle for a pipe or a device."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CorruptBundle(f"{path.name} is not a regular file")
        return file.read()


def parse(name: str, data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and stored tensors of a file; CorruptBundle if any byte differs from what was written.

    ExceedsLimit, which `reading` translates, if its JSON is too large.
    """
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length] if length <= limits.MAX_HEADER else b""
    if len(data) < 8 or len(header) < length or not header.startswith(b"{"):
        raise CorruptBundle(f"{name} {_describe_other_format(data, header)}")
    digests = list(DIGEST_PATTERN.finditer(header))
    if len(digests) == 1:
        start, stop = digests[0].span(1)
        state = hashlib.sha256(memoryview(data)[: 8 + start])
        state.update(DIGEST_PLACEHOLDER.encode())
        state.update(memoryview(data)[8 + stop :])
        if state.hexdigest().encode() != digests[0][1]:
            raise CorruptBundle(f"{name} is truncated or was altered after it was saved: its checksum differs")
    try:
        top = _strict_json(header.decode())
        tensors = safetensors.load(data)
    except limits.ExceedsLimit:
        raise
    except (SafetensorError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise CorruptBundle(f"{name} is not a valid safetensors file: {error}") from None
    entries = top.get("__metadata__")
    if not isinstance(entries, dict) or len(digests) != 1 or set(entries) != {MANIFEST}:
        raise CorruptBundle(f"{name} is a safetensors file without the manifest of this library")
    try:
        manifest = _strict_json(entries[MANIFEST])
        version = manifest.get("format")
        if type(version) is int and version > FORMAT:
            raise CorruptBundle(
                f"{name} has format {version}, and this version of lifecycle reads up to {FORMAT}: update lifecycle"
            )
        dicts = manifest["config"], manifest["arrays"], manifest["versions"], manifest["metadata"] or {}
        if version != FORMAT or not all(isinstance(value, dict) for value in dicts):
            raise CorruptBundle(f"the manifest of {name} is malformed")
        if not isinstance(manifest["config"].get("kind"), str):
            raise CorruptBundle(f"the manifest of {name} names no kind of model")
        for array_name, entry in manifest["arrays"].items():
            _check_entry(array_name, entry)
        if not all(array.dtype.name in DTYPES for array in tensors.values()):
            raise CorruptBundle(f"{name} holds an array of a dtype that this library does not store")
        if sorted(key for entry in manifest["arrays"].values() for key in entry["parts"].values()) != sorted(tensors):
            raise CorruptBundle(f"the manifest of {name} does not list the arrays of the file")
    except (CorruptBundle, limits.ExceedsLimit):
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CorruptBundle(f"the manifest of {name} is malformed: {error}") from None
    return manifest, tensors


def _describe_other_format(data: bytes, header: bytes) -> str:
    if not data:
        return "is empty"
    if header.startswith(b"{") or len(data) <= 8:
        return "is truncated, or not a file of this library"
    if data[:4] == b"PK\x03\x04":
        return "is a zip archive (as torch.save writes them), not a file of this library; it was not opened"
    if data[0] == 0x80 and data[1] <= 5:
        return "is a pickle, not a file of this library; it was not opened"
    return "is not a safetensors file"


def _strict_json(text: str) -> dict[str, Any]:
    """A JSON object without duplicate keys, NaN or infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def finite(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(digits)

    limits.check_json(text)
    value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=finite)
    if not isinstance(value, dict):
        raise ValueError("the JSON is not an object")
    return value


def arrays_of(manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that `bundle.write` was given; `tensors` is emptied, so that no array is in memory twice."""
    arrays = {}
    for name, entry in manifest["arrays"].items():
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        parts = {part: tensors.pop(key) for part, key in entry["parts"].items()}
        array = unpack(entry["codec"], parts, dtype, shape) if entry["codec"] is not None else parts[""]
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} is not stored as the manifest says")
        arrays[name] = np.require(array, requirements=["C", "A", "W"])
    return arrays


def _check_entry(name: str, entry: dict[str, Any]) -> None:
    """ValueError unless an array of the manifest says how it is stored as `bundle.write` does."""
    one_of("dtype", entry["dtype"], DTYPES)
    shape, codec, parts = entry["shape"], entry["codec"], entry["parts"]
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS or not all(type(n) is int for n in shape):
        raise ValueError(f"the shape of {name} is malformed")
    if not all(0 <= n < 2**63 for n in shape):
        raise ValueError(f"the shape of {name} is malformed")
    if codec is None and set(parts) != {""}:
        raise ValueError(f"{name} is stored as it is, and has the parts {', '.join(parts)}")
    if codec is not None and not (isinstance(codec, str) and len(parts) <= MAX_PARTS):
        raise ValueError(f"the codec of {name} is malformed")


@contextmanager
def reading(name: str, what: str, *, keep: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Bound what one file can make us build and say; what a malformed one raises, except `keep`, is CorruptBundle."""
    named: tuple[type[Exception], ...] = (CorruptBundle, UnsupportedModel, *keep)
    try:
        with limits.budget():
            yield
    except MemoryError:
        raise CorruptBundle(_TOO_LARGE.format(name)) from None
    except limits.ExceedsLimit as error:
        raise CorruptBundle(limits.shorten(f"{name} asks for too much: {error}")) from None
    except named as error:
        text = limits.shorten(str(error))
        if text == str(error):
            raise
        cls = type(error) if isinstance(error, (CorruptBundle, UnsupportedModel)) else ValueError
        raise cls(text) from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        if "can't allocate memory" in str(error):  # torch's MemoryError
            raise CorruptBundle(_TOO_LARGE.format(name)) from None
        reason = f"{error} is missing" if isinstance(error, LookupError) else str(error)
        # without the cause, whose text is not bounded
        raise CorruptBundle(limits.shorten(f"the manifest of {name} does not describe {what}: {reason}")) from None
