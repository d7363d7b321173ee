"""export_onnx: a graph that has been compared with its model before it is written."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, integer
from lifecycle._display import import_optional
from lifecycle.onnx.conversion import Conversion, convert
from lifecycle.onnx.interface import Interface, check_kind_of_table
from lifecycle.onnx.parity import ParityReport, compare
from lifecycle.store import adapters
from lifecycle.store.files import write_atomically
from lifecycle.store.models import model_of_result

_LEAST_OPSET = 18
_LEAST_SHARED = 256  # bytes of an array that a graph takes from its file: less than that its own copy costs nothing
INTERFACE, SHARED = "interface", "shared_arrays"  # facts of a file about its graph


def export_onnx(model: Any, path: str | os.PathLike, example: Any, *, opset: int | None = None) -> ParityReport:
    """Write a model as one ONNX file, after onnxruntime has given the model's own answers with it.

    Both see the rows of the example, in batches of 1, 2, 7 and 64, the largest and smallest values of its columns, and
    of trees rows at the thresholds and one unit in the last place beside them. The steps of a Pipeline are compared on
    rows unlike those of the example, too: unknown words, fractions, zeros, values out of the range, huge and missing
    ones. The file holds all weights.

    Parameters
    ----------
    model : torch.nn.Module, estimator of this library, or a linear model, MLP, k-nearest neighbors, tree, forest,
        boosting, Pipeline or TransformedTargetRegressor of scikit-learn, or the result of `compress`
    path : str or os.PathLike
    example : array, DataFrame, tensor, or tuple or dict of these
        Two rows or more, as the model takes them, best some real ones; the number of rows of a call stays free. The
        dtype of a table, float32 or float64, becomes that of the graph's input.
    opset : int, optional
        Of ONNX's operators; 18 by default.

    Returns
    -------
    ParityReport

    Raises
    ------
    ParityError
        Values differ by more than 1e-5 · m + 1e-4 · |value|, where m is the largest |value| of the output for the rows
        of the example, or 1 if that is smaller; or a label differs; or the graph answers a row that a step of the
        Pipeline refuses. Nothing is written.
    UnsupportedModel
        The model cannot be exported.
    ValueError
        `example` does not fit the model.
    ImportError
        onnx, onnxruntime, or what a module needs besides, is not installed: the extra [onnx].
    """
    model, _ = model_of_result(model)
    kind = adapters.adapter_for(model).serialize(model)[0]["kind"]
    converted, report = checked_conversion(model, kind, example, opset)
    write_atomically(path, converted.model.SerializeToString())
    return report


def graph_of_file(
    model: Any, kind: str, example: Any, arrays: Mapping[str, np.ndarray]
) -> tuple[bytes, dict[str, Any]]:
    """A graph, compared with its model, without the values of `arrays`, and what a file says about it."""
    converted, report = checked_conversion(model, kind, example)
    from lifecycle.onnx.checked_graph import check
    from lifecycle.onnx.graph import share_arrays

    shared = share_arrays(converted.model, arrays, _LEAST_SHARED)
    graph, interface = converted.model.SerializeToString(), converted.interface.to_json()
    try:
        Interface.from_json(interface)
        check(f"this {type(model).__name__}", graph, converted.interface)
    except ValueError as error:  # what load_predictor refuses
        raise UnsupportedModel(f"{error}: save the model without example=") from None
    facts = {
        INTERFACE: interface,
        "parity": report.to_json(),
        SHARED: [list(pair) for pair in shared.items()],
    }
    return graph, facts


def checked_conversion(
    model: Any, kind: str, example: Any, opset: int | None = None
) -> tuple[Conversion, ParityReport]:
    """The conversion of a model, after it has been compared with it."""
    import_optional("onnx", "a graph", extra="onnx")
    import_optional("onnxruntime", "the comparison of a graph with its model", extra="onnx")
    if opset is not None:
        integer("opset", opset, low=_LEAST_OPSET)
    check_kind_of_table(example, "example")
    converted = convert(model, kind, example, opset)
    return converted, compare(converted, example)
