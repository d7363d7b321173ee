"""What every splitter shares: the argument checks, `split` from test folds, and the repr."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._check import integer, one_of


def n_samples(X: Any) -> int:
    """Number of rows of X."""
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape):
        return int(shape[0])
    if not hasattr(X, "__len__"):
        raise TypeError(f"X must be a sequence or an array with rows; got {type(X).__name__}")
    return len(X)


class Splitter(ABC):
    """Yields (train, test) row numbers, `n_splits` times."""

    n_splits: int

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds."""
        return self.n_splits

    @abstractmethod
    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (train, test) row numbers of each fold."""

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"


class Partition(Splitter):
    """A splitter whose test folds are a partition of the rows, made by `_fold_of_row`."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (train, test) row numbers of each fold, int64 and ascending.

        Parameters
        ----------
        X : array-like with n rows
        y : array-like, shape (n,)
            Labels, where the splitter stratifies.
        groups : array-like, shape (n,)
            Group of each row, where the splitter keeps groups together.

        Raises
        ------
        ValueError
            If the folds cannot be made from these rows.
        """
        n = n_samples(X)
        for name, values in (("y", y), ("groups", groups)):
            if values is not None and n_samples(values) != n:
                raise ValueError(f"X has {n} rows, {name} has {n_samples(values)}")
        if n < self.n_splits:
            raise ValueError(f"n_splits={self.n_splits} folds need at least as many rows; there are {n}")
        rows = np.arange(n)
        fold = self._fold_of_row(n, y, groups)
        for k in range(self.n_splits):
            yield rows[fold != k], rows[fold == k]

    @abstractmethod
    def _fold_of_row(self, n: int, y: Any, groups: Any) -> np.ndarray:
        """Fold number of each row."""


class ShuffledSplitter(Partition):
    """K folds with n_splits, shuffle and random_state."""

    def __init__(self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None):
        self.n_splits = integer("n_splits", n_splits, low=2)
        self.shuffle = one_of("shuffle", shuffle, (True, False))
        if random_state is not None and not shuffle:
            raise ValueError(
                "random_state has no effect without shuffle=True; set shuffle=True or leave random_state out"
            )
        self.random_state = random_state
