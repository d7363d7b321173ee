"""An ensemble of trees as few and narrow arrays, and back.

The shape of the trees takes a bit a node. Of numbers that repeat, such as thresholds, the distinct ones are stored, and
their places in the narrowest integers; arrays of which every element is the same are left out.
"""

from typing import Any

import numpy as np

from lifecycle.trees.ensemble import CATEGORIES, LeafTable, Splits, TreeEnsemble

_UNSIGNED = (np.uint8, np.uint16, np.uint32)
_FLOATS = (np.float16, np.float32, np.float64)
_MOST_EMPTY_OUTPUTS = 1000  # that are 0 in all leaves
_SETS = "category_sets"


def encode(ensemble: TreeEnsemble) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Numbers, such as those of features, outputs, trees and nodes, and the arrays by name."""
    splits, leaves = ensemble.splits, ensemble.leaves
    arrays = {"is_leaf": np.packbits(ensemble.is_leaf), "feature": _narrow(splits.feature)}
    arrays.update(_distinct("threshold", splits.threshold))
    if splits.missing_left.any():
        arrays["missing_left"] = np.packbits(splits.missing_left)
    if len(splits.categories):
        arrays["is_categorical"] = np.packbits(splits.category_set >= 0)
        arrays["category_set"] = _narrow(splits.category_set[splits.category_set >= 0])
        arrays[_SETS] = splits.categories
    if not np.array_equal(ensemble.leaf, np.arange(len(leaves))):
        arrays["leaf"] = _narrow(ensemble.leaf)
    sizes = np.diff(leaves.start)
    if (sizes != 1).any():
        arrays["leaf_size"] = _narrow(sizes)
    if ensemble.n_outputs > 1:
        arrays["leaf_output"] = _narrow(leaves.output)
    arrays.update(_distinct("leaf_value", leaves.value))
    numbers = {
        "n_features": ensemble.n_features,
        "n_outputs": ensemble.n_outputs,
        "n_trees": ensemble.n_trees,
        "n_nodes": len(ensemble.is_leaf),
        "n_categorical": ensemble.n_categorical,
        "bits": 8 * splits.threshold.dtype.itemsize,
    }
    return numbers, arrays


def decode(numbers: dict[str, Any], arrays: dict[str, np.ndarray]) -> TreeEnsemble:
    """The ensemble that `encode` was given; takes its arrays out of `arrays`. ValueError if they are malformed."""
    counts = {name: numbers[name] for name in ("n_features", "n_outputs", "n_trees", "n_nodes")}
    if not all(type(n) is int and 0 < n < 2**31 for n in counts.values()):
        raise ValueError("the numbers of an ensemble of trees are malformed")
    if type(numbers["n_categorical"]) is not int or not 0 <= numbers["n_categorical"] <= counts["n_features"]:
        raise ValueError("the number of features with categories is malformed")
    dtypes = {32: np.float32, 64: np.float64}
    if numbers["bits"] not in dtypes:
        raise ValueError(f"thresholds are of 32 or 64 bits; the file says {numbers['bits']!r}")
    is_leaf = _bits("is_leaf", arrays, counts["n_nodes"])
    n_leaves = int(is_leaf.sum())
    n_splits = len(is_leaf) - n_leaves
    splits = Splits(
        feature=_integers("feature", arrays, n_splits),
        threshold=_from_distinct("threshold", arrays, n_splits).astype(dtypes[numbers["bits"]]),
        missing_left=_bits("missing_left", arrays, n_splits) if "missing_left" in arrays else np.zeros(n_splits, bool),
        category_set=np.full(n_splits, -1, np.int32),
        categories=arrays.pop(_SETS, np.empty((0, CATEGORIES // 8), np.uint8)),
    )
    if "is_categorical" in arrays:
        is_categorical = _bits("is_categorical", arrays, n_splits)
        splits.category_set[is_categorical] = _integers("category_set", arrays, int(is_categorical.sum()))
    leaf = _integers("leaf", arrays, n_leaves) if "leaf" in arrays else np.arange(n_leaves, dtype=np.int32)
    n_rows = len(arrays[next((k for k in ("leaf_size", "leaf_value_code") if k in arrays), "leaf_value")])
    sizes = _integers("leaf_size", arrays, n_rows) if "leaf_size" in arrays else np.ones(n_rows, np.int32)
    start = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    n_values = int(start[-1])
    if counts["n_outputs"] > 1:
        output = _integers("leaf_output", arrays, n_values)
    else:
        output = np.zeros(n_values if n_values <= n_rows else 0, np.int32)
    value = _from_distinct("leaf_value", arrays, n_values).astype(np.float64)
    if counts["n_outputs"] > _MOST_EMPTY_OUTPUTS + n_values:  # an integer alone must not decide what is allocated
        raise ValueError(f"the leaves have no values for {counts['n_outputs']} outputs")
    n_features, n_outputs, n_trees = (counts[name] for name in ("n_features", "n_outputs", "n_trees"))
    return TreeEnsemble(
        n_features, n_outputs, n_trees, is_leaf, splits, leaf, LeafTable(start, output, value), numbers["n_categorical"]
    )


def _narrow(array: np.ndarray) -> np.ndarray:
    """Integers that are not negative, in the narrowest dtype that holds them."""
    largest = int(array.max(initial=0))
    return array.astype(next(dtype for dtype in _UNSIGNED if largest <= np.iinfo(dtype).max))


def _narrow_floats(array: np.ndarray) -> np.ndarray:
    """Numbers in the narrowest dtype that holds them without a difference."""
    with np.errstate(over="ignore"):
        return next(narrow for dtype in _FLOATS if np.array_equal(narrow := array.astype(dtype), array))


def _distinct(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """The array in its narrowest dtype, or its distinct numbers and the place of each element among them."""
    plain = _narrow_floats(array)
    values, places = np.unique(array, return_inverse=True)
    table, codes = _narrow_floats(values), _narrow(places)
    if table.nbytes + codes.nbytes < plain.nbytes:
        return {f"{name}_table": table, f"{name}_code": codes}
    return {name: plain}


def _from_distinct(name: str, arrays: dict[str, np.ndarray], size: int) -> np.ndarray:
    if name in arrays:
        array = arrays.pop(name)
    else:
        table, codes = arrays.pop(f"{name}_table"), _integers(f"{name}_code", arrays, size)
        if table.ndim != 1 or (codes.size and int(codes.max()) >= len(table)):
            raise ValueError(f"{name}_code is not a place in {name}_table")
        array = table[codes]
    if array.dtype.type not in _FLOATS or array.shape != (size,):
        raise ValueError(f"{name} is not an array of {size} numbers")
    return array


def _integers(name: str, arrays: dict[str, np.ndarray], size: int) -> np.ndarray:
    array = arrays.pop(name)
    if array.dtype.type not in _UNSIGNED or array.shape != (size,) or int(array.max(initial=0)) >= 2**31:
        raise ValueError(f"{name} is not an array of {size} integers")
    return array.astype(np.int32)


def _bits(name: str, arrays: dict[str, np.ndarray], size: int) -> np.ndarray:
    array = arrays.pop(name)
    if array.dtype != np.uint8 or array.shape != (-(-size // 8),):
        raise ValueError(f"{name} is not an array of {size} bits")
    return np.unpackbits(array, count=size).astype(bool)
