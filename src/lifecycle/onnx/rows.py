"""Rows of arrays, tables, and tuples and dicts of inputs: some of them, and made ones on which a graph may go wrong."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lifecycle._display import import_optional

_MAX_COLUMNS, _MAX_VALUES = 100, 50_000  # that are changed one by one, and that rows of these may hold
_HUGE = (1e30, -1e30, 1e200, -1e200)
_MODERATE = 3  # of the values that a column does not hold, the first: sums of huge ones would cancel


def n_rows(X: Any) -> int:
    """Rows of an array, a table, or a tuple or dict of inputs."""
    if isinstance(X, dict):
        X = next(iter(X.values()), ())
    elif isinstance(X, tuple):
        X = X[0] if X else ()
    return X.shape[0] if hasattr(X, "shape") and len(X.shape) else len(X)


def as_table(example: Any) -> Any:
    """A DataFrame as it is; a sparse matrix, an array or a list of rows as an array. ValueError for anything else."""
    if hasattr(example, "iloc") and example.ndim == 2:
        return example
    if hasattr(example, "tocsr"):
        return example.toarray()
    found = example
    try:
        found = np.asarray(example)
        is_table = found.ndim == 2 and found.dtype.kind in "biufOU"
    except (TypeError, ValueError):  # rows of different lengths
        is_table = False
    if not is_table:
        shape = f" of {found.dtype} and shape {found.shape}" if isinstance(found, np.ndarray) else ""
        raise ValueError(
            "example must be a table of numbers or strings: a DataFrame, an array with two dimensions or a list of "
            f"rows of one length; got a {type(example).__name__}{shape}"
        )
    return found


def take_rows(X: Any, rows: np.ndarray) -> Any:
    if isinstance(X, dict):
        return {name: take_rows(value, rows) for name, value in X.items()}
    if isinstance(X, tuple):
        return tuple(take_rows(value, rows) for value in X)
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return X[rows] if hasattr(X, "shape") else np.asarray(X)[rows]


def with_columns(rows: Any, changed: Mapping[int, Any]) -> Any:
    """Rows of a DataFrame with other values in some columns."""
    pandas = import_optional("pandas", "a DataFrame")
    kept = [k for k in range(rows.shape[1]) if k not in changed]
    new = pandas.DataFrame(dict(changed), index=rows.index)
    found = pandas.concat([rows.iloc[:, kept], new], axis=1) if kept else new
    found = found.iloc[:, np.argsort([*kept, *changed])]
    found.columns = rows.columns
    return found


def extremes(example: Any) -> Sequence[Any]:
    """Rows of a table of numbers in which every column has its largest, or its smallest, value in the example."""
    if hasattr(example, "iloc"):
        numeric = set(_numeric(example))
        columns = {k: column for k, (_, column) in enumerate(example.items()) if k in numeric}
        if not columns:
            return []
        rows = example.iloc[[0, 1]]
        found = {k: type(c)([c.min(), c.max()], index=rows.index, dtype=c.dtype) for k, c in columns.items()}
        return [with_columns(rows, found)]
    if hasattr(example, "columns") or hasattr(example, "tocsr"):
        return []
    array = np.asarray(example)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        return []
    return [np.stack([np.fmin.reduce(array, axis=0), np.fmax.reduce(array, axis=0)])]


def _numeric(table: Any) -> list[int]:
    return [k for k, dtype in enumerate(table.dtypes) if getattr(dtype, "kind", "O") in "iuf"]


def unlike_rows(table: Any) -> Iterator[Any]:
    """Rows that a step before an estimator may meet one day, made of a DataFrame or an array.

    Each differs from a row of the table in one column, or in all. Numbers: zero, fractions and neighbors of values that
    may be categories, values out of the range, tiny and huge ones. Words: the empty one, and some that are none of the
    table's.
    """
    others, chosen = dict(enumerate(map(_unlike, _columns(table)))), _chosen(table)
    for place in range(max(map(len, others.values()), default=0)):
        changed = {k: others[k][place] for k in chosen if place < len(others[k])}
        if changed:
            yield _first_changed_in_turn(table, changed)
    for place in range(_MODERATE):
        all_at_once = {k: values[place] for k, values in others.items() if place < len(values)}
        if all_at_once:
            yield _changed_at_once(table, all_at_once)


def rows_with_missing(table: Any) -> Iterator[Any]:
    """Rows that have no value in one column of numbers, or in all."""
    numeric = [k for k, column in enumerate(_columns(table)) if column.dtype.kind in "iuf"]
    if numeric:
        yield _changed_at_once(table, dict.fromkeys(numeric, np.nan))
        yield _first_changed_in_turn(table, dict.fromkeys(sorted({*numeric} & {*_chosen(table)}), np.nan))


def _chosen(table: Any) -> list[int]:
    """The columns that are changed one by one."""
    width = table.shape[1]
    most = max(min(_MAX_COLUMNS, _MAX_VALUES // max(width, 1)), 1)
    return np.unique(np.linspace(0, width - 1, min(width, most)).astype(int)).tolist()


def _columns(table: Any) -> list[np.ndarray]:
    return [_values(c) for _, c in table.items()] if hasattr(table, "iloc") else list(table.T)


def _values(column: Any) -> np.ndarray:
    """Of a column, where pandas.NA among numbers becomes NaN."""
    if not hasattr(column, "iloc"):
        return np.asarray(column)
    if getattr(column.dtype, "kind", "O") in "iuf" and not isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.to_numpy()


def _unlike(column: np.ndarray) -> list[Any]:
    """Values that a column of the table does not hold, or might not."""
    if column.dtype.kind not in "iuf":
        words = [value for value in column[:1] if isinstance(value, str)]
        return [other for word in words for other in ("", f"{word} ", f"{word}, not", word.swapcase())]
    values = column[np.isfinite(column)].astype(np.float64)
    if not len(values):
        return []
    low, high, first = float(values.min()), float(values.max()), float(values[0])
    found = [0.0, low - 1.0 - abs(low), high + 1.0 + abs(high), first + 0.3, first + 0.7, -first - 0.5]
    found += [np.nextafter(first, np.inf), np.nextafter(high, -np.inf), 1e-20, -1e-20, *_HUGE]
    largest = float(np.finfo(column.dtype).max) if column.dtype.kind == "f" else np.inf
    return [float(value) for value in found if abs(value) <= largest]


def changed_in_turn(rows: Any, values: Sequence[tuple[int, Any]]) -> Any:
    """As many rows of a table as values; in row k the column `values[k][0]` has another value, `values[k][1]`."""
    places: dict[int, list[int]] = {}
    for place, (k, _) in enumerate(values):
        places.setdefault(k, []).append(place)
    changed = {}
    for k, of_column in places.items():
        column = rows.iloc[:, k] if hasattr(rows, "iloc") else rows[:, k]
        new = [values[place][1] for place in of_column]
        dtype = _dtype_with(_values(column), new[0])
        if hasattr(column, "iloc") and dtype is not object:
            changed[k] = column.to_numpy(dtype=dtype, na_value=np.nan, copy=True)
        else:
            changed[k] = np.array(column, dtype)
        changed[k][of_column] = new
    return _with(rows, changed)


def _first_changed_in_turn(table: Any, values: Mapping[int, Any]) -> Any:
    return changed_in_turn(take_rows(table, np.zeros(len(values), int)), list(values.items()))


def _changed_at_once(table: Any, values: Mapping[int, Any]) -> Any:
    rows = take_rows(table, np.array([0]))
    columns = _columns(rows)
    return _with(rows, {k: np.array([v], _dtype_with(columns[k], v)) for k, v in values.items()})


def _dtype_with(column: np.ndarray, value: Any) -> Any:
    """That of a column that takes the value, too."""
    if isinstance(value, str):
        return object
    return column.dtype if column.dtype.kind == "f" else np.float64


def _with(rows: Any, changed: Mapping[int, np.ndarray]) -> Any:
    if hasattr(rows, "iloc"):
        return with_columns(rows, changed)
    dtype = np.result_type(rows.dtype, *{column.dtype for column in changed.values()})
    found = rows.astype(dtype)
    for k, column in changed.items():
        found[:, k] = column
    return found


def like(example: Any, rows: Any) -> Any:
    """Rows of a table as the example has them: with its names of columns."""
    if hasattr(example, "iloc") and isinstance(rows, np.ndarray):
        return type(example)(rows, columns=example.columns)
    return rows
