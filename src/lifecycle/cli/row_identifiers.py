"""Columns of a table that identify a row, or say when it was observed, and should not be learned from unseen."""

import re
from collections.abc import Collection

import numpy as np

from lifecycle.cli.number_format import NumberFormat, as_numbers

_IDENTIFIER = re.compile(r"(?:^|[\W_])(?i:id|uuid|guid|key|index|idx|nr|no|num|number|row|rownames?)$|(?<=[a-z])I[dD]$")
_DATE_NAME = re.compile(
    r"(?:^|[\W_])(?:date|datetime|timestamp|year|datum|jahr)$|(?<=[a-z])(?:Date|Year)$", re.IGNORECASE
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_TIME = r"(?:[T ]\s*\d{1,2}:\d{2}(?::\d{2})?.*)?"
_DATE = re.compile(
    rf"(?:\d{{4}}[-/]\d{{1,2}}|\d{{4}}([-/.])\d{{1,2}}\1\d{{1,2}}|\d{{1,2}}([-/.])\d{{1,2}}\2(?:\d{{4}}|\d{{2}})"
    rf"|(?:\d{{1,2}}[ -])?{_MONTH}[ -](?:\d{{1,2}},?[ -])?\d{{2,4}}|\d{{1,2}}[. ]+{_MONTH} \d{{4}}){_TIME}",
    re.IGNORECASE,
)


def mostly_distinct(present: Collection[str]) -> bool:
    """Whether most values occur once."""
    return 2 * len(set(present)) > len(present)


def identifies_rows(name: str, present: Collection[str], number_format: NumberFormat) -> bool:
    """Whether the values of a numeric column, in the order of the rows, name them.

    They are 0, 1, 2, … or 1, 2, 3, …, or distinct whole numbers in a column whose name says that they are identifiers.
    """
    if not mostly_distinct(present):
        return False
    values = as_numbers(present, number_format)
    if values is None or len(values) < 2 or not np.isfinite(values).all() or (values != np.round(values)).any():
        return False
    is_running_number = values[0] in (0, 1) and (np.diff(values) == 1).all()
    return is_running_number or _IDENTIFIER.search(name) is not None


def has_dates(name: str, present: Collection[str], number_format: NumberFormat) -> bool:
    """Whether the values are written as dates, or are numbers under a name that says so."""
    if _DATE_NAME.search(name) and as_numbers(present, number_format) is not None:
        return True
    return bool(present) and all(_DATE.fullmatch(v) for v in present)
