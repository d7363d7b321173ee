"""The adapter of scikit-learn's MLPs; `lifecycle.store.adapters.Adapter` documents its functions.

Weights are called "coefs_.0", "coefs_.1" …, and have the shape (inputs, outputs).
"""

import copy as _copy
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from typing import Any

import numpy as np

from lifecycle._check import one_of, to_scalar
from lifecycle.store import json_values
from lifecycle.store.adapters import MAX_INPUTS, SKLEARN_MLP, Encode, Layer, QuantizationOptions
from lifecycle.store.adapters.coefficients import Weight, check_options, moments_of_rows, pop_weight
from lifecycle.store.adapters.labels import check_feature_names
from lifecycle.store.adapters.sklearn import fitted

CLASSES = dict.fromkeys(("MLPClassifier", "MLPRegressor"), "sklearn.neural_network")
_SCALES = "_coefs_scales"  # the attribute that holds the scales of quantized weights, by the number of the layer
_AXIS = 1  # of the outputs
_BATCH_SIZE = 8  # rows whose mean loss has the gradients that are squared
_CURVES = ("loss_curve_", "validation_scores_")
_RECORDS = ("n_iter_", "t_", "loss_", "best_loss_", "best_validation_score_", *_CURVES)


def is_supported(model: Any) -> bool:
    return fitted.is_of_class(model, CLASSES)


def _check_fitted(model: Any) -> Any:
    return fitted.check_fitted(model, "coefs_", _check)


def _check(model: Any) -> None:
    """ValueError unless the parts of a model fit each other."""
    coefs, intercepts = model.coefs_, model.intercepts_
    if not coefs or len(intercepts) != len(coefs):
        raise ValueError(f"coefs_ has {len(coefs)} layers and intercepts_ {len(intercepts)}")
    for weight, intercept in zip(coefs, intercepts, strict=True):
        arrays = (weight, intercept)
        if not all(isinstance(a, np.ndarray) and a.dtype in (np.float32, np.float64) and a.size for a in arrays):
            raise ValueError("coefs_ and intercepts_ are not arrays of numbers in float32 or float64")
        if weight.ndim != 2 or intercept.shape != (weight.shape[1],):
            raise ValueError(f"coefs_ of the shape {weight.shape} have intercepts_ of the shape {intercept.shape}")
    for before, after in pairwise(coefs):
        if before.shape[1] != after.shape[0]:
            raise ValueError(f"coefs_ of the shape {after.shape} follow those of the shape {before.shape}")
    one_of("activation", model.activation, _activations())
    n_outputs = coefs[-1].shape[1]
    if type(model).__name__ == "MLPClassifier":
        fitted.check_outputs(model, n_outputs)
        outputs = ["softmax" if model._label_binarizer.y_type_ == "multiclass" else "logistic"]
    else:
        outputs = ["identity", "exp"]
    one_of("out_activation_", model.out_activation_, outputs)
    check_feature_names(getattr(model, "feature_names_in_", None), coefs[0].shape[0])


def _name(k: int) -> str:
    return f"coefs_.{k}"


def _number(model: Any, name: str) -> int:
    return int(one_of("name", name, [_name(k) for k in range(len(model.coefs_))]).rpartition(".")[2])


def _weight(model: Any, k: int) -> Weight:
    return Weight(model.coefs_[k], vars(model).get(_SCALES, {}).get(k), _AXIS)


def is_quantized(model: Any) -> bool:
    return any(_weight(model, k).grid() is not None for k in range(len(model.coefs_)))


def _set_weight(model: Any, k: int, weight: Weight) -> None:
    model.coefs_ = [*model.coefs_[:k], weight.values, *model.coefs_[k + 1 :]]
    others = {i: scales for i, scales in vars(model).get(_SCALES, {}).items() if i != k}
    scales = others if weight.scales is None else {**others, k: weight.scales}
    vars(model).pop(_SCALES, None)
    if scales:
        setattr(model, _SCALES, scales)
    restart_training(model)


def restart_training(model: Any) -> None:
    """Let partial_fit, and fit with warm_start, go on from the weights, with a new optimizer."""
    for name in ("_optimizer", "_best_coefs", "_best_intercepts"):
        vars(model).pop(name, None)
    model._no_improvement_count = 0
    if model.early_stopping:  # the best weights so far are these
        model._best_coefs = [weight.copy() for weight in model.coefs_]
        model._best_intercepts = [intercept.copy() for intercept in model.intercepts_]


def layers(model: Any) -> list[Layer]:
    shapes = [weight.shape for weight in _check_fitted(model).coefs_]
    return [Layer(_name(k), "linear", shape, input_axis=0, channel_axis=_AXIS) for k, shape in enumerate(shapes)]


def read_weight(model: Any, name: str) -> np.ndarray:
    return np.array(model.coefs_[_number(model, name)])


def replace_weight(model: Any, name: str, array: np.ndarray) -> None:
    k = _number(model, name)
    _set_weight(model, k, _weight(model, k).replaced(array))


def quantize_layers(model: Any, names: list[str], encode: Encode, options: QuantizationOptions | None) -> Any:
    check_options(options, "an MLP of scikit-learn")
    for name in names:
        k = _number(model, name)
        _set_weight(model, k, _weight(model, k).quantized(name, encode))
    return model


def integer_layers(model: Any) -> list[str] | None:
    return None


# -- what the network computes -----------------------------------------------------------------------------------------


def _activations() -> dict[str, tuple[Callable, Callable]]:
    """Functions of the hidden layers, and their derivatives in terms of their values."""
    from scipy.special import expit

    return {
        "identity": (lambda z: z, np.ones_like),
        "logistic": (expit, lambda a: a * (1 - a)),
        "tanh": (np.tanh, lambda a: 1 - a**2),
        "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(a.dtype)),
    }


def validated(model: Any, inputs: Any) -> Any:
    from sklearn.utils.validation import validate_data

    return validate_data(model, inputs, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)


def inputs_of_layers(model: Any, X: Any) -> list[Any]:
    """What each weight is multiplied with, and at the end what the function of the outputs is applied to."""
    function = _activations()[model.activation][0]
    values = [X]
    for k, (weight, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        z = values[-1] @ weight + intercept
        values.append(z if k == len(model.coefs_) - 1 else function(z))
    return values


def second_moments(
    model: Any, names: Sequence[str], inputs: Any, *, skip_unknown: bool = False
) -> dict[str, np.ndarray]:
    of_layers = inputs_of_layers(model, validated(model, inputs))
    values = {name: of_layers[_number(model, name)] for name in names}
    return {
        name: moments_of_rows(name, x) for name, x in values.items() if not skip_unknown or x.shape[1] <= MAX_INPUTS
    }


def squared_gradients(model: Any, names: list[str], inputs: Any, targets: Any) -> list[np.ndarray]:
    X, y = validated(model, inputs), _targets(model, targets)
    if X.shape[0] != len(y):
        raise ValueError(f"calibration has {X.shape[0]} rows and {len(y)} targets")
    numbers = [_number(model, name) for name in names]
    sums = [np.zeros(model.coefs_[k].shape) for k in numbers]
    batches = np.array_split(np.arange(len(y)), max(1, round(len(y) / _BATCH_SIZE)))
    for rows in batches:
        gradients = _gradients(model, X[rows], y[rows])
        for total, k in zip(sums, numbers, strict=True):
            total += np.square(gradients[k], dtype=np.float64)
    return [total / len(batches) for total in sums]


def _gradients(model: Any, X: Any, y: np.ndarray) -> list[np.ndarray]:
    """Gradients of the mean loss of some rows, by backpropagation."""
    derivative = _activations()[model.activation][1]
    values = inputs_of_layers(model, X)
    # outputs and loss belong together, so that the derivative of the loss before the outputs' function is this one
    delta = (_outputs(values[-1], model.out_activation_) - y) / len(y)
    gradients = []
    for k in reversed(range(len(model.coefs_))):
        gradients.append(values[k].T @ delta)
        if k:
            delta = (delta @ model.coefs_[k].T) * derivative(values[k])
    return gradients[::-1]


def _outputs(z: np.ndarray, activation: str) -> np.ndarray:
    from scipy.special import expit, softmax

    if activation == "softmax":
        return np.asarray(softmax(z, axis=1))
    return np.asarray({"identity": lambda z: z, "exp": np.exp, "logistic": expit}[activation](z))


def _targets(model: Any, targets: Any) -> np.ndarray:
    """Of shape (rows, outputs), as the loss is computed of them."""
    if type(model).__name__ == "MLPRegressor":
        y = np.asarray(targets, dtype=float)
        y = y.reshape(len(y), -1)
        if y.shape[1] != model.n_outputs_:
            raise ValueError(f"calibration has {y.shape[1]} targets for each row; the model has {model.n_outputs_}")
        return y
    binarizer = model._label_binarizer
    if not str(binarizer.y_type_).startswith("multilabel"):
        unknown = np.setdiff1d(targets, model.classes_)
        if len(unknown):
            raise ValueError(
                f"calibration has the label {to_scalar(unknown[0])!r}, which is not one of the model's classes"
            )
    y = binarizer.transform(targets)
    return np.asarray(y.toarray() if hasattr(y, "toarray") else y, dtype=float)


def remove_channels(
    model: Any, amount: float, method: str, scope: str, calibration: Any, protect: Sequence[str], seed: Any
) -> Any:
    from lifecycle.store.adapters.sklearn import hidden_units

    return hidden_units.remove(model, amount, method, scope, calibration, protect, seed)


def fold_batch_norms(model: Any, calibration: Any) -> Any:
    return model


def channels_last(model: Any) -> Any:
    return None


def first_trees(model: Any, share: float) -> Any:
    return None


# -- storage -----------------------------------------------------------------------------------------------------------


def copy(model: Any) -> Any:
    return _copy.deepcopy(_check_fitted(model))


def tensors(model: Any) -> dict[str, np.ndarray]:
    _check_fitted(model)
    arrays: dict[str, np.ndarray] = {}
    for k, intercept in enumerate(model.intercepts_):
        arrays |= {**_weight(model, k).arrays(_name(k)), f"intercepts_.{k}": intercept}
    return arrays


def serialize(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    weights = tensors(model)
    config, arrays = fitted.serialize(model, _RECORDS)
    types = {"dtype": model.coefs_[0].dtype.str, "out_activation": model.out_activation_}
    return {"kind": SKLEARN_MLP, **config, **types}, {**weights, **arrays}


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    cls = fitted.class_named(config["class"], CLASSES)
    weights, intercepts = [], []
    for k in count():
        if f"intercepts_.{k}" not in arrays:
            break
        weights.append(pop_weight(arrays, _name(k), config["dtype"], _AXIS))
        intercepts.append(arrays.pop(f"intercepts_.{k}"))
    model = fitted.deserialize(config, arrays, cls, _RECORDS, into, neg_label=0)
    for name in _CURVES:
        if not isinstance(getattr(model, name, None), (list, type(None))):
            raise ValueError(f"{name} is not a list of numbers")
    model.coefs_, model.intercepts_ = [weight.values for weight in weights], intercepts
    scales = {k: weight.scales for k, weight in enumerate(weights) if weight.scales is not None}
    if scales:
        setattr(model, _SCALES, scales)
    model.out_activation_ = config["out_activation"]
    _check(model)
    model.n_layers_, model.n_outputs_ = len(weights) + 1, weights[-1].values.shape[1]
    model.n_features_in_ = weights[0].values.shape[0]
    restart_training(model)
    return model if into is None else json_values.become(into, model)
