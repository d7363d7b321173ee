"""CSV files as tables: which columns are numbers and which are words, what is to be learned, and how it is prepared.

A column whose every value reads as a number is one of numbers; every other column is one of words. Both are read from
the same text, so that a model finds its columns again in another file.
"""

import io
import os
import re
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.store.files import write_atomically

__all__ = ["Task", "predict_table", "prepared", "read_table", "read_task", "write_table"]

_FEWEST_ROWS = 40
_FEWEST_OF_A_CLASS = 10
_MOST_CLASSES = 20  # of a target of whole numbers; one with more values is a quantity
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
_MOST_WORDS = 50  # different values of a column of words, unless they repeat


@dataclass
class Task:
    """Columns to learn from, a target, and what was left out, in sentences."""

    name: str
    X: Any
    y: np.ndarray
    classification: bool
    numbers: list[str]
    words: list[str]
    notes: list[str] = field(default_factory=list)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("reading a CSV file needs pandas: pip install 'lifecycle-ml[plot]'") from error
    return pandas


def read_table(path: str | os.PathLike) -> Any:
    """A CSV file as a DataFrame of text; what pandas takes for missing ("", NA, null, …) is missing.

    Values are separated by commas, semicolons, tabs or bars, whichever the first line has most of; where it is not
    commas, numbers may be written with decimal commas.

    Raises
    ------
    OSError
        There is no such file, or it cannot be read.
    ValueError
        It is no table: not text, without rows, a row longer than the line of names, a name that stands twice.
    """
    pandas = _pandas()
    name = os.path.basename(os.fspath(path))
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
        if "\0" in text:
            raise ValueError(f"{name} holds NUL characters: it is no text")
        first = re.sub(r'"[^"]*"', "", text[: text.find("\n")])  # what stands in quotes separates nothing
        delimiter = max(",;\t|", key=first.count)
        # of a single column, an empty line is a missing value
        frame = pandas.read_csv(io.StringIO(text), sep=delimiter, dtype=str, skipinitialspace=True, header=None,
                                skip_blank_lines=delimiter in first)  # fmt: skip
    except pandas.errors.EmptyDataError:
        raise ValueError(f"{name} is empty: a table needs a line of column names and a line for each row") from None
    except pandas.errors.ParserError as error:
        raise ValueError(f"{name} is no CSV table: {str(error).strip()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name} is no text in UTF-8: save it as CSV in UTF-8") from None
    if len(frame) < 2:
        raise ValueError(f"{name} has a line of column names, but no row")
    header = [str(c).strip() if isinstance(c, str) else "" for c in frame.iloc[0]]
    for column in header:
        if header.count(column) > 1:
            raise ValueError(f"{name} has the column name {column!r} twice; give each column a name of its own")
    table = frame.iloc[1:].reset_index(drop=True).astype(object)
    table.columns = header
    table = table.where(table.notna(), None)
    if delimiter != ",":
        for column in header:
            table[column] = _with_points(table[column])
    return table


def _with_points(column: Any) -> Any:
    """Decimal commas as points, in a column of nothing but numbers that are written with them."""
    present = [v for v in column if v is not None]
    with_comma = [v for v in present if "," in v]
    grouped = all(_THOUSANDS.fullmatch(v) for v in with_comma)  # 1,000 may be a thousand: left as it is
    if with_comma and not grouped and all(_DECIMAL_COMMA.fullmatch(v) for v in present):
        return column.map(lambda v: v and v.replace(",", "."))
    return column


def write_table(table: Any, path: str | os.PathLike) -> None:
    """A DataFrame as a CSV file, whole or not at all."""
    write_atomically(path, table.to_csv(index=False).encode("utf-8"))


def _as_numbers(column: Any) -> np.ndarray | None:
    """The values as float64, missing ones NaN; None where one is no number."""
    if any(v is not None and "_" in v for v in column):  # Python reads 1_000 as a number
        return None
    try:
        return np.array([np.nan if v is None else float(v) for v in column], dtype=np.float64)
    except ValueError:
        return None


def _as_words(column: Any) -> Any:
    """The values as objects, missing ones NaN, as scikit-learn's imputers expect them."""
    return _pandas().Series([np.nan if v is None else v for v in column], index=column.index, dtype=object)


def read_task(path: str | os.PathLike, target: str) -> Task:
    """What there is to learn from a CSV file.

    A target of words, or of at most 20 different whole numbers, is a class; any other is a quantity. Left out, with a
    note: rows without a target, classes of fewer than 10 rows, columns that say nothing or that name rows.

    Raises
    ------
    OSError, ValueError
        As in `read_table`; there is no such column; what is left has one class, or too few rows or columns.
    """
    name = os.path.basename(os.fspath(path))
    table = read_table(path)
    if target not in table.columns:
        raise ValueError(f"{name} has no column {target!r}; it has {', '.join(map(repr, table.columns))}")
    notes = []
    there = np.array([v is not None for v in table[target]])
    if not there.all():
        notes.append(f"{(~there).sum():,} rows without a {target} are left out")
        table = table[there].reset_index(drop=True)
    y, classification = _target(table[target])
    if classification:
        labels, counts = np.unique(y, return_counts=True)
        rare = labels[counts < _FEWEST_OF_A_CLASS]
        if len(rare) and len(labels) - len(rare) >= 2:
            kept = ~np.isin(y, rare)
            names = ", ".join(map(repr, rare.tolist()[:5])) + ", …" * (len(rare) > 5)
            notes.append(f"{(~kept).sum():,} rows of {names} are left out: fewer than {_FEWEST_OF_A_CLASS} in a class")
            table, y = table[kept].reset_index(drop=True), y[kept]
        if len(labels) - len(rare) < 2:
            raise ValueError(
                f"the column {target!r} of {name} must hold at least two classes with {_FEWEST_OF_A_CLASS} rows each; "
                f"it holds {', '.join(f'{v!s}: {n}' for v, n in list(zip(labels, counts, strict=True))[:8]) or 'none'}"
                f"{', …' * (len(labels) > 8)}"
            )
    if len(table) < _FEWEST_ROWS:
        raise ValueError(f"{name} has {len(table)} rows with a {target}; at least {_FEWEST_ROWS} are needed")
    if not classification and np.ptp(y) == 0:
        raise ValueError(f"the column {target!r} of {name} holds one value only, {y[0]:g}: there is nothing to learn")
    X, numbers, words = _columns(table.drop(columns=target), name, notes)
    return Task(name, X, y, classification, numbers, words, notes)


def _target(column: Any) -> tuple[np.ndarray, bool]:
    values = _as_numbers(column)
    if values is None:
        return np.array([str(v) for v in column]), True
    if not np.isfinite(values).all():
        raise ValueError(f"the column {column.name!r} holds infinite values; leave those rows out")
    whole = (values == np.round(values)).all() and (np.abs(values) < 2**53).all()
    if whole and len(np.unique(values)) <= _MOST_CLASSES:
        return values.astype(np.int64), True
    return values, False


def _columns(table: Any, name: str, notes: list[str]) -> tuple[Any, list[str], list[str]]:
    numbers, words, left_out = [], [], []
    for column in table.columns:
        present = [v for v in table[column] if v is not None]
        different = len(set(present))
        values = _as_numbers(table[column])
        if not column:
            left_out.append("one without a name")
        elif different < 2:
            left_out.append(f"{column} (one value)")
        elif values is not None:
            if np.isinf(values).any():
                raise ValueError(f"the column {column!r} of {name} holds infinite values; leave those rows out")
            table[column] = values
            numbers.append(column)
        elif different > max(_MOST_WORDS, 0.1 * len(present)) or different == len(present):
            word = next(v for v in present if _as_numbers([v]) is None)
            left_out.append(f"{column} ({different:,} different words, such as {word[:20]!r})")
        else:
            table[column] = _as_words(table[column])
            words.append(column)
    if left_out:
        notes.append(f"columns left out: {', '.join(left_out)}")
    if not numbers and not words:
        raise ValueError(f"{name} has no column to learn from" + (f"; {notes[-1]}" if left_out else ""))
    return table[[*numbers, *words]], numbers, words


def prepared(numbers: list[str], words: list[str], model: Any) -> Any:
    """A pipeline: missing numbers become medians, numbers are standardized, words become columns of 0 and 1."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    of_numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    of_words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    parts = [(n, t, c) for n, t, c in (("numbers", of_numbers, numbers), ("words", of_words, words)) if c]
    return Pipeline([("columns", ColumnTransformer(parts)), ("model", model)])


def predict_table(model: Any, table: Any) -> Any:
    """Predictions for a table that `read_table` returned, as a DataFrame: prediction, and a column for each class.

    Raises
    ------
    UnsupportedModel
        The model has no `predict`.
    ValueError
        The table lacks a column of the model's, or a column of numbers holds something else.
    """
    pandas = _pandas()
    if not hasattr(model, "predict"):
        raise UnsupportedModel(
            f"the file holds a bare {type(model).__name__}, which has no predict: save a TorchClassifier, "
            "TorchRegressor, LinearClassifier, LinearRegressor, or a Pipeline with one at its end"
        )
    X = _for_model(model, table)
    predicted = np.asarray(model.predict(X))
    if predicted.ndim == 2:
        return pandas.DataFrame(predicted, columns=[f"prediction {k + 1}" for k in range(predicted.shape[1])])
    found = pandas.DataFrame({"prediction": predicted})
    if hasattr(model, "predict_proba"):
        for label, p in zip(model.classes_, np.asarray(model.predict_proba(X)).T, strict=True):
            found[f"probability of {label}"] = p
    return found


def _for_model(model: Any, table: Any) -> Any:
    """The columns that a model takes, typed as it takes them."""
    names = getattr(model, "feature_names_in_", None)
    wanted = list(table.columns) if names is None else [str(n) for n in names]
    if missing := [c for c in wanted if c not in table.columns]:
        raise ValueError(
            f"the table lacks {', '.join(map(repr, missing))}; it has {', '.join(map(repr, table.columns))}"
        )
    if names is None and len(wanted) != model.n_features_in_:
        raise ValueError(
            f"the model takes {model.n_features_in_} columns in the order in which it was trained; "
            f"the table has {len(wanted)}"
        )
    found, words = table[wanted].copy(), _columns_of_words(model)
    for column in wanted:
        if column in words:
            found[column] = _as_words(found[column])
            _warn_of_strangers(column, found[column], words[column])
        else:
            values = _as_numbers(found[column])
            if values is None:
                wrong = next(v for v in found[column] if v is not None and _as_numbers([v]) is None)
                raise ValueError(f"the column {column!r} must hold numbers; it holds {wrong!r}")
            if np.isinf(values).any():
                raise ValueError(f"the column {column!r} holds infinite values; leave those rows out")
            found[column] = values
    # the last digits of a product depend on the memory layout: that of an array made by hand
    return np.ascontiguousarray(found.to_numpy(dtype=np.float64)) if names is None else found


def _columns_of_words(model: Any) -> dict[str, set]:
    """Columns that a pipeline's encoders know as text, and the words that they know."""
    found: dict[str, set] = {}
    for _, step in getattr(model, "steps", []):
        for _, part, columns in getattr(step, "transformers_", []):
            inner = [p for _, p in part.steps] if hasattr(part, "steps") else [part]
            for encoder in (p for p in inner if hasattr(p, "categories_")):
                for column, known in zip(columns, encoder.categories_, strict=True):
                    if any(isinstance(v, str) for v in known):
                        found[column] = set(known)
    return found


def _warn_of_strangers(column: str, words: Any, known: set) -> None:
    strange = [v for v in words if isinstance(v, str) and v not in known]
    if strange:
        warnings.warn(
            f"{len(strange):,} rows hold words in {column!r} that the model has not seen, such as {strange[0]!r}: they "
            "count as none of those that it knows",
            stacklevel=4,
        )
