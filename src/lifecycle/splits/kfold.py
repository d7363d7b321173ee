"""K folds of consecutive or shuffled rows."""

from itertools import pairwise

import numpy as np

from lifecycle._check import random_state
from lifecycle.splits._splitter import Folds, ShuffledSplitter, SplitInput


class KFold(ShuffledSplitter):
    """K folds whose sizes differ by at most one row.

    Parameters
    ----------
    n_splits : int
        Folds, at least 2.
    shuffle : bool
        Shuffle the rows before they are split; else folds are consecutive.
    random_state : int, RandomState, Generator or None
        Order of the shuffle.
    """

    advice_class = "use StratifiedKFold, or shuffle=True"
    advice_group = "use GroupKFold"

    def _folds(self, data: SplitInput) -> Folds:
        if self.shuffle or data.n < self.n_splits:
            yield from super()._folds(data)
            return
        edges = np.arange(self.n_splits + 1) * (data.n // self.n_splits)
        edges += np.minimum(np.arange(self.n_splits + 1), data.n % self.n_splits)
        numbers = np.arange(data.n)
        for begin, end in pairwise(edges):
            yield np.concatenate([numbers[:begin], numbers[end:]]), np.arange(begin, end)

    def _fold_of_row(self, data: SplitInput) -> np.ndarray:
        order = np.arange(data.n)
        random_state(self.random_state).shuffle(order)
        fold = np.empty(data.n, dtype=self._fold_type)
        for k, test in enumerate(np.array_split(order, self.n_splits)):
            fold[test] = k
        return fold
