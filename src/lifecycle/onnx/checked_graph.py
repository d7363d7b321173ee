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
    # whose sizes numbers in the graph decide, and which no exporter writes
    *("CenterCropPad", "MaxUnpool", "AffineGrid"),
    # of trees TreeEnsembleRegressor alone is written, and checked
    *("TreeEnsemble", "TreeEnsembleClassifier"),
)
# whose outputs have sizes that numbers in the graph decide: the places of these inputs, and names of attributes
_SIZED = {
    "ConstantOfShape": [0], "Expand": [1], "Tile": [1], "Pad": [1], "Resize": [2, 3], "OneHot": [1], "Col2Im": [1],
    "DFT": [1],
}  # fmt: skip
_SIZES = ("output_shape", "output_padding", "output_height", "output_width", "pads", "strides")
_MAX_NODES, _MAX_ELEMENTS = 5_000, 10**8
_MAX_SIZES = 2 * MAX_RANK  # numbers, of each axis two, as Pad takes them
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
        what = f"asks {node.op_type} for much memory"
        for attribute in node.attribute:
            if attribute.name in _SIZES:
                numbers = np.array(attribute.ints or [attribute.i])
                _require(_product(numbers, attribute.name == "pads") <= _MAX_ELEMENTS, name, what)
        places = [0, 1, 2] if node.op_type == "Range" else _SIZED.get(node.op_type, [])
        sources = [node.input[k] if k < len(node.input) else "" for k in places]
        given = [_numbers(name, known[source]) if source in known else None for source in sources]
        if node.op_type == "Range":
            _require(_length_of_range(given) <= _MAX_ELEMENTS, name, what)
            continue
        for one in given:
            _require(one is None or _product(one, node.op_type == "Pad") <= _MAX_ELEMENTS, name, what)


def _numbers(name: str, tensor: Any) -> np.ndarray:
    """A constant that decides a size, flat; ones for what is no number, which onnxruntime refuses."""
    import onnx

    if tensor.data_type not in constants.NUMERIC or not 0 < math.prod(tensor.dims) <= _MAX_SIZES:
        return np.ones(1)
    try:  # an array of the file is none that may decide a size: it has no values here
        return np.asarray(onnx.numpy_helper.to_array(tensor)).reshape(-1).astype(np.float64)
    except (TypeError, ValueError):
        raise CorruptBundle(f"the graph of {name} has a malformed constant") from None


def _product(numbers: np.ndarray, of_both_ends: bool) -> float:
    """How many elements numbers ask for: the size of each axis, or what is added at its beginning and at its end."""
    numbers = np.abs(np.asarray(numbers, np.float64))
    if of_both_ends and len(numbers) % 2 == 0:
        numbers = numbers.reshape(2, -1).sum(axis=0)
    product = float(np.prod(np.maximum(numbers, 1.0)))
    return np.inf if np.isnan(product) else product


def _length_of_range(given: list[np.ndarray | None]) -> float:
    """By the start, the limit and the step; the graph computes those that are None."""
    start, limit, step = (one if one is None else one[0] for one in given)
    with np.errstate(all="ignore"):
        length = np.abs((limit or 0.0) - (start or 0.0)) / np.abs(np.float64(1.0 if step is None else step))
    return np.inf if np.isnan(length) else float(length)


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
    """The tensor of a Constant, of which ONNX has several forms; of strings only the shape."""
    import onnx

    if attribute.HasField("t"):
        return attribute.t
    types = onnx.TensorProto
    if attribute.strings or attribute.HasField("s"):
        return types(data_type=types.STRING, dims=[len(attribute.strings) or 1])
    is_float = attribute.floats or attribute.HasField("f")
    numbers = list(attribute.floats) or list(attribute.ints) or [attribute.f if is_float else attribute.i]
    return onnx.helper.make_tensor("constant", types.FLOAT if is_float else types.INT64, [len(numbers)], numbers)


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
    return session, values


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
