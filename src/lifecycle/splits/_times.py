"""The time that each row's label spans, and whether rows are in time order."""

import datetime
import numbers
from typing import Any

import numpy as np

from lifecycle.splits._labels import n_samples, one_column

UNSORTED = "{name} takes the rows to be in time order, but the dates in X's index do not ascend; sort X by its index"


def has_unsorted_dates(X: Any) -> bool:
    """Whether X has dates as its index that do not ascend."""
    index: Any = getattr(X, "index", None)
    return getattr(getattr(index, "dtype", None), "kind", None) == "M" and not index.is_monotonic_increasing


def time_spans(times: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of each row, as int64, float64 or datetime64; None: the row number."""
    if times is None:
        return np.arange(n), np.arange(n)
    if not (hasattr(times, "__len__") and len(times) == 2) or isinstance(times, str | dict):
        raise ValueError(
            "times must be a pair (start, end) of arrays, one value a row; for a point in time give it twice"
        )
    start, end = (_time_points(name, values, n) for name, values in zip(("start", "end"), times, strict=True))
    if (start.dtype.kind == "M") != (end.dtype.kind == "M"):
        raise TypeError("times must be numbers or dates in both start and end; one holds numbers, the other dates")
    if (late := np.flatnonzero(start > end)).size:
        row = late[0]
        raise ValueError(
            f"times: row {row} starts at {start[row]} after it ends at {end[row]} ({late.size} rows do); correct them"
        )
    return start, end


def _time_points(name: str, values: Any, n: int) -> np.ndarray:
    if n_samples(values) != n:
        raise ValueError(f"X has {n} rows, the {name} of times has {n_samples(values)}")
    if getattr(getattr(values, "dtype", None), "kind", None) == "M":  # pandas' with a time zone would become objects
        values = np.asarray(values, dtype=None if isinstance(values, np.ndarray) else "datetime64[ns]")
    points = one_column(values)
    if points.dtype.kind == "O" and points.ndim == 1:
        points = _of_objects(points)
    if points.ndim != 1 or points.dtype.kind not in "iufM":
        raise TypeError(f"times must be numbers or datetime64, one a row; {name} is of dtype {points.dtype}")
    if points.dtype.kind in "fM" and (missing := np.flatnonzero(points != points)).size:
        raise ValueError(
            f"times: the {name} of row {missing[0]} is missing ({missing.size} are); fill or drop such rows"
        )
    return points if points.dtype.kind in "fM" else points.astype(np.int64)


def _of_objects(points: np.ndarray) -> np.ndarray:
    """Dates as datetime64 and numbers as they are, where all that are not missing are; else unchanged."""
    missing = np.array([m is None or type(m).__name__ in ("NaTType", "NAType") or m != m for m in points])
    known = points[~missing]
    if known.size and all(isinstance(m, datetime.date) for m in known):
        utc = datetime.UTC
        naive = [m.astimezone(utc).replace(tzinfo=None) if getattr(m, "tzinfo", None) else m for m in known]
        dates = np.full(len(points), np.datetime64("NaT"), dtype="datetime64[us]")
        dates[~missing] = np.array(naive, dtype="datetime64[us]")
        return dates
    if known.size and all(isinstance(m, numbers.Real) for m in known):
        return np.array([np.nan if gone else m for m, gone in zip(points, missing, strict=True)])
    return np.full(len(points), np.nan) if not known.size else points
