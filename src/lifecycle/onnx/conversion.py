"""From a model to a graph: which converter takes it, and what the converter gives."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, check_column_names
from lifecycle.onnx.interface import (
    CLASSIFIER,
    LABEL,
    MODULE,
    PREDICTION,
    PROBABILITIES,
    REGRESSOR,
    SCORES,
    Interface,
    Tensor,
)
from lifecycle.onnx.rows import as_table, with_columns
from lifecycle.store import adapters

_CONVERTERS = {
    adapters.TORCH_MODULE: "torch_module",
    adapters.TORCH_ESTIMATOR: "torch_module",
    adapters.LINEAR_ESTIMATOR: "linear",
    adapters.SKLEARN_LINEAR_MODEL: "linear",
    adapters.SKLEARN_MLP: "mlp",
    adapters.SKLEARN_TREES: "trees",
    adapters.TREE_MODEL: "trees",
    adapters.SKLEARN_NEIGHBORS: "neighbors",
    adapters.SKLEARN_PIPELINE: "pipeline",
}
_FLOATS = (np.float32, np.float64)
_MAX_TRIED = 500  # features that are tried one by one with a missing value


@dataclass(frozen=True)
class Conversion:
    """A graph, and the model's own answers that it is compared with.

    Attributes
    ----------
    model : onnx.ModelProto
    interface : Interface
    reference : rows -> list of arrays, one for each output of the graph
    hard_rows : rows like the example on which a graph may go wrong, such as those on the thresholds of trees
    ties : rows -> (rows,), bool
        Which rows have an answer that an order decides which the model does not define. None: none have.
    """

    model: Any
    interface: Interface
    reference: Callable[[Any], list[np.ndarray]]
    hard_rows: Sequence[Any] = field(default=())
    ties: Callable[[Any], np.ndarray] | None = None


def convert(model: Any, kind: str, example: Any, opset: int | None = None) -> Conversion:
    """The graph of a model of a kind of `lifecycle.store.adapters`, for rows like the example."""
    if kind not in _CONVERTERS:
        raise UnsupportedModel(f"a {type(model).__name__} cannot be exported to ONNX")
    module = import_module(f"lifecycle.onnx.converters.{_CONVERTERS[kind]}")
    converted: Conversion = module.convert(model, example, opset)
    if converted.interface.task == MODULE:
        return converted
    accepted = _accepted(model, example, converted.interface)
    return replace(converted, interface=replace(converted.interface, **accepted))


def _accepted(model: Any, example: Any, interface: Interface) -> dict[str, Any]:
    """Which features of a table a model accepts missing and infinite values in."""
    if hasattr(example, "tocsr"):
        example = example.toarray()
    is_frame = hasattr(example, "iloc")
    if is_frame and interface.by_name:
        example = example[interface.feature_names]
    table: Any = example if is_frame else np.asarray(example)
    if table.ndim != 2 or (not is_frame and table.dtype.kind not in "biuf"):
        return {}
    kinds = [kind_of(dtype) for dtype in table.dtypes] if is_frame else [table.dtype.kind] * table.shape[1]
    numeric = [k for k, kind in enumerate(kinds) if kind in "biuf"]

    def accepts(features: Sequence[int], value: float) -> bool:
        if is_frame:
            row = with_columns(table.iloc[[0]], {k: [value] for k in features})
        else:
            row = table[:1].astype(np.float64)
            row[:, list(features)] = value
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                model.predict(row)
        except (TypeError, ValueError):
            return False
        return True

    missing = numeric
    if numeric and not accepts(numeric, np.nan):
        missing = [k for k in numeric if accepts([k], np.nan)] if len(numeric) <= _MAX_TRIED else []
    return {"may_be_missing": missing, "may_be_infinite": bool(numeric) and accepts(numeric, np.inf)}


def kind_of(dtype: Any) -> str:
    """The kind of numpy's dtype of a column; of a column of categories that of these."""
    categories = getattr(dtype, "categories", None)
    return getattr(dtype if categories is None else categories.dtype, "kind", "O")


def check_table(model: Any, example: Any) -> np.ndarray:
    """The example as an array of numbers in float32 or float64, which becomes the dtype of the graph's input."""
    table, names = as_table(example), feature_names(model)
    if hasattr(table, "iloc"):
        if names is not None:
            check_column_names([str(name) for name in table.columns], names)
        try:
            table = table.to_numpy(dtype=_dtype_of(table), na_value=np.nan)
        except (TypeError, ValueError):
            raise ValueError(f"example must be a table of numbers, as this {type(model).__name__} takes them") from None
    if len(table) < 2 or table.dtype.kind not in "biuf":
        raise ValueError(
            f"example must hold two rows or more, as this {type(model).__name__} takes them: a table of numbers; got "
            f"{table.dtype} of the shape {table.shape}"
        )
    if table.shape[1] != model.n_features_in_:
        raise ValueError(f"example has {table.shape[1]} features; the model was trained on {model.n_features_in_}")
    return table if table.dtype in _FLOATS else table.astype(np.float64)


def _dtype_of(table: Any) -> Any:
    """float32 where all columns have it."""
    return np.float32 if all(dtype == np.float32 for dtype in table.dtypes) else np.float64


def feature_names(model: Any) -> list[str] | None:
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def check_classes(model: Any) -> np.ndarray:
    """The classes of a model, whose labels a graph can give: integers, booleans, numbers or strings."""
    classes = model.classes_
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        raise UnsupportedModel(f"a {type(model).__name__} of several targets cannot be exported to ONNX")
    if len(classes) < 2:
        raise UnsupportedModel(f"a {type(model).__name__} of one class cannot be exported to ONNX")
    if classes.dtype.kind == "O" and not all(isinstance(label, str) for label in classes):
        raise UnsupportedModel("classes that are neither strings nor numbers cannot be exported to ONNX")
    dtype = np.dtype(label_dtype(classes))
    if classes.dtype.kind in "uf" and classes.astype(dtype).tolist() != classes.tolist():
        raise UnsupportedModel(f"classes of {classes.dtype} that {dtype} cannot hold cannot be exported to ONNX")
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
