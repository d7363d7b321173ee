"""The adapter of k-nearest-neighbors models; `lifecycle.store.adapters.Adapter` documents its functions.

Their training rows are stored, and `load` fits the model to them again, which makes the same search tree. They have no
weights: compression changes nothing of them.
"""

import copy as _copy
import math
import warnings
from typing import Any, NoReturn

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.store import json_values, limits
from lifecycle.store.adapters import SKLEARN_NEIGHBORS, Layer
from lifecycle.store.adapters.coefficients import (
    channels_last,
    first_trees,
    fold_batch_norms,
    integer_layers,
    remove_channels,
)
from lifecycle.store.adapters.labels import check_feature_names
from lifecycle.store.adapters.sklearn import fitted

__all__ = [
    "CLASSES",
    "channels_last",
    "copy",
    "deserialize",
    "first_trees",
    "fold_batch_norms",
    "integer_layers",
    "is_supported",
    "layers",
    "quantize_layers",
    "read_weight",
    "remove_channels",
    "replace_weight",
    "second_moments",
    "serialize",
    "squared_gradients",
    "tensors",
]

CLASSES = dict.fromkeys(("KNeighborsClassifier", "KNeighborsRegressor"), "sklearn.neighbors")
_SPARSE = ("data", "indices", "indptr")
_MAX_P = 1e300
_TIMES_OF_ARRAYS = 4  # what a fit may take for each byte of rows and targets, before it counts as asked for
_NODE_BYTES = 32  # of a node, beside its bounds
_TARGET_BYTES = 24  # while numbers of classes are sorted


def is_supported(model: Any) -> bool:
    return fitted.is_of_class(model, CLASSES)


def layers(model: Any) -> list[Layer]:
    _check_fitted(model)
    return []


def _refuse_weights(model: Any, *arguments: Any, **options: Any) -> NoReturn:
    raise UnsupportedModel(f"a {type(model).__name__} has training rows and no weights: it is stored as it is")


read_weight = replace_weight = quantize_layers = second_moments = squared_gradients = _refuse_weights


def copy(model: Any) -> Any:
    return _copy.copy(_check_fitted(model))  # its rows are never written to


def tensors(model: Any) -> dict[str, np.ndarray]:
    return serialize(model)[1]


def _check_fitted(model: Any) -> Any:
    return fitted.check_fitted(model, "n_samples_fit_", _check)


def _check(model: Any) -> None:
    if not hasattr(model, "n_features_in_"):
        raise ValueError("it was fitted to a tree or to another model: fit it to rows")
    _check_params(model, model.n_samples_fit_, model.n_features_in_)


_METRIC_SHAPES = {"p": (0,), "w": (1,), "V": (1,), "VI": (2,)}  # dimensions, each of the number of features


def _check_params(model: Any, n_rows: int, n: int) -> None:
    """ValueError for what makes a prediction fail, or take more than its rows."""
    n_neighbors, metric_params, leaf_size = model.n_neighbors, model.metric_params, model.leaf_size
    if not _is_integer(n_neighbors) or not 1 <= n_neighbors <= n_rows:
        raise ValueError(f"n_neighbors={n_neighbors!r} is not between 1 and its number of rows, {n_rows}")
    if isinstance(model.metric, str) and model.metric in ("precomputed", "pyfunc"):
        raise ValueError(f"metric={model.metric!r} is no distance of rows")
    for name, value in (metric_params or {}).items():
        # others reach loops that do not compare them with the rows
        shapes = _METRIC_SHAPES.get(name, ())
        if not _is_numeric(value) or np.shape(value) not in [tuple(n for _ in range(d)) for d in shapes]:
            raise ValueError(f"metric_params are not numbers that fit {n} features: {name!r}")
    if not _is_integer(leaf_size) or not 1 <= leaf_size < 2**31:
        raise ValueError(f"leaf_size={leaf_size!r} is not between 1 and {2**31 - 1}")
    if model.p is not None and not (_is_numeric(model.p) and (0 < model.p <= _MAX_P or model.p == math.inf)):
        raise ValueError(f"p={model.p!r} is not a number above 0")


def _spend(model: Any, rows: Any, targets: np.ndarray) -> None:
    """Account for what a fit takes beside rows and targets: they may be of one byte, or bits in the file.

    A search tree keeps the rows in float64, and bounds of as many numbers for each node, of which a small `leaf_size`
    makes more than there are rows.
    """
    n_bytes = _TARGET_BYTES * targets.size
    if not hasattr(rows, "indptr") and model.algorithm != "brute":
        n, width = rows.shape
        n_nodes = 2 ** (1 + int(math.log2(max(1, (n - 1) / model.leaf_size))))  # as scikit-learn's BinaryTree
        copied = 0 if rows.dtype == np.float64 else 8 * rows.size
        n_bytes += copied + 8 * n + n_nodes * (2 * 8 * width + _NODE_BYTES)
    size = getattr(rows, "data", rows).nbytes + targets.nbytes
    what = "the search tree is, beside rows of so narrow a dtype or with so small a leaf_size,"
    limits.spend_bytes(max(0, n_bytes - _TIMES_OF_ARRAYS * size), what)


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) or getattr(getattr(value, "dtype", None), "kind", "O") in "biuf"


def serialize(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    config, arrays = fitted.serialize(_check_fitted(model), ())
    rows, targets = model._fit_X, model._y
    if not isinstance(targets, np.ndarray):
        raise UnsupportedModel(f"a {type(model).__name__} with sparse targets cannot be stored")
    if hasattr(model, "classes_"):  # the targets are numbers of classes
        targets = targets.astype(np.min_scalar_type(targets.max()))
    _spend(model, rows, targets)
    arrays["targets"] = targets
    if hasattr(rows, "indptr"):
        arrays.update({f"rows.{part}": np.asarray(getattr(rows, part)) for part in _SPARSE})
    else:
        arrays["rows"] = np.asarray(rows)
    return {**config, "kind": SKLEARN_NEIGHBORS, "n_features": int(model.n_features_in_)}, arrays


def _pop_rows(arrays: dict[str, np.ndarray], n_features: Any) -> Any:
    """The training rows; ValueError unless they are a matrix, or parts of a CSR matrix that fit each other."""
    if type(n_features) is not int or not 1 <= n_features < 2**31:
        raise ValueError("the number of columns is malformed")
    if "rows" in arrays:
        rows = arrays.pop("rows")
        if rows.ndim != 2 or rows.shape[1] != n_features:
            raise ValueError(f"the rows have the shape {rows.shape}, and {n_features} columns")
        return rows
    from scipy.sparse import csr_array

    data, indices, indptr = (arrays.pop(f"rows.{part}") for part in _SPARSE)
    if any(part.ndim != 1 for part in (data, indices, indptr)) or any(
        part.dtype not in (np.int32, np.int64) for part in (indices, indptr)
    ):
        raise ValueError("the parts of the sparse rows are malformed")
    if len(indptr) < 2 or indptr[0] != 0 or indptr[-1] != len(data) or (indptr[1:] < indptr[:-1]).any():
        raise ValueError("the sparse rows do not begin one after another")
    if len(indices) != len(data) or (indices < 0).any() or (indices >= n_features).any():
        raise ValueError(f"the sparse rows have values outside of their {n_features} columns")
    return csr_array((data, indices, indptr), shape=(len(indptr) - 1, n_features))


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    cls = fitted.class_named(config["class"], CLASSES)
    rows, targets = _pop_rows(arrays, config["n_features"]), arrays.pop("targets")
    model = fitted.deserialize(config, arrays, cls, (), into)
    names, classes = getattr(model, "feature_names_in_", None), getattr(model, "classes_", None)
    check_feature_names(names, rows.shape[1])
    if targets.ndim not in (1, 2) or not targets.size or len(targets) != rows.shape[0]:
        raise ValueError(f"there are {rows.shape[0]} rows, and targets of the shape {targets.shape}")
    _check_params(model, *rows.shape)
    _spend(model, rows, targets)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first fit warned
        model.fit(rows, targets)
    if cls.__name__ == "KNeighborsClassifier":
        if targets.dtype.kind != "u" or not _are_numbers_of(classes, targets, model.classes_):
            raise ValueError("the targets are not numbers of the classes")
        model.classes_ = classes
    if names is not None:
        model.feature_names_in_ = names
    return model if into is None else json_values.become(into, model)


def _are_numbers_of(classes: Any, targets: np.ndarray, found: Any) -> bool:
    """Whether what a fit to numbers of classes has found are all these numbers, of one target or of several."""
    several = isinstance(classes, list)
    if classes is None or targets.ndim != (2 if several else 1):
        return False
    lists, numbers = (classes, found) if several else ([classes], [found])
    return len(lists) == len(numbers) and all(
        np.array_equal(n, np.arange(len(labels))) for labels, n in zip(lists, numbers, strict=True)
    )
