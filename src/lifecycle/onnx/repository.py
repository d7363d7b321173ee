"""export_repository: the folder that Triton and KServe serve, from a file with a graph."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, require_name
from lifecycle.onnx import inference_protocol
from lifecycle.onnx.export import INTERFACE, SHARED
from lifecycle.onnx.interface import CLASSIFIER, Interface, Tensor
from lifecycle.store import bundle_reader
from lifecycle.store.files import write_atomically

_TYPES = {**inference_protocol.DATATYPES, "str": "STRING"}


def export_repository(path: str | os.PathLike, directory: str | os.PathLike, *, name: str | None = None) -> Path:
    """Write the graph of a file as a model repository, which Triton Inference Server and KServe serve as it is.

    ``directory/name/1/model.onnx`` is the graph with all weights, ``config.pbtxt`` describes it to Triton, and
    ``metadata.json`` is what the Open Inference Protocol, version 2, tells about the model.

    Parameters
    ----------
    path : str or os.PathLike
        What `save` wrote with ``example=``.
    directory : str or os.PathLike
        The repository; it is made if it does not exist. Other models in it stay as they are.
    name : str, optional
        Of the model: letters, digits, "-", "_" and "."; the name of the file without its suffix by default.

    Returns
    -------
    Path
        The folder of the model.

    Raises
    ------
    CorruptBundle
        As `load_predictor` does.
    UnsupportedModel
        The file has no graph.
    ValueError
        `name` has other characters.
    """
    from lifecycle.onnx.checked_graph import complete_model

    path = Path(path)
    name = require_name("name", path.stem if name is None else name)
    with bundle_reader.reading(path.name, "a model"):
        bundle = bundle_reader.read(path)
        graph = bundle_reader.graph_of(bundle)
        if graph is None:
            raise UnsupportedModel(f"{path.name} holds no graph: save the model with example=rows")
        facts = bundle.manifest["facts"]
        interface, shared = Interface.from_json(facts[INTERFACE]), facts[SHARED]
        arrays = bundle_reader.arrays_of(bundle) if shared else {}
        data = complete_model(path.name, graph, shared, arrays, interface)
    folder = Path(directory, name)
    Path(folder, "1").mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "1" / "model.onnx", data)
    write_atomically(folder / "config.pbtxt", triton_config(name, interface).encode())
    metadata = inference_protocol.metadata(name, interface)
    if interface.task == CLASSIFIER and interface.classes is not None:
        metadata["parameters"] = {"classes": np.asarray(interface.classes).tolist()}
    write_atomically(folder / "metadata.json", (json.dumps(metadata, indent=2, allow_nan=False) + "\n").encode())
    return folder


def triton_config(name: str, interface: Interface) -> str:
    """The text of Triton's ModelConfig; shapes are complete ones, as no dimension of the batch is declared."""
    lines = [f"name: {_quoted(name)}", 'platform: "onnxruntime_onnx"', "max_batch_size: 0"]
    for field, tensors in (("input", interface.inputs), ("output", interface.outputs)):
        for one in tensors:
            lines += [f"{field} {{", *(f"  {line}" for line in _fields(one)), "}"]
    return "\n".join(lines) + "\n"


def _fields(one: Tensor) -> list[str]:
    dims = ", ".join(str(-1 if size is None else size) for size in one.shape)
    return [f"name: {_quoted(one.name)}", f"data_type: TYPE_{_TYPES[one.dtype]}", f"dims: [ {dims} ]"]


def _quoted(text: str) -> str:
    """A string of protobuf's text format."""
    escaped: list[Any] = []
    for byte in text.encode():
        plain = 32 <= byte < 127 and chr(byte) not in '"\\'
        escaped.append(chr(byte) if plain else f"\\{byte:03o}")
    return f'"{"".join(escaped)}"'
