"""The room of LinearClassifier and LinearRegressor: see `_adapters.Adapter` for the verbs.

A quantized weight stays in `coef_` in floating point, on its int8 grid; its scales are kept beside it, so that codes
and scales are what is stored.
"""

import copy as _copy
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, one_of
from lifecycle.codecs import Quantizer, absmax
from lifecycle.store.adapters import Layer
from lifecycle.store.json_values import attributes_apart, params_apart, params_together, set_attributes

_KIND = "linear.estimator"
_CLASSES = ("LinearClassifier", "LinearRegressor")
_SCALES = "_coef_scales"
_STREAM = "_stream"  # what partial_fit keeps: after a file it begins anew, from the coefficients


def _class(name: Any) -> Any:
    from lifecycle import linear

    return getattr(linear, one_of("the estimator's class", name, _CLASSES))


def _fitted(model: Any) -> Any:
    if type(model).__name__ not in _CLASSES or type(model) is not _class(type(model).__name__):
        raise UnsupportedModel(f"a {type(model).__name__} is not served; what is: {', '.join(_CLASSES)}")
    if not hasattr(model, "coef_"):
        raise UnsupportedModel(f"this {type(model).__name__} is not fitted yet: call fit first")
    return model


def layers(model: Any) -> list[Layer]:
    shape = _fitted(model).coef_.shape
    return [Layer("coef_", "linear", shape, input_axis=len(shape) - 1, channel_axis=0)]


def read_weight(model: Any, name: str) -> np.ndarray:
    return np.array(getattr(_fitted(model), one_of("name", name, ["coef_"])))


def replace_weight(model: Any, name: str, array: np.ndarray) -> None:
    old = read_weight(model, name)
    scales = vars(model).get(_SCALES)
    if scales is not None and absmax.on_grid(old, scales) is None:
        delattr(model, _SCALES)  # its coefficients were changed since it was quantized
    elif scales is not None and absmax.on_grid(array, scales) is None:
        codes, scales = absmax.encode(array)
        array = absmax.decode(codes, scales, 0, old.dtype)
        setattr(model, _SCALES, scales)
    model.coef_ = np.array(array, dtype=old.dtype)


def quantize_layers(model: Any, names: list[str], codec: Quantizer, activations: str | None) -> Any:
    if activations == "dynamic":
        raise ValueError('activations="dynamic" needs torch layers; a linear estimator takes "auto" or None')
    for name in names:
        codes, scales = codec.encode(read_weight(model, name))
        model.coef_ = codec.decode(codes, scales, 0, model.coef_.dtype)
        setattr(model, _SCALES, scales)
    return model


def copy(model: Any) -> Any:
    return _copy.deepcopy(_fitted(model))


def _on_grid(model: Any) -> np.ndarray | None:
    scales = vars(model).get(_SCALES)
    return None if scales is None else absmax.on_grid(model.coef_, scales)


def tensors(model: Any) -> dict[str, np.ndarray]:
    codes = _on_grid(_fitted(model))
    weight = {"coef_": model.coef_} if codes is None else {"coef_.codes": codes, "coef_.scales": vars(model)[_SCALES]}
    return {**weight, "intercept_": np.asarray(model.intercept_)}


def take_apart(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    parts = tensors(model)
    params = model.get_params(deep=False)
    plain, missing = params_apart(params)
    fitted, arrays = attributes_apart(model, params, skip=("coef_", "intercept_", _SCALES, _STREAM))
    config = {
        "kind": _KIND,
        "class": type(model).__name__,
        "params": plain,
        "missing": missing,
        "fitted": fitted,
        "dtype": model.coef_.dtype.str,
        "scalar_intercept": not isinstance(model.intercept_, np.ndarray),
    }
    return config, {**parts, **{f"fitted.{name}": array for name, array in arrays.items()}}


def rebuild(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    cls = _class(config.get("class"))
    if into is not None and type(into) is not cls:
        raise ValueError(f"the file holds a {cls.__name__}; into is a {type(into).__name__}")
    if config.get("missing") and into is None:
        names = ", ".join(config["missing"])
        raise UnsupportedModel(
            f"this {cls.__name__} was saved without its parameters {names}, which are no plain values: "
            f"pass into={cls.__name__}(…) made with them"
        )
    params = params_together(config.get("params"))
    rest, scales = dict(arrays), None
    if "coef_.codes" in rest:
        codes, scales = rest.pop("coef_.codes"), rest.pop("coef_.scales")
        dtype = np.dtype(one_of("dtype", config.get("dtype"), ["<f4", "<f8"]))
        if codes.dtype != np.int8 or scales.shape != (codes.shape[0] if codes.ndim > 1 else 1,):
            raise ValueError("the codes of coef_ do not fit their scales")
        coef = absmax.decode(codes, scales, 0, dtype)
    else:
        coef = rest.pop("coef_")
    intercept = rest.pop("intercept_")
    if not all(name.startswith("fitted.") for name in rest):
        raise ValueError("arrays that belong to no attribute")
    model: Any = cls(**params) if into is None else into.set_params(**params)
    for name in (_SCALES, _STREAM):  # those of what `into` held before
        vars(model).pop(name, None)
    if scales is not None:
        setattr(model, _SCALES, scales)
    model.coef_ = coef
    model.intercept_ = intercept[()] if config.get("scalar_intercept") else intercept
    set_attributes(model, config.get("fitted"), {name.removeprefix("fitted."): a for name, a in rest.items()})
    return model
