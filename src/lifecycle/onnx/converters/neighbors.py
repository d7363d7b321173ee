"""k-nearest-neighbors models, by the distances to all training rows.

A matrix product finds a few more rows than the neighbors; their distances are then computed again from differences, as
the product loses digits where rows are far from zero and near to each other.
"""

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
from lifecycle.onnx.converters.heads import append_label
from lifecycle.onnx.graph import GraphBuilder
from lifecycle.onnx.interface import PREDICTION, PROBABILITIES, Tensor

_MORE = 16  # rows whose distances are computed again, besides the neighbors
_EUCLIDEAN = ("euclidean", "l2")
_N_HARD_ROWS = 32  # training rows on which graph and model are compared
_CHUNK = 1 << 22  # distances at once
_EPS = float(np.finfo(np.float64).eps)


def convert(model: Any, example: Any, opset: int | None) -> Conversion:
    name = type(model).__name__
    metric = model.effective_metric_
    if metric not in _EUCLIDEAN or model.effective_metric_params_:
        raise UnsupportedModel(
            f"a {name} can be exported to ONNX with Euclidean distances alone; its metric is {metric!r}"
        )
    if hasattr(model._fit_X, "indptr"):
        raise UnsupportedModel(f"a {name} of sparse training rows cannot be exported to ONNX")
    X = check_table(model, example)
    targets = np.asarray(model._y)
    build = GraphBuilder(opset)
    inputs = [Tensor("X", str(X.dtype), (None, X.shape[1]))]
    neighbors, distances = _append_neighbors(build, model._fit_X, model.n_neighbors)
    weights = _append_weights(build, distances) if model.weights == "distance" else None
    ties = _Ties(model)
    names = {"feature_names": feature_names(model)}
    if hasattr(model, "classes_"):
        classes = check_classes(model)
        of_class = (targets.reshape(-1, 1) == np.arange(len(classes))).astype(np.float64)
        mean = _append_mean(build, of_class, neighbors, weights)
        build.node("Identity", mean, output=PROBABILITIES)
        append_label(build, mean, classes, len(classes), np.float64)
        interface = classifier_interface(model, inputs, np.float64, True, len(classes), **names)
        reference = classifier_reference(model, True)
    else:
        mean = _append_mean(build, targets.reshape(len(targets), -1).astype(np.float64), neighbors, weights)
        if targets.ndim == 1:
            build.node("Squeeze", mean, build.constant(np.array([1])), output=PREDICTION)
        else:
            build.node("Identity", mean, output=PREDICTION)
        interface = regressor_interface(inputs, np.float64, targets.shape[1:], **names)

        def reference(X: Any) -> list[np.ndarray]:
            return [np.asarray(model.predict(X))]

    hard_rows = [_training_rows(np.asarray(model._fit_X, X.dtype))]
    return Conversion(build.model(inputs, interface.outputs), interface, reference, hard_rows, ties)


def _center(rows: np.ndarray) -> np.ndarray:
    """(features,): the medians, near most rows, so that a few far ones cost the others no digits."""
    center: np.ndarray = np.median(rows, axis=0).astype(np.float64)
    return center


def _training_rows(rows: np.ndarray) -> np.ndarray:
    """Some training rows, from which the example may be far, and rows halfway between them."""
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), _N_HARD_ROWS)).astype(int)]
    return np.concatenate([chosen, chosen / 2 + chosen[::-1] / 2])


def _append_neighbors(build: GraphBuilder, rows: np.ndarray, n_neighbors: int) -> tuple[str, str]:
    """Numbers of the nearest rows, and the squares of their distances: (rows, neighbors)."""
    n_rows = len(rows)
    stored = build.constant(rows, "rows")
    if rows.dtype != np.float64:
        stored = build.cast(stored, "float64")
    values, center = build.cast("X", "float64"), build.constant(_center(rows))
    near_zero = build.node("Sub", stored, center)
    squares = build.node("ReduceSumSquare", near_zero, build.constant(np.array([1])), keepdims=0)
    scores = build.node("Gemm", build.node("Sub", values, center), near_zero, squares, alpha=-2.0, transB=1)
    n_candidates = min(n_neighbors + _MORE, n_rows)
    candidates = build.top_k(scores, n_candidates)[1]
    each = build.node("Unsqueeze", values, build.constant(np.array([1])))
    differences = build.node("Sub", each, build.node("Gather", stored, candidates, axis=0))
    distances = build.node("ReduceSumSquare", differences, build.constant(np.array([2])), keepdims=0)
    nearest, places = build.top_k(distances, n_neighbors)
    return build.node("GatherElements", candidates, places, axis=1), nearest


def _append_weights(build: GraphBuilder, squares: str) -> str:
    """The inverse distances; where some are zero, 1 for these and 0 for the others."""
    is_zero = build.node("Equal", squares, build.constant(np.zeros(1)))
    ones = build.cast(is_zero, "float64")
    some = build.node("ReduceMax", ones, build.constant(np.array([1])), keepdims=1)
    inverse = build.node("Reciprocal", build.node("Sqrt", squares))
    return build.node("Where", build.cast(some, "bool"), ones, inverse)


def _append_mean(build: GraphBuilder, targets: np.ndarray, neighbors: str, weights: str | None) -> str:
    """The mean of the targets of the neighbors: (rows, targets)."""
    axis = build.constant(np.array([1]))
    of_neighbors = build.node("Gather", build.constant(targets), neighbors, axis=0)
    if weights is None:
        return build.node("ReduceMean", of_neighbors, axis, keepdims=0)
    weighted = build.node("Mul", of_neighbors, build.node("Unsqueeze", weights, build.constant(np.array([2]))))
    total = build.node("ReduceSum", weights, axis, keepdims=1)
    return build.node("Div", build.node("ReduceSum", weighted, axis, keepdims=0), total)


class _Ties:
    """Which rows have an answer that depends on the order in which rows of the same distance are found."""

    def __init__(self, model: Any):
        self.model = model
        self.rows = np.asarray(model._fit_X, np.float64)
        self.targets = np.asarray(model._y).reshape(len(self.rows), -1)
        # of differences distances are rounded in their own last place; of a product, as scikit-learn's "brute" has
        # them, in that of the rows: there rows that are equal have a distance, whose inverse is their weight
        self.of_products = model._fit_method == "brute"
        self.largest = float((self.rows**2).sum(axis=1).max())

    def __call__(self, X: Any) -> np.ndarray:
        """Of each row of X."""
        from scipy.spatial.distance import cdist

        X = np.asarray(X, np.float64)
        step = max(_CHUNK // len(self.rows), 1)
        parts = (X[begin : begin + step] for begin in range(0, len(X), step))
        distances = ((x, squares) for part in parts for x, squares in
                     zip(part, cdist(part, self.rows, "sqeuclidean"), strict=True))  # fmt: skip
        return np.array([self._is_tied(x, squares) for x, squares in distances], bool)

    def _is_tied(self, x: np.ndarray, squares: np.ndarray) -> bool:
        k = self.model.n_neighbors
        last = np.partition(squares, k - 1)[k - 1]
        rounding = 4 * (len(x) + 4) * _EPS * (x @ x + self.largest if self.of_products else last)
        if np.count_nonzero(squares <= last + rounding) > k and self._differ(np.abs(squares - last) <= rounding):
            return True
        return self.of_products and self.model.weights == "distance" and self._differ(squares <= rounding)

    def _differ(self, chosen: np.ndarray) -> bool:
        """Whether these rows have different targets."""
        targets = self.targets[chosen]
        return bool((targets != targets[:1]).any())
