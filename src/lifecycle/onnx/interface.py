"""What a graph takes and gives, and how these stand for what a model takes and gives."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lifecycle._check import check_column_names, one_of
from lifecycle.store.json_values import deserialize_value, serialize_value
from lifecycle.store.limits import shorten

CLASSIFIER, REGRESSOR, MODULE = "classifier", "regressor", "module"
LABEL, PROBABILITIES, SCORES, PREDICTION = "label", "probabilities", "scores", "prediction"
TEXT = "str"  # dtype of a tensor of strings
_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", TEXT)
_MAX_NAME = 500  # characters
_MAX_TENSORS, _MAX_DIMENSIONS = 10_000, 8
NO_ROWS = "X has no rows: a prediction needs one or more"


def is_name(name: str) -> bool:
    """Whether an input or output may have a name: one that a terminal can print."""
    return 1 <= len(name) <= _MAX_NAME and name.isprintable()


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph. The first dimension is that of the rows; None: of any length."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, entry: Any) -> "Tensor":
        if not isinstance(entry, dict) or set(entry) != {"name", "dtype", "shape"}:
            raise ValueError("an input or output is malformed")
        name, shape = entry["name"], entry["shape"]
        if not isinstance(name, str) or not is_name(name):
            raise ValueError("the name of an input or output is malformed")
        if not 1 <= len(shape) <= _MAX_DIMENSIONS:
            raise ValueError(f"{shorten(name)} has {len(shape)} dimensions; allowed are 1 to {_MAX_DIMENSIONS}")
        sizes = [n for n in shape if n is not None]
        if not all(type(n) is int and 0 <= n < 2**31 for n in sizes):
            raise ValueError(f"the shape of {name} is malformed")
        return cls(name, one_of("dtype", entry["dtype"], _DTYPES), tuple(shape))

    def has_shape(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape fits."""
        return len(shape) == len(self.shape) and all(
            wanted is None or size == wanted for size, wanted in zip(shape, self.shape, strict=True)
        )


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a graph.

    Attributes
    ----------
    task : {"classifier", "regressor", "module"}
        A classifier gives `label` and, where its model has them, `probabilities`, else `scores`. A regressor gives
        `prediction`. A module gives what it returns.
    inputs, outputs : sequences of Tensor
    classes : ndarray, or None
    feature_names : list of str, or None
    by_column : bool
        Whether each input is a column of a table; else a table is one input.
    by_name : bool
        Whether a module takes its inputs by name; of a table with `by_column`: whether its columns are found by their
        names, in any order and among others.
    may_be_missing : list of int
        Features of a table that the model accepts NaN in.
    may_be_infinite : bool
        Whether the model accepts infinity in a table.
    are_integers : list of int
        Features in which fractions are refused. Files that are written now name none; those written before named
        the columns of integers that an encoder takes for categories, as their graphs answered fractions wrongly.
    """

    task: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    classes: np.ndarray | None = None
    feature_names: list[str] | None = None
    by_column: bool = False
    by_name: bool = False
    may_be_missing: Sequence[int] = ()
    may_be_infinite: bool = False
    are_integers: Sequence[int] = ()

    @property
    def n_features(self) -> int:
        """Columns of a table, or the size of the second dimension of the only input."""
        if self.by_column:
            return len(self.inputs)
        shape = self.inputs[0].shape
        if len(shape) < 2 or shape[1] is None or self.task == MODULE:
            raise AttributeError("n_features_in_ is of estimators that were trained on a table")
        return shape[1]

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "inputs": [one.to_json() for one in self.inputs],
            "outputs": [one.to_json() for one in self.outputs],
            "classes": None if self.classes is None else serialize_value(self.classes),
            "feature_names": self.feature_names,
            "by_column": self.by_column,
            "by_name": self.by_name,
            "may_be_missing": list(self.may_be_missing),
            "may_be_infinite": self.may_be_infinite,
            "are_integers": list(self.are_integers),
        }

    @classmethod
    def from_json(cls, entry: Any) -> "Interface":
        """The interface of a file; ValueError if it is malformed."""
        if not isinstance(entry, dict) or set(entry) != {field.name for field in fields(cls)}:
            raise ValueError("the interface of the graph is malformed")
        inputs, outputs = ([Tensor.from_json(one) for one in entry[key]] for key in ("inputs", "outputs"))
        if not 1 <= len(inputs) <= _MAX_TENSORS or not 1 <= len(outputs) <= _MAX_TENSORS:
            raise ValueError(
                f"the graph has {len(inputs):,} inputs and {len(outputs):,} outputs; allowed are 1 to {_MAX_TENSORS:,} "
                "of each"
            )
        classes, names = entry["classes"], entry["feature_names"]
        classes = None if classes is None else deserialize_value(classes)
        task = one_of("task", entry["task"], (CLASSIFIER, REGRESSOR, MODULE))
        if (task == CLASSIFIER) != (isinstance(classes, np.ndarray) and classes.ndim == 1 and len(classes) > 1):
            raise ValueError("the classes of the interface are malformed")
        if classes is not None:
            _check_classes(classes, outputs)
        if names is not None and not (isinstance(names, list) and all(isinstance(n, str) for n in names)):
            raise ValueError("the names of the features are malformed")
        if not all(type(entry[key]) is bool for key in ("by_column", "by_name", "may_be_infinite")):
            raise ValueError("the interface of the graph is malformed")
        for key in ("may_be_missing", "are_integers"):
            if not isinstance(entry[key], list) or not all(type(k) is int and 0 <= k < 2**31 for k in entry[key]):
                raise ValueError("the interface of the graph is malformed")
        flags = {key: entry[key] for key in entry.keys() - {"task", "inputs", "outputs", "classes", "feature_names"}}
        found = cls(task, inputs, outputs, classes, names, **flags)
        given = [one.name for one in outputs]
        wanted = {CLASSIFIER: ([LABEL, PROBABILITIES], [LABEL, SCORES]), REGRESSOR: ([PREDICTION],)}.get(task, (given,))
        if given not in wanted:
            raise ValueError(f"a {task} has the outputs {', '.join(given)}")
        if names is not None and len(names) != found.n_features:
            raise ValueError("the number of names is not that of the features")
        return found

    def feeds(self, X: Any) -> dict[str, np.ndarray]:
        """The arrays of the inputs for rows as the model takes them; ValueError if they do not fit."""
        check_kind_of_table(X)
        if self.by_column:
            return self._columns(X)
        if self.task != MODULE:
            if self.feature_names is not None and hasattr(X, "columns"):
                check_column_names([str(name) for name in X.columns], self.feature_names)
            (only,) = self.inputs
            return self.checked({only.name: _as_tensor(_table(X), only)})
        given = _inputs_of_module(X, [one.name for one in self.inputs] if self.by_name else None, len(self.inputs))
        found = {one.name: _as_tensor(value, one) for one, value in zip(self.inputs, given, strict=True)}
        if len({len(value) for value in found.values()}) > 1:
            raise ValueError("the inputs have different numbers of rows")
        return found

    def _columns(self, X: Any) -> dict[str, np.ndarray]:
        names = self.feature_names
        if hasattr(X, "columns") and names is not None and self.by_name:
            columns = columns_named(X, names, "X")
        elif hasattr(X, "columns"):
            if names is not None:
                check_column_names([str(name) for name in X.columns], names)
            columns = columns_of(X)
        else:
            table = np.asarray(_as_array(X, "X"), object)
            columns = list(table.T) if table.ndim == 2 else []
        if len(columns) != len(self.inputs):
            raise ValueError(f"X must be a table of {len(self.inputs)} columns")
        found = {}
        for one, column in zip(self.inputs, columns, strict=True):
            values = _numbers(column) if one.dtype != TEXT else column
            found[one.name] = _as_tensor(np.asarray(values).reshape(-1, 1), one)
        return self.checked(found)

    def checked(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of the inputs; ValueError where a table holds what the model does not accept."""
        if self.task != MODULE:
            if not all(map(len, feeds.values())):
                raise ValueError(NO_ROWS)
            first = 0
            for array in feeds.values():
                if array.ndim == 2 and array.dtype.kind == "f":
                    self._check_numbers(array, range(first, first + array.shape[1]))
                first += array.shape[1]
        return feeds

    def _check_numbers(self, values: np.ndarray, features: Sequence[int]) -> None:
        """ValueError unless the model accepts what the columns of `values`, these features, hold."""
        finite = np.isfinite(values)
        if not finite.all():
            strange, may_be_missing = ~finite.all(axis=0), set(self.may_be_missing)
            for place in np.flatnonzero(strange).tolist():
                k, column = features[place], values[:, place]
                if np.isnan(column).any() and k not in may_be_missing:
                    raise ValueError(f"{self._name_of(k)} has missing values, which the model does not accept")
                if np.isinf(column).any() and not self.may_be_infinite:
                    raise ValueError(f"{self._name_of(k)} has infinite values, which the model does not accept")
        integers = set(self.are_integers)  # of files written before: see the attribute
        for place, k in enumerate(features):
            if k in integers:
                column = values[finite[:, place], place]
                if not np.array_equal(column, np.rint(column)):
                    raise ValueError(f"{self._name_of(k)} must hold integers, as the rows of the model's example")

    def _name_of(self, feature: int) -> str:
        return shorten(
            f"the column {self.feature_names[feature]!r}" if self.feature_names else f"the feature {feature}"
        )


def columns_of(X: Any) -> list[Any]:
    """All columns of a table."""
    return [column for _, column in X.items()]


def columns_named(X: Any, names: list[str], what: str) -> list[Any]:
    """The columns of a table with these names; ValueError where one is missing, or there are two of a name."""
    places: dict[str, list[int]] = {}
    for k, name in enumerate(X.columns):
        places.setdefault(str(name), []).append(k)
    missing = [name for name in names if name not in places]
    twice = [name for name in names if len(places.get(name, ())) > 1]
    for problem, found in (("lacks columns that the model uses; missing", missing), ("has columns twice", twice)):
        if found:
            raise ValueError(shorten(f"{what} {problem}: {', '.join(map(repr, found[:5]))}"))
    columns = columns_of(X)
    return [columns[places[name][0]] for name in names]


def check_kind_of_table(X: Any, name: str = "X") -> None:
    """ValueError for a table of another library than pandas."""
    is_table = any(hasattr(X, known) for known in ("columns", "column_names", "__dataframe__"))
    if is_table and not hasattr(X, "iloc"):
        library = type(X).__module__.split(".")[0]
        raise ValueError(f"{name} is a {type(X).__name__} of {library}: give {name}.to_pandas()")


def _check_classes(classes: np.ndarray, outputs: Sequence[Tensor]) -> None:
    """ValueError unless these are labels of the dtype that the graph gives, which JSON has."""
    dtype = {"b": "bool", "i": "int64", "u": "int64", "f": "float64", "U": TEXT, "O": TEXT}.get(classes.dtype.kind)
    is_text = dtype != TEXT or all(isinstance(label, str) for label in classes)
    if not is_text or (classes.dtype.kind == "f" and not np.isfinite(classes).all()):
        raise ValueError("the classes of the interface are neither finite numbers nor strings")
    label, values = outputs
    if label.dtype != dtype or len(label.shape) != 1 or len(values.shape) != 2:
        raise ValueError("the outputs of the interface do not fit its classes")
    if values.name == PROBABILITIES and values.shape[1] != len(classes):
        raise ValueError("the outputs of the interface do not fit its classes")


def _table(X: Any) -> Any:
    return _numbers(X) if hasattr(X, "columns") else X


def _numbers(values: Any) -> Any:
    """Of a table or column of pandas, whose missing values become NaN; anything else as it is."""
    if not hasattr(values, "iloc"):
        return values
    if isinstance(getattr(values, "dtype", None), np.dtype) and values.dtype.kind in "biuf":
        return values.to_numpy()
    dtypes = values.dtypes if values.ndim == 2 else [values.dtype]
    are_numbers = all(getattr(dtype, "kind", "O") in "biuf" for dtype in dtypes)
    # objects stay what they are: pandas would read dates and strings of digits as numbers
    return values.to_numpy(dtype=np.float64 if are_numbers else object, na_value=np.nan)


def _inputs_of_module(X: Any, names: list[str] | None, n: int) -> list[Any]:
    """The inputs in their order."""
    if names is None:
        given = list(X) if isinstance(X, tuple) else [X]
        if len(given) != n:
            raise ValueError(f"the model takes a tuple of {n} inputs; got {len(given)}")
        return given
    if not isinstance(X, dict) or set(X) != set(names):
        raise ValueError(f"the model takes a dict with {', '.join(names)}")
    return [X[name] for name in names]


def _as_array(value: Any, name: str) -> np.ndarray:
    """Of a tensor of torch, a sparse matrix, or whatever numpy takes."""
    if hasattr(value, "tocsr"):
        return np.asarray(value.toarray())
    if not hasattr(value, "detach"):
        return np.asarray(value)
    if value.is_meta:
        raise ValueError(f"{name} is on the meta device, where tensors have no values")
    try:
        value = value.detach()
        if str(value.layout) != "torch.strided":
            value = value.to_dense()
        # numpy has no bfloat16; float32 holds each of its numbers
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return np.asarray(value.cpu().resolve_conj().resolve_neg().numpy())
    except (RuntimeError, TypeError, AttributeError):
        raise ValueError(
            f"{name} is a tensor of {str(value.dtype).removeprefix('torch.')} that numpy cannot hold: "
            "give a dense one of a dtype of numpy"
        ) from None


def _as_tensor(value: Any, tensor: Tensor) -> np.ndarray:
    """An array of the tensor's dtype and shape."""
    array = _as_array(value, tensor.name)
    if tensor.dtype == TEXT:
        if not all(isinstance(text, str) for text in array.flat):
            raise ValueError(f"{tensor.name} must hold strings and no missing values")
        array = array.astype(object)
    else:
        wanted = np.dtype(tensor.dtype)
        if array.dtype == object and wanted.kind == "f":
            try:
                if any(isinstance(value, str | bytes) for value in array.flat):
                    raise TypeError  # numpy would read strings of digits
                array = array.astype(np.float64)
            except (TypeError, ValueError):
                raise ValueError(f"{tensor.name} must be numbers of dtype {tensor.dtype}") from None
        if array.dtype.kind not in "biuf" or (wanted.kind in "iu" and array.dtype.kind == "f"):
            raise ValueError(f"{tensor.name} must be numbers of dtype {tensor.dtype}; got {array.dtype}")
        with np.errstate(over="ignore"):
            converted = np.ascontiguousarray(array, wanted)
        if wanted.kind == "f" and array.dtype.kind in "iu" and not np.array_equal(converted, array):
            raise ValueError(f"{tensor.name} has integers that {tensor.dtype} cannot hold")
        if wanted.kind == "f" and array.dtype.itemsize > wanted.itemsize:
            if (np.isinf(converted) & ~np.isinf(array)).any():
                raise ValueError(f"{tensor.name} has a number too large for {tensor.dtype}")
        elif wanted.kind in "iu" and not np.array_equal(converted, array):
            raise ValueError(f"{tensor.name} has numbers outside of {tensor.dtype}")
        array = converted.reshape(array.shape)
    if not tensor.has_shape(array.shape):
        shape = ", ".join("n" if n is None else str(n) for n in tensor.shape)
        raise ValueError(f"{tensor.name} must have the shape ({shape}); got {array.shape}")
    return array
