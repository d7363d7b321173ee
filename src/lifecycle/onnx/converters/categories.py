"""Splits by sets of categories, as splits by thresholds of features that a graph computes first.

Each set of a column becomes a feature that is 0 where a row goes left, and 1 where it goes right: an operator looks it
up by the category of the row. The mode for sets that the operator of trees has since ONNX 1.16 is not in the runtimes
of 2023 that graphs are made for.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.graph import ML, GraphBuilder
from lifecycle.onnx.interface import TEXT, Tensor
from lifecycle.tree_models import Rows
from lifecycle.trees import Splits, TreeEnsemble

_MAX_VALUES = 510  # categories that are tried


def has_text(rows: Rows) -> bool:
    """Whether the categories of a column are strings."""
    return any(_are_text(values) for _, values in rows.encoded)


def append_sets(
    build: GraphBuilder, ensemble: TreeEnsemble, rows: Rows, inputs: list[Tensor]
) -> tuple[TreeEnsemble, str]:
    """The ensemble without splits by categories, and the name of its features: (rows, features), float64."""
    other = np.setdiff1d(np.arange(rows.n_features), [column for column, _ in rows.encoded])
    parts = [_numbers(build, inputs, rows, other)] if len(other) else []
    without, tables = _without_categories(ensemble, [len(values) for _, values in rows.encoded])
    for (column, values), table in zip(rows.encoded, tables, strict=True):
        if table.shape[1]:
            code = _append_code(build, inputs, rows, column, values)
            flags = build.node("Gather", build.constant(table), code, axis=0)
            parts.append(build.cast(flags, "float64"))
    return without, build.node("Concat", *parts, axis=1)


def example_values(rows: Rows) -> list[tuple[int, Any]]:
    """Columns, and a value of each: the categories, a value that is none of them, and a missing number."""
    found: list[tuple[int, Any]] = []
    most = max(_MAX_VALUES // max(len(rows.encoded), 1), 2)
    for column, categories in rows.encoded:
        values = [value for value in categories.tolist() if value is not None and value == value]
        values = values[:: -(-len(values) // most) or 1]
        if _are_text(categories):
            values.append("".join(sorted(values, key=len)[-1:]) + "?")
        else:
            values += [max(values, default=0) + 1, np.nan]
        found += [(column, value) for value in values]
    return found


def _without_categories(ensemble: TreeEnsemble, sizes: list[int]) -> tuple[TreeEnsemble, list[np.ndarray]]:
    """The same trees, and of each column of categories: (categories + 1, sets), 0 where a row goes left, uint8.

    The last row is that of missing values. The first features of the new ensemble are those without categories.
    """
    splits, n_other = ensemble.splits, ensemble.n_features - ensemble.n_categorical
    by_set = splits.category_set >= 0
    if (splits.feature[~by_set] < ensemble.n_categorical).any():
        raise UnsupportedModel("trees that split categories by a threshold cannot be exported to ONNX")
    sets = splits.categories[splits.category_set[by_set]]
    keys = np.column_stack([splits.feature[by_set], splits.missing_left[by_set], sets]).astype(np.int32)
    distinct, number = np.unique(keys, axis=0, return_inverse=True)  # in the order of the columns
    goes_left = np.unpackbits(distinct[:, 2:].astype(np.uint8), axis=1, bitorder="little")
    tables = []
    for column, size in enumerate(sizes):
        own = distinct[:, 0] == column
        tables.append(1 - np.vstack([goes_left[own, :size].T, distinct[own, 1]]).astype(np.uint8))
    if not n_other and not len(distinct):  # an ensemble has a feature, also if it asks for none
        tables[0] = np.zeros((sizes[0] + 1, 1), np.uint8)
    feature, threshold = splits.feature - ensemble.n_categorical, splits.threshold.copy()
    feature[by_set], threshold[by_set] = n_other + number.reshape(-1), 0.5
    n_features = n_other + sum(table.shape[1] for table in tables)
    new = Splits(feature.astype(np.int32), threshold, splits.missing_left, np.full(len(splits), -1, np.int32),
                 splits.categories[:0])  # fmt: skip
    return replace(ensemble, n_features=n_features, n_categorical=0, splits=new), tables


def _append_code(build: GraphBuilder, inputs: list[Tensor], rows: Rows, column: int, categories: np.ndarray) -> str:
    """The place of each row's value among the categories, or their number: (rows,), int64."""
    n, is_text = len(categories), _are_text(categories)
    given = inputs[column if len(inputs) == rows.n_features else 0]
    if is_text != (given.dtype == TEXT):
        raise ValueError(
            f"the categories of column {column} are {'strings' if is_text else 'numbers'}, and those of example are "
            "not; give example as the model takes it"
        )
    if is_text:
        known = {value: k for k, value in enumerate(categories.tolist()) if isinstance(value, str)}
        code = build.node("LabelEncoder", given.name, domain=ML, keys_strings=list(known),
                          values_int64s=list(known.values()), default_int64=n)  # fmt: skip
        return build.node("Squeeze", code, build.constant(np.array([1])))
    value = _numbers(build, inputs, rows, np.array([column]))
    is_equal = build.node("Equal", value, build.constant(np.asarray(categories, np.float64)))
    below = build.constant((np.arange(n) - n).astype(np.float32)[:, None])
    place = build.node("MatMul", build.cast(is_equal, "float32"), below)
    code = build.node("Add", build.cast(place, "int64"), build.constant(np.array([[n]])))
    return build.node("Squeeze", code, build.constant(np.array([1])))


def _numbers(build: GraphBuilder, inputs: list[Tensor], rows: Rows, columns: np.ndarray) -> str:
    """Columns as numbers: (rows, columns), float64."""
    if len(inputs) == rows.n_features:  # each is a column
        parts = [build.cast(inputs[column].name, "float64") for column in columns.tolist()]
        return build.node("Concat", *parts, axis=1)
    numbers = build.cast(inputs[0].name, "float64")
    return build.node("Gather", numbers, build.constant(columns), axis=1)


def _are_text(categories: np.ndarray) -> bool:
    return any(isinstance(value, str) for value in categories.tolist())
