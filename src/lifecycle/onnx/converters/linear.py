"""Linear models of this library and of scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.conversion import (
    Conversion,
    check_classes,
    check_table,
    classifier_interface,
    classifier_reference,
    feature_names,
    regressor_interface,
)
from lifecycle.onnx.converters.heads import append_label, one_minus, sigmoid_of_each, softmax
from lifecycle.onnx.graph import GraphBuilder
from lifecycle.onnx.interface import PREDICTION, PROBABILITIES, SCORES, Tensor

_LOG_LINK = ("PoissonRegressor", "GammaRegressor")


def convert(model: Any, example: Any, opset: int | None) -> Conversion:
    X = check_table(model, example)
    build = GraphBuilder(opset)
    dtype, inputs = X.dtype, [Tensor("X", str(X.dtype), (None, X.shape[1]))]
    coef = np.asarray(model.coef_)
    matrix, is_vector = np.atleast_2d(coef).astype(dtype, copy=False), coef.ndim == 1
    weight = build.constant(matrix, "coef_")
    intercept = build.constant(np.broadcast_to(np.asarray(model.intercept_, dtype), len(matrix)), "intercept_")
    if not hasattr(model, "classes_"):
        scores = build.node("Gemm", "X", weight, intercept, transB=1)
        if type(model).__name__ in _LOG_LINK or _has_log_link(model):
            scores = build.node("Exp", scores)
        # a multi-output model keeps a column for one target
        shape = () if is_vector else (len(matrix),)
        if is_vector:
            build.node("Squeeze", scores, build.constant(np.array([1])), output=PREDICTION)
        else:
            build.node("Identity", scores, output=PREDICTION)
        interface = regressor_interface(inputs, dtype, shape, feature_names=feature_names(model))
        return Conversion(build.model(inputs, interface.outputs), interface, lambda X: [np.asarray(model.predict(X))])
    classes = check_classes(model)
    scores = build.node("Gemm", "X", weight, intercept, transB=1)
    append_label(build, scores, classes, len(matrix), dtype)
    probabilities = _probabilities(model, len(classes))
    if probabilities is None:
        build.node("Identity", scores, output=SCORES)
    else:
        probabilities(build, scores, dtype)
    interface = classifier_interface(
        model, inputs, dtype, probabilities is not None, len(matrix), feature_names=feature_names(model)
    )
    reference = classifier_reference(model, probabilities is not None)
    return Conversion(build.model(inputs, interface.outputs), interface, reference)


def _has_log_link(model: Any) -> bool:
    if type(model).__name__ != "TweedieRegressor":
        return False
    return model.link == "log" or (model.link == "auto" and model.power > 0)


def _probabilities(model: Any, n_classes: int) -> Callable[[GraphBuilder, str, Any], str] | None:
    """What appends the probabilities to the scores; None for a model that has none."""
    if not hasattr(model, "predict_proba"):
        return None
    if getattr(model, "loss", None) == "modified_huber":
        raise UnsupportedModel('probabilities of loss="modified_huber" cannot be exported to ONNX')
    name = type(model).__name__
    if n_classes == 2:
        return _of_two_classes
    if name == "LinearClassifier" or (name.startswith("LogisticRegression") and not _is_one_vs_rest(model)):
        return softmax
    if name in ("SGDClassifier", "LogisticRegression", "LogisticRegressionCV"):
        return sigmoid_of_each
    raise UnsupportedModel(f"probabilities of a {name} cannot be exported to ONNX")


def _is_one_vs_rest(model: Any) -> bool:
    return model.solver == "liblinear" or getattr(model, "multi_class", None) == "ovr"


def _of_two_classes(build: GraphBuilder, scores: str, dtype: Any) -> str:
    second = build.node("Sigmoid", scores)
    return build.node("Concat", one_minus(build, second, dtype), second, axis=1, output=PROBABILITIES)
