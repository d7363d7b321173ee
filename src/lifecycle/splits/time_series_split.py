"""Train on earlier rows, test on the block that follows."""

import numpy as np

from lifecycle._check import integer
from lifecycle.splits._splitter import Folds, SplitInput, Splitter


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

    in_order = True
    advice_class = "use fewer folds or smaller test blocks"
    advice_group = "use GroupTimeSeriesSplit"

    def __init__(
        self, n_splits: int = 5, *, max_train_size: int | None = None, test_size: int | None = None, gap: int = 0
    ):
        self.n_splits = integer("n_splits", n_splits, low=2)
        self.max_train_size = None if max_train_size is None else integer("max_train_size", max_train_size, low=1)
        self.test_size = None if test_size is None else integer("test_size", test_size, low=1)
        self.gap = integer("gap", gap, low=0)

    def _folds(self, data: SplitInput) -> Folds:
        n = data.n
        size = self.test_size or n // (self.n_splits + 1)
        first = n - self.n_splits * size
        if n <= self.n_splits:
            raise ValueError(
                f"Cannot have number of folds={self.n_splits + 1} greater than the number of rows: {n}; use fewer "
                f"folds than n_splits={self.n_splits}"
            )
        if first - self.gap <= 0:
            raise ValueError(
                f"Too many splits={self.n_splits} for {n} rows with test_size={size} and gap={self.gap}: no row is "
                f"left to train on; use fewer folds than n_splits={self.n_splits}, or a smaller test_size or gap"
            )
        numbers = np.arange(n)
        for begin in range(first, n, size):
            end = begin - self.gap
            start = 0 if self.max_train_size is None else max(0, end - self.max_train_size)
            yield numbers[start:end], numbers[begin : begin + size]
