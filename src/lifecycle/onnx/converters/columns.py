"""Inputs of a graph that are the columns of a table."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle.onnx.conversion import kind_of
from lifecycle.onnx.graph import rename_inputs
from lifecycle.onnx.interface import TEXT, Tensor, is_name
from lifecycle.onnx.rows import n_rows, take_rows
from lifecycle.store.limits import shorten


def inputs_of(example: Any) -> list[Tensor]:
    """A column of a DataFrame each, by their number, or the whole array."""
    if hasattr(example, "iloc"):
        columns = [example.iloc[:, k] for k in range(example.shape[1])]
        return [Tensor(f"column_{k}", dtype_of(column), (None, 1)) for k, column in enumerate(columns)]
    array = dense(example)
    return [Tensor("X", dtype_of(array), (None, *array.shape[1:]))]


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


def rows_with(X: Any, inputs: Sequence[Tensor], values: Sequence[tuple[int, Any]]) -> Any:
    """Rows of a table; in row k the column `values[k][0]` has another value, `values[k][1]`."""
    rows = take_rows(X, np.arange(len(values)) % n_rows(X))
    if not hasattr(X, "iloc"):
        rows[np.arange(len(values)), [column for column, _ in values]] = [value for _, value in values]
        return rows
    for column in {column for column, _ in values}:
        series = rows.iloc[:, column]
        if inputs[column].dtype == TEXT:
            array = series.to_numpy(dtype=object, copy=True)
        else:
            array = series.to_numpy(dtype=inputs[column].dtype, na_value=np.nan, copy=True)
        for k, (changed, value) in enumerate(values):
            if changed == column:
                array[k] = value
        rows.isetitem(column, array)
    return rows
