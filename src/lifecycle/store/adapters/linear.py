"""The adapter of LinearClassifier and LinearRegressor; `lifecycle.store.adapters.Adapter` documents its functions."""

import copy as _copy
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, one_of
from lifecycle.store import json_values
from lifecycle.store.adapters import LINEAR_ESTIMATOR, Layer
from lifecycle.store.adapters.coefficients import (
    SCALES,
    channels_last,
    coef_of,
    first_trees,
    fold_batch_norms,
    integer_layers,
    layers_of_coef,
    pop_weight,
    quantize_layers,
    read_weight,
    remove_channels,
    replace_weight,
    second_moments,
    set_coef,
    squared_gradients,
)

__all__ = [
    "channels_last",
    "copy",
    "deserialize",
    "first_trees",
    "fold_batch_norms",
    "integer_layers",
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

_CLASSES = ("LinearClassifier", "LinearRegressor")
_PARTIAL_FIT_STATE = "_partial_fit_state"  # not stored: a loaded model restarts it from its coefficients


def _class(name: Any) -> Any:
    from lifecycle import linear

    return getattr(linear, one_of("the estimator's class", name, _CLASSES))


def _check_fitted(model: Any) -> Any:
    if type(model).__name__ not in _CLASSES or type(model) is not _class(type(model).__name__):
        raise UnsupportedModel(f"a {type(model).__name__} is not supported; what is: {', '.join(_CLASSES)}")
    if not hasattr(model, "coef_"):
        raise UnsupportedModel(f"this {type(model).__name__} is not fitted yet: call fit first")
    return model


def layers(model: Any) -> list[Layer]:
    return layers_of_coef(_check_fitted(model))


def copy(model: Any) -> Any:
    return _copy.deepcopy(_check_fitted(model))


def tensors(model: Any) -> dict[str, np.ndarray]:
    return {**coef_of(_check_fitted(model)).arrays("coef_"), "intercept_": np.asarray(model.intercept_)}


def serialize(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    arrays = tensors(model)
    config, fitted = json_values.serialize_fitted(model, {"coef_", "intercept_", SCALES, _PARTIAL_FIT_STATE})
    types = {"dtype": model.coef_.dtype.str, "scalar_intercept": not isinstance(model.intercept_, np.ndarray)}
    return {"kind": LINEAR_ESTIMATOR, **config, **types}, {**arrays, **fitted}


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    cls = _class(config["class"])
    intercept, coef = arrays.pop("intercept_"), pop_weight(arrays, "coef_", config["dtype"])
    params, attributes = json_values.deserialize_fitted(config, arrays, cls, into)
    model: Any = cls(**params) if into is None else _copy.copy(into).set_params(**params)
    json_values.restore_attributes(model, attributes)
    set_coef(model, coef)
    model.intercept_ = intercept[()] if config["scalar_intercept"] else intercept
    return model if into is None else json_values.become(into, model)
