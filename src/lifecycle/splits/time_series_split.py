"""Train on the past, test on what follows."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._check import integer
from ._partition import Splitter, n_samples


class TimeSeriesSplit(Splitter):
    """Successive test blocks at the end of the rows, each with all rows before it to train on.

    Parameters
    ----------
    n_splits : int
        Folds, at least 2.
    max_train_size : int, optional
        Rows of the training part, the latest ones.
    test_size : int, optional
        Rows of a test block; None: n // (n_splits + 1).
    gap : int
        Rows left out between training part and test block.
    """

    def __init__(
        self, n_splits: int = 5, *, max_train_size: int | None = None, test_size: int | None = None, gap: int = 0
    ):
        self.n_splits = integer("n_splits", n_splits, low=2)
        self.max_train_size = None if max_train_size is None else integer("max_train_size", max_train_size, low=1)
        self.test_size = None if test_size is None else integer("test_size", test_size, low=1)
        self.gap = integer("gap", gap, low=0)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        n = n_samples(X)
        size = self.test_size or n // (self.n_splits + 1)
        first = n - self.n_splits * size
        if size == 0 or first - self.gap <= 0:
            raise ValueError(
                f"n_splits={self.n_splits} test blocks of {max(size, 1)} rows after a gap of {self.gap} leave no row "
                f"to train on; there are {n}"
            )
        rows = np.arange(n)
        for begin in range(first, n, size):
            end = begin - self.gap
            start = 0 if self.max_train_size is None else max(0, end - self.max_train_size)
            yield rows[start:end], rows[begin : begin + size]
