"""Predictions of a saved model for rows, whose columns it finds by name."""

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import lifecycle as lc
from lifecycle._check import UnsupportedModel
from lifecycle.cli.csv_tables import as_categories, import_pandas, number_format_of, read_table
from lifecycle.cli.number_format import (
    DECIMAL_POINTS,
    NAMES,
    NUMBER_FORMATS,
    NumberFormat,
    as_number,
    as_numbers,
    decide_number_format,
    decide_number_format_as_trained,
    is_number,
)
from lifecycle.store import adapters

_TRUTH = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}
Predictions = dict[str, np.ndarray]  # columns of equal length by name: predictions, and probabilities of classes


def load_model(path: str | os.PathLike) -> Any:
    """The model of a file, or the predictor of its graph where `load` needs ``into=`` or a package that is missing.

    Raises
    ------
    CorruptBundle, OSError
        As of `load`.
    UnsupportedModel, ImportError
        As of `load`, where the file has no graph; the predictor of the graph needs a package that is missing.
    """
    try:
        return lc.load(path)
    except (UnsupportedModel, ImportError) as error:
        try:
            return lc.load_predictor(path)
        except UnsupportedModel:
            sentence = f"{error}; without that, predictions need a file that was saved with example=rows"
            raise type(error)(sentence) from None


def number_format_in(metadata: Any) -> NumberFormat | None:
    """The number format of the training data in the metadata of a file; None if they hold none."""
    stored = metadata.get("number_format") if isinstance(metadata, dict) else None
    return next((f for f in NUMBER_FORMATS if stored == f._asdict()), None)


def decide_number_format_for(
    model: Any, trained: NumberFormat | None, columns: Mapping[str, Iterable[str | None]]
) -> tuple[NumberFormat, list[str]]:
    """The number format of a table, and sentences about it, for a model that was trained on numbers in a format.

    The format is None where it is unknown. Raises what `decide_number_format_as_trained` does.
    """
    if trained is None:
        return decide_number_format(columns)
    categorical = _categories(model)
    numeric = {str(n) for n in getattr(model, "feature_names_in_", columns)} - categorical.keys()
    return decide_number_format_as_trained(columns, trained, numeric, categorical)


def read_rows(path: str | os.PathLike, model: Any, trained: NumberFormat | None) -> Any:
    """A whole CSV file as `read_table` reads it, its number format decided by `decide_number_format_for`."""
    return read_table(path, lambda columns: decide_number_format_for(model, trained, columns))


def predict_table(model: Any, table: Any) -> Any:
    """Predictions for a table that `read_table` returned, as a DataFrame; raises what `ModelColumns` does."""
    columns = ModelColumns(model, list(table.columns), number_format_of(table))
    predictions = predict(model, columns.rows(table))
    columns.warn_of_unknown_words()
    return import_pandas().DataFrame(predictions)


def predict(model: Any, X: Any) -> Predictions:
    """Predictions for rows as the model takes them: prediction, and a column for each class or output.

    Raises
    ------
    ValueError
        The rows do not fit the model, or it has several outputs, or one of more than two dimensions.
    """
    predicted = model.predict(X) if hasattr(model, "predict") else _outputs_of_module(model, X)
    if isinstance(predicted, tuple):
        raise ValueError(f"the model has {len(predicted)} outputs; predictions are written of one")
    predicted = np.asarray(predicted)
    if predicted.ndim not in (1, 2) or len(predicted) != len(X):
        raise ValueError(
            f"the output of the model has the shape {predicted.shape} for {len(X):,} rows; predictions are written of "
            "a number, or one dimension of numbers, for each row"
        )
    if predicted.ndim == 2:
        return {f"prediction {k + 1}": column for k, column in enumerate(predicted.T)}
    if predicted.dtype == object:  # labels: text of one width for all rows
        predicted = predicted.astype(np.array(model.classes_.tolist()).dtype)
    predictions = {"prediction": predicted}
    if hasattr(model, "predict_proba"):
        for label, p in zip(model.classes_, np.asarray(model.predict_proba(X)).T, strict=True):
            predictions[f"probability of {label}"] = p
    return predictions


def _outputs_of_module(model: Any, X: np.ndarray) -> np.ndarray:
    try:
        return adapters.adapter_for(model).outputs(model, X)  # type: ignore[attr-defined]  # a torch module
    except UnsupportedModel:
        raise ValueError(
            f"this {type(model).__name__} returns no single tensor; predictions are written of one"
        ) from None
    except (RuntimeError, IndexError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{type(model).__name__} takes no rows of shape {X.shape[1:]}: {reason}") from None


def is_bare(model: Any) -> bool:
    """Whether the model is a module, or the graph of one: what its inputs are is not known."""
    return not hasattr(model, "predict") or getattr(getattr(model, "interface", None), "task", "") == "module"


class ModelColumns:
    """The columns of tables, or of parts of one, that a model takes.

    Parameters
    ----------
    model : estimator or predictor
    columns : list of str
        Names of the columns of the tables.
    number_format : NumberFormat
        Of the numbers that the tables have as text.

    Attributes
    ----------
    numeric, words : list of str
        Columns that the model takes as numbers, and as categories.

    Raises
    ------
    UnsupportedModel
        The model has no `predict`.
    ValueError
        The table lacks a column that the model needs.
    """

    def __init__(self, model: Any, columns: list[str], number_format: NumberFormat = DECIMAL_POINTS):
        if is_bare(model):
            kind = "module" if hasattr(model, "predict") else type(model).__name__
            raise UnsupportedModel(
                f"the file holds a bare {kind}, which has no predict for tables: give its inputs as a .npy file, or "
                "save a TorchClassifier, TorchRegressor, LinearClassifier, LinearRegressor, or a Pipeline with one at "
                "its end"
            )
        names = getattr(model, "feature_names_in_", None)
        self._names = columns if names is None else [str(n) for n in names]
        if missing := [c for c in self._names if c not in columns]:
            raise ValueError(f"the table lacks {', '.join(map(repr, missing))}; it has {', '.join(map(repr, columns))}")
        if names is None and len(columns) != model.n_features_in_:
            raise ValueError(
                f"the model takes {model.n_features_in_} columns in the order in which it was trained; "
                f"the table has {len(columns)}"
            )
        self._is_array = names is None
        self._categories = _categories(model)
        self.words = [c for c in self._names if c in self._categories]
        self.numeric = [c for c in self._names if c not in self._categories]
        self._number_format, self._n_rows = number_format, 0
        self._unknown: dict[str, tuple[int, str]] = {}  # how many rows, and the first word

    def rows(self, table: Any) -> Any:
        """The next rows, as the model takes them: a DataFrame, or an array if it was trained on one.

        Raises
        ------
        ValueError
            A numeric column holds something else, or infinity; the row is named, the first one ever is row 1.
        """
        found = {
            name: self._words(name, table[name]) if name in self._categories else self._numbers(name, table[name])
            for name in self._names
        }
        self._n_rows += len(table)
        # the last digits of a product depend on the memory layout: rows are contiguous, as in a user's array
        return np.column_stack(list(found.values())) if self._is_array else import_pandas().DataFrame(found)

    def warn_of_unknown_words(self) -> None:
        """Warn of the words in all rows so far that the model has not seen."""
        for name, (n, word) in self._unknown.items():
            warnings.warn(
                f"{n:,} rows hold words in {name!r} that the model has not seen, such as {word!r}: they count as none "
                "of those that it knows",
                stacklevel=3,
            )

    def _numbers(self, name: str, column: Any) -> np.ndarray:
        if column.dtype.kind in "biuf":
            numbers = column.to_numpy(np.float64)
        else:
            texts = column.tolist()
            found = as_numbers(texts, self._number_format)
            if found is None and all(v is None or v in _TRUTH for v in texts):  # as pandas reads them
                found = np.array([np.nan if v is None else _TRUTH[v] for v in texts])
            if found is None:
                wrong = [v is not None and as_number(v, self._number_format) is None for v in texts]
                value = texts[wrong.index(True)]
                hint = f"; numbers have decimal {NAMES[self._number_format.decimal]} here" * is_number(value)
                raise ValueError(f"the column {name!r} must hold numbers; it holds {value!r} {self._row(wrong)}{hint}")
            numbers = found
        if (infinite := np.isinf(numbers)).any():
            raise ValueError(
                f"the column {name!r} holds infinite values, the first {self._row(infinite)}; leave those rows out"
            )
        return numbers

    def _words(self, name: str, column: Any) -> Any:
        known = self._categories[name]
        values = as_categories(column)
        unknown = [v for v in values if isinstance(v, str) and v not in known] if known else []
        if unknown:
            n, word = self._unknown.get(name, (0, unknown[0]))
            self._unknown[name] = n + len(unknown), word
        return values

    def _row(self, is_wrong: Any) -> str:
        """The place of the first row of the table of which that holds."""
        return f"in row {self._n_rows + int(np.argmax(is_wrong)) + 1:,}"


def _categories(model: Any) -> dict[str, set]:
    """The categorical columns of a model, with the categories that its encoders know; an empty set: not known."""
    interface = getattr(model, "interface", None)
    if interface is not None and interface.by_column and interface.feature_names is not None:
        inputs = zip(interface.feature_names, interface.inputs, strict=True)
        return {name: set() for name, one in inputs if one.dtype == "str"}
    categories: dict[str, set] = {}
    for _, step in getattr(model, "steps", []):
        for _, transformer, columns in getattr(step, "transformers_", []):
            inner = [t for _, t in transformer.steps] if hasattr(transformer, "steps") else [transformer]
            for encoder in (t for t in inner if hasattr(t, "categories_")):
                for column, known in zip(columns, encoder.categories_, strict=True):
                    if any(isinstance(v, str) for v in known):
                        categories[column] = set(known)
    return categories
