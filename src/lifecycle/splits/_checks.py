"""What is probably a leak or a mistake in folds, as sentences: the cheap looks at every split, and `check_folds`."""

import datetime
from collections.abc import Iterable
from typing import Any

import numpy as np

from lifecycle.splits._labels import factorize, one_column

LOOKED_AT = 2**14  # rows of y that a split looks at; of more, every second, every fourth, …


def n_samples(X: Any) -> int:
    """Number of rows of X."""
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape):
        return int(shape[0])
    if not hasattr(X, "__len__"):
        raise TypeError(f"X must be a sequence or an array with rows; got {type(X).__name__}")
    return len(X)


def unsorted_index(X: Any) -> bool:
    """Whether X has dates as its index that do not ascend."""
    index: Any = getattr(X, "index", None)
    return getattr(getattr(index, "dtype", None), "kind", None) == "M" and not index.is_monotonic_increasing


def class_codes(y: Any, n_splits: int, in_order: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Classes that a fold should not lack and the class of each row (-1: another); None where y is no set of classes.

    Strings and booleans are classes, integers only if there are two of them, or, where rows are not in time order, at
    most sqrt(n), each with 2 * n_splits rows: counts and ratings as a regression target give no alarm.
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
    except (TypeError, ValueError):  # missing or mixed values: no business of a splitter that only looks
        return None
    if labels.dtype.kind in "iu" and len(names) > 2:
        if in_order or len(names) > np.sqrt(len(labels)):
            return None
        rare = np.bincount(codes, minlength=len(names)) < 2 * n_splits
        codes = np.where(rare[codes], -1, codes) if rare.any() else codes
    return (names, codes) if len(names) <= max(2, len(labels) // 2) else None


class FoldChecks:
    """Looks at the folds as they are made; each kind of fault is told once, at its first fold."""

    def __init__(self, n: int, n_splits: int, y: Any, groups: tuple[np.ndarray, np.ndarray] | None, partition: bool,
                 in_order: bool, remedy: dict):  # fmt: skip
        self.partition, self.remedy = partition, remedy
        self.step = 1
        while n > self.step * LOOKED_AT:
            self.step *= 2
        self.y, self.classes, self.groups = y, None, None
        if y is not None:
            self.classes = class_codes(getattr(y, "iloc", y)[:: self.step], n_splits, in_order)
        if self.classes is not None:
            names, codes = self.classes
            # one more for the rows of no class; it stays in the last place
            self.class_total = np.bincount(codes % (len(names) + 1), minlength=len(names) + 1)
        if groups is not None:
            self.groups, self.group_total = groups, np.bincount(groups[1])

    def look(self, k: int, train: np.ndarray, test: np.ndarray) -> list[str]:
        """Sentences about fold k."""
        found = []
        if self.classes is not None and (lacking := self._lacking_class(*self.classes, train, test)) is not None:
            self.classes = None
            found.append(
                f"class {lacking!r} of y has no row in the training part of fold {k}, so that no model fitted there "
                f"knows it; {self.remedy['class']}"
            )
        if self.groups is not None and (split := self._split_group(*self.groups, train, test)) is not None:
            self.groups = None
            found.append(
                f"{self.remedy['ignored']}group {split!r} is on both sides of fold {k}; {self.remedy['group']}"
            )
        return found

    def _sides(self, codes: np.ndarray, total: np.ndarray, train: np.ndarray, test: np.ndarray, step: int) -> tuple:
        """How often each code stands in the training and in the test part, of those rows that are looked at."""

        def count(rows: np.ndarray) -> np.ndarray:
            if len(rows) == 0:
                seen = codes[:0]
            elif rows[-1] - rows[0] + 1 == len(rows) and step > 1:  # a block, since a splitter's rows ascend
                seen = codes[-(-rows[0] // step) : rows[-1] // step + 1]
            elif step == 1:
                seen = codes[rows]
            else:
                looked_at = np.arange(len(codes)) * step
                place = np.minimum(np.searchsorted(rows, looked_at), len(rows) - 1)
                seen = codes[rows[place] == looked_at]
            return np.bincount(seen % len(total), minlength=len(total))

        in_test = count(test)
        return (total - in_test if self.partition else count(train)), in_test

    def _lacking_class(self, names: np.ndarray, codes: np.ndarray, train: np.ndarray, test: np.ndarray) -> Any:
        in_train, in_test = self._sides(codes, self.class_total, train, test, self.step)
        in_train, in_test = in_train[: len(names)], in_test[: len(names)]
        one_only = np.count_nonzero(in_train) == 1
        for c in np.flatnonzero((in_train == 0) & ((in_test > 0) | one_only) & (self.class_total[: len(names)] > 0)):
            if self.step == 1 or not (one_column(self.y)[train] == names[c]).any():
                return names[c].item() if isinstance(names[c], np.generic) else names[c]
        return None

    def _split_group(self, names: np.ndarray, codes: np.ndarray, train: np.ndarray, test: np.ndarray) -> Any:
        in_train, in_test = self._sides(codes, self.group_total, train, test, 1)
        both = np.flatnonzero((in_train > 0) & (in_test > 0))
        if len(both) == 0:
            return None
        name = names[both[0]]
        return name.item() if isinstance(name, np.generic) and name.dtype.kind not in "mM" else name


def check_folds(folds: Any, X: Any, y: Any = None, *, groups: Any = None, times: Any = None) -> list[str]:
    """Probable leaks and mistakes in given folds, as sentences; each kind is told for the first fold that has it.

    Told are: an empty part, rows on both sides, equal rows of X on both sides, a class that the training part lacks, a
    group on both sides, and training rows whose time meets that of the test rows.

    Parameters
    ----------
    folds : splitter, or iterable of (train, test)
        A splitter is asked for its folds of X, y, groups (and times, if it is a PurgedKFold).
    X : array-like, sparse matrix or DataFrame with n rows
        Compared by a 64-bit hash of each row; NaN equals NaN.
    y : array-like, shape (n,)
        Floats, and integers of many values, are taken for no classes.
    groups : array-like, shape (n,)
    times : (start, end), each of shape (n,)
        Numbers or datetime64; rows meet if neither ends before the other starts.

    Returns
    -------
    list of str
        Empty if nothing was found.

    Raises
    ------
    ValueError, TypeError
        If the folds cannot be made, or are no row numbers of X.
    """
    n = n_samples(X)
    told = _told_by(folds, X, y, groups, times) if hasattr(folds, "split") else (folds, [])
    pairs, found = told
    if not isinstance(pairs, Iterable) or isinstance(pairs, str):
        raise TypeError(f"folds must be a splitter or pairs of row numbers (train, test); got {folds!r}")
    pairs = [(_rows(train, n), _rows(test, n)) for train, test in pairs]
    for name, values in (("y", y), ("groups", groups)):
        if values is not None and n_samples(values) != n:
            raise ValueError(f"X has {n} rows, {name} has {n_samples(values)}")
    remedy = {
        "class": "stratify or shuffle the folds, or use fewer",
        "ignored": "",
        "group": "use a splitter that keeps groups whole, such as GroupKFold",
    }
    named = None if groups is None else factorize("groups", groups)
    checks = FoldChecks(0, len(pairs), y, named, False, False, remedy)
    twins = np.unique(row_hashes(X), return_inverse=True)[1]
    span = None if times is None else interval(times, n)
    of_rows, of_twins, of_times = True, True, span is not None
    for k, (train, test) in enumerate(pairs):
        if min(len(train), len(test)) == 0:
            found.append(f"fold {k} has no {'training' if len(train) == 0 else 'test'} row; use fewer folds")
            continue
        found += checks.look(k, train, test)
        both = np.intersect1d(train, test)
        if of_rows and len(both):
            found.append(f"row {both[0]} is on both sides of fold {k} ({len(both)} rows are); a row must be on one")
            of_rows = False
        test_only = np.setdiff1d(test, both)
        again = test_only[np.isin(twins[test_only], twins[train])]
        if of_twins and len(again):
            twin = train[np.flatnonzero(twins[train] == twins[again[0]])[0]]
            found.append(
                f"test row {again[0]} of fold {k} equals training row {twin} ({len(again)} test rows have a twin); "
                "drop the duplicates, or give them one group and use GroupKFold"
            )
            of_twins = False
        if of_times and span is not None:
            start, end = span
            meets = (start[train] <= end[test].max()) & (end[train] >= start[test].min())
            if meets.any():
                found.append(
                    f"training row {train[meets][0]} of fold {k} lies in the time of its test rows "
                    f"({np.count_nonzero(meets)} rows do); use PurgedKFold with these times"
                )
                of_times = False
    return found


def _told_by(splitter: Any, X: Any, y: Any, groups: Any, times: Any) -> tuple[list, list[str]]:
    """Folds of a splitter, and whether its rows are in disorder; its warnings are left to the checks."""
    import inspect
    import warnings

    more = {"times": times} if "times" in inspect.signature(splitter.split).parameters else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = list(splitter.split(X, y, groups, **more))
    disorder = getattr(splitter, "in_order", False) and unsorted_index(X) and more.get("times") is None
    return pairs, [UNSORTED.format(name=type(splitter).__name__)] if disorder else []


UNSORTED = "{name} takes the rows to be in time order, but the dates in X's index do not ascend; sort X by its index"


def _rows(rows: Any, n: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (n,):
        return np.flatnonzero(rows)
    if rows.size == 0:
        return np.zeros(0, dtype=np.intp)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < -n or rows.max() >= n:
        raise ValueError(f"folds must hold row numbers below {n}, the rows of X; got {rows}")
    return rows.astype(np.intp) % n


def interval(times: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of each row, as int64, float64 or datetime64; None: the row number."""
    if times is None:
        return np.arange(n), np.arange(n)
    if not (hasattr(times, "__len__") and len(times) == 2) or isinstance(times, str | dict):
        raise ValueError(
            "times must be a pair (start, end) of arrays, one value a row; for a point in time give it twice"
        )
    start, end = (_moment(name, values, n) for name, values in zip(("start", "end"), times, strict=True))
    if (start.dtype.kind == "M") != (end.dtype.kind == "M"):
        raise TypeError("times must be numbers or dates in both start and end; one holds numbers, the other dates")
    if (late := np.flatnonzero(start > end)).size:
        row = late[0]
        raise ValueError(
            f"times: row {row} starts at {start[row]} after it ends at {end[row]} ({late.size} rows do); swap or mend "
            "them"
        )
    return start, end


def _moment(name: str, values: Any, n: int) -> np.ndarray:
    if n_samples(values) != n:
        raise ValueError(f"X has {n} rows, the {name} of times has {n_samples(values)}")
    if getattr(getattr(values, "dtype", None), "kind", None) == "M":  # pandas' of a time zone would become objects
        values = np.asarray(values, dtype=None if isinstance(values, np.ndarray) else "datetime64[ns]")
    moments = one_column(values)
    if moments.dtype.kind == "O" and hasattr(moments.flat[0], "year"):
        utc = datetime.UTC
        naive = [m.astimezone(utc).replace(tzinfo=None) if getattr(m, "tzinfo", None) else m for m in moments]
        moments = np.array(naive, dtype="datetime64[us]")
    if moments.ndim != 1 or moments.dtype.kind not in "iufM":
        raise TypeError(f"times must be numbers or datetime64, one a row; {name} is of dtype {moments.dtype}")
    if moments.dtype.kind in "fM" and (missing := np.flatnonzero(moments != moments)).size:
        raise ValueError(
            f"times: the {name} of row {missing[0]} is missing ({missing.size} are); fill or drop such rows"
        )
    return moments if moments.dtype.kind in "fM" else moments.astype(np.int64)


def row_hashes(X: Any) -> np.ndarray:
    """uint64 of each row; equal rows have equal ones."""
    if hasattr(X, "tocsr"):
        return _sparse_hashes(X.tocsr())
    columns: Iterable
    if hasattr(X, "iloc") and X.ndim == 2:
        columns = (X.iloc[:, j] for j in range(X.shape[1]))
    else:
        table = np.asarray(X)
        columns = table.reshape(len(table), -1).T
    hashes = np.zeros(n_samples(X), dtype=np.uint64)
    for column in columns:
        hashes = _mixed(hashes ^ _bits(np.asarray(column)))
    return hashes


def _sparse_hashes(X: Any) -> np.ndarray:
    X = X.copy()
    X.sum_duplicates()
    column = _mixed(X.indices.astype(np.uint64) + np.uint64(1))
    entries = np.where(X.data != 0, _mixed(column ^ _bits(X.data)), np.uint64(0))
    upto = np.concatenate([np.zeros(1, np.uint64), np.cumsum(entries, dtype=np.uint64)])  # wraps, and unwraps below
    return upto[X.indptr[1:]] - upto[X.indptr[:-1]]


def _bits(values: np.ndarray) -> np.ndarray:
    """uint64 of each value; equal values have equal ones."""
    kind = values.dtype.kind
    if kind in "fiub":
        with np.errstate(over="ignore"):
            exact = kind in "iu" and values.dtype.itemsize == 8
            bits = values.astype(np.int64 if exact else np.float64) + 0  # -0.0 is 0.0
        return (
            np.where(bits != bits, np.nan, bits).view(np.uint64) if bits.dtype == np.float64 else bits.view(np.uint64)
        )
    if kind == "O":
        number: dict = {}
        return np.array([number.setdefault(_key(v), len(number)) for v in values], dtype=np.uint64)
    return factorize("X", values.view(np.int64) if kind in "mM" else values)[1].astype(np.uint64)


def _key(value: Any) -> Any:
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _mixed(h: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64."""
    h = h + np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))
