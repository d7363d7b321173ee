"""The adapter of scikit-learn's linear models; `lifecycle.store.adapters.Adapter` documents its functions.

Their class is stored, and `load` makes it from the table below. What a search or a path has recorded (`scores_`,
`coefs_paths_`, `mse_path_`, `cv_results_`, `outliers_` …) is not stored.
"""

import copy as _copy
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.store import json_values
from lifecycle.store.adapters import SKLEARN_LINEAR_MODEL, Encode, Layer, QuantizationOptions, coefficients
from lifecycle.store.adapters.coefficients import (
    channels_last,
    coef_of,
    first_trees,
    fold_batch_norms,
    integer_layers,
    layers_of_coef,
    pop_weight,
    read_weight,
    remove_channels,
    second_moments,
    set_coef,
    squared_gradients,
)
from lifecycle.store.adapters.labels import check_feature_names
from lifecycle.store.adapters.sklearn import fitted

__all__ = [
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

_RIDGE_CLASSIFIERS = ("RidgeClassifier", "RidgeClassifierCV")
_CLASSIFIERS = (*_RIDGE_CLASSIFIERS, "LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "Perceptron")
_GENERALIZED = ("PoissonRegressor", "GammaRegressor", "TweedieRegressor")
_REGRESSORS = (
    *_GENERALIZED,
    *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV"),
    *("MultiTaskLasso", "MultiTaskLassoCV", "MultiTaskElasticNet", "MultiTaskElasticNetCV"),
    *("Lars", "LarsCV", "LassoLars", "LassoLarsCV", "LassoLarsIC"),
    *("OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV"),
    *("SGDRegressor", "HuberRegressor", "QuantileRegressor", "TheilSenRegressor"),
)
CLASSES = {
    **dict.fromkeys((*_CLASSIFIERS, *_REGRESSORS), "sklearn.linear_model"),
    **dict.fromkeys(("LinearSVC", "LinearSVR"), "sklearn.svm"),
}
# attributes that are stored where a model has them
_RECORDS = (
    *("n_iter_", "t_", "alpha_", "l1_ratio_", "C_", "dual_gap_", "rank_", "singular_", "scale_", "best_score_"),
    *("solver_", "n_nonzero_coefs_", "noise_variance_", "breakdown_", "n_subpopulation_"),
)
_DTYPES = (np.float32, np.float64)


def is_supported(model: Any) -> bool:
    return fitted.is_of_class(model, CLASSES)


def _check_fitted(model: Any) -> Any:
    if hasattr(getattr(model, "coef_", None), "toarray"):
        raise UnsupportedModel(
            f"coef_ of this {type(model).__name__} is sparse: call densify() first; zeros are stored as a bit mask"
        )
    return fitted.check_fitted(model, "coef_", _check)


def _check(model: Any) -> None:
    """ValueError unless the parts of a model fit each other."""
    coef, name = model.coef_, type(model).__name__
    if not isinstance(coef, np.ndarray) or coef.dtype not in _DTYPES or not coef.size:
        raise ValueError("coef_ is not an array of numbers in float32 or float64")
    if coef.ndim not in ((1,) if name in _GENERALIZED else (1, 2)):
        raise ValueError(f"coef_ of a {name} has the shape {coef.shape}")
    n_outputs = coef.shape[0] if coef.ndim == 2 else 1
    intercept = model.intercept_
    is_array = isinstance(intercept, np.ndarray)
    if not (intercept.dtype in _DTYPES if is_array else isinstance(intercept, (int, float, np.number))):
        raise ValueError("intercept_ is not a number, or an array of numbers in float32 or float64")
    if np.shape(intercept) not in ((), (n_outputs,)):
        raise ValueError(f"coef_ of the shape {coef.shape} has an intercept_ of the shape {np.shape(intercept)}")
    if name in (*_CLASSIFIERS, "LinearSVC"):
        fitted.check_outputs(model, n_outputs)
    check_feature_names(getattr(model, "feature_names_in_", None), coef.shape[-1])


def layers(model: Any) -> list[Layer]:
    return layers_of_coef(_check_fitted(model))


def replace_weight(model: Any, name: str, array: np.ndarray) -> None:
    coefficients.replace_weight(model, name, array)
    _restart_averages(model)


def quantize_layers(model: Any, names: list[str], encode: Encode, options: QuantizationOptions | None) -> Any:
    coefficients.quantize_layers(model, names, encode, options)
    _restart_averages(model)
    return model


def _restart_averages(model: Any) -> None:
    """Let partial_fit of SGD with averages go on from the coefficients: what it has kept is of others."""
    if type(model).__name__ in ("SGDClassifier", "SGDRegressor") and model.average:
        for name in ("coef", "intercept"):
            for kept in ("standard", "average"):
                setattr(model, f"_{kept}_{name}", np.array(getattr(model, f"{name}_"), ndmin=1))


def copy(model: Any) -> Any:
    return _copy.deepcopy(_check_fitted(model))


def tensors(model: Any) -> dict[str, np.ndarray]:
    return {**coef_of(_check_fitted(model)).arrays("coef_"), "intercept_": np.asarray(model.intercept_)}


def serialize(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    coef = coef_of(_check_fitted(model))
    config, arrays = fitted.serialize(model, _RECORDS)
    # a scalar keeps its type, on which the dtype of the predictions depends
    intercept, arrays_of_intercept = json_values.serialize_attributes(config["class"], {"intercept_": model.intercept_})
    layout = {"dtype": coef.values.dtype.str, "column_major": _is_column_major(coef.values)}
    config = {"kind": SKLEARN_LINEAR_MODEL, **config, **layout, "intercept": intercept}
    return config, {**coef.arrays("coef_"), **arrays_of_intercept, **arrays}


def _is_column_major(array: np.ndarray) -> bool:
    """Whether the columns of a matrix are contiguous, in which case a product may round differently."""
    return array.ndim == 2 and min(array.shape) > 1 and array.strides[0] < array.strides[1]


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    cls = fitted.class_named(config["class"], CLASSES)
    coef = pop_weight(arrays, "coef_", config["dtype"])
    stored = {"intercept_": arrays.pop("intercept_")} if "intercept_" in arrays else {}
    intercept = json_values.deserialize_attributes(config["intercept"], stored)
    neg_label = -1 if cls.__name__ in _RIDGE_CLASSIFIERS else None
    model = fitted.deserialize(config, arrays, cls, _RECORDS, into, neg_label)
    if cls.__name__ in _GENERALIZED:
        _restore_link(model)
    set_coef(model, coef)
    model.intercept_ = intercept["intercept_"]
    _check(model)
    if config["column_major"]:
        model.coef_ = np.asfortranarray(model.coef_)
    model.n_features_in_ = model.coef_.shape[-1]
    _restart_averages(model)
    return model if into is None else json_values.become(into, model)


def _restore_link(model: Any) -> None:
    """Give a generalized linear model the loss of its distribution, with the link that predictions need."""
    family = {k: getattr(model, k) for k in ("power", "link") if hasattr(model, k)}
    learned = type(model)(**family).fit(np.zeros((2, 1)), np.ones(2))
    restored = vars(model).keys()
    vars(model).update({k: v for k, v in vars(learned).items() if k not in restored})
