"""save, load and inspect: a model as one safetensors file, in which nothing can run.

The file's form is that of `lifecycle.store.bundle`.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle._check import CorruptBundle, UnsupportedModel
from lifecycle.store import adapters, bundle
from lifecycle.store.json_values import one_file

__all__ = ["Inspection", "inspect", "load", "save"]


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
    room = adapters.adapter_for(model)
    bundle.write(path, *room.take_apart(model), metadata, small=True)


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
    data = bundle.read(path)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256.lower():
        raise CorruptBundle(f"{path.name} is not the file you expect: its sha256 is {hashlib.sha256(data).hexdigest()}")
    manifest, tensors = bundle.parse(path.name, data)
    del data
    if manifest["config"]["kind"] == "checkpoint":
        raise UnsupportedModel(f"{path.name} is a checkpoint: load_checkpoint(path, model=…) puts it into a model")
    try:
        room = adapters.adapter_for_kind(manifest["config"]["kind"])
        arrays = bundle.arrays_of(manifest, tensors)
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
            ("model", f"{self.model} ({self.kind})" + self._how_to_load()),
            ("saved with", ", ".join(f"{k} {v}" for k, v in self.versions.items())),
        ]
        return facts + ([("metadata", json.dumps(self.metadata, ensure_ascii=False))] if self.metadata else [])

    def _how_to_load(self) -> str:
        if self.kind == "checkpoint":
            return ": load_checkpoint reads it"
        return "" if self.complete else ": load needs into="

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
    data = bundle.read(path)
    manifest, tensors = bundle.parse(path.name, data)
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
            complete=bool(inner.get("class")) and not config.get("missing") and config["kind"] != "checkpoint",
            arrays=rows,
            metadata=manifest["metadata"],
            versions={str(k): str(v) for k, v in manifest["versions"].items()},
        )
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise CorruptBundle(f"the manifest of {path.name} does not describe a model: {error}") from error


def _printable(text: str) -> str:
    """Without what would steer a terminal: names and metadata are whatever somebody wrote into the file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
