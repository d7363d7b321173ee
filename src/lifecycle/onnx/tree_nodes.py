"""The nodes of TreeEnsembleRegressor: checked before onnxruntime follows their links, which it does by recursion."""

from typing import Any

import numpy as np

OPERATOR = "TreeEnsembleRegressor"
MAX_LEVELS = 1_000  # a chain of some ten thousand ends the process
_MODES = ("LEAF", *(f"BRANCH_{name}" for name in ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ")))


def check_tree_nodes(node: Any) -> None:
    """ValueError unless the attributes of the operator describe whole trees.

    Each node but the roots is the child of one node before it, in the same tree; no path has more than 1,000 splits.
    """
    found = {attribute.name: attribute for attribute in node.attribute}
    if len(found) != len(node.attribute):
        raise ValueError("an attribute of trees stands twice")
    trees, numbers, left, right, features = (
        _integers(found, f"nodes_{name}")
        for name in ("treeids", "nodeids", "truenodeids", "falsenodeids", "featureids")
    )
    n = len(trees)
    modes = np.array(list(found["nodes_modes"].strings)) if "nodes_modes" in found else np.empty(0, bytes)
    optional = [_n_values(attribute) for name, attribute in found.items() if name.startswith("nodes_")]
    if not n or any(len(array) != n for array in (numbers, left, right, features, modes)) or set(optional) - {0, n}:
        raise ValueError("the attributes of the nodes of trees differ in length")
    if not np.isin(modes, [mode.encode() for mode in _MODES]).all():
        raise ValueError("a node of a tree has an unknown mode")
    if features.min() < 0 or features.max() >= 2**31:
        raise ValueError("a split of a tree has a feature of a negative or too large number")
    places = _Places(trees, numbers)
    _check_links(places, modes == b"LEAF", places.of(trees, left), places.of(trees, right))
    targets = [_integers(found, f"target_{name}") for name in ("treeids", "nodeids", "ids")]
    n_targets = found["n_targets"].i if "n_targets" in found else 1
    if len({len(array) for array in targets}) > 1 or (places.of(*targets[:2]) < 0).any():
        raise ValueError("the values of the leaves of trees are of no nodes")
    if n_targets < 1 or (len(targets[2]) and not 0 <= targets[2].min() <= targets[2].max() < n_targets):
        raise ValueError("a leaf of a tree has a value for no target")


def _integers(found: dict[str, Any], name: str) -> np.ndarray:
    values = found[name].ints if name in found else ()
    return np.fromiter(values, np.int64, len(values))


def _n_values(attribute: Any) -> int:
    """Of an attribute of any type."""
    of_tensor = int(np.prod([1, *attribute.t.dims])) if attribute.HasField("t") else 0
    return len(attribute.ints) + len(attribute.floats) + len(attribute.strings) + of_tensor


class _Places:
    """Where the nodes stand in the list, by tree and number."""

    def __init__(self, trees: np.ndarray, numbers: np.ndarray) -> None:
        self._n = len(trees)
        if numbers.min() < 0 or numbers.max() >= self._n:
            raise ValueError("a node of a tree has a number outside of the list of nodes")
        self._trees = np.unique(trees)
        keys = self._keys(trees, numbers)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]
        if (np.diff(self._sorted) == 0).any():
            raise ValueError("a node of a tree stands twice")
        # the root of each tree is the first node of it in the list
        self.roots = np.sort(np.unique(trees, return_index=True)[1])

    def _keys(self, trees: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._trees, trees) * self._n + numbers

    def of(self, trees: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Places of nodes; -1 of those that are none."""
        is_known = np.isin(trees, self._trees) & (numbers >= 0) & (numbers < self._n)
        keys = np.where(is_known, self._keys(trees, np.where(is_known, numbers, 0)), -1)
        slots = np.minimum(np.searchsorted(self._sorted, keys), self._n - 1)
        return np.where(self._sorted[slots] == keys, self._order[slots], -1)


def _check_links(places: _Places, is_leaf: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    parents = np.flatnonzero(~is_leaf)
    children = np.concatenate([left[parents], right[parents]])
    if (children <= np.tile(parents, 2)).any():
        raise ValueError("a split of a tree has a child that is no node behind it")
    n_parents = np.bincount(children, minlength=len(is_leaf))
    n_parents[places.roots] += 1
    if (n_parents != 1).any():
        raise ValueError("a node of a tree is the child of no split, or of two")
    level = places.roots
    for _ in range(MAX_LEVELS + 1):
        level = level[~is_leaf[level]]
        if not level.size:
            return
        level = np.concatenate([left[level], right[level]])
    raise ValueError(f"trees have more than {MAX_LEVELS:,} levels")
