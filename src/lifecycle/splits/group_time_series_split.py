"""Train on the groups of the past, test on those that follow."""

import numpy as np

from lifecycle._check import integer
from lifecycle.splits._labels import factorize, first_rows
from lifecycle.splits._partition import Folds, Requests, Rows


class GroupTimeSeriesSplit(Requests):
    """Successive test blocks of whole groups, each with all earlier groups to train on.

    Groups (days, matches, patients) come in the order in which they first appear; all rows of a group are on one side,
    wherever they stand. Of G groups each test block has G // (n_splits + 1).

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

    def _folds(self, rows: Rows) -> Folds:
        if rows.groups is None:
            raise ValueError("GroupTimeSeriesSplit needs groups, the group of each row; for none use TimeSeriesSplit")
        names, codes = factorize("groups", rows.groups)
        order = np.argsort(first_rows(codes, len(names)))
        if names.dtype.kind == "M" and (late := np.flatnonzero(np.diff(order) < 0)).size:
            rows.notes.append(
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
        turn = rank[codes]
        for begin in range(first, len(names), size):
            yield np.flatnonzero(turn < begin - self.gap), np.flatnonzero((turn >= begin) & (turn < begin + size))
