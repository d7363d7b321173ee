"""inspect: the contents of a file that `save` or `save_checkpoint` wrote; imports no framework."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle.store import adapters, bundle

__all__ = ["Inspection", "inspect"]


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
            ("model", f"{self.model} ({self.kind}){how_to_load}"),
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
    """Describe the contents of a file without loading them; raises `CorruptBundle` and OSError like `load`."""
    path = Path(path)
    data = bundle.read(path)
    manifest, tensors = bundle.parse(path.name, data)
    with bundle.reading(path.name, "a model"):
        config = manifest["config"]
        arrays = []
        for name, entry in manifest["arrays"].items():
            size = sum(tensors[key].nbytes for key in entry["parts"].values())
            arrays.append((name, str(entry["dtype"]), tuple(entry["shape"]), entry["codec"] or "plain", size))
        model, complete = adapters.describe(config)
        versions = {str(k): str(v) for k, v in manifest["versions"].items()}
        digest = hashlib.sha256(data).hexdigest()
        kind, metadata = str(config["kind"]), manifest["metadata"]
        return Inspection(path.name, len(data), digest, kind, model, complete, arrays, metadata, versions)


def _printable(text: str) -> str:
    """Without control characters: names and metadata of a file are arbitrary, and a terminal obeys escape codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
