"""How the numbers of a table are written: decimal marks and thousands separators, decided once for the whole table."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

_EXPONENT = r"([eE][+-]?\d+)?"
# a number in groups of thousands does not begin with zero: 0,125 and 0.125 have a decimal mark
_DECIMAL_COMMA = re.compile(rf"[+-]?([1-9]\d{{0,2}}(\.\d{{3}})+|\d+)(,\d*)?{_EXPONENT}|[+-]?,\d+{_EXPONENT}")
_GROUPING_COMMAS = re.compile(rf"[+-]?[1-9]\d{{0,2}}(,\d{{3}})+(\.\d*)?{_EXPONENT}")
_LEADING_ZERO = re.compile(r"[+-]?0\d+")


class NumberFormat(NamedTuple):
    """The decimal mark, and the mark between groups of thousands ("" for none)."""

    decimal: str = "."
    thousands: str = ""


DECIMAL_POINTS = NumberFormat()
_DECIMAL_POINTS_GROUPED, _DECIMAL_COMMAS = NumberFormat(".", ","), NumberFormat(",", ".")


def as_number(value: str, number_format: NumberFormat = DECIMAL_POINTS) -> float | None:
    """The value of a number; None if it is none in this format."""
    if "_" in value:  # Python reads 1_000 as a number
        return None
    if number_format.decimal == "," and ("," in value or "." in value):
        if not _DECIMAL_COMMA.fullmatch(value):
            return None
        value = value.replace(".", "").replace(",", ".")
    elif number_format.thousands == "," and _GROUPING_COMMAS.fullmatch(value):
        value = value.replace(",", "")
    try:
        return float(value)
    except ValueError:
        return None


def as_numbers(column: Collection[str | None], number_format: NumberFormat = DECIMAL_POINTS) -> np.ndarray | None:
    """The values as float64, missing ones NaN; None if one is no number in this format."""
    if number_format == DECIMAL_POINTS:  # the same as below, without a call for each value
        if any(v is not None and "_" in v for v in column):
            return None
        try:
            return np.array([np.nan if v is None else float(v) for v in column], dtype=np.float64)
        except ValueError:
            return None
    numbers = [np.nan if v is None else as_number(v, number_format) for v in column]
    return None if None in numbers else np.array(numbers, dtype=np.float64)


def has_leading_zero(value: str) -> bool:
    """Whether a value such as 007 is a name and no quantity."""
    return _LEADING_ZERO.fullmatch(value) is not None


def decide_number_format(columns: Mapping[str, Iterable[str | None]]) -> tuple[NumberFormat, list[str]]:
    """The number format of a table, and sentences that say what was decided where commas stand in its numbers.

    A value that is a number in one format only is evidence: 1,5 and 0,125 and 1.234,5 have decimal commas; 1.5 and
    1,234,567 have decimal points; 1,000 and 76.586 can be either. A column that holds mostly numbers counts for the
    format of most of its evidence; the format of most columns is that of the table.
    """
    distinct = {name: {v for v in column if v is not None} for name, column in columns.items()}
    if not any(("," in v or v.count(".") > 1) and is_number(v) for values in distinct.values() for v in values):
        return DECIMAL_POINTS, []
    commas: dict[str, list[str]] = {}
    points: dict[str, list[str]] = {}
    either: dict[str, list[str]] = {}
    for name, values in distinct.items():
        numbers = sorted(filter(is_number, values))
        if 2 * len(numbers) < len(values):
            continue
        for value in numbers:
            with_comma, with_point = as_number(value, _DECIMAL_COMMAS), as_number(value, _DECIMAL_POINTS_GROUPED)
            if with_point is None:
                commas.setdefault(name, []).append(value)
            elif with_comma is None:
                points.setdefault(name, []).append(value)
            elif with_comma != with_point:
                either.setdefault(name, []).append(value)
    for name in commas.keys() & points.keys():
        del (points if len(commas[name]) >= len(points[name]) else commas)[name]
    if _weight(commas) > _weight(points):
        grouped = _first(either, ".")
        return _DECIMAL_COMMAS, [
            f"numbers have decimal commas, such as {_first(commas, '')}"
            + (f"; points separate thousands, such as {grouped}" if grouped else "")
            + (f"; {_first(points, '')} is no number then" if points else "")
        ]
    grouped = _first(either, ",") or _first(points, ",")
    if not points:
        said = [f"{grouped} can have a decimal comma or separate thousands: it is read as a word"] if grouped else []
        return DECIMAL_POINTS, said
    notes = [f"commas in numbers separate thousands, such as {grouped}"] if grouped else []
    if commas:
        notes.append(
            f"numbers have decimal points, such as {_first(points, '')}; {_first(commas, '')} is no number then"
        )
    return _DECIMAL_POINTS_GROUPED, notes


def is_number(value: str) -> bool:
    """Whether the value is a number in some format."""
    return as_number(value, _DECIMAL_POINTS_GROUPED) is not None or as_number(value, _DECIMAL_COMMAS) is not None


def _weight(evidence: Mapping[str, list[str]]) -> tuple[int, int]:
    """Columns, then values."""
    return len(evidence), sum(map(len, evidence.values()))


def _first(values: Mapping[str, list[str]], mark: str) -> str:
    """The first value with this mark, and its column; "" if there is none."""
    return next((f"{v!r} in {name!r}" for name, column in values.items() for v in column if mark in v), "")
