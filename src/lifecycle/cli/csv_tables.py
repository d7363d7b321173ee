"""CSV files as tables of text and numbers, whole or in blocks of rows, and their columns as categories.

A column in which every value is a number is numeric; every other column is categorical. Both are read from the same
text, so that a model recognizes its columns in another file.
"""

import io
import os
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from lifecycle._display import import_optional
from lifecycle._threads import map_ordered
from lifecycle.cli.csv_text import (
    Characters,
    NotText,
    delimiter_of,
    end_of_first_row,
    end_of_last_row,
    records,
    without_first_lines,
    without_last_lines,
    without_line_end,
)
from lifecycle.cli.number_format import DECIMAL_POINTS, NumberFormat, decide_number_format

_SHOWN = 20  # characters of a value
_AHEAD = 4  # blocks that are in memory at once, parsed on threads


def import_pandas() -> Any:
    """pandas, or an ImportError that names the extra."""
    return import_optional("pandas", "reading a table")


def read_table(path: str | os.PathLike, decide_format: Callable = decide_number_format) -> Any:
    """A whole CSV file as a DataFrame of text, as `CsvReader` reads it.

    Parameters
    ----------
    path : path-like
    decide_format : callable, default=decide_number_format
        Takes the columns by name, and returns their `NumberFormat` and sentences about it.

    Returns
    -------
    pandas.DataFrame
        Of str, and None where missing. `number_format_of` gives how its numbers are written; ``attrs["notes"]`` are
        sentences about what was decided.

    Raises
    ------
    OSError
        There is no such file, or it cannot be read.
    ValueError
        As of `CsvReader`.
    """
    with open(path, "rb") as file:
        reader = CsvReader(file, os.path.basename(os.fspath(path)))
    table = reader.first
    number_format, decided = decide_format({column: table[column] for column in table.columns})
    table.attrs = {"number_format": tuple(number_format), "notes": reader.notes + decided}
    return table


def number_format_of(table: Any) -> NumberFormat:
    """How the numbers of a table that `read_table` returned are written."""
    return NumberFormat(*table.attrs.get("number_format", DECIMAL_POINTS))


class CsvReader:
    """A CSV file in blocks of whole rows; what pandas takes for missing ("", NA, null, …) is missing.

    The text is UTF-8, UTF-16 with a byte order mark, or else Windows-1252. Blank lines before the column names and at
    the end are skipped. A line such as ``sep=;`` names the delimiter; otherwise it is that of commas, semicolons, tabs
    and bars under which the most rows have as many values as there are names, quotes parsed. A row with fewer values
    ends with missing ones. The first block decides, and a later row that contradicts it is an error.

    Parameters
    ----------
    file : buffered binary file
    name : str
    block : int, default=-1
        Bytes of a block, about; -1: the whole file.

    Attributes
    ----------
    first : pandas.DataFrame
        The first block as text: str, and None where missing.
    notes : list of str
        Sentences about what was decided.
    n_bytes : int
        That were read.

    Raises
    ------
    ValueError
        It is no table: not text, without rows, with a row longer than the line of names, or with a duplicate name.
        Rows are counted from 1, after the names.
    """

    def __init__(self, file: BinaryIO, name: str, block: int = -1):
        self._name, self._characters = name, Characters(file, name, block)
        self._header: list[str] = []
        self._first_block = ""
        self._n_rows = 0  # that `tables` has given
        self._empty: list[int] = []  # columns without a name and without values
        self.notes = self._characters.notes
        pandas = import_pandas()
        try:
            frame = self._read_first_block()
        except pandas.errors.ParserError as error:
            raise self._no_table(self._first_block, error) from None
        except NotText as error:
            raise self._no_text(error) from None
        if not len(frame):
            raise ValueError(f"{name} has a line of column names, but no row")
        self._columns = self._named_columns(frame)
        self.first = pandas.DataFrame({name: _as_text(frame[k]) for name, k in self._columns.items()})

    @property
    def n_bytes(self) -> int:
        return self._characters.n_bytes

    def tables(self, numeric: Collection[str], words: Collection[str], number_format: NumberFormat) -> Iterator[Any]:
        """All blocks as DataFrames of these columns, once.

        A numeric column is float64 or integer where pandas reads each value of the block as a number, and else text as
        in `first`; columns of words are text.
        """
        numbers, texts = ({name: self._columns[name] for name in names} for names in (numeric, words))

        def parse(block: str) -> Any:
            try:
                frame = self._rows(block, dtype=dict.fromkeys(texts.values(), str), decimal=number_format.decimal)
                if others := [k for k in numbers.values() if frame[k].dtype.kind not in "iuf"]:
                    frame[others] = self._rows(block, dtype=str, usecols=others)
            except import_pandas().errors.ParserError as error:
                return error
            return frame

        for blocks in self._read_ahead():
            for block, frame in zip(blocks, list(map_ordered(parse, blocks, sum(map(len, blocks)))), strict=True):
                if isinstance(frame, Exception):
                    raise self._no_table(block, frame)
                self._check_empty(frame)
                columns = ((name, frame[k]) for name, k in (numbers | texts).items())
                yield import_pandas().DataFrame(
                    {name: column if column.dtype.kind in "iuf" else _as_text(column) for name, column in columns}
                )
                self._n_rows += len(frame)

    def _read_ahead(self) -> Iterator[list[str]]:
        """All blocks, several at a time."""
        blocks: list[str] = []
        try:
            for block in chain([self._first_block], self._blocks):
                blocks.append(block)
                if len(blocks) == _AHEAD:
                    yield blocks
                    blocks = []
        except NotText as error:
            yield blocks
            raise self._no_text(error) from None
        yield blocks

    def _read_first_block(self) -> Any:
        """Decide the delimiter and the header; returns the rows of the first block, as text."""
        text, delimiter = self._from_names_on()
        self._delimiter = delimiter or delimiter_of(text)
        while not (end := end_of_first_row(text, self._delimiter)) and not self._characters.ended:
            text = self._read(text)
        names, text = (text[:end], text[end:]) if end else (text, "")
        self._header = [v.strip() for v in self._parsed(names, nrows=1, keep_default_na=False, dtype=str).iloc[0]]
        self._blocks = self._split(text)
        self._first_block = next(self._blocks, "")
        return self._rows(self._first_block, dtype=str)

    def _from_names_on(self) -> tuple[str, str | None]:
        """The first characters from the line of names on, and the delimiter if a line before it names one."""
        read, text, delimiter = "", "", None
        while not text.strip():
            if self._characters.ended:
                raise ValueError(f"{self._name} is empty: a table needs a line of column names and a line for each row")
            read = self._read(read)
            text, delimiter = without_first_lines(read)
        return text, delimiter

    def _split(self, text: str) -> Iterator[str]:
        """The text and the rest of the file in blocks of whole rows."""
        while True:
            ended = self._characters.ended
            end = len(text) if ended else end_of_last_row(text, self._delimiter)
            block = without_last_lines(text[:end])
            if block.strip(" "):
                yield block
                text = without_line_end(text[len(block) :])
            if ended:
                return
            text = self._read(text)

    def _read(self, text: str) -> str:
        """The text with the next characters of the file; raises `NotText`."""
        try:
            return text + self._characters.read()
        except NotText as error:
            error.before = text + error.before
            raise

    def _parsed(self, text: str, **options: Any) -> Any:
        """The rows of a text, with numbers for the names of the columns."""
        pandas = import_pandas()
        if tuple(map(int, pandas.__version__.split(".")[:2])) < (3, 1):
            options["float_precision"] = "round_trip"  # from 3.1 on numbers are always rounded to the nearest
        options |= {"sep": self._delimiter, "skipinitialspace": True, "header": None}
        return pandas.read_csv(io.BytesIO(text.encode()), engine="c", low_memory=False, **options)

    def _rows(self, block: str, **options: Any) -> Any:
        """The rows of a block, with numbers for the names of the columns."""
        n = len(self._header)
        # the first row sets the number of columns; in a table of one column an empty line is a missing value
        text = f"{self._delimiter.join('0' * n)}\n{block}"
        return self._parsed(text, skip_blank_lines=n > 1, **options).iloc[1:].reset_index(drop=True)

    def _records(self, text: str) -> list[list[str]]:
        """The rows of a text, with as many values as stand there."""
        rows = records(text, self._delimiter, blank=True)
        return [row for row in rows if len(self._header) == 1 or row not in ([], [""])]

    def _no_table(self, block: str, error: Exception) -> ValueError:
        """The error for a block that pandas cannot parse, after `_n_rows` rows."""
        n, rows = len(self._header), enumerate(self._records(block), self._n_rows + 1)
        longer = [(k, len(row)) for k, row in rows if len(row) > n]
        reason = f"row {longer[0][0]:,} has {longer[0][1]} values, but there are {n} names" if longer else str(error)
        return ValueError(f"{self._name} is no CSV table: {reason.strip()}")

    def _no_text(self, error: NotText) -> ValueError:
        """The error for bytes that are no text, after `_n_rows` rows."""
        place = ""
        if self._header:
            rows = self._records(f"{error.before}x")
            column = self._header[min(len(rows[-1]), len(self._header)) - 1]
            place = f" in row {self._n_rows + len(rows):,}, column {column!r}"
        return ValueError(f"{self._name} {str(error).format(place)}")

    def _named_columns(self, frame: Any) -> dict[str, int]:
        """The names of the columns that the table has, and their numbers."""
        nameless = [k for k, column in enumerate(self._header) if not column]
        left_out = self._empty = [k for k in nameless if frame[k].isna().all()]
        if len(nameless) - len(left_out) > 1:
            self.notes.append(f"{len(nameless) - len(left_out)} columns without a name are left out")
            left_out, self._empty = nameless, []
        columns: dict[str, int] = {}
        for k, column in enumerate(self._header):
            if k in left_out:
                continue
            if column in columns:
                raise ValueError(
                    f"{self._name} has the column name {column!r} twice; give each column a name of its own"
                )
            columns[column] = k
        return columns

    def _check_empty(self, frame: Any) -> None:
        for k in self._empty:
            if (present := frame[k].notna()).any():
                row = int(np.argmax(present))
                raise ValueError(
                    f"{self._name} holds {str(frame[k].iloc[row])[:_SHOWN]!r} in row {self._n_rows + row + 1:,}, "
                    f"column {k + 1}, which has no name, and was left out because it is empty in the rows before"
                )


def _as_text(column: Any) -> Any:
    """A column as objects: str, and None where missing."""
    return import_pandas().Series(column.to_numpy(object, na_value=None), dtype=object)


def as_categories(column: Any) -> Any:
    """The values as objects, missing ones NaN, as scikit-learn's imputers expect them."""
    return import_pandas().Series([np.nan if v is None else v for v in column], index=column.index, dtype=object)
