"""How the transformers of columns with categories or missing values are stored."""

from typing import Any, NamedTuple

import numpy as np

from lifecycle.store import limits
from lifecycle.store.adapters.sklearn.transformers.stored import Stored, refit

_WORDS = (str, bool, int, float, np.number, np.bool_, type(None))


class _Categories(NamedTuple):
    """A list of the categories of each column."""

    required: bool = True

    def check(self, step: Any, name: str, value: Any, sizes: dict[str, int]) -> None:
        if not isinstance(value, list) or len(value) != sizes["n"]:
            raise ValueError(f"the {name} of a {type(step).__name__} are malformed")
        limits.spend_work(limits.COLUMN * len(value))
        for categories in value:
            if not isinstance(categories, np.ndarray) or categories.ndim != 1 or not categories.size:
                raise ValueError(f"the {name} of a {type(step).__name__} are malformed")
            _check_categories(type(step).__name__, categories)


def _check_categories(owner: str, categories: np.ndarray) -> None:
    kind = categories.dtype.kind
    if kind not in "biufUO" or (kind == "O" and not all(isinstance(c, _WORDS) for c in categories)):
        raise ValueError(f"the categories of a {owner} are not strings or numbers")
    # scikit-learn searches numbers by bisection, whose result is beyond the end where they are not sorted
    if kind in "iuf":
        known = categories[:-1] if np.isnan(categories[-1]) else categories
        if np.isnan(known).any() or not (known[1:] > known[:-1]).all():
            raise ValueError(f"the categories of a {owner} are not sorted")


def _restore_encoder(step: Any, learned: dict[str, Any]) -> Any:
    categories = learned["categories_"]
    row = np.empty((1, len(categories)), dtype=object)  # one row is enough where the categories are given
    row[0] = [values[0] for values in categories]
    return refit(step, learned, row, during={"categories": categories})


def _check_codes(step: Any, learned: dict[str, Any]) -> None:
    """ValueError for a code of values without a category that the dtype cannot hold: the transform would fail."""
    dtype = np.dtype(step.dtype)
    for name in ("unknown_value", "encoded_missing_value"):
        value = getattr(step, name)
        is_number = isinstance(value, (int, float, np.number)) and value == value
        if dtype.kind in "iu" and is_number and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            raise ValueError(f"{name}={value!r} of an OrdinalEncoder is outside of its dtype, {dtype}")


class _Statistics(NamedTuple):
    """What each column's missing values are replaced by."""

    required: bool = True

    def check(self, step: Any, name: str, value: Any, sizes: dict[str, int]) -> None:
        if not isinstance(value, np.ndarray) or value.shape != (sizes["n"],) or value.dtype.kind not in "iufUO":
            raise ValueError(f"{name} of a {type(step).__name__} is malformed")
        if value.dtype.kind == "O" and not all(isinstance(v, _WORDS) for v in value):
            raise ValueError(f"{name} of a {type(step).__name__} holds what is no string or number")


def _restore_imputer(step: Any, learned: dict[str, Any]) -> Any:
    during = {}
    if step.strategy == "most_frequent":  # it counts the values of each column, which takes a millisecond
        during = {"strategy": "constant", "fill_value": None}
    return refit(step, learned, np.array([learned["statistics_"]]), during=during)


_CATEGORIES = {"categories_": _Categories()}


def _names(step: Any) -> int:
    return len(step.get_feature_names_out())


TRANSFORMERS = {
    "OneHotEncoder": Stored(
        "sklearn.preprocessing",
        ("categories", "drop", "sparse_output", "dtype", "handle_unknown", "feature_name_combiner"),
        _CATEGORIES,
        restore=_restore_encoder,
        n_outputs=_names,
    ),
    "OrdinalEncoder": Stored(
        "sklearn.preprocessing",
        ("categories", "dtype", "handle_unknown", "unknown_value", "encoded_missing_value"),
        _CATEGORIES,
        check=_check_codes,
        restore=_restore_encoder,
    ),
    "SimpleImputer": Stored(
        "sklearn.impute",
        ("missing_values", "strategy", "fill_value", "copy", "keep_empty_features"),
        {"statistics_": _Statistics()},
        restore=_restore_imputer,
        n_outputs=_names,
    ),
}
