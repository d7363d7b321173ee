"""Inputs of a graph that are the columns of a table."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle.onnx.conversion import kind_of
from lifecycle.onnx.graph import rename_inputs
from lifecycle.onnx.interface import TEXT, Tensor, is_name
from lifecycle.store.limits import shorten


def inputs_of(columns: Sequence[Any]) -> list[Tensor]:
    """An input for each column of a DataFrame, named by its number."""
    return [Tensor(f"column_{k}", dtype_of(column), (None, 1)) for k, column in enumerate(columns)]


def dtype_of(values: Any) -> str:
    if kind_of(values.dtype) in "fiub":
        return "float32" if values.dtype == np.float32 else "float64"
    if all(isinstance(value, str) for value in np.asarray(values, object).flat):
        return TEXT
    name = getattr(values, "name", None)
    where = "example" if name is None else f"the column {shorten(repr(name))} of example"
    raise ValueError(
        f"{where} holds neither numbers nor strings alone: a graph takes a DataFrame with columns of either, and no "
        "missing values of strings"
    )


def with_names(graph: Any, inputs: Sequence[Tensor], names: list[str] | None) -> list[Tensor]:
    """The inputs, and those of the graph, with the names of the columns, where nothing else in the graph has them."""
    if names is None:
        return list(inputs)
    taken = {name for node in graph.graph.node for name in (*node.input, *node.output)} | {
        one.name for one in (*graph.graph.initializer, *graph.graph.output)
    }
    counts = Counter(names)
    wanted = {
        one.name: name if is_name(name) and name not in taken and counts[name] == 1 else one.name
        for one, name in zip(inputs, names, strict=True)
    }
    rename_inputs(graph, [wanted[value.name] for value in graph.graph.input])
    return [Tensor(wanted[one.name], one.dtype, one.shape) for one in inputs]


def dense(X: Any) -> np.ndarray:
    if hasattr(X, "toarray"):
        X = X.toarray()
    return np.asarray(X)
