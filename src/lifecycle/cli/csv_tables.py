"""CSV files as tables of text, and their columns as categories.

A column in which every value is a number is numeric; every other column is categorical. Both are read from the same
text, so that a model recognizes its columns in another file.
"""

import codecs
import csv
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from lifecycle._display import import_optional
from lifecycle.cli.number_format import DECIMAL_POINTS, NumberFormat, decide_number_format, is_number
from lifecycle.store.files import write_atomically

_DELIMITERS = ";\t|,"  # commas last: they are the most likely to stand within a value
_SAMPLED_ROWS = 1000  # that decide the delimiter
_BLANK_LINES = re.compile(r"([\s,;|]*[\r\n])?")
_SEP_LINE = re.compile(r'"?sep=(\t|(?![\w"])[!-~])"?[,;\t|]* *(\r\n?|\n|$)', re.IGNORECASE)  # as Excel reads it
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def import_pandas() -> Any:
    """pandas, or an ImportError that names the extra."""
    return import_optional("pandas", "reading a CSV file")


def read_table(path: str | os.PathLike, decide_format: Callable = decide_number_format) -> Any:
    """A CSV file as a DataFrame of text; what pandas takes for missing ("", NA, null, …) is missing.

    The text is UTF-8, UTF-16 with a byte order mark, or else Windows-1252. Blank lines before the column names and at
    the end are skipped. A line such as ``sep=;`` names the delimiter; otherwise it is that of commas, semicolons, tabs
    and bars under which the most rows have as many values as there are names, quotes parsed.

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
        It is no table: not text, without rows, with a row longer than the line of names, or with a duplicate name.
    """
    pandas = import_pandas()
    name = os.path.basename(os.fspath(path))
    with open(path, "rb") as file:
        text, notes = _decoded(file.read(), name)
    text, delimiter = _without_first_lines(text)
    text = _without_last_lines(text)
    if not text:
        raise ValueError(f"{name} is empty: a table needs a line of column names and a line for each row")
    options = {"sep": delimiter or _delimiter(text), "dtype": str, "skipinitialspace": True, "header": None}
    try:
        names = pandas.read_csv(io.StringIO(text), nrows=1, keep_default_na=False, **options)
        header = [v.strip() for v in names.iloc[0]]
        # in a table of one column an empty line is a missing value
        frame = pandas.read_csv(io.StringIO(text), skip_blank_lines=len(header) > 1, **options)
    except pandas.errors.ParserError as error:
        raise ValueError(f"{name} is no CSV table: {str(error).strip()}") from None
    if len(frame) < 2:
        raise ValueError(f"{name} has a line of column names, but no row")
    table = frame.iloc[1:].reset_index(drop=True).astype(object)
    table = table.where(table.notna(), None)
    nameless = [k for k, column in enumerate(header) if not column]
    empty = [k for k in nameless if table[k].isna().all()]
    if len(nameless) - len(empty) > 1:
        notes.append(f"{len(nameless) - len(empty)} columns without a name are left out")
        empty = nameless
    table = table.drop(columns=empty)
    table.columns = [column for k, column in enumerate(header) if k not in empty]
    for column in table.columns:
        if header.count(column) > 1 and column:
            raise ValueError(f"{name} has the column name {column!r} twice; give each column a name of its own")
    number_format, decided = decide_format({column: table[column] for column in table.columns})
    table.attrs = {"number_format": tuple(number_format), "notes": notes + decided}
    return table


def number_format_of(table: Any) -> NumberFormat:
    """How the numbers of a table that `read_table` returned are written."""
    return NumberFormat(*table.attrs.get("number_format", DECIMAL_POINTS))


def _decoded(data: bytes, name: str) -> tuple[str, list[str]]:
    """The text of a file, and a sentence where its encoding is a guess."""
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    notes = []
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        try:
            if encoding != "utf-8":
                raise
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            raise ValueError(f"{name} is no text in UTF-8: save it as CSV in UTF-8") from None
        notes.append("the text is no UTF-8 and was read as Windows-1252")
    if "\0" in text:
        raise ValueError(f"{name} holds NUL characters: it is no text")
    return text, notes


def _without_first_lines(text: str) -> tuple[str, str | None]:
    """The text from the line of names on, and the delimiter if a line before it names one."""
    text = text[_BLANK_LINES.match(text).end() :]  # type: ignore[union-attr]
    declared = _SEP_LINE.match(text)
    if declared is None:
        return text, None
    text = text[declared.end() :]
    return text[_BLANK_LINES.match(text).end() :], declared[1]  # type: ignore[union-attr]


def _without_last_lines(text: str) -> str:
    """The text without the blank lines at its end; a last value keeps its trailing spaces."""
    end_of_line = re.compile(r"[\r\n]").search(text, len(text.rstrip(" \r\n")))
    return text if end_of_line is None else text[: end_of_line.start()]


@contextmanager
def _values_of_any_length(text: str) -> Iterator[None]:
    """Let the csv module read values of more than 131,072 characters, its limit, which holds for the whole process."""
    limit = csv.field_size_limit()
    csv.field_size_limit(max(limit, len(text)))
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _records(text: str, delimiter: str, n: int) -> list[list[str]]:
    """The first n rows that are not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    with _values_of_any_length(text):
        return list(islice((row for row in reader if row), n))


def _delimiter(text: str) -> str:
    """The delimiter under which names and rows agree."""
    samples = {d: records for d in _DELIMITERS if (records := _records(text, d, _SAMPLED_ROWS + 1))}
    candidates = [d for d, (names, *_) in samples.items() if len(names) > 1]
    if not any(len(row) > 1 for d in candidates for row in samples[d][1:]):
        # one column, whose name may hold a delimiter
        whole = [d for d, rows in samples.items() if all(len(row) == 1 for row in rows)]
        return (whole or candidates or list(_DELIMITERS))[0]

    def agreement(delimiter: str) -> tuple[float, float, int]:
        names, *rows = samples[delimiter]
        if not rows:  # a quote that this delimiter opens is never closed
            return 0, 0, 0
        n_equal = sum(len(row) == len(names) for row in rows)
        others = [d for d in candidates if d != delimiter]
        divided = sum(any(d in v for d in others) and not is_number(v) for row in rows for v in row if v)
        return n_equal / len(rows), -divided / sum(map(len, rows)), len(names)

    return max(candidates, key=agreement)


def write_table(table: Any, path: str | os.PathLike) -> None:
    """A DataFrame as a CSV file, whole or not at all."""
    write_atomically(path, table.to_csv(index=False).encode("utf-8"))


def as_categories(column: Any) -> Any:
    """The values as objects, missing ones NaN, as scikit-learn's imputers expect them."""
    return import_pandas().Series([np.nan if v is None else v for v in column], index=column.index, dtype=object)
