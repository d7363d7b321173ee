"""Integer codes of labels: the distinct values of an array, and for each row which of them it has."""

from typing import Any

import numpy as np

_HASH_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)  # odd, of well mixed bits


def n_samples(X: Any) -> int:
    """Number of rows of X."""
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape):
        return int(shape[0])
    if not hasattr(X, "__len__"):
        raise TypeError(f"X must be a sequence or an array with rows; got {type(X).__name__}")
    return len(X)


def row_numbers(rows: Any, n: int) -> np.ndarray:
    """Rows of a side of a fold, given as numbers or as a mask, as numbers from 0 to n - 1."""
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (n,):
        return np.flatnonzero(rows)
    if rows.size == 0:
        return np.zeros(0, dtype=np.intp)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < -n or rows.max() >= n:
        raise ValueError(f"folds must hold row numbers below {n}, the rows of X, or a mask of {n} rows; got {rows}")
    rows = rows.astype(np.intp)
    rows[rows < 0] += n
    return rows


def one_column(values: Any) -> np.ndarray:
    """As an array, one-dimensional where it has a single column."""
    labels = np.asarray(values)
    return labels.ravel() if labels.ndim == 2 and labels.shape[1] == 1 else labels


def factorize(name: str, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values, sorted, and the position of each row's value among them; `name` is for the errors."""
    labels = one_column(values)
    if labels.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, one value a row; got shape {labels.shape}")
    kind = labels.dtype.kind
    if kind == "O":
        return _of_objects(name, labels.tolist(), labels.dtype)
    if kind in "US":
        return _of_strings(name, labels)
    if (kind == "f" and np.isnan(labels).any()) or (kind in "mM" and np.isnat(labels).any()):
        raise ValueError(f"{name} has missing values; fill them or drop their rows")
    if kind == "b":
        names, codes = _of_integers(labels.view(np.uint8))
    elif kind in "mM":
        names, codes = _of_integers(labels.view(np.int64))
    elif kind in "iu":
        return _of_integers(labels)
    else:
        return np.unique(labels, return_inverse=True)
    return names.astype(bool) if kind == "b" else names.view(labels.dtype), codes


def _of_integers(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = int(labels.min()), int(labels.max())
    if high - low < max(2**10, 2 * len(labels)) and high < 2**63:
        shifted = labels.astype(np.intp)
        shifted -= low
        present = np.zeros(high - low + 1, dtype=bool)
        present[shifted] = True
        names = (np.flatnonzero(present) + low).astype(labels.dtype)
        return names, shifted if present.all() else (np.cumsum(present) - 1)[shifted]
    codes = _by_hash(labels.astype(np.uint64))
    return np.unique(labels, return_inverse=True) if codes is None else _sorted(labels, codes)


def _of_strings(name: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = labels.dtype.itemsize
    word = next(w for w in (8, 4, 2, 1) if width % w == 0)
    if 0 < width <= 16 * word:
        words = np.ascontiguousarray(labels).view(f"u{word}").reshape(len(labels), -1)
        keys = words[:, 0].astype(np.uint64)
        for column in words.T[1:]:
            keys *= np.uint64(_HASH_MULTIPLIERS[0])
            keys ^= keys >> np.uint64(29)
            keys ^= column
        codes = _by_hash(keys) if len(keys) > 2**12 else None  # the table costs as much as sorting these
        if codes is None:
            codes = np.unique(keys, return_inverse=True)[1]
        names, codes = _sorted(labels, codes)
        if words.shape[1] == 1 or (names[codes] == labels).all():  # a key of several words is a hash
            return names, codes
    return _of_objects(name, labels.tolist(), labels.dtype)


def _by_hash(keys: np.ndarray) -> np.ndarray | None:
    """Code of each row's key, in no order; None where keys are too many for a hash table of 2**16 without collision."""
    if len(np.unique(keys[:1024])) > 256:
        return None
    for multiplier in _HASH_MULTIPLIERS:
        slots = ((keys * np.uint64(multiplier)) >> np.uint64(48)).astype(np.intp)
        table = np.zeros(2**16, dtype=np.uint64)
        table[slots] = keys
        if (table[slots] == keys).all():
            used = np.zeros(2**16, dtype=bool)
            used[slots] = True
            return (np.cumsum(used) - 1)[slots]
    return None


def _sorted(labels: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Names of the codes, and the codes renumbered in the order of the names."""
    row_of_code = np.empty(codes.max() + 1, dtype=np.intp)
    row_of_code[codes] = np.arange(len(codes))
    names = labels[row_of_code]
    order = np.argsort(names)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return names[order], rank[codes]


def _of_objects(name: str, values: list, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    try:
        distinct = dict.fromkeys(values)
    except TypeError as error:
        raise TypeError(f"{name} must hold hashable labels, such as strings; {error}") from None
    if any(value is None or type(value).__name__ == "NAType" or value != value for value in distinct):
        raise ValueError(f"{name} has missing values; fill them or drop their rows")
    try:
        ordered = sorted(distinct)
    except TypeError:  # of several types
        ordered = list(distinct)
    names = np.empty(len(ordered), dtype=dtype)
    names[:] = ordered
    code_of = {value: k for k, value in enumerate(ordered)}
    return names, np.fromiter(map(code_of.__getitem__, values), dtype=np.intp, count=len(values))


def first_rows(codes: np.ndarray, n_codes: int) -> np.ndarray:
    """First row of each code; mostly all codes occur among the first rows, so these are searched first."""
    n, head = len(codes), 4096
    while True:
        first = np.full(n_codes, n)
        first[codes[:head][::-1]] = np.arange(min(head, n))[::-1]  # the last value assigned stays
        if head >= n or first.max() < n:
            return first
        head *= 8


def combined(name: str, values: Any) -> tuple[np.ndarray, np.ndarray]:
    """As `factorize`; of several columns (a 2-D array or a DataFrame) the combinations that occur."""
    labels = values if hasattr(values, "iloc") else np.asarray(values)
    if labels.ndim != 2 or labels.shape[1] == 1:
        return factorize(name, labels)
    columns = [labels.iloc[:, j] if hasattr(labels, "iloc") else labels[:, j] for j in range(labels.shape[1])]
    if not columns:
        raise ValueError(f"{name} has no column")
    codes = np.zeros(len(labels), dtype=np.intp)
    for column in columns:
        names, inner = factorize(name, column)
        _, codes = _of_integers(codes * len(names) + inner)
    return np.arange(codes.max() + 1), codes
