"""The order in which nodes are stored: a node, all nodes of its left subtree, then all of its right subtree.

In this order the flags that tell leaves from other nodes determine the shape of a tree. So no link is stored, and none
can point outside of a tree or back to a node before it.
"""

from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import kernel


def preorder(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Numbers of a tree's nodes in preorder, from its children by number, which are negative for leaves.

    ValueError unless every node is reached once from node 0.
    """
    order = np.empty(len(left), np.int64)
    if not len(left) or not _preorder_kernel()(left.astype(np.int64), right.astype(np.int64), order):
        raise ValueError("the links of a tree's nodes do not make a tree")
    return order


@cache
def _preorder_kernel() -> Any:
    """Kernel (left, right, order) -> whether every node is reached once."""

    def fill(left, right, order):
        n = left.size
        reached, stack = np.zeros(n, np.bool_), np.empty(n + 1, np.int64)
        stack[0] = 0
        waiting, count = 1, 0
        while waiting:
            waiting -= 1
            node = stack[waiting]
            if node >= n or reached[node]:
                return False
            reached[node] = True
            order[count] = node
            count += 1
            if left[node] >= 0 and right[node] >= 0:
                if waiting + 2 > n:
                    return False
                stack[waiting] = right[node]
                stack[waiting + 1] = left[node]
                waiting += 2
            elif left[node] >= 0 or right[node] >= 0:
                return False
        return count == n

    return kernel(fill)


def right_children(is_leaf: np.ndarray, n_trees: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the trees' roots, and of the right child of each node; meaningless for leaves.

    The left child of a node is the next one. ValueError unless the flags make `n_trees` whole trees.
    """
    roots, right = np.empty(n_trees, np.int64), np.zeros(len(is_leaf), np.int64)
    if not _right_children_kernel()(is_leaf, roots, right):
        raise ValueError(f"the nodes do not make {n_trees} whole trees")
    return roots, right


@cache
def _right_children_kernel() -> Any:
    """Kernel (is_leaf, roots, right) -> whether the nodes make whole trees."""

    def fill(is_leaf, roots, right):
        stack = np.empty(is_leaf.size, np.int64)
        node = 0
        for tree in range(roots.size):
            roots[tree] = node
            waiting, complete = 0, False  # nodes whose right child is still to come
            while not complete:
                if node == is_leaf.size:
                    return False
                if not is_leaf[node]:
                    stack[waiting] = node
                    waiting += 1
                elif waiting:
                    waiting -= 1
                    right[stack[waiting]] = node + 1
                else:
                    complete = True
                node += 1
        return node == is_leaf.size

    return kernel(fill)
