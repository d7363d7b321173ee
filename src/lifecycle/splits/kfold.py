"""K folds of consecutive or shuffled rows."""

from typing import Any

import numpy as np

from .._check import random_state
from ._partition import ShuffledSplitter


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

    def _fold_of_row(self, n: int, y: Any, groups: Any) -> np.ndarray:
        rows = np.arange(n)
        if self.shuffle:
            random_state(self.random_state).shuffle(rows)
        fold = np.empty(n, dtype=int)
        for k, part in enumerate(np.array_split(rows, self.n_splits)):
            fold[part] = k
        return fold
