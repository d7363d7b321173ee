"""K folds in time order, without the training rows whose labels overlap the test fold in time."""

import datetime
from typing import Any

import numpy as np

from lifecycle._check import integer, number
from lifecycle.splits._splitter import Folds, MetadataRequester, SplitInput
from lifecycle.splits._times import time_spans


class PurgedKFold(MetadataRequester):
    """K test blocks of rows in order of time; training rows whose time overlaps the block's are left out.

    Each row's label spans a time [start, end]. A test block spans its earliest start to its latest end; training rows
    that overlap this span are purged, and so are those that start within `embargo` after it (Lopez de Prado 2018,
    Advances in Financial Machine Learning, chapter 7). Rows need not be sorted.

    Parameters
    ----------
    n_splits : int
        Folds, at least 2.
    embargo : number, datetime.timedelta or numpy.timedelta64
        In the unit of the times: rows where no times are given, a time difference where they are dates.

    Examples
    --------
    Where metadata routing is not enabled, `cross_validate` takes the folds themselves:

    >>> cross_validate(model, X, y, cv=list(PurgedKFold(5).split(X, times=(start, end))))
    """

    requests = ("times",)
    in_order = True
    advice_group = "make the times of a group's rows overlap, or use GroupTimeSeriesSplit"

    def __init__(self, n_splits: int = 5, *, embargo: Any = 0):
        self.n_splits = integer("n_splits", n_splits, low=2)
        if isinstance(embargo, datetime.timedelta | np.timedelta64):
            if not np.timedelta64(embargo) >= np.timedelta64(0):
                raise ValueError(f"embargo must be >= 0; got {embargo!r}")
        else:
            number("embargo", embargo, low=0)
        self.embargo = embargo

    def split(self, X: Any, y: Any = None, groups: Any = None, times: Any = None) -> Folds:
        """Yield (train, test) row numbers of each fold, int64 and ascending.

        Parameters
        ----------
        X : array-like with n rows
        y, groups : ignored
        times : (start, end), each of shape (n,), default=None
            Numbers or datetime64, start <= end; None: the row number.

        Raises
        ------
        ValueError, TypeError
            If the folds cannot be made from these rows and times.
        """
        return self._split(X, y, groups, times)

    def _folds(self, data: SplitInput) -> Folds:
        n = data.n
        if n < self.n_splits:
            raise ValueError(
                f"Cannot have number of splits n_splits={self.n_splits} greater than the number of rows: {n}; "
                "use fewer folds"
            )
        start, end = time_spans(data.extra, n)
        dates = start.dtype.kind == "M"
        is_timedelta = isinstance(self.embargo, datetime.timedelta | np.timedelta64)
        if dates != is_timedelta and (is_timedelta or self.embargo != 0):
            raise TypeError(
                f"embargo={self.embargo!r} does not fit times that are {'dates' if dates else 'numbers'}; give a "
                + ("timedelta" if dates else "number")
            )
        embargo = np.timedelta64(self.embargo) if is_timedelta else np.timedelta64(0) if dates else self.embargo
        order = np.argsort(start, kind="stable")
        for k, block in enumerate(np.array_split(order, self.n_splits)):
            first, last = start[block].min(), end[block].max()
            train = np.flatnonzero((end < first) | ((start > last) & (start - last > embargo)))
            if len(train) == 0:
                raise ValueError(
                    f"purging leaves no training row in fold {k}, whose test rows span {first} to {last}; use more "
                    "folds, a smaller embargo or shorter times"
                )
            yield train, np.sort(block)
