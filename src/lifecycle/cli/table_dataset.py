"""A data set from a CSV file: its target, its numeric and categorical features, and a pipeline that prepares them."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lifecycle.cli.csv_tables import as_categories, number_format_of, read_table
from lifecycle.cli.number_format import DECIMAL_POINTS, NumberFormat, as_number, as_numbers, has_leading_zero
from lifecycle.cli.row_identifiers import has_dates, identifies_rows, mostly_distinct

_MIN_ROWS = 40
_MIN_ROWS_OF_CLASS = 10
_MAX_CLASSES = 20  # of a target of whole numbers; one with more values is a quantity
_MAX_CATEGORIES = 50  # distinct values of a categorical column, unless each occurs often


@dataclass
class TableDataset:
    """Features and target of a table; `notes` are sentences about what was decided and what was left out."""

    name: str
    X: Any
    y: np.ndarray
    classification: bool
    numeric: list[str]
    categorical: list[str]
    notes: list[str] = field(default_factory=list)
    number_format: NumberFormat = DECIMAL_POINTS


def read_dataset(path: str | os.PathLike, target: str, keep: Collection[str] = ()) -> TableDataset:
    """Features and target from a CSV file.

    A target of words, or of at most 20 different whole numbers, is a class; any other is a quantity. Left out, with a
    note: rows without a target, classes of fewer than 10 rows, and columns that are constant or identify rows, unless
    they are in `keep`. Values with leading zeros are words. Dates are noted: the order of the rows may matter.

    Raises
    ------
    OSError, ValueError
        As in `read_table`; there is no such column; the rest has one class, or too few rows or columns; a target that
        is a quantity holds a word.
    """
    name = os.path.basename(os.fspath(path))
    table = read_table(path)
    number_format = number_format_of(table)
    for column in (target, *keep):
        if column not in table.columns:
            raise ValueError(f"{name} has no column {column!r}; it has {', '.join(map(repr, table.columns))}")
    notes = list(table.attrs["notes"])
    present = {column: [v for v in table[column] if v is not None] for column in table.columns if column != target}
    identifiers = {c for c, values in present.items() if c not in keep and identifies_rows(c, values, number_format)}
    dates = [column for column, values in present.items() if has_dates(column, values, number_format)]
    has_target = np.array([v is not None for v in table[target]])
    if not has_target.all():
        notes.append(f"{(~has_target).sum():,} rows without a {target} are left out")
        table = table[has_target].reset_index(drop=True)
    y, classification = _typed_target(table[target], number_format)
    if classification:
        labels, counts = np.unique(y, return_counts=True)
        rare = labels[counts < _MIN_ROWS_OF_CLASS]
        if len(rare) and len(labels) - len(rare) >= 2:
            kept = ~np.isin(y, rare)
            names = ", ".join(map(repr, rare.tolist()[:5])) + ", …" * (len(rare) > 5)
            notes.append(f"{(~kept).sum():,} rows of {names} are left out: fewer than {_MIN_ROWS_OF_CLASS} in a class")
            table, y = table[kept].reset_index(drop=True), y[kept]
        if len(labels) - len(rare) < 2:
            raise ValueError(
                f"the column {target!r} of {name} must hold at least two classes with {_MIN_ROWS_OF_CLASS} rows each; "
                f"it holds {', '.join(f'{v!s}: {n}' for v, n in list(zip(labels, counts, strict=True))[:8]) or 'none'}"
                f"{', …' * (len(labels) > 8)}"
            )
    if len(table) < _MIN_ROWS:
        raise ValueError(f"{name} has {len(table)} rows with a {target}; at least {_MIN_ROWS} are needed")
    if not classification and np.ptp(y) == 0:
        raise ValueError(f"the column {target!r} of {name} holds one value only, {y[0]:g}: there is nothing to learn")
    X, numeric, categorical = _features(table.drop(columns=target), name, number_format, identifiers, keep, notes)
    if dates:
        notes.append(
            f"the rows have dates ({', '.join(map(shown, dates))}) and are split at random; where a model is to "
            "predict later rows, validate it with lifecycle.TimeSeriesSplit, because these scores may be too high"
        )
    return TableDataset(name, X, y, classification, numeric, categorical, notes, number_format)


def shown(column: str) -> str:
    """The name of a column on one line."""
    return " ".join(column.split())


def _typed_target(column: Any, number_format: NumberFormat) -> tuple[np.ndarray, bool]:
    """The target, and whether it is a class."""
    values = as_numbers(column, number_format)
    if values is None or any(map(has_leading_zero, column)):
        words, n_numbers = _words(column, number_format)
        if words and 2 * n_numbers > len(column) and len({as_number(v, number_format) for v in column}) > _MAX_CLASSES:
            raise ValueError(
                f"the column {column.name!r} holds numbers, but also {words[0]!r}; leave a value empty if it is missing"
            )
        return np.array([str(v) for v in column]), True
    if not np.isfinite(values).all():
        raise ValueError(f"the column {column.name!r} holds infinite values; leave those rows out")
    is_integer = (values == np.round(values)).all() and (np.abs(values) < 2**53).all()
    if is_integer and len(np.unique(values)) <= _MAX_CLASSES:
        return values.astype(np.int64), True
    return values, False


def _words(column: Any, number_format: NumberFormat) -> tuple[list[str], int]:
    """The values that are no numbers, and how many are numbers."""
    present = [v for v in column if v is not None]
    words = [v for v in present if as_number(v, number_format) is None]
    return words, len(present) - len(words)


def _features(
    table: Any,
    name: str,
    number_format: NumberFormat,
    identifiers: Collection[str],
    keep: Collection[str],
    notes: list[str],
) -> tuple[Any, list[str], list[str]]:
    """The typed columns, and the names of the numeric and of the categorical ones."""
    numeric, categorical, left_out, identifying = [], [], [], []
    for column in table.columns:
        present = [v for v in table[column] if v is not None]
        distinct = dict.fromkeys(present)  # in the order of the rows
        n_distinct = len(distinct)
        values = as_numbers(table[column], number_format)
        words, n_numbers = _words(table[column], number_format) if values is None else ([], len(present))
        zeros = [] if values is None else [v for v in distinct if has_leading_zero(v)]
        if zeros:
            notes.append(f"{shown(column)} is read as words because of leading zeros, such as {zeros[0]!r}")
        elif words and n_numbers >= len(words):
            notes.append(
                f"{shown(column)} is read as words because of {len(words):,} values such as {words[0][:20]!r}; leave "
                "them empty if it is a quantity"
            )
        if not column:
            left_out.append("one without a name")
        elif n_distinct < 2:
            left_out.append(f"{shown(column)} (one value)")
        elif column in identifiers:
            identifying.append(shown(column))
        elif values is not None and not zeros:
            if np.isinf(values).any():
                raise ValueError(f"the column {column!r} of {name} holds infinite values; leave those rows out")
            table[column] = values
            numeric.append(column)
        elif column not in keep and (n_distinct > max(_MAX_CATEGORIES, 0.1 * len(present)) or mostly_distinct(present)):
            left_out.append(f"{shown(column)} ({n_distinct:,} different words, such as {(words or present)[0][:20]!r})")
        else:
            table[column] = as_categories(table[column])
            categorical.append(column)
    if left_out:
        notes.append(f"columns left out: {', '.join(left_out)}")
    if identifying:
        notes.append(
            f"columns left out because they identify the row: {', '.join(identifying)} (--keep NAME to learn from one)"
        )
    if not numeric and not categorical:
        raise ValueError(f"{name} has no column to learn from" + (f"; {notes[-1]}" if left_out or identifying else ""))
    return table[[*numeric, *categorical]], numeric, categorical


def preprocessing_pipeline(numeric: list[str], categorical: list[str], model: Any) -> Any:
    """The model behind an imputer and a scaler of the numeric columns, and an imputer and an encoder of the others."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    of_numeric = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    of_categorical = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    parts = [(n, t, c) for n, t, c in (("numbers", of_numeric, numeric), ("words", of_categorical, categorical)) if c]
    return Pipeline([("columns", ColumnTransformer(parts)), ("model", model)])
