"""Graphs of the steps before the final estimator of a pipeline, which answer as scikit-learn's for every row.

`numbers` and `categories` have one function for each class of transformers; here are the steps that hold others.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.converters.transformers import categories, numbers
from lifecycle.onnx.converters.transformers.columns import Columns, Table

__all__ = ["Columns", "Table", "inverse_transform", "transform", "used_columns"]

_OF_TABLES: dict[str, Callable[[Any, Table], Table]] = {
    "OneHotEncoder": categories.one_hot_encoder,
    "OrdinalEncoder": categories.ordinal_encoder,
    "SimpleImputer": categories.simple_imputer,
}
_KNOWN = sorted((*_OF_TABLES, *numbers.TRANSFORMERS, "FunctionTransformer"))


def transform(step: Any, table: Table, is_made: bool = False) -> Table:
    """What a fitted step makes of a table, which `is_made` by another step, so that it may hold infinite values."""
    name = type(step).__name__
    if step is None or step == "passthrough":
        return table
    if name == "Pipeline":
        for k, (_, inner) in enumerate(step.steps):
            table = transform(inner, table, is_made or k > 0)
        return table
    if name == "ColumnTransformer":
        parts = [transform(part, table.take(places), is_made) for part, places in _parts(step)]
        return Table([block for part in parts for block in part.blocks])
    if name == "FeatureUnion":
        return _union(step, table, is_made)
    if name == "FunctionTransformer":  # which takes every value
        return table if step.func is None else Table([numbers.function_transformer(step, table.numbers(step))])
    if is_made:
        from sklearn.utils import get_tags

        table = table.finite(allow_nan=get_tags(step).input_tags.allow_nan)
    if name in _OF_TABLES:
        return _OF_TABLES[name](step, table)
    if name not in numbers.TRANSFORMERS:
        known = ", ".join(_KNOWN)
        raise UnsupportedModel(f"a {name} cannot be exported to ONNX; what can, before an estimator: {known}")
    return Table([numbers.TRANSFORMERS[name](step, table.numbers(step))])


def inverse_transform(step: Any, X: Columns) -> Columns:
    """The inverse of a fitted step."""
    name = type(step).__name__
    if name not in numbers.INVERSES:
        known = ", ".join(sorted(numbers.INVERSES))
        raise UnsupportedModel(f"the inverse of a {name} cannot be exported to ONNX; what can: {known}")
    return numbers.INVERSES[name](step, X)


def _union(step: Any, table: Table, is_made: bool) -> Table:
    blocks: list[Columns] = []
    for label, part in step.transformer_list:
        if isinstance(part, str) and part == "drop":
            continue
        made, weight = transform(part, table, is_made), (step.transformer_weights or {}).get(label)
        blocks += made.blocks if weight is None else [made.numbers(step) * weight]
    return Table(blocks)


def _parts(step: Any) -> list[tuple[Any, list[int]]]:
    """The parts of a fitted ColumnTransformer with the places of their columns, without those that it drops."""
    names = {str(name): k for k, name in enumerate(getattr(step, "feature_names_in_", ()))}
    found = []
    for _, part, columns in step.transformers_:
        chosen = np.atleast_1d(np.asarray(columns, object)).tolist()
        places = [names[c] if isinstance(c, str) else int(c) % step.n_features_in_ for c in chosen]
        if places and not (isinstance(part, str) and part == "drop"):
            found.append((part, places))
    return found


def used_columns(step: Any) -> list[int] | None:
    """The places of the columns that a step looks up by their names, in their order; None for one that takes all."""
    if type(step).__name__ != "ColumnTransformer" or not hasattr(step, "feature_names_in_"):
        return None
    return sorted({place for _, places in _parts(step) for place in places})
