"""The base of the stratified splitters: the strata and their checks."""

from typing import Any

import numpy as np

from lifecycle.splits._labels import combined, n_samples, one_column
from lifecycle.splits._splitter import Folds, ShuffledSplitter, SplitInput


class StratifiedSplitter(ShuffledSplitter):
    """K folds by strata: the argument of `split`, else that of the splitter, else y."""

    def __init__(self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None, strata: Any = None):
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)
        self.strata = strata

    def split(self, X: Any, y: Any = None, groups: Any = None, strata: Any = None) -> Folds:
        """Yield (train, test) row numbers of each fold, int64 and ascending.

        Parameters
        ----------
        X : array-like with n rows
        y : array-like, shape (n,)
            Class of each row; may be any target, or None, where there are strata.
        groups : array-like, shape (n,)
            Group of each row, where the splitter keeps groups together.
        strata : array-like, shape (n,) or (n, columns)
            Stratum of each row in place of the splitter's `strata` and of y; of several columns, their combination.

        Raises
        ------
        ValueError
            If the folds cannot be made from these rows.
        """
        return self._split(X, y, groups, self.strata if strata is None else strata)

    def _shown(self) -> list[str]:
        shown = [text for text in super()._shown() if not text.startswith("strata=")]
        return shown if self.strata is None else [*shown, f"strata=<{n_samples(self.strata)} rows>"]

    def _strata(self, data: SplitInput) -> tuple[np.ndarray, np.ndarray]:
        """Stratum of each row, numbered in sorted order, and the rows of each stratum."""
        name = type(self).__name__
        if data.extra is not None:
            if n_samples(data.extra) != data.n:
                raise ValueError(
                    f"X has {data.n} rows, strata has {n_samples(data.extra)}; where a splitter is used on parts of "
                    "the rows, give strata to split instead"
                )
            what, codes = "stratum", combined("strata", data.extra)[1]
        elif data.y is None:
            raise ValueError(f"{name} needs y, the class of each row, or strata; for none use KFold")
        else:
            what, labels = "class in y", one_column(data.y)
            if labels.dtype.kind == "f":
                if np.isnan(labels).any():
                    raise ValueError("y has missing values; fill them or drop their rows")
                if labels.ndim == 1 and (labels == np.floor(labels)).all() and np.abs(labels).max() < 2**53:
                    labels = labels.astype(np.int64)
            if labels.ndim != 1 or labels.dtype.kind in "fc":
                raise ValueError(
                    f"{name} needs classes in y, one a row; for continuous or several targets use KFold, or strata="
                )
            codes = combined("y", labels)[1]
        counts = np.bincount(codes)
        if counts.max() < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} is more than any {what} has rows; the largest has {counts.max()}"
            )
        if counts.min() < self.n_splits:
            data.notes.append(
                f"The least populated {what} has only {counts.min()} rows, fewer than n_splits={self.n_splits}: some "
                "test folds lack it; use fewer folds or merge it with another"
            )
        return codes, counts
