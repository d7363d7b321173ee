"""inspect: the contents of a file that `save` or `save_checkpoint` wrote; imports no framework."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle._display import html_table, import_optional, text_table
from lifecycle.store import adapters, bundle_reader
from lifecycle.store.limits import shorten

__all__ = ["Inspection", "inspect"]

_WIDTH = 200  # characters of a cell: the widest one decides how long every line is


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
        how_to_load = "" if self.complete else ": load needs into="
        if self.kind == adapters.CHECKPOINT:
            how_to_load = ": load_checkpoint reads it"
        facts = [
            ("file", f"{self.name}, {self.bytes:,} bytes"),
            ("sha256", self.sha256),
            ("model", f"{shorten(self.model, _WIDTH)} ({shorten(self.kind, _WIDTH)}){how_to_load}"),
            ("saved with", shorten(", ".join(f"{k} {v}" for k, v in self.versions.items()), _WIDTH)),
        ]
        if self.metadata:
            text = json.dumps(self.metadata, ensure_ascii=False)
            facts.append(("metadata", shorten(text, len(text))))  # whole
        return facts

    def __repr__(self) -> str:
        rows = [
            [
                shorten(cell, _WIDTH)
                for cell in (name, dtype, "×".join(map(str, shape)) or "scalar", stored, f"{size:,}")
            ]
            for name, dtype, shape, stored, size in self.arrays
        ]
        return "\n".join([*text_table(self._facts()), *(f"  {line}" for line in text_table(rows, "<<<<>"))])

    def _repr_html_(self) -> str:
        columns = ["name", "dtype", "shape", "stored", "bytes"]
        return html_table((), self._facts(), text_columns=[1]) + html_table(columns, self.arrays)

    def to_frame(self) -> Any:
        """The arrays as a pandas DataFrame."""
        columns = ["name", "dtype", "shape", "stored", "bytes"]
        return import_optional("pandas", "to_frame()").DataFrame(self.arrays, columns=columns)


def inspect(path: str | os.PathLike) -> Inspection:
    """Describe the contents of a file without loading them; raises `CorruptBundle` and OSError like `load`."""
    path = Path(path)
    with bundle_reader.reading(path.name, "a model"):
        data = bundle_reader.read(path)
        manifest, tensors = bundle_reader.parse(path.name, data)
        config = manifest["config"]
        arrays = []
        for name, entry in manifest["arrays"].items():
            size = sum(tensors[key].nbytes for key in entry["parts"].values())
            arrays.append((name, entry["dtype"], tuple(entry["shape"]), entry["codec"] or "plain", size))
        model, complete = adapters.describe(config)
        versions = {str(k): str(v) for k, v in manifest["versions"].items()}
        digest = hashlib.sha256(data).hexdigest()
        kind, metadata = config["kind"], manifest["metadata"]
        return Inspection(path.name, len(data), digest, kind, model, complete, arrays, metadata, versions)
