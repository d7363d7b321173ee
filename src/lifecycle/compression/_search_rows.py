"""The rows that `compress` searches on, and those that it certifies on."""

from typing import Any

import numpy as np

from lifecycle._check import random_state
from lifecycle.compression._scorer import check_targets
from lifecycle.evaluation import has_missing
from lifecycle.evaluation.rows import take


class SearchRows:
    """A random split; rows of a group stay together."""

    def __init__(self, X: Any, y: Any, groups: Any, certify_size: float, seed: Any):
        self.X, self.y = X, check_targets(X, y)
        self.groups = None if groups is None else np.asarray(groups)
        if self.groups is not None and (self.groups.shape != self.y.shape[:1] or has_missing(self.groups)):
            raise ValueError(f"groups must have one entry for each of the {len(self.y)} rows")
        units = (
            np.arange(len(self.y)) if self.groups is None else np.unique(self.groups, return_inverse=True)[1].ravel()
        )
        n_units = int(units.max(initial=-1)) + 1
        n_search = n_units - round(certify_size * n_units)
        if not 0 < n_search < n_units:
            raise ValueError(f"certify_size={certify_size:g} leaves no rows to search or to certify on, of {n_units}")
        searched, rng = np.zeros(n_units, bool), random_state(seed)
        searched[rng.permutation(n_units)[:n_search]] = True
        # in a random order, as layers are calibrated on the first of them
        self.search = rng.permutation(np.flatnonzero(searched[units]))
        self.certify = np.flatnonzero(~searched[units])
        self.n_certify = n_units - n_search
        self.X_search, self.y_search = take(X, self.search), self.y[self.search]

    @property
    def certify_groups(self) -> np.ndarray | None:
        return None if self.groups is None else self.groups[self.certify]
