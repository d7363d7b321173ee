"""Predictions as CSV, parquet and .npy files, written chunk by chunk."""

import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lifecycle._display import import_optional
from lifecycle.cli.prediction import Predictions
from lifecycle.store.files import write_atomically

_BLOCK = 1 << 20  # bytes
_NEEDS_QUOTES = re.compile(r'[",\r\n]')


def write_predictions(predictions: Iterable[Predictions], path: str | os.PathLike) -> int:
    """Write predictions whole or not at all, as .parquet and .npy by the suffix, else as CSV; returns how many.

    A .npy file holds an array of the shape (n,), or (n, k) where there are k predictions for a row. Of a classifier it
    is a structured array, with the columns of a CSV file as its fields.
    """
    n_rows = 0

    def counted() -> Iterator[Predictions]:
        nonlocal n_rows
        for columns in predictions:
            n_rows += len(next(iter(columns.values())))
            yield columns

    suffix = os.path.splitext(os.fspath(path))[1].lower()
    encode = {".parquet": _as_parquet, ".npy": _as_npy}.get(suffix, _as_utf8)
    write_atomically(path, encode(counted()))
    return n_rows


def as_csv(predictions: Iterable[Predictions]) -> Iterator[str]:
    """The text of a CSV file, as `DataFrame.to_csv` writes it."""
    is_first = True
    for columns in predictions:
        lines = [",".join(map(_quoted, columns))] if is_first else []
        missing = "" if len(columns) > 1 else '""'  # an empty line would be no row
        texts = [_as_texts(values, missing) for values in columns.values()]
        lines += texts[0] if len(texts) == 1 else map(",".join, zip(*texts, strict=True))
        yield "\n".join([*lines, ""])
        is_first = False


def _as_texts(values: np.ndarray, missing: str) -> list[str]:
    """The values for a CSV file: of a number the shortest text that is read as the same number, `missing` for NaN."""
    if values.dtype.kind != "f":
        texts = list(map(str, values.tolist()))
        quoted = {text: _quoted(text) or missing for text in set(texts)}
        return [quoted[text] for text in texts]
    texts = list(map(repr, values.tolist())) if values.dtype == np.float64 else values.astype(str).tolist()
    for k in np.flatnonzero(np.isnan(values)):
        texts[k] = missing
    return texts


def _quoted(text: str) -> str:
    """A value of a CSV file, in quotes where it needs them."""
    if _NEEDS_QUOTES.search(text):
        text = text.replace('"', '""')
        return f'"{text}"'
    return text


def _as_utf8(predictions: Iterable[Predictions]) -> Iterator[bytes]:
    return (text.encode() for text in as_csv(predictions))


def _as_parquet(predictions: Iterable[Predictions]) -> Iterator[bytes]:
    arrow = import_optional("pyarrow", "writing a parquet file", "parquet")
    parquet = import_optional("pyarrow.parquet", "writing a parquet file", "parquet")
    with tempfile.TemporaryFile() as file:
        writer = None
        for columns in predictions:
            table = arrow.table(columns, schema=None if writer is None else writer.schema)
            writer = writer or parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
        yield from _blocks(file)


def _as_npy(predictions: Iterable[Predictions]) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as rows, tempfile.TemporaryFile() as file:
        part, n_rows = np.empty(0), 0
        for columns in predictions:
            part = _as_array(columns)
            rows.write(part.tobytes())
            n_rows += len(part)
        rows.flush()
        array = np.memmap(rows, part.dtype, "r", shape=(n_rows, *part.shape[1:]))  # a file begins with its shape
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Stored array in format 3.0", UserWarning)  # names outside of Latin-1
            np.save(file, array, allow_pickle=False)
        yield from _blocks(file)


def _as_array(columns: Predictions) -> np.ndarray:
    if "prediction" not in columns:
        return np.column_stack(list(columns.values()))
    if len(columns) == 1:
        return columns["prediction"]
    array = np.empty(len(columns["prediction"]), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        array[name] = values
    return array


def _blocks(file: Any) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(_BLOCK):
        yield block
