"""The file format of models and checkpoints: one safetensors file with a manifest and a digest of every byte.

The manifest is JSON in the file's metadata: `config` (its `kind`, and everything that is not an array), how each array
is stored, the user's metadata, versions, and a SHA-256 of the whole file.
"""

import hashlib
import json
import math
import os
import platform
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import lifecycle
from lifecycle._check import CorruptBundle, UnsupportedModel, one_of
from lifecycle.codecs import pack, unpack
from lifecycle.store.files import write_atomically
from lifecycle.store.json_values import limit_array_bytes

_FORMAT = 1
_MANIFEST = "lifecycle"
_ZEROS = "0" * 64
# the place of the digest in a header: the first entry of the manifest, which is a JSON string inside JSON
_DIGEST_AT = re.compile(rb'"lifecycle":"\{\\"sha256\\":\\"([0-9a-f]{64})\\"')
_MAX_HEADER = 100_000_000  # bytes, of safetensors
_DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64".split()


def write(path: Path, config: dict[str, Any], arrays: Mapping[str, np.ndarray], metadata: Any, *, small: bool) -> None:
    """Write config and arrays; `small`: each array by the codec that takes the fewest bytes."""
    tensors: dict[str, np.ndarray] = {}
    index: dict[str, Any] = {}
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise UnsupportedModel(f"{name} is of dtype {array.dtype}, which cannot be stored")
        codec, parts = pack(np.asarray(array)) if small else (None, {"": np.asarray(array)})
        keys = {part: f"{name}:{part}" if codec else name for part in parts}
        tensors.update({keys[part]: value for part, value in parts.items()})
        index[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "codec": codec, "parts": keys}
    manifest = {
        "sha256": _ZEROS,
        "format": _FORMAT,
        "config": config,
        "arrays": index,
        "metadata": _user_metadata(metadata),
        "versions": _versions(),
    }
    write_atomically(path, _serialize(tensors, json.dumps(manifest, allow_nan=False, separators=(",", ":"))))


def _user_metadata(metadata: Any) -> Any:
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError(f"metadata must be a dict; got {metadata!r}")
    try:
        copied = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata must be JSON: {error}") from None
    if _keys(copied) != _keys(metadata):
        raise ValueError("metadata must be JSON, in which the keys of a dict are strings")
    return copied


def _keys(value: Any) -> list:
    """All keys of nested dicts."""
    if isinstance(value, (list, tuple)):
        return [key for v in value for key in _keys(v)]
    return [key for k, v in value.items() for key in (k, *_keys(v))] if isinstance(value, dict) else []


def _versions() -> dict[str, str]:
    modules = {name: sys.modules.get(name) for name in ("numpy", "torch", "sklearn")}
    frameworks = {name: str(module.__version__) for name, module in modules.items() if module is not None}
    return {"lifecycle": lifecycle.__version__, "python": platform.python_version(), **frameworks}


def _serialize(tensors: dict[str, np.ndarray], manifest: str) -> bytes:
    from safetensors import numpy as safetensors

    contiguous = {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in tensors.items()}
    # the header holds the manifest as a JSON string, and an entry for each tensor
    entries = sum(len(json.dumps(key)) + 120 + 20 * array.ndim for key, array in contiguous.items())
    if len(json.dumps(manifest)) + entries > _MAX_HEADER:
        raise UnsupportedModel("this model's configuration takes more than 100 MB and cannot be stored in one header")
    data = bytearray(safetensors.save(contiguous, metadata={_MANIFEST: manifest}))
    end = 8 + int.from_bytes(data[:8], "little")
    digest = _DIGEST_AT.search(data, 8, end)
    if digest is None:
        raise RuntimeError("safetensors wrote a header in which the place of the digest cannot be found")
    start, stop = digest.span(1)
    data[start:stop] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def read(path: Path) -> bytes:
    """The bytes of a regular file; CorruptBundle for a pipe or a device."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CorruptBundle(f"{path.name} is not a regular file")
        return file.read()


def parse(name: str, data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and stored tensors of a file; CorruptBundle if any byte differs from what was written."""
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length] if length <= _MAX_HEADER else b""
    if len(data) < 8 or len(header) < length or not header.startswith(b"{"):
        raise CorruptBundle(f"{name} {_describe_other_format(data, header)}")
    digests = list(_DIGEST_AT.finditer(header))
    if len(digests) == 1:
        start, stop = digests[0].span(1)
        state = hashlib.sha256(data[: 8 + start])
        state.update(_ZEROS.encode())
        state.update(memoryview(data)[8 + stop :])
        if state.hexdigest().encode() != digests[0][1]:
            raise CorruptBundle(f"{name} is truncated or was altered after it was saved: its checksum differs")
    try:
        tensors = safetensors.load(data)
        top = _strict_json(header.decode())
    except (SafetensorError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise CorruptBundle(f"{name} is not a valid safetensors file: {error}") from error
    entries = top.get("__metadata__")
    if not isinstance(entries, dict) or len(digests) != 1 or set(entries) != {_MANIFEST}:
        raise CorruptBundle(f"{name} is a safetensors file without the manifest of this library")
    try:
        manifest = _strict_json(entries[_MANIFEST])
        version = manifest.get("format")
        if type(version) is int and version > _FORMAT:
            raise CorruptBundle(
                f"{name} has format {version}, and this version of lifecycle reads up to {_FORMAT}: update lifecycle"
            )
        if version != _FORMAT or not all(isinstance(manifest[k], dict) for k in ("config", "arrays", "versions")):
            raise CorruptBundle(f"the manifest of {name} is malformed")
        if not isinstance(manifest["config"].get("kind"), str):
            raise CorruptBundle(f"the manifest of {name} names no kind of model")
        if not all(array.dtype.name in _DTYPES for array in tensors.values()):
            raise CorruptBundle(f"{name} holds an array of a dtype that this library does not store")
        if sorted(key for entry in manifest["arrays"].values() for key in entry["parts"].values()) != sorted(tensors):
            raise CorruptBundle(f"the manifest of {name} does not list the arrays of the file")
    except CorruptBundle:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CorruptBundle(f"the manifest of {name} is malformed: {error}") from error
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

    value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=finite)
    if not isinstance(value, dict):
        raise ValueError("the JSON is not an object")
    return value


def arrays_of(manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that `write` was given."""
    arrays = {}
    for name, entry in manifest["arrays"].items():
        dtype, shape = np.dtype(one_of("dtype", entry["dtype"], _DTYPES)), tuple(entry["shape"])
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"the shape of {name} is malformed")
        parts = {part: tensors[key] for part, key in entry["parts"].items()}
        array = unpack(entry["codec"], parts, dtype, shape) if entry["codec"] is not None else parts[""]
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} is not stored as the manifest says")
        arrays[name] = np.array(array)
    return arrays


@contextmanager
def reading(name: str, what: str, *, keep: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Bound the arrays in a manifest, and turn what a malformed one raises, except `keep`, into CorruptBundle."""
    try:
        with limit_array_bytes():
            yield
    except (CorruptBundle, UnsupportedModel):
        raise
    except keep:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RuntimeError) as error:
        raise CorruptBundle(f"the manifest of {name} does not describe {what}: {error}") from error
