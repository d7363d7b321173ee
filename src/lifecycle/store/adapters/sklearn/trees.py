"""The adapter of scikit-learn's trees and their ensembles; `lifecycle.store.adapters.Adapter` documents its functions.

Their class is stored, and what predicting needs; `restored_trees` says what is not.
"""

import copy as _copy
from typing import Any

import numpy as np

from lifecycle.store import json_values
from lifecycle.store.adapters import SKLEARN_TREES, Layer
from lifecycle.store.adapters import trees as flat
from lifecycle.store.adapters.coefficients import channels_last, fold_batch_norms, integer_layers, remove_channels
from lifecycle.store.adapters.labels import check_feature_names
from lifecycle.store.adapters.sklearn import fitted
from lifecycle.store.adapters.sklearn.restored_trees import restore, spend
from lifecycle.store.adapters.sklearn.tree_models import (
    BOOSTING,
    CLASSES,
    HIST,
    check_fitted,
    is_supported,
    node_order,
    tree_model,
)
from lifecycle.tree_models import TreeClassifier
from lifecycle.trees import decode, encode

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

read_weight = replace_weight = quantize_layers = second_moments = squared_gradients = flat.refuse_weights


def layers(model: Any) -> list[Layer]:
    return flat.layers(check_fitted(model))


def first_trees(model: Any, share: float) -> Any:
    return flat.first_trees(tree_model(model), share)


def copy(model: Any) -> Any:
    return _copy.deepcopy(model)


def tensors(model: Any) -> dict[str, np.ndarray]:
    return serialize(model)[1]


def serialize(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    name = type(model).__name__
    flat_model = tree_model(model, learning_rate=1.0)  # the leaves are stored as scikit-learn keeps them
    labels = flat_model.labels if isinstance(flat_model, TreeClassifier) else []
    categories = dict(flat_model.rows.encoded)
    spend(name, flat_model.ensemble, labels, categories)
    numbers, arrays = encode(flat_model.ensemble)
    order = node_order(model)
    if order is not None:
        arrays["node_order"] = order
    baseline = _constant(model.init_) if name in BOOSTING else flat_model.baseline if name in HIST else None
    if baseline is not None:
        arrays["baseline"] = baseline
    config, fitted_arrays = fitted.serialize(model, ())
    encoded, encoded_arrays = flat.serialize_categories(categories)
    return {**config, "kind": SKLEARN_TREES, "trees": numbers, **encoded}, {**arrays, **fitted_arrays, **encoded_arrays}


def _constant(init: Any) -> np.ndarray | None:
    """What boosting starts from, of a DummyClassifier or DummyRegressor; None for "zero"."""
    constant = None if isinstance(init, str) else getattr(init, "class_prior_", getattr(init, "constant_", None))
    return None if constant is None else np.array(constant, np.float64).reshape(-1)


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    cls = fitted.class_named(config["class"], CLASSES)
    ensemble = decode(config["trees"], arrays)
    order, baseline = arrays.pop("node_order", None), arrays.pop("baseline", None)
    if order is not None and (order.dtype != np.uint32 or order.shape != ensemble.is_leaf.shape):
        raise ValueError("the order of the nodes is malformed")
    if baseline is not None and not (baseline.dtype == np.float64 and np.isfinite(baseline).all()):
        raise ValueError("the baseline is malformed")
    categories = flat.deserialize_categories(config, arrays, ensemble.n_features)
    model = fitted.deserialize(config, arrays, cls, (), into)
    labels = getattr(model, "classes_", [])
    check_feature_names(getattr(model, "feature_names_in_", None), ensemble.n_features)
    restore(model, ensemble, order, labels if isinstance(labels, list) else [labels], categories, baseline)
    return model if into is None else json_values.become(into, model)
