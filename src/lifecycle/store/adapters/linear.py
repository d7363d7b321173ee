"""The adapter of LinearClassifier and LinearRegressor; `lifecycle.store.adapters.Adapter` documents its functions.

A quantized `coef_` stays in floating point, with values on an int8 grid; the scales of the grid are kept beside it, so
that codes and scales are stored.
"""

import copy as _copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, one_of
from lifecycle.codecs import decode, encode_like, on_grid
from lifecycle.store import json_values
from lifecycle.store.adapters import LINEAR_ESTIMATOR, MAX_INPUTS, Encode, Layer, check_n_inputs

_CLASSES = ("LinearClassifier", "LinearRegressor")
_SCALES = "_coef_scales"
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
    shape = _check_fitted(model).coef_.shape
    return [Layer("coef_", "linear", shape, input_axis=len(shape) - 1, channel_axis=0)]


def read_weight(model: Any, name: str) -> np.ndarray:
    return np.array(getattr(_check_fitted(model), one_of("name", name, ["coef_"])))


def replace_weight(model: Any, name: str, array: np.ndarray) -> None:
    old = read_weight(model, name)
    scales = vars(model).get(_SCALES)
    codes = None if scales is None else on_grid(old, scales)
    if scales is not None and codes is None:
        delattr(model, _SCALES)  # the coefficients were changed since they were quantized
    elif codes is not None and on_grid(array, scales) is None:
        codes, scales = encode_like(array, codes, scales)
        array = decode(codes, scales, 0, old.dtype)
        setattr(model, _SCALES, scales)
    model.coef_ = np.array(array, dtype=old.dtype)


def quantize_layers(model: Any, names: list[str], encode: Encode, activations: str | None) -> Any:
    if activations == "dynamic":
        raise ValueError('activations="dynamic" needs torch layers; a linear estimator takes "auto" or None')
    for name in names:
        before = vars(model).get(_SCALES)
        codes = None if before is None else on_grid(model.coef_, before)
        codes, scales = encode(name, read_weight(model, name), 0, None if codes is None else (codes, before))
        model.coef_ = decode(codes, scales, 0, model.coef_.dtype)
        setattr(model, _SCALES, scales)
    return model


def second_moments(
    model: Any, names: Sequence[str], inputs: Any, *, skip_unknown: bool = False
) -> dict[str, np.ndarray]:
    from sklearn.utils.validation import validate_data

    X = validate_data(_check_fitted(model), inputs, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
    if skip_unknown and X.shape[1] > MAX_INPUTS:
        return {}
    check_n_inputs("coef_", X.shape[1])
    products = X.T @ X
    moments = (
        np.asarray(products.toarray() if hasattr(products, "toarray") else products, np.float64)[None] / X.shape[0]
    )
    return dict.fromkeys(names, moments)


def squared_gradients(model: Any, names: list[str], inputs: Any, targets: Any) -> list[np.ndarray]:
    raise UnsupportedModel(
        'method="taylor" needs the gradients of a torch model; for a linear estimator there are "magnitude", "wanda" '
        'and "obs"'
    )


def remove_channels(
    model: Any, amount: float, method: str, scope: str, calibration: Any, protect: Sequence[str], seed: Any
) -> Any:
    raise UnsupportedModel('structure="channels" needs a torch model: a linear estimator has no channels')


def copy(model: Any) -> Any:
    return _copy.deepcopy(_check_fitted(model))


def tensors(model: Any) -> dict[str, np.ndarray]:
    scales = vars(_check_fitted(model)).get(_SCALES)
    codes = None if scales is None else on_grid(model.coef_, scales)
    weight = {"coef_": model.coef_} if codes is None else {"coef_.codes": codes, "coef_.scales": scales}
    return {**weight, "intercept_": np.asarray(model.intercept_)}


def serialize(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    arrays = tensors(model)
    config, fitted = json_values.serialize_fitted(model, {"coef_", "intercept_", _SCALES, _PARTIAL_FIT_STATE})
    types = {"dtype": model.coef_.dtype.str, "scalar_intercept": not isinstance(model.intercept_, np.ndarray)}
    return {"kind": LINEAR_ESTIMATOR, **config, **types}, {**arrays, **fitted}


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    cls = _class(config["class"])
    scales, intercept = arrays.pop("coef_.scales", None), arrays.pop("intercept_")
    if scales is None:
        coef = arrays.pop("coef_")
    else:
        dtype = np.dtype(one_of("dtype", config["dtype"], ["<f4", "<f8"]))
        coef = decode(arrays.pop("coef_.codes"), scales, 0, dtype)
    params, attributes = json_values.deserialize_fitted(config, arrays, cls, into)
    model: Any = cls(**params) if into is None else _copy.copy(into).set_params(**params)
    json_values.restore_attributes(model, attributes)
    if scales is not None:
        setattr(model, _SCALES, scales)
    model.coef_ = coef
    model.intercept_ = intercept[()] if config["scalar_intercept"] else intercept
    return model if into is None else json_values.become(into, model)
