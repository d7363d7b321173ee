"""K folds with the class proportions of y."""

import numpy as np

from lifecycle._check import random_state
from lifecycle.splits._labels import first_rows
from lifecycle.splits._splitter import SplitInput
from lifecycle.splits._stratified_base import StratifiedSplitter


class StratifiedKFold(StratifiedSplitter):
    """K folds, each with the class proportions of y, or of other strata, as far as whole rows allow.

    Parameters
    ----------
    n_splits : int
        Folds, at least 2.
    shuffle : bool
        Shuffle the rows of each class; else their order is kept.
    random_state : int, RandomState, Generator or None
        Order of the shuffle.
    strata : array-like, shape (n,) or (n, columns), optional
        Stratum of each row in place of y's class; of several columns, their combination.
    """

    advice_group = "use StratifiedGroupKFold"

    def _fold_of_row(self, data: SplitInput) -> np.ndarray:
        codes, counts = self._strata(data)
        # classes are assigned in order of first appearance, so that the folds do not depend on the labels' names
        order = np.argsort(first_rows(codes, len(counts)))
        # the k-th of the sorted labels goes to fold k mod n_splits: how many rows of each class a fold gets
        edges = np.concatenate([[0], np.cumsum(counts[order])])
        cumulative = (edges[:, None] - np.arange(self.n_splits) + self.n_splits - 1) // self.n_splits
        rows_per_fold = np.diff(cumulative, axis=0)
        random = random_state(self.random_state)
        fold = np.empty(data.n, dtype=self._fold_type)
        small = codes.astype(np.min_scalar_type(len(counts)))
        by_class = np.argsort(small, kind="stable") if len(counts) > 8 else None
        begin = np.concatenate([[0], np.cumsum(counts)])
        for c, repeats in zip(order, rows_per_fold, strict=True):
            folds_of_class = np.arange(self.n_splits, dtype=self._fold_type).repeat(repeats)
            if self.shuffle:
                random.shuffle(folds_of_class)
            members = np.flatnonzero(small == c) if by_class is None else by_class[begin[c] : begin[c + 1]]
            fold[members] = folds_of_class
        return fold
