"""Graphs of the transformers of columns with categories or missing values."""

from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.converters.transformers.columns import Columns, Table, joined
from lifecycle.onnx.interface import TEXT

_EXACT = 2**53  # integers below it are numbers of float64
_UNKNOWN = "unknown_category"  # name of the node that fails


def one_hot_encoder(step: Any, table: Table) -> Table:
    """One comparison of all columns with all of their categories, of numbers as of the codes of words."""
    if table.has_text:
        pairs = [_as_numbers(step, column, known) for column, known in _with_categories(step, table)]
        X, categories = joined([column for column, _ in pairs]), [numbers for _, numbers in pairs]
    else:
        X = table.numbers(step).as_type("float64")
        categories = [_numbers(step, known) for known in step.categories_]
    sizes = [len(known) for known in categories]
    values = np.concatenate(categories)
    same = _same(X.take(np.repeat(np.arange(len(sizes)), sizes)), values)
    encoded = same.as_type("float64")
    if step.handle_unknown == "error":
        n_known = encoded.reduce("ReduceSum")
        encoded = encoded.refused_where(n_known.compare("Less", float(len(sizes))), _UNKNOWN)
    if step.drop_idx_ is not None:
        dropped = [start + k for start, k in zip(_starts(sizes), step.drop_idx_, strict=True) if k is not None]
        encoded = encoded.take(np.delete(np.arange(len(values)), dropped))
    return Table([encoded])


def _starts(sizes: list[int]) -> list[int]:
    return np.cumsum([0, *sizes[:-1]]).tolist()


def ordinal_encoder(step: Any, table: Table) -> Table:
    """The place of each value among the categories, or one behind them, where the code of unknown values stands."""
    dtype = "float32" if np.dtype(step.dtype) == np.float32 else "float64"
    found = []
    for column, known in _with_categories(step, table):
        codes = np.arange(len(known), dtype=np.float64)
        codes[[_is_missing(value) for value in known]] = step.encoded_missing_value
        if step.handle_unknown != "error":  # without a code behind the others the index of an unknown value is an error
            codes = np.append(codes, step.unknown_value)
        place = _place(step, column, known)
        constant = Columns(column.build, column.build.constant(codes), "float64", 1)
        found.append(constant.apply("Gather", place, name=f"{_UNKNOWN}_{len(column.build.nodes)}").as_type(dtype))
    return Table(found)


def _place(step: Any, column: Columns, known: np.ndarray) -> Columns:
    """Of each value the place among the categories, int64; of another one their number."""
    if column.dtype == TEXT:
        return _words(step, column, known, len(known))
    same = _same(column.as_type("float64"), _numbers(step, known)).as_type("int64")
    place = same.apply("ArgMax", width=1, axis=1)
    return place.where(same.reduce("ReduceMax").compare("Less", 1), np.int64(len(known)))


def _same(X: Columns, values: np.ndarray) -> Columns:
    """Whether X is a value, which NaN is where the value is NaN."""
    same = X.compare("Equal", values)
    missing = np.isnan(values)
    return same.apply("Or", X.is_nan().apply("And", missing)) if missing.any() else same


def _with_categories(step: Any, table: Table) -> list[tuple[Columns, np.ndarray]]:
    return list(zip(table.columns(), step.categories_, strict=True))


def _as_numbers(step: Any, column: Columns, known: np.ndarray) -> tuple[Columns, np.ndarray]:
    """A column, and its categories, in float64; of words their places."""
    if column.dtype != TEXT:
        return column.as_type("float64"), _numbers(step, known)
    return _words(step, column, known, -1).as_type("float64"), np.arange(len(known), dtype=np.float64)


def _words(step: Any, column: Columns, known: np.ndarray, default: int) -> Columns:
    places = [k for k, value in enumerate(known) if isinstance(value, str)]
    if len(places) + sum(map(_is_missing, known)) < len(known):
        raise UnsupportedModel(f"{_named(step)} learned numbers as categories of a column where example has strings")
    return column.codes([str(known[k]) for k in places], places, default)


def _numbers(step: Any, known: np.ndarray) -> np.ndarray:
    if any(isinstance(value, str) for value in known[:1]) or not all(map(_is_number, known)):
        raise UnsupportedModel(f"{_named(step)} learned other categories than numbers of a column of numbers")
    if known.dtype.kind in "iuO" and any(abs(value) >= _EXACT for value in known):
        raise UnsupportedModel(f"{_named(step)} with integers of 2^53 or more as categories cannot be exported to ONNX")
    return known.astype(np.float64)


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.number, np.bool_))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def _named(step: Any) -> str:
    return f"an {type(step).__name__}"


def simple_imputer(step: Any, table: Table) -> Table:
    learned = step.statistics_
    # columns without values are left out: those of which nothing was learned
    kept = [k for k, value in enumerate(learned) if step.keep_empty_features or not _is_missing(value)]
    table, learned = table.take(kept), learned[kept]
    if not table.has_text:
        X = table.numbers(step)
        return Table([_imputed(step, X, np.asarray(learned, X.dtype))])
    pairs = zip(table.columns(), learned, strict=True)
    return Table([_imputed(step, column, np.array([value], object)) for column, value in pairs])


def _imputed(step: Any, X: Columns, learned: np.ndarray) -> Columns:
    marker = step.missing_values
    if X.dtype == TEXT:
        if not isinstance(marker, str):
            return X  # a graph takes no missing values of strings
        return X.where(X.codes([marker], [1], 0).compare("Equal", 1), learned)
    if isinstance(marker, str):
        return X
    return X.where(X.is_nan() if _is_missing(marker) else X.compare("Equal", marker), learned)
