"""save, load and inspect: a model as one safetensors file, in which nothing can run.

The file is a valid safetensors file. Its metadata holds a manifest (JSON: what kind of model, its configuration, how
each array is stored, versions) and a SHA-256 over the whole file, so that any altered byte is found.
"""

import hashlib
import json
import math
import os
import platform
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import lifecycle
from lifecycle import _adapters
from lifecycle._check import CorruptBundle, UnsupportedModel, one_of
from lifecycle._files import write_whole
from lifecycle._plain import one_file
from lifecycle.codecs import pack, unpack

__all__ = ["Inspection", "inspect", "load", "save"]

_FORMAT = 1
_MANIFEST = "lifecycle"
_ZEROS = "0" * 64
# where a header holds the digest: the first entry of the manifest, which is one string inside JSON
_DIGEST_AT = re.compile(rb'"lifecycle":"\{\\"sha256\\":\\"([0-9a-f]{64})\\"')
_LARGEST_HEADER = 100_000_000  # what safetensors reads
_DTYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
)  # fmt: skip


def save(model: Any, path: str | os.PathLike, *, metadata: dict[str, Any] | None = None) -> None:
    """Write a model into one file.

    The file is written beside its place and renamed, so that nobody ever finds half of it; a file that is there is
    replaced. The same model gives the same bytes. Pruned weights are stored as a bit mask and their non-zero values
    where that is smaller, quantized ones as their codes.

    Parameters
    ----------
    model : torch.nn.Module, TorchClassifier, TorchRegressor, LinearClassifier, LinearRegressor, or a Pipeline of these
        Our own models and estimators are stored whole. Of a module of another class only its state dict is, and
        `load` needs ``into=module``; so does an estimator with arguments that are no plain values (a function, a
        module of your own) or that hold data (rows for early_stopping, arrays above 8 kB): those are not stored. An
        estimator's ``module=lt.CNN(…)`` object is stored by its arguments: after loading, a new ``fit`` starts from
        new weights; ``module_``, the fitted one, is stored with every bit.
    path : str or os.PathLike
    metadata : dict, optional
        Anything that is JSON, for `inspect`.

    Raises
    ------
    UnsupportedModel
        Not a model of these kinds, not fitted, or with parts that cannot be stored.
    ValueError
        `metadata` is not JSON.
    """
    path = Path(path)
    room = _adapters.adapter_for(model)
    config, arrays = room.take_apart(model)
    tensors: dict[str, np.ndarray] = {}
    index: dict[str, Any] = {}
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise UnsupportedModel(f"{name} is of dtype {array.dtype}, which cannot be stored")
        codec, parts = pack(np.asarray(array))
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


def load(path: str | os.PathLike, *, into: Any = None, sha256: str | None = None) -> Any:
    """Read a model that `save` wrote; its predictions are the same, bit for bit, on the same machine and versions.

    Nothing from the file is run and no name that stands in it is imported.

    Parameters
    ----------
    path : str or os.PathLike
    into : torch.nn.Module or estimator, optional
        A module that you made, to be filled; names, shapes and dtypes must be the file's. Its linear layers become
        int8 layers where the file's are. For an estimator that was saved without some of its arguments: one of the
        same class that was made with them; all other arguments become the file's.
    sha256 : str, optional
        Digest that the whole file must have, as ``sha256sum`` prints it.

    Returns
    -------
    The model, or `into`.

    Raises
    ------
    CorruptBundle
        The file is truncated, altered, no bundle at all, from a newer version, or has another digest.
    FileNotFoundError
        There is no such file.
    UnsupportedModel
        It holds a model that can only be filled `into` one.
    ValueError
        It does not fit `into`.
    """
    path = Path(path)
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{64}", sha256)):
        raise ValueError(f"sha256 must be 64 hexadecimal digits; got {sha256!r}")
    data = _read(path)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256.lower():
        raise CorruptBundle(f"{path.name} is not the file you expect: its sha256 is {hashlib.sha256(data).hexdigest()}")
    manifest, tensors = _parse(path.name, data)
    del data
    try:
        room = _adapters.adapter_for_kind(manifest["config"]["kind"])
        arrays = _arrays(manifest, tensors)
        with one_file():
            return room.rebuild(manifest["config"], arrays, into)
    except (CorruptBundle, UnsupportedModel):
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RuntimeError) as error:
        if into is not None and isinstance(error, ValueError):
            raise
        raise CorruptBundle(f"the manifest of {path.name} does not describe a model: {error}") from error


@dataclass(frozen=True)
class Inspection:
    """What a file holds.

    Attributes
    ----------
    name, bytes, sha256 : of the file
    kind, model : kind of model, and its class
    complete : whether `load` needs no `into`
    arrays : list of (name, dtype, shape, how it is stored, bytes)
    metadata, versions : what was saved with it
    """

    name: str
    bytes: int
    sha256: str
    kind: str
    model: str
    complete: bool
    arrays: list[tuple[str, str, tuple[int, ...], str, int]]
    metadata: Any
    versions: dict[str, str]

    def _facts(self) -> list[tuple[str, str]]:
        facts = [
            ("file", f"{self.name}, {self.bytes:,} bytes"),
            ("sha256", self.sha256),
            ("model", f"{self.model} ({self.kind})" + ("" if self.complete else ": load needs into=")),
            ("saved with", ", ".join(f"{k} {v}" for k, v in self.versions.items())),
        ]
        return facts + ([("metadata", json.dumps(self.metadata, ensure_ascii=False))] if self.metadata else [])

    def __repr__(self) -> str:
        lines = [f"{k:<11}{v}" for k, v in self._facts()]
        width = max((len(a[0]) for a in self.arrays), default=0)
        for name, dtype, shape, stored, size in self.arrays:
            lines.append(
                f"  {name:<{width}}  {dtype:<8} {'×'.join(map(str, shape)) or 'scalar':<14} {stored:<8} {size:>12,}"
            )
        return "\n".join(map(_printable, lines))

    def _repr_html_(self) -> str:
        from html import escape

        facts = "".join(f"<tr><th>{escape(k)}</th><td colspan=4>{escape(v)}</td></tr>" for k, v in self._facts())
        rows = "".join("<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in a) + "</tr>" for a in self.arrays)
        return f"<table>{facts}{rows}</table>"

    def to_frame(self) -> Any:
        """The arrays as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.arrays, columns=["name", "dtype", "shape", "stored", "bytes"])


def inspect(path: str | os.PathLike) -> Inspection:
    """Say what a file holds, without building any of it; raises like `load` where the file is no sound bundle."""
    path = Path(path)
    data = _read(path)
    manifest, tensors = _parse(path.name, data)
    try:
        config = manifest["config"]
        rows = []
        for name, entry in manifest["arrays"].items():
            size = sum(tensors[key].nbytes for key in entry["parts"].values())
            rows.append((name, str(entry["dtype"]), tuple(entry["shape"]), entry["codec"] or "plain", size))
        inner = config.get("net", config)
        return Inspection(
            name=path.name,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            kind=str(config["kind"]),
            model=str(config.get("class") or config.get("named")),
            complete=bool(inner.get("class")) and not config.get("missing"),
            arrays=rows,
            metadata=manifest["metadata"],
            versions={str(k): str(v) for k, v in manifest["versions"].items()},
        )
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise CorruptBundle(f"the manifest of {path.name} does not describe a model: {error}") from error


# -- the file --------------------------------------------------------------------------------------------------------


def _printable(text: str) -> str:
    """Without what would steer a terminal: names and metadata are whatever somebody wrote into the file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _user_metadata(metadata: Any) -> Any:
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError(f"metadata must be a dict; got {metadata!r}")
    try:
        text = json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata must be JSON: {error}") from None
    return json.loads(text)


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


def _read(path: Path) -> bytes:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CorruptBundle(f"{path.name} is no regular file")
        return file.read()


def _parse(name: str, data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
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


def _arrays(manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays as `take_apart` gave them."""
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
