"""How the numbers of a table are written: decimal marks and thousands separators, decided once for the whole table."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

_EXPONENT = r"([eE][+-]?\d+)?"
# a number in groups of thousands does not begin with zero: 0,125 and 0.125 have a decimal mark
_DECIMAL_COMMA = re.compile(rf"[+-]?([1-9]\d{{0,2}}(\.\d{{3}})+|\d+)(,\d*)?{_EXPONENT}|[+-]?,\d+{_EXPONENT}")
_GROUPING_COMMAS = re.compile(rf"[+-]?[1-9]\d{{0,2}}(,\d{{3}})+(\.\d*)?{_EXPONENT}")
_COMMA_OR_POINTS = re.compile(r",|\..*\.")
_DECIMAL_POINT_ONLY = re.compile(r"[+-]?\d+\.(\d{1,2}|\d{4,})")  # the most frequent numbers of that kind
_LEADING_ZERO = re.compile(r"[+-]?0\d+")


class NumberFormat(NamedTuple):
    """The decimal mark, and the mark between groups of thousands ("" for none)."""

    decimal: str = "."
    thousands: str = ""


DECIMAL_POINTS = NumberFormat()
_DECIMAL_POINTS_GROUPED, _DECIMAL_COMMAS = NumberFormat(".", ","), NumberFormat(",", ".")
NUMBER_FORMATS = (DECIMAL_POINTS, _DECIMAL_POINTS_GROUPED, _DECIMAL_COMMAS)
NAMES = {".": "points", ",": "commas"}


def as_number(value: str, number_format: NumberFormat = DECIMAL_POINTS) -> float | None:
    """The value of a number; None if it is none in this format."""
    if "_" in value:  # Python reads 1_000 as a number
        return None
    value = value.strip()
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
    texts = ("\n".join(v for v in column if v is not None) for column in columns.values())
    if not any(_COMMA_OR_POINTS.search(text) for text in texts):  # quick, and most tables end here
        return DECIMAL_POINTS, []
    distinct = _distinct(columns)
    if not any(_COMMA_OR_POINTS.search(v) and is_number(v) for values in distinct.values() for v in values):
        return DECIMAL_POINTS, []
    commas, points, either = _evidence(distinct)
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


def decide_number_format_as_trained(
    columns: Mapping[str, Iterable[str | None]],
    trained: NumberFormat,
    numeric: Collection[str],
    categorical: Collection[str],
) -> tuple[NumberFormat, list[str]]:
    """The number format of a table for a model that was trained on numbers in the format `trained`.

    It is that of the evidence in the numeric columns of the model, and where they hold none that of the training data.
    The second value are sentences as in `decide_number_format`.

    Raises
    ------
    ValueError
        The numeric columns hold no evidence, but values that can be in either format, and the columns that the model
        does not use are in another format than the training data.
    """
    used = {name: column for name, column in columns.items() if name in numeric}
    commas, points, either = _evidence(_distinct(used))
    if commas or points:
        number_format, notes = decide_number_format(used)
        if number_format.decimal != trained.decimal:
            evidence = commas if number_format.decimal == "," else points
            notes = notes or [f"numbers have decimal points, such as {_first(evidence, '')}"]
            notes.append(f"the model was trained on a table with decimal {NAMES[trained.decimal]}")
        return number_format, notes
    if not either:
        return trained, []
    others = {name: column for name, column in columns.items() if name not in numeric and name not in categorical}
    commas, points, _ = _evidence(_distinct(others))
    agreeing, contradicting = (commas, points) if trained.decimal == "," else (points, commas)
    if _weight(contradicting) > _weight(agreeing):
        raise ValueError(
            f"{_first(either, '')} can have a decimal mark or separate thousands: the model was trained on a table "
            f"with decimal {NAMES[trained.decimal]}, and {_first(contradicting, '')} speaks against them; leave that "
            "column out if it holds no number, or write all numbers as in the training data"
        )
    example = _first(either, ",") or _first(either, ".")
    if trained == DECIMAL_POINTS or (trained.decimal == "." and not _first(either, ",")):
        return trained, []  # what is written as usual, and what is refused as a number, needs no note
    return trained, [f"{example} is read with decimal {NAMES[trained.decimal]}, as in the training data"]


def is_number(value: str) -> bool:
    """Whether the value is a number in some format."""
    return as_number(value, _DECIMAL_POINTS_GROUPED) is not None or as_number(value, _DECIMAL_COMMAS) is not None


def _distinct(columns: Mapping[str, Iterable[str | None]]) -> dict[str, set[str]]:
    return {name: {v for v in column if v is not None} for name, column in columns.items()}


def _evidence(
    distinct: Mapping[str, Collection[str]],
) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[str]]]:
    """The values, by column, that have decimal commas, that have decimal points, and that can have either.

    In no order: what is decided does not depend on it.
    """
    commas: dict[str, list[str]] = {}
    points: dict[str, list[str]] = {}
    either: dict[str, list[str]] = {}
    for name, values in distinct.items():
        with_point = [v for v in values if _DECIMAL_POINT_ONLY.fullmatch(v)]
        others = filter(is_number, set(values).difference(with_point))
        numbers = [(v, as_number(v, _DECIMAL_COMMAS), as_number(v, _DECIMAL_POINTS_GROUPED)) for v in others]
        if 2 * (len(with_point) + len(numbers)) < len(values):
            continue
        with_comma = [v for v, comma, point in numbers if point is None]
        with_point += [v for v, comma, point in numbers if comma is None]
        with_either = [v for v, comma, point in numbers if None not in (comma, point) and comma != point]
        for evidence, found in ((commas, with_comma), (points, with_point), (either, with_either)):
            if found:
                evidence[name] = found
    for name in commas.keys() & points.keys():
        del (points if len(commas[name]) >= len(points[name]) else commas)[name]
    return commas, points, either


def _weight(evidence: Mapping[str, list[str]]) -> tuple[int, int]:
    """Columns, then values."""
    return len(evidence), sum(map(len, evidence.values()))


def _first(values: Mapping[str, list[str]], mark: str) -> str:
    """The first value in the alphabet that has this mark, and its column; "" if there is none."""
    first = ((min((v for v in column if mark in v), default=None), name) for name, column in values.items())
    return next((f"{v!r} in {name!r}" for v, name in first if v is not None), "")
