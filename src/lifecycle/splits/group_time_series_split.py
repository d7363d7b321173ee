"""Train on the groups of the past, test on those that follow."""

import numpy as np

from lifecycle._check import integer
from lifecycle.splits._labels import factorize, first_rows
from lifecycle.splits._splitter import Folds, MetadataRequester, SplitInput


class GroupTimeSeriesSplit(MetadataRequester):
    """Successive test blocks of whole groups, each with all earlier groups to train on.

    Groups (days, matches, patients) are ordered by their first rows; all rows of a group are in one part, adjacent or
    not. Of G groups each test block has G // (n_splits + 1).

    Parameters
    ----------
    n_splits : int
        Folds, at least 2.
    gap : int
        Groups left out between training part and test block.
    """

    requests = ("groups",)
    in_order = True
    advice_class = "use fewer folds"

    def __init__(self, n_splits: int = 5, *, gap: int = 0):
        self.n_splits = integer("n_splits", n_splits, low=2)
        self.gap = integer("gap", gap, low=0)

    def _folds(self, data: SplitInput) -> Folds:
        if data.groups is None:
            raise ValueError("GroupTimeSeriesSplit needs groups, the group of each row; for none use TimeSeriesSplit")
        names, codes = factorize("groups", data.groups)
        order = np.argsort(first_rows(codes, len(names)))
        if names.dtype.kind == "M" and (late := np.flatnonzero(np.diff(order) < 0)).size:
            data.notes.append(
                f"GroupTimeSeriesSplit takes groups in the order in which they first appear, but {names[late[0] + 1]} "
                f"appears before {names[late[0]]}; sort the rows by date"
            )
        size = len(names) // (self.n_splits + 1)
        first = len(names) - self.n_splits * size
        if size == 0 or first - self.gap <= 0:
            raise ValueError(
                f"n_splits={self.n_splits} test blocks of {max(size, 1)} groups after a gap of {self.gap} leave no "
                f"group to train on; there are {len(names)} groups: use fewer folds or a smaller gap"
            )
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        rank_of_row = rank[codes]
        for begin in range(first, len(names), size):
            test = (rank_of_row >= begin) & (rank_of_row < begin + size)
            yield np.flatnonzero(rank_of_row < begin - self.gap), np.flatnonzero(test)
