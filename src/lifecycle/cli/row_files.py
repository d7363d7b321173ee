"""The rows of CSV, parquet and .npy files for a model, in chunks: memory does not grow with the number of rows."""

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifecycle._display import import_optional
from lifecycle._progress import progress_bar
from lifecycle.cli.csv_tables import CsvReader, import_pandas
from lifecycle.cli.number_format import NumberFormat
from lifecycle.cli.prediction import ModelColumns, Predictions, decide_number_format_for, is_bare, predict

CHUNK = 1 << 16  # rows for which a model predicts at once
BLOCK = 1 << 22  # bytes of a CSV file that are parsed at once; the first of them decide
_MAX_VALUES = 1 << 23  # of a chunk: of wide rows it has fewer
_BUFFER = 1 << 20  # bytes that are read at once of a column of a parquet file


@dataclass
class Rows:
    """The rows of a file.

    Attributes
    ----------
    notes : list of str
        Sentences about what was decided.
    size : int
        Of the file, in any unit.
    parts : iterator of (rows as the model takes them, their size)
        Of any length.
    """

    notes: list[str]
    size: int
    parts: Iterator[tuple[Any, int]]


def open_rows(path: str | os.PathLike, model: Any, trained: NumberFormat | None = None) -> AbstractContextManager[Rows]:
    """The rows of a file, for a model: of .parquet and .npy files by their suffix, of any other as CSV.

    Parameters
    ----------
    path : path-like
    model : estimator, predictor or module
    trained : NumberFormat, default=None
        Of the CSV file that the model was trained on.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, is not of this format, has no row, or does not fit the model; also while its parts are
        read.
    ImportError
        The format needs a package that is missing.
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".parquet":
        return _parquet_rows(path, model)
    return _array_rows(path, model) if suffix == ".npy" else _csv_rows(path, model, trained)


def predict_in_chunks(model: Any, rows: Rows, progress: bool | None = None) -> Iterator[Predictions]:
    """Predictions for the rows of a file, chunk by chunk; `progress` is that of `progress_bar`."""
    with progress_bar(rows.size, "predict", progress) as bar:
        for X in _chunks(_counted(rows.parts, bar.update)):
            yield predict(model, X)


def _counted(parts: Iterable[tuple[Any, int]], update: Callable[[int], Any]) -> Iterator[Any]:
    for X, size in parts:
        yield X
        update(size)


def _chunks(parts: Iterable[Any]) -> Iterator[Any]:
    """The rows of arrays or DataFrames in chunks of equal length, the last one aside."""
    held: list[Any] = []
    for part in parts:
        held.append(part)
        size = _chunk_size(part)
        if sum(map(len, held)) >= size:
            rows = _concatenated(held)
            whole = len(rows) - len(rows) % size
            yield from (rows[k : k + size] for k in range(0, whole, size))
            held = [rows[whole:]] if whole < len(rows) else []
    if held:
        yield _concatenated(held)


def _chunk_size(rows: Any) -> int:
    size, n_values = CHUNK, int(np.prod(rows.shape[1:]))
    while size > 1 and size * n_values > _MAX_VALUES:
        size //= 2
    return size


def _concatenated(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return import_pandas().concat(parts, ignore_index=True)


@contextmanager
def _csv_rows(path: str, model: Any, trained: NumberFormat | None) -> Iterator[Rows]:
    with open(path, "rb") as file:
        reader = CsvReader(file, os.path.basename(path), BLOCK)
        names = list(reader.first.columns)
        number_format, decided = decide_number_format_for(model, trained, {c: reader.first[c] for c in names})
        del reader.first
        columns = ModelColumns(model, names, number_format)

        def parts() -> Iterator[tuple[Any, int]]:
            n_bytes = 0
            for table in reader.tables(columns.numeric, columns.words, number_format):
                yield columns.rows(table), reader.n_bytes - n_bytes
                n_bytes = reader.n_bytes
            columns.warn_of_unknown_words()

        yield Rows(reader.notes + decided, os.fstat(file.fileno()).st_size, parts())


@contextmanager
def _parquet_rows(path: str, model: Any) -> Iterator[Rows]:
    parquet = import_optional("pyarrow.parquet", "reading a parquet file", "parquet")
    name = os.path.basename(path)
    with open(path, "rb") as file, _one_sentence_on_damage(name):
        # a row group may be as long as the file, and would be read as a whole
        source = parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
        schema = source.schema_arrow
        columns = ModelColumns(model, schema.names)
        for kind, names in (("numbers", columns.numeric), ("words", columns.words)):
            for column in names:
                if schema.names.count(column) > 1:
                    raise ValueError(f"{name} has the column name {column!r} twice; give each column a name of its own")
                if not _holds(kind, schema.field(column).type):
                    raise ValueError(
                        f"the column {column!r} must hold {kind}; in {name} its type is {schema.field(column).type}"
                    )
        _check_number_of_rows(name, source.metadata.num_rows)

        def parts() -> Iterator[tuple[Any, int]]:
            names = [*columns.numeric, *columns.words]
            for batch in source.iter_batches(_chunk_size(np.empty((0, len(names)))), columns=names):
                table = {column: _as_series(batch.column(column), column in columns.words) for column in names}
                yield columns.rows(import_pandas().DataFrame(table)), len(batch)
            columns.warn_of_unknown_words()

        yield Rows([], source.metadata.num_rows, parts())


def _holds(kind: str, arrow_type: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    if kind == "words":
        of_words = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
        return any(holds(arrow_type) for holds in of_words)
    of_numbers = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
    return any(holds(arrow_type) for holds in of_numbers)


def _as_series(column: Any, is_words: bool) -> Any:
    """A column of a batch as float64, or as str and None."""
    if is_words:
        return import_pandas().Series(column.to_pylist(), dtype=object)
    return import_pandas().Series(column.cast("float64", safe=False).to_numpy(zero_copy_only=False))


@contextmanager
def _one_sentence_on_damage(name: str) -> Iterator[None]:
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{name} is no parquet file, or a damaged one: {reason}") from None


@contextmanager
def _array_rows(path: str, model: Any) -> Iterator[Rows]:
    name = os.path.basename(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        raise ValueError(
            f"{name} is no .npy file of numbers: it is damaged, or holds Python objects, which are not read"
        ) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.ndim:
        raise ValueError(f"{name} must hold one array of numbers, with a row or more")
    _check_number_of_rows(name, len(array))
    columns = None if is_bare(model) else _columns_of_array(model, name, array)
    size, dtype = _chunk_size(array), array.dtype.newbyteorder("=")

    def parts() -> Iterator[tuple[Any, int]]:
        for start in range(0, len(array), size):
            part = np.array(array[start : start + size], dtype, order="C")
            if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                array.base.madvise(mmap.MADV_DONTNEED)  # pages that were read count as memory of the process
            X = part if columns is None else columns.rows(import_pandas().DataFrame(part, columns=columns.numeric))
            yield X, len(part)

    yield Rows([], len(array), parts())


def _columns_of_array(model: Any, name: str, array: np.ndarray) -> ModelColumns | None:
    """The columns of an array, which are in the order in which the model was trained; None if they have no names."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return None
    columns = ModelColumns(model, [str(n) for n in names])
    if columns.words:
        raise ValueError(f"the model takes words in {columns.words[0]!r}: give a .csv or .parquet file")
    if array.shape[1:] != (len(names),):
        raise ValueError(f"the model takes {len(names)} columns; {name} has the shape {array.shape}")
    return columns


def _check_number_of_rows(name: str, n_rows: int) -> None:
    if not n_rows:
        raise ValueError(f"{name} has no row")
