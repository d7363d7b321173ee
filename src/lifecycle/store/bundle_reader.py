"""Reading of the file format of `lifecycle.store.bundle`: every byte is checked, and no code from the file is run."""

import hashlib
import io
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lifecycle._check import CorruptBundle, UnsupportedModel
from lifecycle.codecs import unpack
from lifecycle.store import limits
from lifecycle.store.bundle import DIGEST_PLACEHOLDER, DIGEST_PREFIX, FORMAT, GRAPH, MANIFEST
from lifecycle.store.header import ALIGNMENT, DTYPES, Section, check_shape, parse_header, parse_json
from lifecycle.store.sections import digests, pieces

_HEAD = re.compile(re.escape(DIGEST_PREFIX) + rb'([0-9a-f]{64})\\",\\"format\\":([0-9]{1,9}),')
_DIGEST_BEGIN = len(DIGEST_PREFIX)
_DIGEST_END = _DIGEST_BEGIN + len(DIGEST_PLACEHOLDER)
_FIELDS = {"sha256", "format", "config", "arrays", "sections", "graph", "facts", "metadata", "versions"}
_FIELDS_OF_1 = _FIELDS - {"sections", "graph", "facts"}
_FIELDS_OF_ARRAY = {"dtype", "shape", "codec", "parts"}
_DIGEST = re.compile("[0-9a-f]{64}")
_TOO_LARGE = "{} needs more memory than there is: its arrays, or what its manifest asks for, are too large"
_ALTERED = "is truncated or was altered after it was saved"


@dataclass(frozen=True)
class Bundle:
    """A file whose digests and structure were checked.

    `tensors` are arrays in the memory of `data`, which is all of the file behind the header. They can be written to.
    """

    name: str
    size: int
    manifest: dict[str, Any]
    tensors: dict[str, np.ndarray]
    data: np.ndarray
    header_state: Any  # SHA-256 after the bytes of the header

    def sha256(self) -> str:
        """Digest of the file, as `sha256sum` prints it."""
        return _continued(self.header_state, self.data)


class _File:
    """A regular file that is read once: what is checked is what is used."""

    def __init__(self, name: str, file: io.FileIO):
        self.name, self._file, self._lock = name, file, threading.Lock()
        self._status = os.fstat(file.fileno())
        if not stat.S_ISREG(self._status.st_mode):
            raise CorruptBundle(f"{name} is not a regular file")
        self.size, self.start = self._status.st_size, 0
        self.data, self.complete = np.empty(0, np.uint8), False

    def read_header(self) -> bytes:
        """The header, without its length."""
        begin = self._read(min(self.size, 9))
        length = int.from_bytes(begin[:8], "little")
        if begin[8:] != b"{" or length > min(limits.MAX_HEADER, self.size - 8):
            raise CorruptBundle(f"{self.name} {_describe_other_format(begin, length)}")
        self.start = 8 + length
        self._file.seek(8)
        return self._read(length)

    def make_data(self) -> None:
        """Memory for all bytes behind the header, in which numbers are aligned as in the file."""
        buffer = np.empty(self.size - self.start + ALIGNMENT, np.uint8)
        begin = (self.start - buffer.ctypes.data) % ALIGNMENT
        self.data = buffer[begin : begin + self.size - self.start]

    def read_data(self) -> np.ndarray:
        """All bytes behind the header."""
        if not self.complete:
            self.make_data()
            self.fill(0, self.data.size)
            self.complete = True
        return self.data

    def fill(self, begin: int, end: int) -> None:
        """Read a part of `data`; threads may do it at once."""
        with self._lock:
            self._file.seek(self.start + begin)
            while begin < end:
                n = self._file.readinto(self.data[begin:end].data)
                if not n:
                    raise self._changed()
                begin += n

    def check_unchanged(self) -> None:
        """CorruptBundle if somebody wrote to the file while it was read."""
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):
            raise self._changed()

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._file.read(size)
            if not part:
                raise self._changed()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _changed(self) -> CorruptBundle:
        return CorruptBundle(f"{self.name} changed while it was read: read it again once nobody writes to it")


def check_sha256(sha256: Any) -> None:
    """ValueError unless an argument is None or a digest."""
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{64}", sha256)):
        raise ValueError(f"sha256 must be 64 hexadecimal digits; got {sha256!r}")


def read(path: Path, sha256: str | None = None) -> Bundle:
    """Read a file; CorruptBundle if any byte differs from what was written, or the file has another `sha256`.

    ExceedsLimit, which `reading` translates, if its JSON is too large.
    """
    try:
        opened = io.FileIO(path, opener=_open_without_waiting)
    except IsADirectoryError:
        raise IsADirectoryError(f"{path} is a folder; give the path of a file") from None
    with opened:
        file = _File(path.name, opened)
        bundle = _read_and_check(file, sha256)
        file.check_unchanged()
        return bundle


def _open_without_waiting(name: str, flags: int) -> int:
    """Open a file; a pipe would wait for somebody who writes to it."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _read_and_check(file: _File, sha256: str | None) -> Bundle:
    name, header = file.name, file.read_header()
    state = hashlib.sha256(len(header).to_bytes(8, "little"))
    without_digest = state.copy()
    state.update(header)
    if sha256 is not None:  # before anything in the file is used
        file.read_data()
        if (found := _continued(state, file.data)) != sha256.lower():
            raise CorruptBundle(f"{name} is not the file you expect: its sha256 is {found}")
    digest, version = _digest_and_version(name, header)
    for part in (header[:_DIGEST_BEGIN], DIGEST_PLACEHOLDER.encode(), memoryview(header)[_DIGEST_END:]):
        without_digest.update(part)
    if version > 1 and without_digest.hexdigest() != digest:
        raise CorruptBundle(f"{name} {_ALTERED}: its checksum differs")
    allowance = limits.json_allowance(file.size, file.start)
    try:
        if not header.isascii() and 4 * len(header) > allowance:
            raise limits.ExceedsLimit("the header is too long for letters that are not ASCII")
        text = header.decode("utf-8")
        del header, part  # not in memory twice
        entries, allowance = parse_json(text, allowance)
        del text
        metadata, sections = parse_header(entries, file.start, ordered=version > 1)
        del entries
    except limits.ExceedsLimit:
        raise
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CorruptBundle(f"{name} is not a valid safetensors file: {error}") from None
    described, found_bytes = max((section.end for section in sections.values()), default=0), file.size - file.start
    if described != found_bytes:
        raise CorruptBundle(
            f"{name} {_ALTERED}: its header describes {described:,} bytes of arrays, and it has {found_bytes:,}"
        )
    if metadata.keys() != {MANIFEST}:
        raise CorruptBundle(f"{name} is not a file of this library: its metadata holds more than the manifest")
    try:
        manifest, _ = parse_json(metadata.pop(MANIFEST), allowance)
        _check_manifest(name, manifest, sections, version)
        if version == 1:
            manifest = {field: manifest[field] for field in _FIELDS_OF_1} | {"graph": None, "facts": None}
    except (CorruptBundle, limits.ExceedsLimit):
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CorruptBundle(f"the manifest of {name} is malformed: {error}") from None
    if version > 1:
        _check_digests(file, sections, manifest["sections"])
    elif _continued(without_digest, file.read_data()) != digest:
        raise CorruptBundle(f"{name} {_ALTERED}: its checksum differs")
    tensors = {
        key: np.ndarray(section.shape, section.dtype, file.data, section.begin) for key, section in sections.items()
    }
    for key, tensor in tensors.items():
        if tensor.dtype == bool and tensor.view(np.uint8).max(initial=0) > 1:
            raise CorruptBundle(f"{key} of {name} holds a truth value that is neither 0 nor 1")
    return Bundle(name, file.size, manifest, tensors, file.data, state)


def _digest_and_version(name: str, header: bytes) -> tuple[str, int]:
    """The digest that a header holds, and the version of the format."""
    head = _HEAD.match(header)
    if head is None:
        raise CorruptBundle(f"{name} is a safetensors file without the manifest of this library, or was altered")
    version = int(head[2])
    if version > FORMAT:
        raise CorruptBundle(
            f"{name} has format {version}, and this version of lifecycle reads up to {FORMAT}: update lifecycle"
        )
    if version < 1 or (version > 1 and (8 + len(header)) % ALIGNMENT):
        raise CorruptBundle(f"the header of {name} is malformed")
    return head[1].decode(), version


def _continued(state: Any, data: Any) -> str:
    state = state.copy()
    state.update(data)
    return state.hexdigest()


def _check_digests(file: _File, sections: dict[str, Section], expected: dict[str, list[str]]) -> None:
    """Read all sections, and compare the digest of each piece."""
    places = [
        (name, section.begin + begin, section.begin + end)
        for name, section in sections.items()
        for begin, end in pieces(section.end - section.begin)
    ]

    def read_group(group: range) -> None:
        if not file.complete:
            file.fill(places[group[0]][1], places[group[-1]][2])

    if not file.complete:
        file.make_data()
    found = digests([file.data[begin:end] for _, begin, end in places], read_group)
    for (name, _, _), digest, wanted in zip(places, found, (d for ds in expected.values() for d in ds), strict=True):
        if digest != wanted:
            raise CorruptBundle(f"{file.name} {_ALTERED}: the checksum of {name} differs")


def _check_manifest(name: str, manifest: dict[str, Any], sections: dict[str, Section], version: int) -> None:
    """CorruptBundle or ValueError unless the manifest describes these sections, as `bundle.write` does."""
    if not manifest.keys() >= _FIELDS_OF_1 or (version > 1 and manifest.keys() != _FIELDS):
        raise ValueError(f"its fields are not those of format {version}")
    dicts = manifest["config"], manifest["arrays"], manifest["versions"], manifest["metadata"] or {}
    if not all(isinstance(value, dict) for value in dicts):
        raise CorruptBundle(f"the manifest of {name} is malformed")
    if not isinstance(manifest["config"].get("kind"), str):
        raise CorruptBundle(f"the manifest of {name} names no kind of model")
    used = []
    for array_name, entry in manifest["arrays"].items():
        _check_entry(array_name, entry, version)
        used += entry["parts"].values()
    if version > 1:
        if not isinstance(manifest["facts"] or {}, dict):
            raise ValueError("its facts are no object")
        if not all(isinstance(text, str) for text in manifest["versions"].values()):
            raise ValueError("the versions are not strings")
        used += _checked_graph(manifest, sections)
        _check_sections(manifest["sections"], sections)
    if sorted(used) != sorted(sections):
        raise CorruptBundle(f"the manifest of {name} does not list the arrays of the file")


def _check_entry(name: str, entry: Any, version: int) -> None:
    """ValueError unless an array of the manifest says how it is stored as `bundle.write` does."""
    if not limits.is_name(name):
        raise ValueError(f"the name {name[:100]!r} is empty, too long, or does not print")
    if not isinstance(entry, dict) or not entry.keys() >= _FIELDS_OF_ARRAY:
        raise ValueError(f"the entry of {name} is malformed")
    if version > 1 and entry.keys() != _FIELDS_OF_ARRAY:
        raise ValueError(f"the entry of {name} has other fields than those of format 2")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        raise ValueError(f"the dtype of {name} is none that this library stores")
    check_shape(name, entry["shape"])
    codec, parts = entry["codec"], entry["parts"]
    if not isinstance(parts, dict) or not all(isinstance(key, str) for key in parts.values()):
        raise ValueError(f"the parts of {name} are malformed")
    if codec is None and set(parts) != {""}:
        raise ValueError(f"{name} is stored as it is, and has the parts {', '.join(parts)}")
    if codec is not None and not (isinstance(codec, str) and len(parts) <= limits.MAX_PARTS):
        raise ValueError(f"the codec of {name} is malformed")


def _checked_graph(manifest: dict[str, Any], sections: dict[str, Section]) -> list[str]:
    """The name of the tensor with the graph, in a list that is empty where there is none."""
    graph = manifest["graph"]
    if GRAPH in manifest["arrays"] or graph not in (None, GRAPH):
        raise ValueError("the graph is malformed")
    if graph is None:
        return []
    if sections[GRAPH].dtype != np.uint8 or len(sections[GRAPH].shape) != 1:
        raise ValueError("the graph is not made of bytes")
    return [GRAPH]


def _check_sections(listed: Any, sections: dict[str, Section]) -> None:
    if not isinstance(listed, dict) or list(listed) != list(sections):
        raise ValueError("the sections are not the tensors of the file, in their order")
    for key, found in listed.items():
        n_pieces = len(pieces(sections[key].end - sections[key].begin))
        if type(found) is not list or len(found) != n_pieces:
            raise ValueError(f"{key} has {n_pieces:,} pieces, and another number of digests")
        if not all(isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in found):
            raise ValueError(f"a digest of {key} is malformed")


def _describe_other_format(begin: bytes, length: int) -> str:
    if not begin:
        return "is empty"
    if begin[:4] == b"PK\x03\x04":
        return "is a zip archive (as torch.save writes them), not a file of this library; it was not opened"
    if len(begin) > 1 and begin[0] == 0x80 and begin[1] <= 5:
        return "is a pickle, not a file of this library; it was not opened"
    if len(begin) < 9 or (begin[8:] == b"{" and length <= limits.MAX_HEADER):
        return "is truncated, or not a file of this library"
    return "is not a safetensors file"


def arrays_of(bundle: Bundle) -> dict[str, np.ndarray]:
    """The arrays that `bundle.write` was given; `tensors` is emptied, so that no array is in memory twice."""
    arrays = {}
    for name, entry in bundle.manifest["arrays"].items():
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        parts = {part: bundle.tensors.pop(key) for part, key in entry["parts"].items()}
        array = unpack(entry["codec"], parts, dtype, shape) if entry["codec"] is not None else parts[""]
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name} is not stored as the manifest says")
        arrays[name] = np.require(array, requirements=["C", "A", "W"])
    return arrays


def graph_of(bundle: Bundle) -> bytes | None:
    """The bytes of the ONNX graph that `bundle.write` was given; None where there is none."""
    return None if bundle.manifest["graph"] is None else bundle.tensors[GRAPH].tobytes()


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
