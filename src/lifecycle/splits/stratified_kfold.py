"""K folds with the class shares of the whole."""

import warnings
from typing import Any

import numpy as np

from .._check import random_state
from ._partition import ShuffledSplitter


class StratifiedKFold(ShuffledSplitter):
    """K folds, each with the class shares of y as far as whole rows allow.

    Parameters
    ----------
    n_splits : int
        Folds, at least 2.
    shuffle : bool
        Shuffle the rows of each class; else their order is kept.
    random_state : int, RandomState, Generator or None
        Order of the shuffle.
    """

    def _fold_of_row(self, n: int, y: Any, groups: Any) -> np.ndarray:
        if y is None:
            raise ValueError("StratifiedKFold needs y, the class of each row; for none use KFold")
        labels = np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels.ravel()
        if labels.ndim != 1 or (labels.dtype.kind == "f" and (labels != np.floor(labels)).any()):
            raise ValueError(
                "StratifiedKFold needs classes in y, one a row; for continuous or several targets use KFold"
            )
        _, first, codes = np.unique(labels, return_index=True, return_inverse=True)
        # classes are numbered by first appearance, so that the folds do not depend on what the labels are called
        codes = np.argsort(np.argsort(first))[codes]
        counts = np.bincount(codes)
        if counts.max() < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} is more than any class has rows; the largest has {counts.max()}"
            )
        if counts.min() < self.n_splits:
            warnings.warn(
                f"the smallest class has {counts.min()} rows, fewer than n_splits={self.n_splits}: some folds lack it",
                UserWarning,
                stacklevel=4,
            )
        # deal the sorted labels to the folds in turn: how many rows of each class a fold gets
        in_order = np.sort(codes)
        share = [np.bincount(in_order[k :: self.n_splits], minlength=len(counts)) for k in range(self.n_splits)]
        order = random_state(self.random_state)
        fold = np.empty(n, dtype=int)
        for c in range(len(counts)):
            of_class = np.arange(self.n_splits).repeat([s[c] for s in share])
            if self.shuffle:
                order.shuffle(of_class)
            fold[codes == c] = of_class
        return fold
