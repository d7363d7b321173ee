"""Predictions of a model for a CSV table, whose columns it finds by name."""

import os
import warnings
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.cli.csv_tables import as_categories, import_pandas, number_format_of, read_table
from lifecycle.cli.number_format import (
    NUMBER_FORMATS,
    NumberFormat,
    as_number,
    as_numbers,
    decide_number_format,
    decide_number_format_as_trained,
)


def number_format_in(metadata: Any) -> NumberFormat | None:
    """The number format of the training data in the metadata of a file; None if they hold none."""
    stored = metadata.get("number_format") if isinstance(metadata, dict) else None
    return next((f for f in NUMBER_FORMATS if stored == f._asdict()), None)


def read_rows(path: str | os.PathLike, model: Any, trained: NumberFormat | None) -> Any:
    """A CSV file as `read_table` reads it, for a model that was trained on numbers in a format; None if unknown.

    Raises
    ------
    OSError, ValueError
        As in `read_table`; the file contradicts this format (`decide_number_format_as_trained`).
    """

    def decide_format(columns: Any) -> tuple[NumberFormat, list[str]]:
        if trained is None:
            return decide_number_format(columns)
        categorical = _categories(model)
        numeric = {str(n) for n in getattr(model, "feature_names_in_", columns)} - categorical.keys()
        return decide_number_format_as_trained(columns, trained, numeric, categorical)

    return read_table(path, decide_format)


def predict_table(model: Any, table: Any) -> Any:
    """Predictions for a table that `read_table` returned, as a DataFrame: prediction, and a column for each class.

    Raises
    ------
    UnsupportedModel
        The model has no `predict`.
    ValueError
        The table lacks a column that the model needs, or a numeric column holds something else.
    """
    pandas = import_pandas()
    if not hasattr(model, "predict"):
        raise UnsupportedModel(
            f"the file holds a bare {type(model).__name__}, which has no predict: save a TorchClassifier, "
            "TorchRegressor, LinearClassifier, LinearRegressor, or a Pipeline with one at its end"
        )
    X = _model_input(model, table)
    predicted = np.asarray(model.predict(X))
    if predicted.ndim == 2:
        return pandas.DataFrame(predicted, columns=[f"prediction {k + 1}" for k in range(predicted.shape[1])])
    predictions = pandas.DataFrame({"prediction": predicted})
    if hasattr(model, "predict_proba"):
        for label, p in zip(model.classes_, np.asarray(model.predict_proba(X)).T, strict=True):
            predictions[f"probability of {label}"] = p
    return predictions


def _model_input(model: Any, table: Any) -> Any:
    """The columns that the model was fitted on, with their types."""
    names = getattr(model, "feature_names_in_", None)
    columns = list(table.columns) if names is None else [str(n) for n in names]
    if missing := [c for c in columns if c not in table.columns]:
        raise ValueError(
            f"the table lacks {', '.join(map(repr, missing))}; it has {', '.join(map(repr, table.columns))}"
        )
    if names is None and len(columns) != model.n_features_in_:
        raise ValueError(
            f"the model takes {model.n_features_in_} columns in the order in which it was trained; "
            f"the table has {len(columns)}"
        )
    X, categories, number_format = table[columns].copy(), _categories(model), number_format_of(table)
    for column in columns:
        if column in categories:
            X[column] = as_categories(X[column])
            _warn_of_unknown(column, X[column], categories[column])
        else:
            values = as_numbers(X[column], number_format)
            if values is None:
                wrong = next(v for v in X[column] if v is not None and as_number(v, number_format) is None)
                raise ValueError(f"the column {column!r} must hold numbers; it holds {wrong!r}")
            if np.isinf(values).any():
                raise ValueError(f"the column {column!r} holds infinite values; leave those rows out")
            X[column] = values
    # the last digits of a product depend on the memory layout: rows are contiguous, as in an array that a user makes
    return np.ascontiguousarray(X.to_numpy(dtype=np.float64)) if names is None else X


def _categories(model: Any) -> dict[str, set]:
    """The categorical columns of a Pipeline, with the categories that its encoders know."""
    categories: dict[str, set] = {}
    for _, step in getattr(model, "steps", []):
        for _, transformer, columns in getattr(step, "transformers_", []):
            inner = [t for _, t in transformer.steps] if hasattr(transformer, "steps") else [transformer]
            for encoder in (t for t in inner if hasattr(t, "categories_")):
                for column, known in zip(columns, encoder.categories_, strict=True):
                    if any(isinstance(v, str) for v in known):
                        categories[column] = set(known)
    return categories


def _warn_of_unknown(column: str, values: Any, known: set) -> None:
    unknown = [v for v in values if isinstance(v, str) and v not in known]
    if unknown:
        warnings.warn(
            f"{len(unknown):,} rows hold words in {column!r} that the model has not seen, such as {unknown[0]!r}: they "
            "count as none of those that it knows",
            stacklevel=4,
        )
