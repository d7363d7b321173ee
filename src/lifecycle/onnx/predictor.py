"""load_predictor: predictions of a file without the framework that trained its model.

The graph of the file runs in onnxruntime. Trees need no graph: they run in the kernel of this library.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle._display import import_optional, text_table
from lifecycle.onnx import inference_protocol
from lifecycle.onnx.export import INTERFACE, SHARED
from lifecycle.onnx.interface import (
    CLASSIFIER,
    LABEL,
    NO_ROWS,
    PREDICTION,
    PROBABILITIES,
    REGRESSOR,
    SCORES,
    TEXT,
    Interface,
    Tensor,
    check_kind_of_table,
)
from lifecycle.onnx.rows import n_rows
from lifecycle.store import adapters, bundle_reader
from lifecycle.store.limits import shorten


def load_predictor(path: str | os.PathLike, *, sha256: str | None = None) -> "Predictor":
    """Open a file for predictions alone: without torch, without the class of the model, and without code of the file.

    Trees, forests and boosting need no graph; those of scikit-learn's classes are read by scikit-learn.

    Parameters
    ----------
    path : str or os.PathLike
        What `save` wrote with ``example=``, or any file of trees, forests and boosting.
    sha256 : str, optional
        Digest that the file must have, as ``sha256sum`` prints it.

    Returns
    -------
    Predictor

    Raises
    ------
    CorruptBundle
        As `load` does, or the graph has what no graph of this library has: data outside of the file, loops, operators
        that are not ONNX's.
    UnsupportedModel
        The file has no graph, or is a checkpoint.
    ImportError
        The file needs onnxruntime and onnx, which the extra [onnx] installs.
    """
    path = Path(path)
    bundle_reader.check_sha256(sha256)
    with bundle_reader.reading(path.name, "a model"):
        bundle = bundle_reader.read(path, sha256)
        config = bundle.manifest["config"]
        if config["kind"] in (adapters.TREE_MODEL, adapters.SKLEARN_TREES):
            arrays = bundle_reader.arrays_of(bundle)
            model = adapters.adapter_for_kind(config["kind"]).deserialize(config, arrays, None)
            return _TreePredictor(path.stem, adapters.adapter_for(model).first_trees(model, 1.0))
        graph = bundle_reader.graph_of(bundle)
        if graph is None:
            raise UnsupportedModel(
                f"{path.name} holds no graph: save the model with example=rows, or load the model itself with load"
            )
        import_optional("onnx", "load_predictor", extra="onnx")
        import_optional("onnxruntime", "load_predictor", extra="onnx")
        facts = bundle.manifest["facts"]
        interface = Interface.from_json(facts[INTERFACE])
        shared = facts[SHARED]
        arrays = bundle_reader.arrays_of(bundle) if shared else {}
        return _GraphPredictor(path.name, interface, graph, shared, arrays)


class Predictor:
    """A model for predictions alone. `load_predictor` makes it.

    Attributes
    ----------
    name : str
        Of the file, without its suffix.
    interface : Interface
        Inputs and outputs with their dtypes and shapes.
    classes_ : ndarray
        Of a classifier.
    n_features_in_ : int
        Of a model that was trained on a table.
    feature_names_in_ : ndarray of str
        Where it was trained on named columns.
    """

    def __init__(self, name: str, interface: Interface):
        self.name, self.interface = name, interface

    def _outputs(self, X: Any) -> list[np.ndarray]:
        """The outputs of the interface for rows as the model takes them."""
        return self._run(self.interface.feeds(X))

    def _run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        raise NotImplementedError

    @property
    def classes_(self) -> np.ndarray:
        if self.interface.classes is None:
            raise AttributeError(f"this predictor is no classifier but a {self.interface.task}")
        return self.interface.classes

    @property
    def n_features_in_(self) -> int:
        return self.interface.n_features

    @property
    def feature_names_in_(self) -> np.ndarray:
        if self.interface.feature_names is None:
            raise AttributeError("the model was trained on rows whose features have no names")
        return np.array(self.interface.feature_names, object)

    def __repr__(self) -> str:
        rows = [
            ("predictor", f"{shorten(self.name)}, a {self.interface.task}"),
            *(("input", _describe(one)) for one in self.interface.inputs[:20]),
            *(("output", _describe(one)) for one in self.interface.outputs[:20]),
        ]
        return "\n".join(text_table(rows))

    def predict(self, X: Any) -> Any:
        """Labels of a classifier, values of a regressor; of a module its output, or a tuple of its outputs."""
        found = self._outputs(X)
        if self.interface.task == CLASSIFIER:
            return found[0].astype(self.classes_.dtype)
        return found[0] if len(found) == 1 else tuple(found)

    @property
    def predict_proba(self) -> Callable[[Any], np.ndarray]:
        """``predict_proba(X)``: probabilities of the classes, (n, classes)."""
        return self._second_output(PROBABILITIES)

    @property
    def decision_function(self) -> Callable[[Any], np.ndarray]:
        """``decision_function(X)`` of a classifier without probabilities: (n,) with two classes, else (n, classes)."""
        return self._second_output(SCORES)

    def _second_output(self, name: str) -> Callable[[Any], np.ndarray]:
        """The method that gives an output; AttributeError, as scikit-learn asks for, if there is none of that name."""
        given = [one.name for one in self.interface.outputs]
        if self.interface.task != CLASSIFIER or given[1] != name:
            raise AttributeError(f"this predictor gives {', '.join(given)}, and no {name}")

        def method(X: Any) -> np.ndarray:
            values = self._outputs(X)[1]
            return values[:, 0] if name == SCORES and values.shape[1] == 1 else values

        return method

    def infer_v2(self, request: dict) -> dict:
        """Answer a request of the Open Inference Protocol, version 2.

        Parameters
        ----------
        request : dict
            The JSON body of ``POST v2/models/NAME/infer``: `inputs`, a list of tensors with `name`, `shape`, `datatype`
            and `data` (nested or flat), optionally `id` and `outputs`, a list of {"name": …}.

        Returns
        -------
        dict
            `model_name`, `outputs`, and `id` where the request has one.

        Raises
        ------
        ValueError
            The request does not fit; a server answers it with status 400.
        """
        try:
            return inference_protocol.infer(self.name, self.interface, self._run, request)
        except ValueError as error:  # with names of the file and of the request, for the log of a server
            raise ValueError(shorten(str(error))) from None

    def metadata_v2(self) -> dict:
        """The answer to ``GET v2/models/NAME``: name, platform, inputs and outputs."""
        return inference_protocol.metadata(self.name, self.interface)


def _describe(one: Tensor) -> str:
    shape = ", ".join("n" if size is None else str(size) for size in one.shape)
    return f"{shorten(one.name)}: {one.dtype} ({shape})"


class _GraphPredictor(Predictor):
    def __init__(self, file_name: str, interface: Interface, graph: bytes, shared: Any, arrays: dict[str, np.ndarray]):
        from lifecycle.onnx.checked_graph import session_of

        super().__init__(Path(file_name).stem, interface)
        self._session, self._in_memory = session_of(file_name, graph, shared, arrays, interface)
        used = {source for _, source in shared}
        # onnxruntime's sessions cannot be copied or pickled: a copy opens the graph again
        self._arguments = (file_name, interface, graph, shared, {name: arrays[name] for name in used})

    def __reduce__(self) -> tuple:
        return type(self), self._arguments

    def _run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        outputs = self.interface.outputs
        n = len(next(iter(feeds.values())))
        if not n:
            return [np.empty([0, *(size or 0 for size in one.shape[1:])], _numpy_dtype(one)) for one in outputs]
        try:
            found: list[np.ndarray] = self._session.run([one.name for one in outputs], feeds)
        except Exception as error:  # onnxruntime's own classes have no common base
            raise ValueError(f"the graph refuses these rows: {shorten(str(error), 300)}") from None
        for one, array in zip(outputs, found, strict=True):
            if not one.has_shape(array.shape):
                raise ValueError(f"the graph gives {_describe(one)} an array of the shape {array.shape}")
        return found


def _numpy_dtype(one: Tensor) -> Any:
    return object if one.dtype == TEXT else one.dtype


class _TreePredictor(Predictor):
    def __init__(self, name: str, model: Any):
        super().__init__(name, _interface_of_trees(model))
        self._model = model

    def infer_v2(self, request: dict) -> dict:
        self._check_one_target()
        return super().infer_v2(request)

    def metadata_v2(self) -> dict:
        self._check_one_target()
        return super().metadata_v2()

    def _check_one_target(self) -> None:
        if len(getattr(self._model, "labels", [None])) > 1:
            raise UnsupportedModel("the inference protocol has no answer for a classifier of several targets")

    def predict(self, X: Any) -> Any:
        _check_rows(X)
        return self._model.predict(X)

    def _outputs(self, X: Any) -> list[np.ndarray]:
        # trees read rows, with categories and missing values, by themselves
        _check_rows(X)
        if self.interface.task == REGRESSOR:
            return [self._model.predict(X)]
        return [self._model.predict(X), self._model.predict_proba(X)]

    @property
    def classes_(self) -> Any:
        return self._model.classes_

    def _run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        columns = list(feeds.values())
        X = np.concatenate(columns, axis=1) if len(columns) > 1 else columns[0]
        return self._outputs(X)


def _check_rows(X: Any) -> None:
    check_kind_of_table(X)
    if not n_rows(X):
        raise ValueError(NO_ROWS)


def _interface_of_trees(model: Any) -> Interface:
    rows, n = model.rows, model.n_features_in_
    names = None if rows.feature_names is None else [str(name) for name in rows.feature_names]
    inputs: Sequence[Tensor] = [Tensor("X", "float64", (None, n))]
    if rows.encoded:
        text = {column for column, values in rows.encoded if any(isinstance(value, str) for value in values)}
        inputs = [
            Tensor(names[k] if names else f"column_{k}", TEXT if k in text else "float64", (None, 1)) for k in range(n)
        ]
    by_column = bool(rows.encoded)
    if not hasattr(model, "labels"):
        n_outputs = model.ensemble.n_outputs
        prediction = Tensor(PREDICTION, "float64", (None,) if n_outputs == 1 else (None, n_outputs))
        return Interface(REGRESSOR, inputs, [prediction], None, names, by_column)
    labels = model.labels[0]
    kind = {"b": "bool", "i": "int64", "u": "int64", "f": "float64"}.get(labels.dtype.kind, TEXT)
    outputs = [Tensor(LABEL, kind, (None,)), Tensor(PROBABILITIES, "float64", (None, len(labels)))]
    return Interface(CLASSIFIER, inputs, outputs, labels, names, by_column)
