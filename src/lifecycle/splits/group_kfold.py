"""K folds that keep groups whole."""

from typing import Any

import numpy as np

from .._check import random_state
from ._partition import ShuffledSplitter


class GroupKFold(ShuffledSplitter):
    """K folds with every group in one test fold: balanced by rows, or, shuffled, by groups.

    Parameters
    ----------
    n_splits : int
        Folds, at least 2 and at most the number of groups.
    shuffle : bool
        Deal shuffled groups; else the largest groups are dealt first, each to the smallest fold.
    random_state : int, RandomState, Generator or None
        Order of the shuffle.
    """

    def get_metadata_routing(self) -> Any:
        """scikit-learn's request for `groups`: with its metadata routing enabled, groups come by no other way."""
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=type(self).__name__)
        request.split.add_request(param="groups", alias=True)
        return request

    def _fold_of_row(self, n: int, y: Any, groups: Any) -> np.ndarray:
        if groups is None:
            raise ValueError("GroupKFold needs groups, the group of each row")
        names, codes = np.unique(np.asarray(groups), return_inverse=True)
        if len(names) < self.n_splits:
            raise ValueError(f"n_splits={self.n_splits} folds need as many groups; there are {len(names)}")
        fold_of_group = np.empty(len(names), dtype=int)
        if self.shuffle:
            order = random_state(self.random_state).permutation(len(names))
            for k, part in enumerate(np.array_split(order, self.n_splits)):
                fold_of_group[part] = k
        else:
            rows = np.bincount(codes)
            filled = np.zeros(self.n_splits, dtype=int)
            for group in np.argsort(rows, kind="stable")[::-1]:
                smallest = filled.argmin()
                filled[smallest] += rows[group]
                fold_of_group[group] = smallest
        return fold_of_group[codes]
