"""MLPClassifier and MLPRegressor of scikit-learn."""

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
from lifecycle.onnx.converters.heads import append_class, append_label, one_minus, softmax
from lifecycle.onnx.graph import GraphBuilder
from lifecycle.onnx.interface import PREDICTION, PROBABILITIES, Tensor

_OPERATORS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}


def convert(model: Any, example: Any, opset: int | None) -> Conversion:
    X = check_table(model, example)
    dtype, build = X.dtype, GraphBuilder(opset)
    inputs = [Tensor("X", str(dtype), (None, X.shape[1]))]
    values = "X"
    for k, (weight, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        matrix = build.constant(weight.astype(dtype, copy=False), f"coefs_.{k}")
        values = build.node("Gemm", values, matrix, build.constant(intercept.astype(dtype), f"intercepts_.{k}"))
        if k < len(model.coefs_) - 1 and model.activation in _OPERATORS:
            values = build.node(_OPERATORS[model.activation], values)
    names = {"feature_names": feature_names(model)}
    if hasattr(model, "classes_"):
        classes = check_classes(model)
        if model.out_activation_ == "softmax":
            append_label(build, values, classes, len(classes), dtype)
            softmax(build, values, dtype)
        elif len(classes) == 2 and model.coefs_[-1].shape[1] == 1:
            second = build.node("Sigmoid", values)
            build.node("Concat", one_minus(build, second, dtype), second, axis=1, output=PROBABILITIES)
            flat = build.node("Squeeze", second, build.constant(np.array([1])))
            is_second = build.node("Greater", flat, build.constant(np.array(0.5, dtype)))
            append_class(build, build.node("Cast", is_second, to=7), classes)
        else:
            raise UnsupportedModel("an MLPClassifier of several labels a row cannot be exported to ONNX")
        interface = classifier_interface(model, inputs, dtype, True, len(classes), **names)
        return Conversion(build.model(inputs, interface.outputs), interface, classifier_reference(model, True))
    if model.out_activation_ != "identity":
        values = build.node("Exp", values)
    n_outputs = model.coefs_[-1].shape[1]
    if n_outputs == 1:
        build.node("Squeeze", values, build.constant(np.array([1])), output=PREDICTION)
    else:
        build.node("Identity", values, output=PREDICTION)
    interface = regressor_interface(inputs, dtype, () if n_outputs == 1 else (n_outputs,), **names)
    return Conversion(build.model(inputs, interface.outputs), interface, lambda X: [np.asarray(model.predict(X))])
