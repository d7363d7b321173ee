"""The walk of rows down the trees of an ensemble, several at a time, and the sums of the leaves that they reach."""

from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import element, kernel, stack_array

_WALKS = 8  # that descend together, so that the loads of one wait while others compute
_ROWS = 256  # of a block, which stays in the cache while it passes through all trees
MISSING_LEFT, BY_CATEGORY = 1, 2  # flags in the field "feature" of a node, whose other bits are the feature's number
FLAG_BITS = 2


def node_dtype(threshold: Any) -> np.dtype:
    """A split as it is read: all of it lies in one or two cache lines.

    `threshold`: the dtype of the rows. In a split by categories it holds the row of the table of sets.
    """
    return np.dtype([("threshold", threshold), ("feature", np.uint32), ("left", np.int32), ("right", np.int32)], True)


@element
def _goes_left(node, x):
    """Whether a value goes to the left child of a split by a threshold; without a jump."""
    return (x <= node.threshold) | ((x != x) & ((node.feature & MISSING_LEFT) != 0))


@element
def _goes_left_by_category(node, x, category_sets):
    """The same of a split by categories: x is the code of one, or NaN."""
    missing = x != x
    code = np.uint64(0.0 if missing else x) & np.uint64(255)
    byte = category_sets[np.uint64(node.threshold), code >> np.uint64(3)]
    return (node.feature & MISSING_LEFT) != 0 if missing else (byte >> (code & np.uint64(7))) & np.uint64(1) == 1


@element
def _add_leaves(leaf_start, leaf_output, leaf_value, place, first, step, n, out):
    """Add the leaf of walk v to row first + v * step."""
    for v in range(n):
        leaf = ~place[v]
        for e in range(leaf_start[leaf], leaf_start[leaf + 1]):
            out[first + v * step, leaf_output[e]] += leaf_value[e]


@element
def _first_unusable(X, begin, end, allow_missing):
    """The first row with an infinity, or with a NaN unless these are allowed; else `end`."""
    for i in range(begin, end):
        for j in range(X.shape[1]):
            x = X[i, j]
            if x - x != 0 and not (allow_missing and x != x):
                return i
    return end


@cache
def add_trees(by_category: bool) -> Any:
    """Kernel (nodes, …, out) -> the first row that it refuses, or end; `by_category`: whether some splits are.

    It adds the leaves that the rows begin to end of X reach, tree after tree, to out (rows, outputs), of float64.
    nodes of `node_dtype`, roots (trees,) and children as in `lifecycle.trees`; sets (n, 32), uint8; X (rows, features).
    check: refuse rows with an infinity, and those with NaN unless allow_missing.
    """
    places, starts = stack_array(_WALKS), stack_array(_WALKS)
    int32, uint64 = np.dtype(np.int32), np.dtype(np.uint64)

    @element
    def descend(nodes, category_sets, values, start, place):
        """Move all walks down: `place` ends as ``~row`` of the table of leaves, and stays where it is negative.

        `values`: of all rows, one after another; `start`: where the row of a walk begins. All walks take each step, so
        that nothing depends on which of them have ended. Unsigned places need no test for being negative.
        """
        walking = True
        while walking:
            walking = False
            for v in range(_WALKS):
                at = place[v]
                node = nodes[np.uint64(max(at, np.int32(0)))]
                x = values[start[v] + np.uint64(node.feature >> FLAG_BITS)]
                to_left = _goes_left(node, x)
                if by_category and node.feature & BY_CATEGORY:
                    to_left = _goes_left_by_category(node, x, category_sets)
                left, right = node.left, node.right  # loaded before the choice, which then is no jump
                child = left if to_left else right
                child = child if at >= 0 else at
                place[v] = child
                walking |= child >= 0

    def loop(
        nodes, roots, category_sets, leaf_start, leaf_output, leaf_value, X, begin, end, check,
        allow_missing, out,
    ):  # fmt: skip
        place, start = places(int32), starts(uint64)
        values, width = X.reshape(-1), np.uint64(X.shape[1])
        for block in range(begin, end, _ROWS):
            stop = min(block + _ROWS, end)
            if check:
                unusable = _first_unusable(X, block, stop, allow_missing)
                if unusable < stop:
                    return unusable
            if stop - block < _WALKS:  # one row walks down several trees together, otherwise several rows one tree
                for i in range(block, stop):
                    for tree in range(0, roots.size, _WALKS):
                        n = min(_WALKS, roots.size - tree)
                        for v in range(_WALKS):
                            start[v] = np.uint64(i) * width
                            place[v] = roots[tree + v] if v < n else -1
                        descend(nodes, category_sets, values, start, place)
                        _add_leaves(leaf_start, leaf_output, leaf_value, place, i, 0, n, out)
                continue
            for tree in range(roots.size):
                for i in range(block, stop, _WALKS):
                    n = min(_WALKS, stop - i)
                    for v in range(_WALKS):
                        start[v] = np.uint64(min(i + v, stop - 1)) * width
                        place[v] = roots[tree] if v < n else -1
                    descend(nodes, category_sets, values, start, place)
                    _add_leaves(leaf_start, leaf_output, leaf_value, place, i, 1, n, out)
        return end

    return kernel(loop)
