"""Graphs of files: checked before onnxruntime sees them, and joined with the arrays of the file.

A graph may come from anybody, as a checksum is no signature. Refused are: messages that take much more memory than they
have bytes, data outside of the file, operators that are not ONNX's own, loops and branches, graphs inside of
attributes, trees that are none, tensors of many axes, and constants that ask for large memory.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lifecycle._check import CorruptBundle
from lifecycle.onnx import constants
from lifecycle.onnx.interface import Interface
from lifecycle.onnx.message_size import parsed_size
from lifecycle.onnx.ranks import MAX_RANK, Ranks
from lifecycle.onnx.tree_nodes import OPERATOR as TREES
from lifecycle.onnx.tree_nodes import check_tree_nodes
from lifecycle.store import limits

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_REFUSED = (
    *("Loop", "Scan", "If", "SequenceMap", "Optional", "OptionalGetElement", "ImageDecoder", "StringNormalizer"),
    *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"),
    *("HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix"),
    # of trees TreeEnsembleRegressor alone is written, and checked
    *("TreeEnsemble", "TreeEnsembleClassifier"),
)
# whose outputs have sizes that numbers in the graph decide: the places of these inputs
_SIZED = {"ConstantOfShape": [0], "Expand": [1], "Tile": [1], "Range": [0, 1], "Pad": [1], "Resize": [3], "OneHot": [1]}
_MAX_NODES, _MAX_ELEMENTS = 5_000, 10**8
_MAX_NAMES = 30_000  # of inputs and outputs of nodes; onnxruntime takes about 1 kB for each
_MAX_TENSORS = 20_000  # initializers, and values with a declared type
_MAX_FUNCTIONS = 500  # operators of which onnxruntime may make many; a GroupNormalization takes 4 ms and 100 kB
_OPSETS = {"": (18, 64), "ai.onnx": (18, 64), "ai.onnx.ml": (1, 4)}
_PARSED_BYTES_PER_BYTE = 8  # lists of small integers, of which trees are made, take four times their bytes


def check(name: str, data: bytes, interface: Interface | None = None) -> Any:
    """The model of a graph that may run, with this interface; CorruptBundle says what is wrong with another one."""
    model = _parse(name, data)
    graph = model.graph
    _require(not model.functions and not model.training_info, name, "has functions or training information")
    for one in model.opset_import:
        _require(one.domain in _DOMAINS, name, "imports operators that are not ONNX's")
        low, high = _OPSETS[one.domain]
        _require(low <= one.version <= high, name, "has an unknown opset")
    _require(len(graph.node) <= _MAX_NODES, name, f"has more than {_MAX_NODES:,} nodes")
    n_names = sum(len(node.input) + len(node.output) for node in graph.node)
    _require(n_names <= _MAX_NAMES, name, f"has nodes of more than {_MAX_NAMES:,} inputs and outputs")
    values = (graph.input, graph.output, graph.value_info)
    n_tensors = max(len(graph.initializer), sum(map(len, values)))
    _require(n_tensors <= _MAX_TENSORS, name, f"has more than {_MAX_TENSORS:,} initializers or declared values")
    _require(not graph.sparse_initializer and not graph.quantization_annotation, name, "has sparse initializers")
    for tensor in graph.initializer:
        _check_tensor(name, tensor)
    for value in (*graph.input, *graph.output):
        is_tensor = value.type.HasField("tensor_type")
        _require(is_tensor, name, f"takes or gives {value.name[:100]!r}, which is no tensor")
    for node in graph.node:
        _check_node(name, node)
    n_functions = sum(_is_function(node) for node in graph.node)
    _require(n_functions <= _MAX_FUNCTIONS, name, f"has more than {_MAX_FUNCTIONS} operators that are made of others")
    _check_constants(name, graph)
    _check_ranks(name, graph)
    if interface is not None:
        check_interface(name, graph, interface)
    return model


def _parse(name: str, data: bytes) -> Any:
    """The message, if it takes no more memory than its bytes allow."""
    import onnx
    from google.protobuf.message import DecodeError

    limit = _PARSED_BYTES_PER_BYTE * len(data) + limits.MEMORY
    try:
        size = parsed_size(onnx.ModelProto.DESCRIPTOR, data, limit)
        _require(size <= limit, name, "takes much more memory than it has bytes")
        return onnx.ModelProto.FromString(data)
    except CorruptBundle:
        raise
    except (DecodeError, ValueError):
        raise CorruptBundle(f"the graph of {name} is not an ONNX model") from None


def _is_function(node: Any) -> bool:
    """Whether ONNX defines an operator by others, into which a runtime may expand it."""
    import onnx

    try:
        schema: Any = onnx.defs.get_schema(node.op_type, domain=node.domain)
    except onnx.defs.SchemaError:
        return False  # which onnxruntime refuses
    return bool(schema.has_function or schema.has_context_dependent_function)


def _check_node(name: str, node: Any) -> None:
    _require(node.domain in _DOMAINS, name, f"has the operator {node.op_type} of {node.domain}")
    _require(node.op_type not in _REFUSED, name, f"has the operator {node.op_type}")
    for attribute in node.attribute:
        n_outputs = attribute.i if attribute.name == "num_outputs" else len(node.output)
        _require(n_outputs == len(node.output), name, f"has a {node.op_type} of other outputs than it names")
        nested = attribute.HasField("g") or attribute.graphs or attribute.HasField("sparse_tensor")
        _require(not nested and not attribute.sparse_tensors, name, "has a graph inside of another one")
        for tensor in ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors):
            _check_tensor(name, tensor)
    if node.op_type == TREES:
        try:
            check_tree_nodes(node)
        except ValueError as error:
            raise CorruptBundle(f"the graph of {name} has trees that are none: {error}") from None


def _check_constants(name: str, graph: Any) -> None:
    """Constants that are sizes must not be large."""
    known = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            known.update((node.output[0], _constant(a)) for a in node.attribute)
        if node.op_type in _SIZED:
            for source in (node.input[k] for k in _SIZED[node.op_type] if k < len(node.input)):
                if source in known:
                    _require(_largest(known[source]) <= _MAX_ELEMENTS, name, f"asks {node.op_type} for much memory")


def _check_ranks(name: str, graph: Any) -> None:
    ranks = Ranks()
    for value in graph.input:
        ranks.declare_input(value)
    for tensor in graph.initializer:
        ranks.declare_constant(tensor.name, tensor)
    for value in graph.value_info:
        _require(len(value.type.tensor_type.shape.dim) <= MAX_RANK, name, f"has values of more than {MAX_RANK} axes")
    _require(all(rank <= MAX_RANK for rank in ranks.rank.values()), name, f"has values of more than {MAX_RANK} axes")
    for node in graph.node:
        if node.op_type == "Constant":
            _require(len(node.attribute) == len(node.output) == 1, name, "has a malformed constant")
            ranks.declare_constant(node.output[0], _constant(node.attribute[0]))
            continue
        try:
            rank = ranks.append(node)
        except KeyError:
            raise CorruptBundle(f"the graph of {name} has nodes whose inputs nothing before them computes") from None
        _require(rank <= MAX_RANK, name, f"has values of more than {MAX_RANK} axes")


def check_interface(name: str, graph: Any, interface: Interface) -> None:
    """CorruptBundle unless the graph takes and gives what its interface says."""
    from lifecycle.onnx.graph import fits

    known = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in known]
    for declared, found in ((interface.inputs, inputs), (interface.outputs, graph.output)):
        by_name = {one.name: one for one in declared}
        same = len(declared) == len(found) == len(by_name) and by_name.keys() == {value.name for value in found}
        _require(same, name, "has other inputs or outputs than its interface")
        for value in found:
            is_same = fits(value, by_name[value.name])
            _require(is_same, name, f"has another dtype or shape of {value.name[:100]!r} than its interface")


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise CorruptBundle(f"the graph of {name} {what}")


def _check_tensor(name: str, tensor: Any) -> None:
    _require(not tensor.external_data and not tensor.data_location, name, "names data outside of the file")
    _require(all(0 <= n < 2**40 for n in tensor.dims), name, "has an initializer of a malformed shape")
    _require(len(tensor.dims) <= MAX_RANK, name, f"has an initializer of more than {MAX_RANK} axes")


def _constant(attribute: Any) -> Any:
    """The tensor of a Constant, of which ONNX has several forms; of numbers that are no integers only the shape."""
    import onnx

    if attribute.HasField("t"):
        return attribute.t
    if attribute.floats or attribute.strings:
        return onnx.TensorProto(data_type=onnx.TensorProto.FLOAT, dims=[len(attribute.floats or attribute.strings)])
    numbers = list(attribute.ints) or [attribute.i]
    return onnx.helper.make_tensor("constant", onnx.TensorProto.INT64, [len(numbers)], numbers)


def _largest(tensor: Any) -> float:
    """How many elements a constant may ask for, as a shape or as a number."""
    import onnx

    if tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.INT32) or math.prod(tensor.dims) > 64:
        return 0.0
    values = np.abs(onnx.numpy_helper.to_array(tensor).astype(np.float64))
    return float(np.prod(np.maximum(values, 1.0)))


def session_of(
    name: str, data: bytes, shared: Any, arrays: dict[str, np.ndarray], interface: Interface | None = None
) -> tuple[Any, Any]:
    """An onnxruntime session of a graph, and what must stay in memory with it.

    `shared` lists pairs: an initializer without values, and the array of the file that the session reads in its place.
    """
    import onnxruntime

    model = check(name, data, interface)
    values, n_bytes = {}, len(data) + sum(array.nbytes for array in arrays.values())
    for tensor, array in _without_values(name, model, shared, arrays):
        constants.mark_external(tensor)
        values[tensor.name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
    options = constants.session_options()
    if constants.has_many_uses(model.graph, n_bytes):
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        constants.compute_constants(model, values, n_bytes)
        session = constants.new_session(model, values, options)
    except Exception as error:  # onnxruntime's own classes have no common base
        raise CorruptBundle(f"onnxruntime refuses the graph of {name}: {str(error)[:300]}") from None
    return session, (values, arrays)


def complete_model(
    name: str, data: bytes, shared: Any, arrays: dict[str, np.ndarray], interface: Interface | None = None
) -> bytes:
    """The graph with the values of all initializers."""
    import onnx

    model = check(name, data, interface)
    allowed = 2 * sum(array.nbytes for array in arrays.values()) + limits.MEMORY
    for tensor, array in _without_values(name, model, shared, arrays):
        allowed -= array.nbytes
        _require(allowed >= 0, name, "takes the same arrays of the file many times")
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    _require(model.ByteSize() < 2**31, name, "has more than 2 GiB with its arrays, which no ONNX file holds")
    return bytes(model.SerializeToString())


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
