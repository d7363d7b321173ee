"""inspect: the contents of a file that `save` or `save_checkpoint` wrote; imports no framework."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from lifecycle._display import html_table, import_optional, text_table
from lifecycle.store import adapters, bundle_reader
from lifecycle.store.bundle import GRAPH
from lifecycle.store.limits import shorten

__all__ = ["Inspection", "inspect"]

_WIDTH = 200  # characters of a cell: the widest one decides how long every line is
_MAX_FACTS = 200  # lines


@dataclass(frozen=True)
class Inspection:
    """The contents of a file.

    Attributes
    ----------
    name, bytes, sha256 : of the file
    kind, model : kind of model, and its class
    complete : whether `load` needs no `into`
    arrays : list of (name, dtype, shape, how it is stored, bytes)
    metadata, versions : what was saved with it
    graph_bytes : size of the ONNX graph, None where the file has none
    facts : what is known of the model: its inputs and outputs, reports, a certificate
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
    graph_bytes: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def _properties(self) -> list[tuple[str, str]]:
        how_to_load = "" if self.complete else ": load needs into="
        if self.kind == adapters.CHECKPOINT:
            how_to_load = ": load_checkpoint reads it"
        properties = [
            ("file", f"{shorten(self.name, _WIDTH)}, {self.bytes:,} bytes"),
            ("sha256", self.sha256),
            ("model", f"{shorten(self.model, _WIDTH)} ({shorten(self.kind, _WIDTH)}){how_to_load}"),
            ("saved with", shorten(", ".join(f"{k} {v}" for k, v in self.versions.items()), _WIDTH)),
        ]
        if self.graph_bytes is not None:
            properties.append(("graph", f"ONNX, {self.graph_bytes:,} bytes"))
        if self.metadata:
            text = json.dumps(self.metadata, ensure_ascii=False)
            properties.append(("metadata", shorten(text, len(text))))  # whole
        return properties

    def _facts(self) -> list[tuple[str, str]]:
        """Names and values; a name says in which dicts the value is."""
        found = list(islice(_flattened(self.facts), _MAX_FACTS + 1)) if self.facts else []
        lines = [(shorten(name, _WIDTH), shorten(value, _WIDTH)) for name, value in found[:_MAX_FACTS]]
        return lines + [("…", f"only the first {_MAX_FACTS} are shown")] * (len(found) > _MAX_FACTS)

    def _rows(self) -> list[list[str]]:
        """The arrays as they are shown."""
        return [
            [
                shorten(cell, _WIDTH)
                for cell in (name, dtype, "×".join(map(str, shape)) or "scalar", stored, f"{size:,}")
            ]
            for name, dtype, shape, stored, size in self.arrays
        ]

    def __repr__(self) -> str:
        facts = [f"  {name}: {value}" for name, value in self._facts()]
        lines = [*text_table(self._properties()), *(["facts", *facts] if facts else [])]
        return "\n".join([*lines, *(f"  {line}" for line in text_table(self._rows(), "<<<<>"))])

    def _repr_html_(self) -> str:
        columns = ["name", "dtype", "shape", "stored", "bytes"]
        facts = html_table((), self._facts(), caption="facts", text_columns=[1]) if self.facts else ""
        return html_table((), self._properties(), text_columns=[1]) + facts + html_table(columns, self._rows())

    def to_frame(self) -> Any:
        """The arrays as a pandas DataFrame."""
        columns = ["name", "dtype", "shape", "stored", "bytes"]
        return import_optional("pandas", "to_frame()").DataFrame(self.arrays, columns=columns)


def _flattened(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flattened(inner, shorten(f"{name}.{key[:_WIDTH]}" if name else key[:_WIDTH], _WIDTH))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def inspect(path: str | os.PathLike) -> Inspection:
    """Describe the contents of a file without loading them; raises `CorruptBundle` and OSError like `load`."""
    path = Path(path)
    with bundle_reader.reading(path.name, "a model"):
        bundle = bundle_reader.read(path)
        manifest, tensors = bundle.manifest, bundle.tensors
        config = manifest["config"]
        arrays = []
        for name, entry in manifest["arrays"].items():
            size = sum(tensors[key].nbytes for key in entry["parts"].values())
            arrays.append((name, entry["dtype"], tuple(entry["shape"]), entry["codec"] or "plain", size))
        model, complete = adapters.describe(config)
        versions = {str(k): str(v) for k, v in manifest["versions"].items()}
        kind, metadata = config["kind"], manifest["metadata"]
        graph = None if manifest["graph"] is None else tensors[GRAPH].nbytes
        facts = manifest["facts"] or {}
        return Inspection(
            path.name, bundle.size, bundle.sha256(), kind, model, complete, arrays, metadata, versions, graph, facts
        )
