"""Warnings of probable leaks and mistakes in folds: the fast checks of every split, and `check_folds`."""

import inspect
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lifecycle.splits._labels import factorize, n_samples, one_column, row_numbers
from lifecycle.splits._row_hashes import row_hashes
from lifecycle.splits._times import UNSORTED, has_unsorted_dates, time_spans

_MAX_CHECKED_ROWS = 2**14  # of y in a split; of more rows, every second, every fourth, … is checked
Codes = tuple[np.ndarray, np.ndarray]  # distinct values, and for each row which of them it has


def class_codes(y: Any, n_splits: int, in_order: bool) -> Codes | None:
    """Classes that a fold should not lack and the class of each row (-1: another); None where y is no set of classes.

    Strings and booleans are classes, integers only if there are two of them, or, where rows are not in time order, at
    most sqrt(n), each with 2 * n_splits rows: counts and ratings as a regression target give no warning.
    """
    if hasattr(y, "tocsr"):
        return None
    labels = one_column(y)
    if labels.ndim != 1 or labels.dtype.kind not in "biuUSO":
        return None
    if labels.dtype.kind == "O" and not all(isinstance(v, str | bool) for v in labels[:64]):
        return None
    if labels.dtype.kind in "iu" and int(labels.max()) - int(labels.min()) > 10_000:
        return None
    try:
        names, codes = factorize("y", labels)
    except (TypeError, ValueError):  # missing or mixed values are no set of classes
        return None
    if labels.dtype.kind in "iu" and len(names) > 2:
        if in_order or len(names) > np.sqrt(len(labels)):
            return None
        rare = np.bincount(codes, minlength=len(names)) < 2 * n_splits
        codes = np.where(rare[codes], -1, codes) if rare.any() else codes
    return (names, codes) if len(names) <= max(2, len(labels) // 2) else None


class Advice(NamedTuple):
    """What a warning recommends: where a class is lacking, and where a group is in both parts of a fold."""

    lacking_class: str
    split_group: str | None
    ignored_groups: str = ""  # precedes the warning of a splitter that ignores groups


class FoldChecker:
    """Checks folds as they are made; each kind of fault is reported once, for its first fold."""

    def __init__(
        self, n: int, n_splits: int, y: Any, groups: Codes | None, advice: Advice, partition: bool, in_order: bool
    ):
        self.partition, self.advice, self.y = partition, advice, y
        self.groups = groups
        self.step = 1
        while n > self.step * _MAX_CHECKED_ROWS:
            self.step *= 2
        self.classes = None
        if y is not None:
            self.classes = class_codes(getattr(y, "iloc", y)[:: self.step], n_splits, in_order)
        if self.classes is not None:
            names, codes = self.classes
            # the last count is that of rows without a class, whose code is -1
            self.class_total = np.bincount(codes % (len(names) + 1), minlength=len(names) + 1)
        if groups is not None:
            self.group_total = np.bincount(groups[1])

    def check(self, k: int, train: np.ndarray, test: np.ndarray) -> list[str]:
        """The faults of fold k, as sentences."""
        faults = []
        if self.classes is not None and (label := self._lacking_class(*self.classes, train, test)) is not None:
            self.classes = None
            faults.append(
                f"class {label!r} of y has no row in the training part of fold {k}, so that no model fitted there "
                f"knows it; {self.advice.lacking_class}"
            )
        if self.groups is not None and (group := self._split_group(*self.groups, train, test)) is not None:
            self.groups = None
            faults.append(
                f"{self.advice.ignored_groups}group {group!r} is on both sides of fold {k}; {self.advice.split_group}"
            )
        return faults

    def _counts(
        self, codes: np.ndarray, total: np.ndarray, train: np.ndarray, test: np.ndarray, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """How often each code occurs in the training and in the test part, among every `step`-th row."""

        def count(rows: np.ndarray) -> np.ndarray:
            if len(rows) == 0:
                part = codes[:0]
            elif rows[-1] - rows[0] + 1 == len(rows) and step > 1:  # a block, since a splitter's rows ascend
                part = codes[-(-rows[0] // step) : rows[-1] // step + 1]
            elif step == 1:
                part = codes[rows]
            else:
                checked = np.arange(len(codes)) * step
                positions = np.minimum(np.searchsorted(rows, checked), len(rows) - 1)
                part = codes[rows[positions] == checked]
            return np.bincount(part % len(total), minlength=len(total))

        in_test = count(test)
        return (total - in_test if self.partition else count(train)), in_test

    def _lacking_class(self, names: np.ndarray, codes: np.ndarray, train: np.ndarray, test: np.ndarray) -> Any:
        in_train, in_test = self._counts(codes, self.class_total, train, test, self.step)
        in_train, in_test = in_train[: len(names)], in_test[: len(names)]
        one_only = np.count_nonzero(in_train) == 1
        for c in np.flatnonzero((in_train == 0) & ((in_test > 0) | one_only) & (self.class_total[: len(names)] > 0)):
            if self.step == 1 or not (one_column(self.y)[train] == names[c]).any():
                return names[c].item() if isinstance(names[c], np.generic) else names[c]
        return None

    def _split_group(self, names: np.ndarray, codes: np.ndarray, train: np.ndarray, test: np.ndarray) -> Any:
        in_train, in_test = self._counts(codes, self.group_total, train, test, 1)
        both = np.flatnonzero((in_train > 0) & (in_test > 0))
        if len(both) == 0:
            return None
        name = names[both[0]]
        return name.item() if isinstance(name, np.generic) and name.dtype.kind not in "mM" else name


def check_folds(folds: Any, X: Any, y: Any = None, *, groups: Any = None, times: Any = None) -> list[str]:
    """Probable leaks and mistakes in given folds, as sentences; each kind is reported for the first fold that has it.

    These are: an empty part, rows on both sides, equal rows of X on both sides, a class that the training part lacks, a
    group on both sides, and training rows whose time overlaps that of the test rows.

    Parameters
    ----------
    folds : splitter, or iterable of (train, test)
        A splitter is asked for its folds of X, y, groups (and times, if it is a PurgedKFold).
    X : array-like, sparse matrix or DataFrame with n rows
        Compared by a 64-bit hash of each row; NaN equals NaN.
    y : array-like, shape (n,)
        Floats, and integers of many values, are not taken for classes.
    groups : array-like, shape (n,)
    times : (start, end), each of shape (n,)
        Numbers or datetime64; rows overlap if neither ends before the other starts.

    Returns
    -------
    list of str
        Empty if there are none.

    Raises
    ------
    ValueError, TypeError
        If the folds cannot be made, or are no row numbers of X.
    """
    n = n_samples(X)
    pairs, faults = _folds_of_splitter(folds, X, y, groups, times) if hasattr(folds, "split") else (folds, [])
    if not isinstance(pairs, Iterable) or isinstance(pairs, str):
        raise TypeError(f"folds must be a splitter or pairs of row numbers (train, test); got {folds!r}")
    pairs = [(row_numbers(train, n), row_numbers(test, n)) for train, test in pairs]
    for name, values in (("y", y), ("groups", groups)):
        if values is not None and n_samples(values) != n:
            raise ValueError(f"X has {n} rows, {name} has {n_samples(values)}")
    advice = Advice(
        "stratify or shuffle the folds, or use fewer", "use a splitter that keeps groups whole, such as GroupKFold"
    )
    group_codes = None if groups is None else factorize("groups", groups)
    checker = FoldChecker(
        0, len(pairs), y, group_codes, advice, partition=False, in_order=False
    )  # n = 0: check every row
    hash_codes = np.unique(row_hashes(X), return_inverse=True)[1]
    spans = None if times is None else time_spans(times, n)
    rows_checked, duplicates_checked = False, False
    for k, (train, test) in enumerate(pairs):
        if min(len(train), len(test)) == 0:
            faults.append(f"fold {k} has no {'training' if len(train) == 0 else 'test'} row; use fewer folds")
            continue
        faults += checker.check(k, train, test)
        both = np.intersect1d(train, test)
        if not rows_checked and len(both):
            faults.append(f"row {both[0]} is on both sides of fold {k} ({len(both)} rows are); a row must be on one")
            rows_checked = True
        test_only = np.setdiff1d(test, both)
        duplicates = test_only[np.isin(hash_codes[test_only], hash_codes[train])]
        if not duplicates_checked and len(duplicates):
            twin = train[np.flatnonzero(hash_codes[train] == hash_codes[duplicates[0]])[0]]
            faults.append(
                f"test row {duplicates[0]} of fold {k} equals training row {twin} ({len(duplicates)} test rows have a "
                "twin); drop the duplicates, or give them one group and use GroupKFold"
            )
            duplicates_checked = True
        if spans is not None:
            start, end = spans
            overlaps = (start[train] <= end[test].max()) & (end[train] >= start[test].min())
            if overlaps.any():
                faults.append(
                    f"training row {train[overlaps][0]} of fold {k} lies in the time of its test rows "
                    f"({np.count_nonzero(overlaps)} rows do); use PurgedKFold with these times"
                )
                spans = None  # reported once
    return faults


def _folds_of_splitter(splitter: Any, X: Any, y: Any, groups: Any, times: Any) -> tuple[list, list[str]]:
    """Folds of a splitter, and a sentence if its rows are not in time order; its own warnings are suppressed."""
    more = {"times": times} if "times" in inspect.signature(splitter.split).parameters else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = list(splitter.split(X, y, groups, **more))
    unsorted = getattr(splitter, "in_order", False) and has_unsorted_dates(X) and more.get("times") is None
    return pairs, [UNSORTED.format(name=type(splitter).__name__)] if unsorted else []
