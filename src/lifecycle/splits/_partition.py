"""What every splitter shares: the checks of arguments and folds, `split` from test folds, metadata, and the repr."""

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from lifecycle._check import integer, one_of
from lifecycle.splits._checks import UNSORTED, FoldChecks, n_samples, unsorted_index
from lifecycle.splits._labels import factorize

Folds = Iterator[tuple[np.ndarray, np.ndarray]]


@dataclass
class Rows:
    """What `split` was given; `notes` are the sentences that a splitter wants to warn with."""

    n: int
    X: Any
    y: Any
    groups: Any
    extra: Any = None
    notes: list[str] = field(default_factory=list)


class Splitter(ABC):
    """Yields (train, test) row numbers, `n_splits` times, and warns of what is probably a leak or a mistake.

    A class attribute says what a splitter promises and what it advises where a fold looks wrong.
    """

    n_splits: int
    requests: ClassVar[tuple[str, ...]] = ()  # arguments of split that scikit-learn's metadata routing brings
    partition: ClassVar[bool] = False  # the test folds are a partition and each training part is all the rest
    in_order: ClassVar[bool] = False  # rows are taken to be in time order
    advice_class: ClassVar[str] = "use fewer folds"
    advice_group: ClassVar[str | None] = None  # None: groups are kept whole

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Folds:
        """Yield (train, test) row numbers of each fold, int64 and ascending.

        Parameters
        ----------
        X : array-like with n rows
        y : array-like, shape (n,)
            Labels, where the splitter stratifies.
        groups : array-like, shape (n,)
            Group of each row, where the splitter keeps groups together.

        Raises
        ------
        ValueError
            If the folds cannot be made from these rows.

        Warns
        -----
        UserWarning
            If a class is missing from a training part, a group is on both sides, or rows that are taken to be in time
            order are not.
        """
        return self._split(X, y, groups)

    def _split(self, X: Any, y: Any, groups: Any, extra: Any = None) -> Folds:
        n = n_samples(X)
        if n == 0:
            raise ValueError("X is empty; a split needs rows")
        for name, values in (("y", y), ("groups", groups)):
            if values is not None and n_samples(values) != n:
                raise ValueError(f"X has {n} rows, {name} has {n_samples(values)}")
        folds = self._watched(Rows(n, X, y, groups, extra))
        return chain([next(folds)], folds)  # the first fold is made at once, so that errors come from this call

    def _watched(self, rows: Rows) -> Folds:
        if self.in_order and rows.extra is None and unsorted_index(rows.X):
            rows.notes.append(UNSORTED.format(name=type(self).__name__))
        remedy = {
            "class": self.advice_class,
            "ignored": f"The groups parameter is ignored by {type(self).__name__}: ",
            "group": self.advice_group,
        }
        groups = None
        if self.advice_group is not None and rows.groups is not None:
            with suppress(TypeError, ValueError):  # groups that are ignored may be of any kind
                groups = factorize("groups", rows.groups)
        checks = FoldChecks(rows.n, self.n_splits, rows.y, groups, self.partition, self.in_order, remedy)
        for k, (train, test) in enumerate(self._folds(rows)):
            for sentence in rows.notes + checks.look(k, train, test):
                # the user is three calls up while split makes the first fold, and one when the generator goes on
                warnings.warn(sentence, UserWarning, stacklevel=4 if k == 0 else 2)
            rows.notes.clear()
            yield train, test

    @abstractmethod
    def _folds(self, rows: Rows) -> Folds:
        """Yield (train, test) row numbers of each fold."""

    def get_metadata_routing(self) -> Any:
        """scikit-learn's request for what `split` takes besides X and y; with its routing enabled, no other way."""
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=type(self).__name__)
        for name in self.requests:
            request.split.add_request(param=name, alias=self.__dict__.get("_aliases", {}).get(name, True))
        return request

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._shown())})"

    def _shown(self) -> list[str]:
        return [f"{name}={getattr(self, name)!r}" for name in sorted(inspect.signature(type(self)).parameters)]


class Requests(Splitter):
    """A splitter that asks scikit-learn's metadata routing for arguments of `split`."""

    def set_split_request(self, **aliases: Any) -> "Requests":
        """Rename (a string), ask for (True) or do without (False, None) an argument of `split`, as in scikit-learn."""
        for name in aliases:
            if name not in self.requests:
                raise TypeError(f"{type(self).__name__} can request {', '.join(self.requests)}; got {name!r}")
        self._aliases = {**self.__dict__.get("_aliases", {}), **aliases}
        return self


class Partition(Splitter):
    """A splitter whose test folds are a partition of the rows, made by `_fold_of_row`."""

    partition = True

    def _folds(self, rows: Rows) -> Folds:
        if rows.n < self.n_splits:
            raise ValueError(
                f"Cannot have number of splits n_splits={self.n_splits} greater than the number of rows: {rows.n}; "
                "use fewer folds"
            )
        fold = self._fold_of_row(rows)
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    @abstractmethod
    def _fold_of_row(self, rows: Rows) -> np.ndarray:
        """Fold number of each row."""

    @property
    def _fold_type(self) -> np.dtype:
        """The smallest that holds a fold number: comparing bytes is what makes a split fast."""
        return np.min_scalar_type(self.n_splits - 1)


class ShuffledSplitter(Partition):
    """K folds with n_splits, shuffle and random_state."""

    def __init__(self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None):
        self.n_splits = integer("n_splits", n_splits, low=2)
        self.shuffle = one_of("shuffle", shuffle, (True, False))
        if random_state is not None and not shuffle:
            raise ValueError(
                "random_state has no effect since shuffle is False; set shuffle=True or leave random_state out"
            )
        self.random_state = random_state
