"""Predictions as CSV, parquet and .npy files, written chunk by chunk."""

import csv
import io
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lifecycle._display import import_optional
from lifecycle.cli.prediction import Predictions
from lifecycle.store.files import write_atomically

_BLOCK = 1 << 20  # bytes


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
    for k, columns in enumerate(predictions):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if k == 0:
            writer.writerow(columns)
        writer.writerows(zip(*map(_as_texts, columns.values()), strict=True))
        yield text.getvalue()


def _as_texts(values: np.ndarray) -> list[Any]:
    """What the csv module writes for the values: the shortest text that is read as the same number, "" for NaN."""
    if values.dtype.kind != "f":
        return values.tolist()
    texts = values.tolist() if values.dtype == np.float64 else values.astype(str).tolist()
    if (missing := np.isnan(values)).any():
        return ["" if is_missing else v for v, is_missing in zip(texts, missing, strict=True)]
    return texts


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
