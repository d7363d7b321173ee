"""Base classes of the splitters: checks of arguments and folds, metadata routing, repr."""

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
from lifecycle.splits._labels import factorize, n_samples
from lifecycle.splits._leakage import Advice, FoldChecker
from lifecycle.splits._times import UNSORTED, has_unsorted_dates

Folds = Iterator[tuple[np.ndarray, np.ndarray]]


@dataclass
class SplitInput:
    """The arguments of `split`; a splitter adds sentences to `notes`, which become warnings."""

    n: int
    X: Any
    y: Any
    groups: Any
    extra: Any = None  # strata or times, if the splitter takes them
    notes: list[str] = field(default_factory=list)


class Splitter(ABC):
    """Yields (train, test) row numbers, `n_splits` times, and warns of what is probably a leak or a mistake.

    Class attributes declare the properties of the folds, and what the warnings recommend.
    """

    n_splits: int
    requests: ClassVar[tuple[str, ...]] = ()  # arguments of split that come through scikit-learn's metadata routing
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
        folds = self._checked_folds(SplitInput(n, X, y, groups, extra))
        return chain([next(folds)], folds)  # the first fold is made at once, so that errors come from this call

    def _checked_folds(self, data: SplitInput) -> Folds:
        name = type(self).__name__
        if self.in_order and data.extra is None and has_unsorted_dates(data.X):
            data.notes.append(UNSORTED.format(name=name))
        groups = None
        if self.advice_group is not None and data.groups is not None:
            with suppress(TypeError, ValueError):  # groups that are ignored may be of any kind
                groups = factorize("groups", data.groups)
        advice = Advice(self.advice_class, self.advice_group, f"The groups parameter is ignored by {name}: ")
        checker = FoldChecker(data.n, self.n_splits, data.y, groups, advice, self.partition, self.in_order)
        for k, (train, test) in enumerate(self._folds(data)):
            for sentence in data.notes + checker.check(k, train, test):
                # the user is three calls up while split makes the first fold, and one when the generator goes on
                warnings.warn(sentence, UserWarning, stacklevel=4 if k == 0 else 2)
            data.notes.clear()
            yield train, test

    @abstractmethod
    def _folds(self, data: SplitInput) -> Folds:
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


class MetadataRequester(Splitter):
    """A splitter that requests arguments of `split` from scikit-learn's metadata routing."""

    def set_split_request(self, **aliases: Any) -> "MetadataRequester":
        """Rename (a string), request (True) or ignore (False, None) an argument of `split`, as in scikit-learn."""
        for name in aliases:
            if name not in self.requests:
                raise TypeError(f"{type(self).__name__} can request {', '.join(self.requests)}; got {name!r}")
        self._aliases = {**self.__dict__.get("_aliases", {}), **aliases}
        return self


class Partition(Splitter):
    """A splitter whose test folds are a partition of the rows, made by `_fold_of_row`."""

    partition = True

    def _folds(self, data: SplitInput) -> Folds:
        if data.n < self.n_splits:
            raise ValueError(
                f"Cannot have number of splits n_splits={self.n_splits} greater than the number of rows: {data.n}; "
                "use fewer folds"
            )
        fold = self._fold_of_row(data)
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    @abstractmethod
    def _fold_of_row(self, data: SplitInput) -> np.ndarray:
        """Fold number of each row."""

    @property
    def _fold_type(self) -> np.dtype:
        """The smallest dtype that holds a fold number: comparing bytes is faster than comparing int64."""
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
