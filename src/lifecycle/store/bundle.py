"""The file format of models and checkpoints, written: a safetensors file with a manifest and a digest of every byte.

The manifest is JSON in the file's metadata: `config` (its `kind`, and everything that is not an array), how each array
is stored, digests of all stored tensors, an optional ONNX graph, facts, the user's metadata and versions. A SHA-256 of
the header covers the digests, and by these the whole file. docs/format.md describes every byte.
"""

import hashlib
import json
import platform
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
from lifecycle.store.header import DTYPES, METADATA, dtype_name, to_json, write_header
from lifecycle.store.sections import digests, pieces

FORMAT = 2
MANIFEST = "lifecycle"
GRAPH = "graph.onnx"  # the tensor that holds the bytes of a graph
DIGEST_PLACEHOLDER = "0" * 64
# how every header begins: the digest is the first entry of the manifest, which is a JSON string inside JSON
DIGEST_PREFIX = b'{"__metadata__":{"lifecycle":"{\\"sha256\\":\\"'


def write(
    path: Path,
    config: dict[str, Any],
    arrays: Mapping[str, np.ndarray],
    metadata: Any,
    *,
    small: bool,
    graph: bytes | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write config and arrays.

    Parameters
    ----------
    small : bool
        Store each array by the codec that takes the fewest bytes.
    graph : bytes, optional
        The model as an ONNX graph, which is stored beside the arrays.
    facts : mapping, optional
        What is known of the model, as JSON: its inputs and outputs, a report, a certificate.
    """
    facts = _json_object("facts", None if facts is None else dict(facts))
    metadata = _json_object("metadata", metadata)
    tensors, index = _tensors(arrays, small)
    if graph is not None:
        if not isinstance(graph, bytes) or not graph:
            raise TypeError(f"graph must be the bytes of an ONNX graph; got {type(graph).__name__}")
        tensors[GRAPH] = np.frombuffer(graph, np.uint8)
    # numbers of the same size side by side, the largest first, so that each is aligned
    tensors = {name: tensors[name] for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))}
    buffers = [tensor.reshape(-1).view(np.uint8) for tensor in tensors.values()]
    cut = [pieces(buffer.size) for buffer in buffers]
    found = iter(digests([buffer[a:b] for buffer, parts in zip(buffers, cut, strict=True) for a, b in parts]))
    manifest = {
        "sha256": DIGEST_PLACEHOLDER,
        "format": FORMAT,
        "config": config,
        "arrays": index,
        "sections": {name: [next(found) for _ in parts] for name, parts in zip(tensors, cut, strict=True)},
        "graph": None if graph is None else GRAPH,
        "facts": facts,
        "metadata": metadata,
        "versions": _versions(),
    }
    try:
        header = _signed_header(to_json(manifest), tensors)
    except limits.ExceedsLimit as error:
        raise UnsupportedModel(f"this model's configuration or metadata cannot be stored: {error}") from None
    write_atomically(path, [header, *buffers])


def _tensors(arrays: Mapping[str, np.ndarray], small: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What is stored of the arrays, contiguous and in the byte order of the file, and how each array is made of it."""
    tensors: dict[str, np.ndarray] = {}
    index: dict[str, Any] = {}
    for name, given in arrays.items():
        dtype = dtype_name(given.dtype)
        if dtype not in DTYPES:
            raise UnsupportedModel(f"{name} is of dtype {given.dtype}, which cannot be stored")
        array = np.asarray(given, dtype=given.dtype.newbyteorder("<"), order="C")
        if dtype == "bool":
            array = array.view(np.uint8) != 0  # each as 0 or 1
        codec, parts = pack(array) if small else (None, {"": array})
        keys = {part: f"{name}:{part}" if codec else name for part in parts}
        if name in (METADATA, GRAPH) or not all(limits.is_name(key) and key not in tensors for key in keys.values()):
            raise UnsupportedModel(
                f"an array named {limits.shorten(name)!r} cannot be stored: names print, have at most "
                f"{limits.MAX_NAME:,} characters, occur once, and are neither {METADATA} nor {GRAPH}"
            )
        tensors.update({keys[part]: np.asarray(value, order="C") for part, value in parts.items()})
        index[name] = {"dtype": dtype, "shape": list(array.shape), "codec": codec, "parts": keys}
    return tensors, index


def _signed_header(manifest: str, tensors: Mapping[str, np.ndarray]) -> bytes:
    header = write_header({MANIFEST: manifest}, tensors)
    start = 8 + len(DIGEST_PREFIX)
    stop = start + len(DIGEST_PLACEHOLDER)
    if header[8:stop] != DIGEST_PREFIX + DIGEST_PLACEHOLDER.encode():
        raise RuntimeError("the place of the digest is not at the beginning of the header")
    return header[:start] + hashlib.sha256(header).hexdigest().encode() + header[stop:]


def _json_object(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} must be a dict; got {value!r}")
    try:
        copied = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} must be JSON: {error}") from None
    if _keys(copied) != _keys(value):
        raise ValueError(f"{name} must be JSON, in which the keys of a dict are strings")
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
