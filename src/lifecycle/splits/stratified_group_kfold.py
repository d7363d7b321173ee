"""K folds that keep groups whole, with the class proportions of y as far as groups allow."""

from typing import Any

import numpy as np

from lifecycle._check import random_state as random_state_of
from lifecycle.splits._splitter import MetadataRequester, SplitInput
from lifecycle.splits._stratified_base import StratifiedSplitter
from lifecycle.splits.group_kfold import groups_of


class StratifiedGroupKFold(MetadataRequester, StratifiedSplitter):
    """K folds with every group in one test fold, each with the class proportions of y as far as whole groups allow.

    Groups of the most uneven class counts are assigned first, each to the fold that leaves the proportions most even.

    Parameters
    ----------
    n_splits : int
        Folds, at least 2 and at most the number of groups.
    shuffle : bool
        Shuffle the groups before they are assigned: changes the order of those with equally uneven counts.
    random_state : int, RandomState, Generator or None
        Order of the shuffle.
    strata : array-like, shape (n,) or (n, columns), optional
        Stratum of each row in place of y's class; of several columns, their combination.
    """

    requests = ("groups",)

    def __init__(self, n_splits: int = 5, shuffle: bool = False, random_state: Any = None, *, strata: Any = None):
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state, strata=strata)

    def _fold_of_row(self, data: SplitInput) -> np.ndarray:
        random = random_state_of(self.random_state)
        codes, counts = self._strata(data)
        names, group = groups_of(self, data)
        n_groups, n_classes = len(names), len(counts)
        table = np.bincount(group * n_classes + codes, minlength=n_groups * n_classes).reshape(n_groups, n_classes)
        table = table.astype(float)
        order = np.arange(n_groups)
        if self.shuffle:
            random.shuffle(order)
            table = table[order]
        uneven = np.argsort(-np.std(table, axis=1), kind="stable")
        fold_of_group = np.empty(n_groups, dtype=self._fold_type)
        fold_of_group[order[uneven]] = _assign(table[uneven], counts, self.n_splits)
        return fold_of_group[group]


def _assign(table: np.ndarray, counts: np.ndarray, n_splits: int) -> list[int]:
    """Fold of each group: the one where the spread of the class proportions over the folds is smallest.

    No fold stays without a group: the last groups go to empty folds, where scikit-learn would leave these empty.
    """
    filled = np.zeros((n_splits, table.shape[1]))
    sizes = [0.0] * n_splits
    trial = np.empty((n_splits, *filled.shape))  # trial[i]: the folds if i gets the group
    diagonal = np.arange(n_splits)
    total = counts.reshape(1, -1)
    assigned: list[int] = []
    empty = set(range(n_splits))
    for group_counts, size in zip(table, table.sum(axis=1).tolist(), strict=True):
        needed = len(empty) >= len(table) - len(assigned)
        trial[:] = filled
        trial[diagonal, diagonal] += group_counts
        # sums run in the order of numpy's std over the folds of one trial: the last bit decides between equal folds
        spread = np.std(trial / total, axis=1).mean(axis=1).tolist()
        best, smallest, rows = 0, np.inf, np.inf
        for i, value in enumerate(spread):
            if needed and i not in empty:
                continue
            # the second condition is numpy.isclose(value, smallest)
            if value < smallest or (abs(value - smallest) <= 1e-8 + 1e-5 * abs(smallest) and sizes[i] + size < rows):
                best, smallest, rows = i, value, sizes[i] + size
        filled[best] += group_counts
        sizes[best] += size
        assigned.append(best)
        empty.discard(best)
    return assigned
