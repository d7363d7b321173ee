"""The file format of models and checkpoints, written: a safetensors file with a manifest and a digest of every byte.

The manifest is JSON in the file's metadata: `config` (its `kind`, and everything that is not an array), how each array
is stored, the user's metadata, versions, and a SHA-256 of the whole file.
"""

import hashlib
import json
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import lifecycle
from lifecycle._check import UnsupportedModel
from lifecycle.codecs import pack
from lifecycle.store import limits
from lifecycle.store.files import write_atomically

FORMAT = 1
MANIFEST = "lifecycle"
DIGEST_PLACEHOLDER = "0" * 64
# the place of the digest in a header: the first entry of the manifest, which is a JSON string inside JSON
DIGEST_PATTERN = re.compile(rb'"lifecycle":"\{\\"sha256\\":\\"([0-9a-f]{64})\\"')
DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64".split()


def write(path: Path, config: dict[str, Any], arrays: Mapping[str, np.ndarray], metadata: Any, *, small: bool) -> None:
    """Write config and arrays; `small`: each array by the codec that takes the fewest bytes."""
    tensors: dict[str, np.ndarray] = {}
    index: dict[str, Any] = {}
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise UnsupportedModel(f"{name} is of dtype {array.dtype}, which cannot be stored")
        codec, parts = pack(np.asarray(array)) if small else (None, {"": np.asarray(array)})
        keys = {part: f"{name}:{part}" if codec else name for part in parts}
        tensors.update({keys[part]: value for part, value in parts.items()})
        index[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "codec": codec, "parts": keys}
    manifest = {
        "sha256": DIGEST_PLACEHOLDER,
        "format": FORMAT,
        "config": config,
        "arrays": index,
        "metadata": _user_metadata(metadata),
        "versions": _versions(),
    }
    text = json.dumps(manifest, allow_nan=False, separators=(",", ":"))
    try:
        limits.check_json(text)
        data = _serialize(tensors, text)
    except limits.ExceedsLimit as error:
        raise UnsupportedModel(f"this model's configuration or metadata cannot be stored: {error}") from None
    write_atomically(path, data)


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
    if len(json.dumps(manifest)) + entries > limits.MAX_HEADER:
        raise UnsupportedModel("this model's configuration takes more than 100 MB and cannot be stored in one header")
    data = bytearray(safetensors.save(contiguous, metadata={MANIFEST: manifest}))
    end = 8 + int.from_bytes(data[:8], "little")
    limits.check_json(data[8:end].decode())  # as `load` does: it holds the manifest and more
    digest = DIGEST_PATTERN.search(data, 8, end)
    if digest is None:
        raise RuntimeError("safetensors wrote a header in which the place of the digest cannot be found")
    start, stop = digest.span(1)
    data[start:stop] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)
