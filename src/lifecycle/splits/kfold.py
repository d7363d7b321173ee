"""K folds of consecutive or shuffled rows."""

from itertools import pairwise

import numpy as np

from lifecycle._check import random_state
from lifecycle.splits._partition import Folds, Rows, ShuffledSplitter


class KFold(ShuffledSplitter):
    """K folds whose sizes differ by at most one row.

    Parameters
    ----------
    n_splits : int
        Folds, at least 2.
    shuffle : bool
        Shuffle the rows before they are cut; else folds are consecutive.
    random_state : int, RandomState, Generator or None
        Order of the shuffle.
    """

    advice_class = "use StratifiedKFold, or shuffle=True"
    advice_group = "use GroupKFold"

    def _folds(self, rows: Rows) -> Folds:
        if self.shuffle or rows.n < self.n_splits:
            yield from super()._folds(rows)
            return
        edges = np.arange(self.n_splits + 1) * (rows.n // self.n_splits)
        edges += np.minimum(np.arange(self.n_splits + 1), rows.n % self.n_splits)
        numbers = np.arange(rows.n)
        for begin, end in pairwise(edges):
            yield np.concatenate([numbers[:begin], numbers[end:]]), np.arange(begin, end)

    def _fold_of_row(self, rows: Rows) -> np.ndarray:
        order = np.arange(rows.n)
        random_state(self.random_state).shuffle(order)
        fold = np.empty(rows.n, dtype=self._fold_type)
        for k, part in enumerate(np.array_split(order, self.n_splits)):
            fold[part] = k
        return fold
