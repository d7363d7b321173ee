"""A data set from a CSV file: its target, its numeric and categorical features, and a pipeline that prepares them."""

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lifecycle.cli.csv_tables import as_categories, as_numbers, read_table

_MIN_ROWS = 40
_MIN_ROWS_OF_CLASS = 10
_MAX_CLASSES = 20  # of a target of whole numbers; one with more values is a quantity
_MAX_CATEGORIES = 50  # distinct values of a categorical column, unless each occurs often


@dataclass
class TableDataset:
    """Features and target of a table; `notes` are sentences about what was left out."""

    name: str
    X: Any
    y: np.ndarray
    classification: bool
    numeric: list[str]
    categorical: list[str]
    notes: list[str] = field(default_factory=list)


def read_dataset(path: str | os.PathLike, target: str) -> TableDataset:
    """Features and target from a CSV file.

    A target of words, or of at most 20 different whole numbers, is a class; any other is a quantity. Left out, with a
    note: rows without a target, classes of fewer than 10 rows, and columns that are constant or identify rows.

    Raises
    ------
    OSError, ValueError
        As in `read_table`; there is no such column; the rest has one class, or too few rows or columns.
    """
    name = os.path.basename(os.fspath(path))
    table = read_table(path)
    if target not in table.columns:
        raise ValueError(f"{name} has no column {target!r}; it has {', '.join(map(repr, table.columns))}")
    notes = []
    has_target = np.array([v is not None for v in table[target]])
    if not has_target.all():
        notes.append(f"{(~has_target).sum():,} rows without a {target} are left out")
        table = table[has_target].reset_index(drop=True)
    y, classification = _typed_target(table[target])
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
    X, numeric, categorical = _features(table.drop(columns=target), name, notes)
    return TableDataset(name, X, y, classification, numeric, categorical, notes)


def _typed_target(column: Any) -> tuple[np.ndarray, bool]:
    """The target, and whether it is a class."""
    values = as_numbers(column)
    if values is None:
        return np.array([str(v) for v in column]), True
    if not np.isfinite(values).all():
        raise ValueError(f"the column {column.name!r} holds infinite values; leave those rows out")
    is_integer = (values == np.round(values)).all() and (np.abs(values) < 2**53).all()
    if is_integer and len(np.unique(values)) <= _MAX_CLASSES:
        return values.astype(np.int64), True
    return values, False


def _features(table: Any, name: str, notes: list[str]) -> tuple[Any, list[str], list[str]]:
    """The typed columns, and the names of the numeric and of the categorical ones."""
    numeric, categorical, left_out = [], [], []
    for column in table.columns:
        present = [v for v in table[column] if v is not None]
        n_distinct = len(set(present))
        values = as_numbers(table[column])
        if not column:
            left_out.append("one without a name")
        elif n_distinct < 2:
            left_out.append(f"{column} (one value)")
        elif values is not None:
            if np.isinf(values).any():
                raise ValueError(f"the column {column!r} of {name} holds infinite values; leave those rows out")
            table[column] = values
            numeric.append(column)
        elif n_distinct > max(_MAX_CATEGORIES, 0.1 * len(present)) or n_distinct == len(present):
            word = next(v for v in present if as_numbers([v]) is None)
            left_out.append(f"{column} ({n_distinct:,} different words, such as {word[:20]!r})")
        else:
            table[column] = as_categories(table[column])
            categorical.append(column)
    if left_out:
        notes.append(f"columns left out: {', '.join(left_out)}")
    if not numeric and not categorical:
        raise ValueError(f"{name} has no column to learn from" + (f"; {notes[-1]}" if left_out else ""))
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
