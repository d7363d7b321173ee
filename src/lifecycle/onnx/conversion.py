"""From a model to a graph: which converter takes it, and what the converter gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.interface import CLASSIFIER, LABEL, PREDICTION, PROBABILITIES, REGRESSOR, SCORES, Interface, Tensor
from lifecycle.store import adapters

_CONVERTERS = {
    adapters.TORCH_MODULE: "torch_module",
    adapters.TORCH_ESTIMATOR: "torch_module",
    adapters.LINEAR_ESTIMATOR: "linear",
    adapters.SKLEARN_LINEAR_MODEL: "linear",
    adapters.SKLEARN_MLP: "mlp",
    adapters.SKLEARN_TREES: "trees",
    adapters.TREE_MODEL: "trees",
    adapters.SKLEARN_PIPELINE: "pipeline",
}
_FLOATS = (np.float32, np.float64)


@dataclass(frozen=True)
class Conversion:
    """A graph, and the model's own answers that it is compared with.

    Attributes
    ----------
    model : onnx.ModelProto
    interface : Interface
    reference : rows -> list of arrays, one for each output of the graph
    hard_rows : rows like the example on which a graph may go wrong, such as those on the thresholds of trees
    """

    model: Any
    interface: Interface
    reference: Callable[[Any], list[np.ndarray]]
    hard_rows: Sequence[Any] = field(default=())


def convert(model: Any, kind: str, example: Any, opset: int | None = None) -> Conversion:
    """The graph of a model of a kind of `lifecycle.store.adapters`, for rows like the example."""
    if kind not in _CONVERTERS:
        raise UnsupportedModel(f"a {type(model).__name__} cannot be exported to ONNX")
    module = import_module(f"lifecycle.onnx.converters.{_CONVERTERS[kind]}")
    converted: Conversion = module.convert(model, example, opset)
    return converted


def check_table(model: Any, example: Any) -> np.ndarray:
    """The example as an array of numbers in float32 or float64, which becomes the dtype of the graph's input."""
    if hasattr(example, "tocsr"):
        example = example.toarray()
    if hasattr(example, "to_numpy"):
        example = example.to_numpy()
    array = np.asarray(example)
    if array.ndim != 2 or len(array) < 2 or array.dtype.kind not in "biuf":
        raise ValueError(
            f"example must hold two rows or more, as this {type(model).__name__} takes them: a table of numbers; got "
            f"{array.dtype} of the shape {array.shape}"
        )
    if array.shape[1] != model.n_features_in_:
        raise ValueError(f"example has {array.shape[1]} features; the model was trained on {model.n_features_in_}")
    return array if array.dtype in _FLOATS else array.astype(np.float64)


def feature_names(model: Any) -> list[str] | None:
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def check_classes(model: Any) -> np.ndarray:
    """The classes of a model, whose labels a graph can give: integers, booleans, numbers or strings."""
    classes = model.classes_
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        raise UnsupportedModel(f"a {type(model).__name__} of several targets cannot be exported to ONNX")
    if classes.dtype.kind == "O" and not all(isinstance(label, str) for label in classes):
        raise UnsupportedModel("classes that are neither strings nor numbers cannot be exported to ONNX")
    return classes


def classifier_interface(
    model: Any, inputs: Sequence[Tensor], dtype: Any, has_probabilities: bool, n_scores: int, **names: Any
) -> Interface:
    classes = check_classes(model)
    label = "str" if classes.dtype.kind in "OU" else str(np.dtype(label_dtype(classes)))
    values = Tensor(
        PROBABILITIES if has_probabilities else SCORES, str(np.dtype(dtype)),
        (None, len(classes) if has_probabilities else n_scores),
    )  # fmt: skip
    return Interface(CLASSIFIER, inputs, [Tensor(LABEL, label, (None,)), values], classes, **names)


def label_dtype(classes: np.ndarray) -> Any:
    """The dtype of the labels in a graph."""
    return {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}.get(classes.dtype.kind, classes.dtype)


def regressor_interface(inputs: Sequence[Tensor], dtype: Any, shape: tuple[int, ...], **names: Any) -> Interface:
    return Interface(REGRESSOR, inputs, [Tensor(PREDICTION, str(np.dtype(dtype)), (None, *shape))], **names)


def classifier_reference(model: Any, has_probabilities: bool) -> Callable[[Any], list[np.ndarray]]:
    def reference(X: Any) -> list[np.ndarray]:
        values = np.asarray(model.predict_proba(X) if has_probabilities else model.decision_function(X))
        return [np.asarray(model.predict(X)), values.reshape(len(values), -1)]

    return reference
