"""Building of graphs: nodes and initializers one after another, and a graph that continues another one."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.interface import TEXT, Tensor
from lifecycle.store.limits import shorten

OPSET, ML_OPSET, IR_VERSION = 18, 3, 9  # ONNX 1.14: what runtimes of 2023 and later read
ML = "ai.onnx.ml"
_TYPES = {
    **{str(np.dtype(d)): helper.np_dtype_to_tensor_dtype(np.dtype(d)) for d in
       ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")},
    TEXT: TensorProto.STRING,
}  # fmt: skip
_NAMES = {number: name for name, number in _TYPES.items()}


class GraphBuilder:
    """The nodes of a graph in their order; results of nodes are named by their operator and a number."""

    def __init__(self, opset: int | None = None) -> None:
        self.opset = OPSET if opset is None else opset
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def node(self, op: str, *inputs: str, domain: str = "", output: str | None = None, **attributes: Any) -> str:
        """Append a node with one output; its name."""
        name = output or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

    def cast(self, value: str, dtype: str) -> str:
        """Append a conversion to a dtype; the name of its result."""
        return self.node("Cast", value, to=_TYPES[dtype])

    def top_k(self, values: str, k: int) -> tuple[str, str]:
        """Append the choice of the k smallest values of each row, in ascending order; these and their places."""
        names = [f"TopK_{len(self.nodes)}.{output}" for output in ("values", "places")]
        inputs = [values, self.constant(np.array([k]))]
        self.nodes.append(helper.make_node("TopK", inputs, names, axis=1, largest=0, sorted=1))
        return names[0], names[1]

    def constant(self, array: Any, name: str | None = None) -> str:
        """An initializer; its name."""
        array = np.asarray(array)
        name = name or f"constant_{len(self.initializers)}"
        if array.dtype.kind in "OU":
            texts: list[Any] = [utf8(str(value)) for value in array.flat]
            proto = helper.make_tensor(name, TensorProto.STRING, array.shape, texts)
        else:
            proto = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        self.initializers.append(proto)
        return name

    def model(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "model", [_value_info(one) for one in inputs], [_value_info(one) for one in outputs],
            self.initializers,
        )  # fmt: skip
        return new_model(graph, self.opset)


def utf8(text: str) -> bytes:
    """The bytes of a string of a graph."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UnsupportedModel(shorten(f"the string {text!r} has no UTF-8, which a graph is written in")) from None


def new_model(graph: Any, opset: int) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(ML, ML_OPSET)]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="lifecycle")


def _value_info(tensor: Tensor) -> Any:
    shape = ["batch" if n is None and k == 0 else n for k, n in enumerate(tensor.shape)]
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.dtype], shape)


def tensors_of(values: Any) -> list[Tensor]:
    """The inputs or outputs of a graph; the first dimension is of any length."""
    found = []
    for value in values:
        of_tensor = value.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else None for d in of_tensor.shape.dim]
        found.append(Tensor(value.name, _NAMES[of_tensor.elem_type], tuple([None, *sizes[1:]])))
    return found


def fits(value: Any, tensor: Tensor) -> bool:
    """Whether an input or output of a graph may have the dtype and the shape; axes without a fixed size fit any."""
    found = value.type.tensor_type
    if _NAMES.get(found.elem_type) != tensor.dtype:
        return False
    sizes = [d.dim_value if d.HasField("dim_value") else None for d in found.shape.dim]
    if not found.HasField("shape"):
        return True
    return len(sizes) == len(tensor.shape) and all(
        size is None or wanted is None or size == wanted for size, wanted in zip(sizes, tensor.shape, strict=True)
    )


def rename_inputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Give the inputs of a graph these names, in their order."""
    new = dict(zip((value.name for value in model.graph.input), names, strict=True))
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
    for value in model.graph.input:
        value.name = new[value.name]


def join(first: onnx.ModelProto, second: onnx.ModelProto, prefix: str = "preprocessing") -> onnx.ModelProto:
    """The graph of `first`, with names that begin with `prefix`, and that of `second` behind it.

    The only input of `second` is the only output of `first`.
    """
    first = compose.add_prefix(first, f"{prefix}.", rename_inputs=False)
    for model in (first, second):
        model.ir_version = IR_VERSION
    merged = compose.merge_graphs(
        first.graph, second.graph, io_map=[(first.graph.output[0].name, second.graph.input[0].name)]
    )
    return new_model(merged, next(one.version for one in second.opset_import if not one.domain))


def share_arrays(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray], least_bytes: int) -> dict[str, str]:
    """Take values out of a graph that a file holds already: for each initializer left without values the array's name.

    An initializer may be an array, the transposed of one, or what int8 codes and their scales stand for: then nodes
    that compute it come first in the graph.
    """
    known = dict(_known_contents(arrays, least_bytes))
    shared: dict[str, str] = {}
    nodes: list[Any] = []
    kept: list[Any] = []
    for proto in model.graph.initializer:
        if proto.data_type == TensorProto.STRING:
            kept.append(proto)
            continue
        array = numpy_helper.to_array(proto)
        found = known.get(_content(array)) if array.nbytes >= least_bytes else None
        if found is None:
            kept.append(proto)
            continue
        sources, steps = found
        names = {source: proto.name if not steps else f"file.{source}" for source in sources}
        for source, name in names.items():
            if name not in shared:
                shared[name] = source
                stored = arrays[source]
                data_type = helper.np_dtype_to_tensor_dtype(stored.dtype)
                kept.append(TensorProto(name=name, data_type=data_type, dims=stored.shape))
        results = list(names.values())
        for k, (op, attributes) in enumerate(steps):
            output = proto.name if k == len(steps) - 1 else f"{proto.name}.{op}"
            nodes.append(helper.make_node(op, results, [output], **attributes))
            results = [output]
    graph_nodes = [*nodes, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(graph_nodes)
    return shared


_Steps = list[tuple[str, dict[str, Any]]]


def _known_contents(
    arrays: Mapping[str, np.ndarray], least_bytes: int
) -> Iterator[tuple[tuple, tuple[list[str], _Steps]]]:
    """Contents that can be made of arrays of a file, each with these arrays and the operators that make it."""
    for name, array in arrays.items():
        transpose: _Steps = [("Transpose", {"perm": [1, 0]})]
        if array.nbytes >= least_bytes and (array.dtype.kind == "f" or array.dtype == np.int8):
            if array.ndim == 2:
                yield _content(array.T), ([name], transpose)
            yield _content(array), ([name], [])
        scales = arrays.get(f"{name.removesuffix('.codes')}.scales") if name.endswith(".codes") else None
        if array.dtype != np.int8 or scales is None or scales.shape != array.shape[:1] or scales.dtype != np.float32:
            continue
        decoded = array * scales.reshape(-1, *[1] * (array.ndim - 1))
        decode: _Steps = [("DequantizeLinear", {"axis": 0})]
        sources = [name, f"{name.removesuffix('.codes')}.scales"]
        if decoded.ndim == 2:
            yield _content(decoded.T), (sources, decode + transpose)
        yield _content(decoded), (sources, decode)


def _content(array: np.ndarray) -> tuple:
    """What tells an array from others; -0 and 0 are not the same."""
    return array.dtype.str, array.shape, hashlib.sha256(np.ascontiguousarray(array).data).digest()
