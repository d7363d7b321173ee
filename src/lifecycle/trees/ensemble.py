"""The layout of an ensemble of trees, and its checks."""

from dataclasses import dataclass, replace

import numpy as np

from lifecycle.trees.preorder import right_children

CATEGORIES = 256  # of a categorical feature, at most; a set of them takes a bit for each
_MAX_NODES = 2**31 - 1
_MAX_FLOAT32_INTEGER = 2**24  # up to which all are exact; the loop keeps the number of a set in the threshold's place


@dataclass(frozen=True)
class Splits:
    """The nodes that are no leaves, in preorder.

    A row goes to the left child where its feature is at most the threshold, or, in a split by categories, where the set
    contains it; a missing value goes where `missing_left` says.

    Attributes
    ----------
    feature : int32 of shape (n_splits,)
    threshold : float32 or float64 of shape (n_splits,)
        0 in a split by categories. The features of a row are compared in this dtype.
    missing_left : bool of shape (n_splits,)
    category_set : int32 of shape (n_splits,)
        Row of `categories`, or -1 in a split by a threshold.
    categories : uint8 of shape (n_sets, 32)
        Bit c % 8 of byte c // 8 is that of category c.
    """

    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    category_set: np.ndarray
    categories: np.ndarray

    def __len__(self) -> int:
        return len(self.feature)

    def between(self, begin: int, end: int) -> "Splits":
        """Those from `begin` to `end`, not included."""
        part = slice(begin, end)
        return Splits(
            self.feature[part], self.threshold[part], self.missing_left[part], self.category_set[part], self.categories
        )


@dataclass(frozen=True)
class LeafTable:
    """What the leaves add to the outputs: sparse rows, each of them for all leaves that are equal.

    Attributes
    ----------
    start : int64 of shape (n_rows + 1,)
        Where a row begins in the other two arrays.
    output : int32 of shape (n_values,)
        Ascending within a row.
    value : float64 of shape (n_values,)
    """

    start: np.ndarray
    output: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    def take(self, rows: np.ndarray) -> "LeafTable":
        """The table of these rows."""
        sizes = self.start[rows + 1] - self.start[rows]
        start = np.concatenate([[0], np.cumsum(sizes)])
        places = np.repeat(self.start[rows] - start[:-1], sizes) + np.arange(start[-1])
        return LeafTable(start, self.output[places], self.value[places])


@dataclass(frozen=True)
class TreeEnsemble:
    """Trees that add the values of the leaves which a row reaches, tree after tree.

    ValueError unless the arrays describe whole trees whose nodes are within their bounds: nothing that walks them can
    then read outside of the arrays, or walk for ever, because a child comes after its parent.

    Attributes
    ----------
    n_features, n_outputs, n_trees : int
    is_leaf : bool of shape (n_nodes,)
        In preorder, tree after tree.
    splits : Splits
    leaf : int32 of shape (n_leaves,)
        The row of `leaves` of each leaf, in preorder.
    leaves : LeafTable
    n_categorical : int
        The first features, so many, are categories: their values are codes from 0 to 255, or NaN.
    """

    n_features: int
    n_outputs: int
    n_trees: int
    is_leaf: np.ndarray
    splits: Splits
    leaf: np.ndarray
    leaves: LeafTable
    n_categorical: int = 0

    def __post_init__(self) -> None:
        splits, leaves = self.splits, self.leaves
        n_leaves = int(self.is_leaf.sum())
        if not 1 <= self.n_trees <= len(self.is_leaf) <= _MAX_NODES or self.n_features < 1 or self.n_outputs < 1:
            raise ValueError("an ensemble needs at least one tree, one feature and one output")
        if len(self.leaf) != n_leaves or len(splits) != len(self.is_leaf) - n_leaves:
            raise ValueError("the numbers of leaves and splits do not fit the number of nodes")
        if not all(len(a) == len(splits) for a in (splits.threshold, splits.missing_left, splits.category_set)):
            raise ValueError("the arrays of the splits differ in length")
        _check_range("feature", splits.feature, 0, self.n_features)
        _check_range("category_set", splits.category_set, -1, len(splits.categories))
        _check_range("leaf", self.leaf, 0, len(leaves))
        _check_range("output", leaves.output, 0, self.n_outputs)
        if splits.threshold.dtype == np.float32 and len(splits.categories) > _MAX_FLOAT32_INTEGER:
            raise ValueError("there are more sets of categories than a float32 can number")
        if np.isnan(splits.threshold).any():
            raise ValueError("a threshold is NaN")
        sizes = np.diff(leaves.start)
        if leaves.start[0] != 0 or leaves.start[-1] != len(leaves.value) or (sizes < 0).any():
            raise ValueError("the rows of the table of leaves do not follow each other")
        if len(leaves.output) != len(leaves.value) or not np.isfinite(leaves.value).all():
            raise ValueError("the values of the leaves are not finite numbers, one for each output")
        ascends = np.diff(leaves.output) > 0
        ascends[leaves.start[(leaves.start > 0) & (leaves.start < len(leaves.value))] - 1] = True  # to the next row
        if not ascends.all():
            raise ValueError("the outputs of a row of the table of leaves do not ascend")
        sets = splits.categories
        if sets.shape != (len(sets), CATEGORIES // 8) or sets.dtype != np.uint8:
            raise ValueError("the sets of categories are malformed")
        if not (splits.feature[splits.category_set >= 0] < self.n_categorical).all():
            raise ValueError("a split is by categories, and its feature has none")
        self.links()

    def links(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Root of each tree, and left and right child of each split: the number of a split, or ``~row`` of a leaf."""
        roots, right = right_children(self.is_leaf, self.n_trees)
        link = np.cumsum(~self.is_leaf, dtype=np.int32) - np.int32(1)
        link[self.is_leaf] = ~self.leaf
        splits = np.flatnonzero(~self.is_leaf)
        return link[roots], link[splits + 1], link[right[splits]]

    def first(self, n_trees: int) -> "TreeEnsemble":
        """The first trees alone, with the leaves that they have."""
        if not 1 <= n_trees <= self.n_trees:
            raise ValueError(f"n_trees must be from 1 to {self.n_trees}; got {n_trees!r}")
        balance = np.cumsum(np.where(self.is_leaf, 1, -1))  # k trees have k leaves more than splits
        n_nodes = int(np.argmax(balance == n_trees)) + 1
        is_leaf = self.is_leaf[:n_nodes]
        n_leaves = int(is_leaf.sum())
        rows, leaf = np.unique(self.leaf[:n_leaves], return_inverse=True)
        return replace(
            self,
            n_trees=n_trees,
            is_leaf=is_leaf,
            splits=self.splits.between(0, n_nodes - n_leaves),
            leaf=leaf.astype(np.int32),
            leaves=self.leaves.take(rows),
        )


def _check_range(name: str, array: np.ndarray, low: int, high: int) -> None:
    if array.size and not low <= int(array.min()) <= int(array.max()) < high:
        raise ValueError(f"{name} of a node is outside of {low} to {high - 1}")
