"""What stands behind the scores of classifiers: labels and probabilities."""

from typing import Any

import numpy as np

from lifecycle.onnx.conversion import label_dtype
from lifecycle.onnx.graph import GraphBuilder
from lifecycle.onnx.interface import LABEL, PROBABILITIES


def append_label(
    build: GraphBuilder, scores: str, classes: np.ndarray, n_scores: int, dtype: Any, *, zero_is_second: bool = False
) -> str:
    """The class of the largest score, the first of equal ones; of one score the second class where it is positive."""
    if n_scores == 1:
        flat = build.node("Squeeze", scores, build.constant(np.array([1])))
        zero = build.constant(np.zeros((), dtype))
        positive = build.node("GreaterOrEqual" if zero_is_second else "Greater", flat, zero)
        code = build.node("Cast", positive, to=7)  # int64
    else:
        code = build.node("ArgMax", scores, axis=1, keepdims=0)
    return append_class(build, code, classes)


def append_class(build: GraphBuilder, code: str, classes: np.ndarray) -> str:
    """The labels of codes."""
    labels = classes if classes.dtype.kind in "OU" else classes.astype(label_dtype(classes))
    return build.node("Gather", build.constant(labels, "classes_"), code, output=LABEL)


def one_minus(build: GraphBuilder, values: str, dtype: Any) -> str:
    return build.node("Sub", build.constant(np.ones(1, dtype)), values)


def softmax(build: GraphBuilder, scores: str, dtype: Any) -> str:
    return build.node("Softmax", scores, axis=1, output=PROBABILITIES)


def sigmoid_of_each(build: GraphBuilder, scores: str, dtype: Any) -> str:
    """One logistic function for each class, divided by their sum."""
    each = build.node("Sigmoid", scores)
    total = build.node("ReduceSum", each, build.constant(np.array([1])), keepdims=1)
    return build.node("Div", each, total, output=PROBABILITIES)
