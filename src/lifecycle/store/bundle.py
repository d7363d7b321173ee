"""One safetensors file with a manifest and a digest of every byte: what models and checkpoints are written into.

The manifest is JSON in the file's metadata: `config` (what `kind` of thing, and all that is no array), how each array
is stored, the user's metadata, versions, and a SHA-256 over the whole file.
"""

import hashlib
import json
import math
import os
import platform
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import lifecycle
from lifecycle._check import CorruptBundle, UnsupportedModel, one_of
from lifecycle.codecs import pack, unpack
from lifecycle.store.files import write_whole

_FORMAT = 1
_MANIFEST = "lifecycle"
_ZEROS = "0" * 64
# where a header holds the digest: the first entry of the manifest, which is one string inside JSON
_DIGEST_AT = re.compile(rb'"lifecycle":"\{\\"sha256\\":\\"([0-9a-f]{64})\\"')
_LARGEST_HEADER = 100_000_000  # what safetensors reads
_DTYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
)  # fmt: skip


def write(path: Path, config: dict[str, Any], arrays: Mapping[str, np.ndarray], metadata: Any, *, small: bool) -> None:
    """Write config and arrays; `small`: by the codec that takes the fewest bytes, else as they are."""
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
    write_whole(path, _serialize(tensors, json.dumps(manifest, allow_nan=False, separators=(",", ":"))))


def _user_metadata(metadata: Any) -> Any:
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError(f"metadata must be a dict; got {metadata!r}")
    try:
        found = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata must be JSON: {error}") from None
    if _keys(found) != _keys(metadata):
        raise ValueError("metadata must be JSON, in which the keys of a dict are strings")
    return found


def _keys(value: Any) -> list:
    """All keys of nested dicts."""
    if isinstance(value, (list, tuple)):
        return [key for v in value for key in _keys(v)]
    return [key for k, v in value.items() for key in (k, *_keys(v))] if isinstance(value, dict) else []


def _versions() -> dict[str, str]:
    found = {"lifecycle": lifecycle.__version__, "python": platform.python_version()}
    loaded = ((name, sys.modules.get(name)) for name in ("numpy", "torch", "sklearn"))
    return found | {name: str(module.__version__) for name, module in loaded if module is not None}


def _serialize(tensors: dict[str, np.ndarray], manifest: str) -> bytes:
    from safetensors import numpy as safetensors

    plain = {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in tensors.items()}
    # what stands in the header: the manifest as a string inside JSON, and an entry for each tensor
    entries = sum(len(json.dumps(key)) + 120 + 20 * array.ndim for key, array in plain.items())
    if len(json.dumps(manifest)) + entries > _LARGEST_HEADER:
        raise UnsupportedModel("this model's configuration takes more than 100 MB and cannot be stored in one header")
    data = bytearray(safetensors.save(plain, metadata={_MANIFEST: manifest}))
    end = 8 + int.from_bytes(data[:8], "little")
    found = _DIGEST_AT.search(data, 8, end)
    if found is None:
        raise RuntimeError("safetensors wrote a header in which the digest's place cannot be found")
    start, stop = found.span(1)
    data[start:stop] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def read(path: Path) -> bytes:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CorruptBundle(f"{path.name} is no regular file")
        return file.read()


def parse(name: str, data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and stored tensors of a file whose every byte is as it was written; else CorruptBundle."""
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length] if length <= _LARGEST_HEADER else b""
    if len(data) < 8 or len(header) < length or not header.startswith(b"{"):
        raise CorruptBundle(f"{name} {_what_else(data, header)}")
    digests = list(_DIGEST_AT.finditer(header))
    if len(digests) == 1:
        start, stop = digests[0].span(1)
        state = hashlib.sha256(data[: 8 + start])
        state.update(_ZEROS.encode())
        state.update(memoryview(data)[8 + stop :])
        if state.hexdigest().encode() != digests[0][1]:
            raise CorruptBundle(f"{name} is truncated or was altered after it was saved: its checksum does not fit")
    try:
        tensors = safetensors.load(data)
        top = _strict_json(header.decode())
    except (SafetensorError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise CorruptBundle(f"{name} is no sound safetensors file: {error}") from error
    entries = top.get("__metadata__")
    if not isinstance(entries, dict) or len(digests) != 1 or set(entries) != {_MANIFEST}:
        raise CorruptBundle(f"{name} is a safetensors file, but no bundle of this library: it has no manifest")
    try:
        manifest = _strict_json(entries[_MANIFEST])
        version = manifest.get("format")
        if type(version) is int and version > _FORMAT:
            raise CorruptBundle(
                f"{name} has the format {version}, and this version of lifecycle reads up to {_FORMAT}: update it"
            )
        if version != _FORMAT or not all(isinstance(manifest[k], dict) for k in ("config", "arrays", "versions")):
            raise CorruptBundle(f"the manifest of {name} is malformed")
        if not isinstance(manifest["config"].get("kind"), str):
            raise CorruptBundle(f"the manifest of {name} names no kind of model")
        if not all(array.dtype.name in _DTYPES for array in tensors.values()):
            raise CorruptBundle(f"{name} holds an array of a dtype that has no place in a bundle")
        if sorted(key for entry in manifest["arrays"].values() for key in entry["parts"].values()) != sorted(tensors):
            raise CorruptBundle(f"the manifest of {name} and its arrays do not belong together")
    except CorruptBundle:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CorruptBundle(f"the manifest of {name} is malformed: {error}") from error
    return manifest, tensors


def _what_else(data: bytes, header: bytes) -> str:
    if not data:
        return "is empty"
    if header.startswith(b"{") or len(data) <= 8:
        return "is truncated, or no bundle of this library"
    if data[:4] == b"PK\x03\x04":
        return "is a zip archive (as torch.save writes them), not a bundle of this library; it was not opened"
    if data[0] == 0x80 and data[1] <= 5:
        return "is a pickle, not a bundle of this library; it was not opened"
    return "is no safetensors file"


def _strict_json(text: str) -> dict[str, Any]:
    """JSON without duplicate keys, NaN and infinity; a dict."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands there twice")
        return found

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    def finite(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(digits)

    found = json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=finite)
    if not isinstance(found, dict):
        raise ValueError("the JSON is no object")
    return found


def arrays_of(manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that `write` was given."""
    found = {}
    for name, entry in manifest["arrays"].items():
        dtype, shape = np.dtype(one_of("dtype", entry["dtype"], _DTYPES)), tuple(entry["shape"])
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"the shape of {name} is malformed")
        parts = {part: tensors[key] for part, key in entry["parts"].items()}
        array = unpack(entry["codec"], parts, dtype, shape) if entry["codec"] is not None else parts[""]
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} is not stored as the manifest says")
        found[name] = np.array(array)
    return found
