"""Graphs of files: checked before onnxruntime sees them, and joined with the arrays of the file.

A graph may come from anybody, as a checksum is no signature. Refused are: data outside of the file, operators that are
not ONNX's own, loops and branches, graphs inside of attributes, and constants that ask for large memory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lifecycle._check import CorruptBundle

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_REFUSED = (
    *("Loop", "Scan", "If", "SequenceMap", "Optional", "OptionalGetElement", "ImageDecoder", "StringNormalizer"),
    *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"),
    *("HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix"),
)
# whose outputs have sizes that numbers in the graph decide
_SIZED = ("ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "OneHot", "EyeLike")
MAX_NODES, _MAX_ELEMENTS, _MAX_OPSET = 5_000, 10**8, 64
_IN_MEMORY = "arrays of the same file"


def check(name: str, data: bytes) -> Any:
    """The model of a graph that may run; CorruptBundle says what is wrong with another one."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise CorruptBundle(f"the graph of {name} is not an ONNX model") from None
    graph = model.graph
    _require(not model.functions and not model.training_info, name, "has functions or training information")
    _require(all(one.domain in _DOMAINS for one in model.opset_import), name, "imports operators that are not ONNX's")
    _require(all(0 < one.version <= _MAX_OPSET for one in model.opset_import), name, "has an unknown opset")
    _require(len(graph.node) <= MAX_NODES, name, f"has more than {MAX_NODES:,} nodes")
    _require(not graph.sparse_initializer, name, "has sparse initializers")
    for tensor in graph.initializer:
        _check_tensor(name, tensor)
    constants = {t.name: t for t in graph.initializer}
    for node in graph.node:
        _require(node.domain in _DOMAINS, name, f"has the operator {node.op_type} of {node.domain}")
        _require(node.op_type not in _REFUSED, name, f"has the operator {node.op_type}")
        for attribute in node.attribute:
            nested = attribute.HasField("g") or attribute.graphs or attribute.HasField("sparse_tensor")
            _require(not nested and not attribute.sparse_tensors, name, "has a graph inside of another one")
            for tensor in ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors):
                _check_tensor(name, tensor)
        if node.op_type == "Constant":
            constants.update((node.output[0], _constant(a)) for a in node.attribute)
        if node.op_type in _SIZED:
            for source in node.input:
                if source in constants:
                    _require(_largest(constants[source]) <= _MAX_ELEMENTS, name, f"asks {node.op_type} for much memory")
    return model


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise CorruptBundle(f"the graph of {name} {what}")


def _check_tensor(name: str, tensor: Any) -> None:
    _require(not tensor.external_data and not tensor.data_location, name, "names data outside of the file")
    _require(all(0 <= n < 2**40 for n in tensor.dims), name, "has an initializer of a malformed shape")


def _constant(attribute: Any) -> Any:
    """The tensor of a Constant, of which ONNX has several forms."""
    import onnx

    if attribute.HasField("t"):
        return attribute.t
    numbers = list(attribute.ints) or [attribute.i]
    return onnx.helper.make_tensor("constant", onnx.TensorProto.INT64, [len(numbers)], numbers)


def _largest(tensor: Any) -> float:
    """How many elements a constant may ask for, as a shape or as a number."""
    import onnx

    if tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.INT32) or np.prod(tensor.dims) > 64:
        return 0.0
    values = np.abs(onnx.numpy_helper.to_array(tensor).astype(np.float64))
    return float(np.prod(np.maximum(values, 1.0)))


def session_of(name: str, data: bytes, shared: Any, arrays: dict[str, np.ndarray]) -> tuple[Any, Any]:
    """An onnxruntime session of a graph, and what must stay in memory with it.

    `shared` lists pairs: an initializer without values, and the array of the file that the session reads in its place.
    """
    import onnxruntime

    model = check(name, data)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    values = {}
    for tensor, array in _without_values(name, model, shared, arrays):
        tensor.data_location = 1  # EXTERNAL: onnxruntime asks for a location, and takes the values from below instead
        tensor.external_data.add(key="location", value=_IN_MEMORY)
        values[tensor.name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
    if values:
        options.add_external_initializers(list(values), list(values.values()))
        data = model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes have no common base
        raise CorruptBundle(f"onnxruntime refuses the graph of {name}: {str(error)[:300]}") from None
    return session, (values, arrays)


def complete_model(name: str, data: bytes, shared: Any, arrays: dict[str, np.ndarray]) -> bytes:
    """The graph with the values of all initializers."""
    import onnx

    model = check(name, data)
    for tensor, array in _without_values(name, model, shared, arrays):
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return model.SerializeToString()


def _without_values(
    name: str, model: Any, shared: Any, arrays: dict[str, np.ndarray]
) -> Iterator[tuple[Any, np.ndarray]]:
    """Each initializer that has no values in the graph, and the array that has them."""
    import onnx

    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for pair in shared if isinstance(shared, list) else [None]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise CorruptBundle(f"the manifest of {name} does not list the arrays of its graph")
        tensor, array = initializers.pop(pair[0], None), arrays.get(pair[1])
        if tensor is None or array is None or tuple(tensor.dims) != array.shape or tensor.raw_data:
            raise CorruptBundle(f"the graph of {name} does not fit the arrays of the file")
        if tensor.data_type != int(onnx.helper.np_dtype_to_tensor_dtype(array.dtype)):
            raise CorruptBundle(f"the graph of {name} does not fit the arrays of the file")
        yield tensor, array
