"""CSV files as tables of text, and their columns as numbers or as categories.

A column in which every value is a number is numeric; every other column is categorical. Both are read from the same
text, so that a model recognizes its columns in another file.
"""

import io
import os
import re
from typing import Any

import numpy as np

from lifecycle._display import import_optional
from lifecycle.store.files import write_atomically

_DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


def import_pandas() -> Any:
    """pandas, or an ImportError that names the extra."""
    return import_optional("pandas", "reading a CSV file")


def read_table(path: str | os.PathLike) -> Any:
    """A CSV file as a DataFrame of text; what pandas takes for missing ("", NA, null, …) is missing.

    Values are separated by commas, semicolons, tabs or bars, whichever the first line has most of; where it is not
    commas, numbers may be written with decimal commas.

    Raises
    ------
    OSError
        There is no such file, or it cannot be read.
    ValueError
        It is no table: not text, without rows, with a row longer than the line of names, or with a duplicate name.
    """
    pandas = import_pandas()
    name = os.path.basename(os.fspath(path))
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
        if "\0" in text:
            raise ValueError(f"{name} holds NUL characters: it is no text")
        first = re.sub(r'"[^"]*"', "", text[: text.find("\n")])  # without quoted text
        delimiter = max(",;\t|", key=first.count)
        # in a table of one column an empty line is a missing value
        options = {"dtype": str, "skipinitialspace": True, "header": None, "skip_blank_lines": delimiter in first}
        frame = pandas.read_csv(io.StringIO(text), sep=delimiter, **options)
    except pandas.errors.EmptyDataError:
        raise ValueError(f"{name} is empty: a table needs a line of column names and a line for each row") from None
    except pandas.errors.ParserError as error:
        raise ValueError(f"{name} is no CSV table: {str(error).strip()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name} is no text in UTF-8: save it as CSV in UTF-8") from None
    if len(frame) < 2:
        raise ValueError(f"{name} has a line of column names, but no row")
    header = [str(c).strip() if isinstance(c, str) else "" for c in frame.iloc[0]]
    for column in header:
        if header.count(column) > 1:
            raise ValueError(f"{name} has the column name {column!r} twice; give each column a name of its own")
    table = frame.iloc[1:].reset_index(drop=True).astype(object)
    table.columns = header
    table = table.where(table.notna(), None)
    if delimiter != ",":
        for column in header:
            table[column] = _with_decimal_points(table[column])
    return table


def _with_decimal_points(column: Any) -> Any:
    """The column with decimal points, if all its values are numbers and some of them have decimal commas."""
    present = [v for v in column if v is not None]
    with_comma = [v for v in present if "," in v]
    grouped = all(_THOUSANDS.fullmatch(v) for v in with_comma)  # 1,000 may be a thousand: left as it is
    if with_comma and not grouped and all(_DECIMAL_COMMA.fullmatch(v) for v in present):
        return column.map(lambda v: v and v.replace(",", "."))
    return column


def write_table(table: Any, path: str | os.PathLike) -> None:
    """A DataFrame as a CSV file, whole or not at all."""
    write_atomically(path, table.to_csv(index=False).encode("utf-8"))


def as_numbers(column: Any) -> np.ndarray | None:
    """The values as float64, missing ones NaN; None if one is no number."""
    if any(v is not None and "_" in v for v in column):  # Python reads 1_000 as a number
        return None
    try:
        return np.array([np.nan if v is None else float(v) for v in column], dtype=np.float64)
    except ValueError:
        return None


def as_categories(column: Any) -> Any:
    """The values as objects, missing ones NaN, as scikit-learn's imputers expect them."""
    return import_pandas().Series([np.nan if v is None else v for v in column], index=column.index, dtype=object)
