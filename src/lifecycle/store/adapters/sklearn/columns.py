"""How many columns the steps of a pipeline make of those that they take."""

from typing import Any

from lifecycle.store import limits
from lifecycle.store.adapters.sklearn.transformers import TRANSFORMERS

MAX_COPIES = 20  # of one column, that FeatureUnions make: each one multiplies what the one before it made


def n_outputs(step: Any, n_inputs: int) -> int:
    """How many columns a fitted step makes of so many."""
    if isinstance(step, str):
        return 0 if step == "drop" else n_inputs
    name = type(step).__name__
    if name == "Pipeline":
        for _, inner in step.steps:
            n_inputs = n_outputs(inner, n_inputs)
        return n_inputs
    if name == "FeatureUnion":
        return sum(n_outputs(part, n_inputs) for _, part in step.transformer_list)
    if name == "ColumnTransformer":
        return max((part.stop for part in getattr(step, "output_indices_", {}).values()), default=0)
    count = TRANSFORMERS[name].n_outputs
    return n_inputs if count is None else count(step)


def check_copies(step: Any, before: int = 1) -> int:
    """How many columns a step makes of one of which there are `before`; ExceedsLimit for more than a file may ask for.

    0 for a step that takes a fixed number of columns, for which the file has arrays.
    """
    name = type(step).__name__
    if name == "Pipeline":
        copies = before
        for _, inner in step.steps:
            copies = check_copies(inner, max(copies, 1))
        return copies
    if name == "FeatureUnion":
        copies = sum(check_copies(part, before) for _, part in step.transformer_list)
        if copies > MAX_COPIES:
            raise limits.ExceedsLimit(f"its FeatureUnions make more than {MAX_COPIES} columns of one")
        return copies
    if name == "ColumnTransformer":
        copies = max((check_copies(part) for _, part, _ in step.transformers), default=0)
        return copies if copies > 1 else 0
    if name == "TransformedTargetRegressor":
        return check_copies(step.regressor_, before)
    return before if name == "FunctionTransformer" or step == "passthrough" else 0
