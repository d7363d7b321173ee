"""K folds that keep groups whole."""

import heapq

import numpy as np

from lifecycle._check import random_state
from lifecycle.splits._labels import factorize
from lifecycle.splits._splitter import MetadataRequester, ShuffledSplitter, SplitInput


class GroupKFold(MetadataRequester, ShuffledSplitter):
    """K folds with every group in one test fold: balanced by rows, or, shuffled, by groups.

    Parameters
    ----------
    n_splits : int
        Folds, at least 2 and at most the number of groups.
    shuffle : bool
        Assign shuffled groups; else the largest groups are assigned first, each to the smallest fold.
    random_state : int, RandomState, Generator or None
        Order of the shuffle.
    """

    requests = ("groups",)
    advice_class = "use StratifiedGroupKFold, or fewer folds"

    def _fold_of_row(self, data: SplitInput) -> np.ndarray:
        names, codes = groups_of(self, data)
        fold_of_group = np.empty(len(names), dtype=self._fold_type)
        if self.shuffle:
            order = random_state(self.random_state).permutation(len(names))
            for k, groups in enumerate(np.array_split(order, self.n_splits)):
                fold_of_group[groups] = k
        else:
            sizes = np.bincount(codes)
            order = np.argsort(sizes, kind="stable")[::-1]
            smallest = [(0, k) for k in range(self.n_splits)]  # a heap of (rows, fold)
            assigned = []
            for size in sizes[order].tolist():
                rows, k = smallest[0]
                assigned.append(k)
                heapq.heapreplace(smallest, (rows + size, k))
            fold_of_group[order] = assigned
        return fold_of_group[codes]


def groups_of(splitter: ShuffledSplitter, data: SplitInput) -> tuple[np.ndarray, np.ndarray]:
    """Distinct groups, and for each row the code of its group."""
    if data.groups is None:
        raise ValueError(f"{type(splitter).__name__} needs groups, the group of each row")
    names, codes = factorize("groups", data.groups)
    if len(names) < splitter.n_splits:
        raise ValueError(
            f"Cannot have number of splits n_splits={splitter.n_splits} greater than the number of groups: {len(names)}"
            "; use fewer folds"
        )
    return names, codes
