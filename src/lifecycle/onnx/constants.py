"""What a graph makes of its constants alone: computed once, as far as the results have bounded sizes.

onnxruntime's own pass for this computes whatever has constant inputs: a graph of 140 bytes takes any amount of memory
while the file is opened. So that pass is off. Here the operators are computed that give no more elements than they
take, as they transpose, decode and rearrange weights, or center rows; all others stay in the graph, and run with each
prediction.
"""

import math
from collections.abc import Mapping
from typing import Any

from lifecycle.store import limits

EXTERNAL = "arrays of the same file"
_BYTES_PER_BYTE = {
    **dict.fromkeys(("Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Concat"), 1),
    "DequantizeLinear": 4, "Cast": 8, "Sub": 1, "ReduceSumSquare": 1,
}  # fmt: skip
NUMERIC = (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13)  # of ONNX's data types: those that numpy has too
_FACTOR = 16  # LSTM's weights are sliced, joined and reshaped: bounds of the three add up to ten times their bytes


def session_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options


def new_session(model: Any, values: Mapping[str, Any], options: Any) -> Any:
    """A session in which onnxruntime computes no constants; `values` are those of initializers without values."""
    import onnxruntime

    used = {tensor.name for tensor in model.graph.initializer} & values.keys()
    if used:
        options.add_external_initializers(list(used), [values[name] for name in used])
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
    )


def mark_external(tensor: Any) -> None:
    """Make an initializer one whose values are handed to the session."""
    tensor.data_location = 1  # EXTERNAL: onnxruntime asks for a location, and takes the values that it is given instead
    tensor.external_data.add(key="location", value=EXTERNAL)


def bytes_of(tensor: Any) -> int:
    """Of an initializer, by its shape; of a type that numpy does not have as many as the message has."""
    if tensor.data_type not in NUMERIC:
        return int(tensor.ByteSize())
    return math.prod(tensor.dims) * _item_size(tensor.data_type)


def _item_size(data_type: int) -> int:
    import onnx

    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _cast_type(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)


def compute_constants(model: Any, values: dict[str, Any], n_bytes: int) -> None:
    """Replace nodes by initializers, in the graph and in `values`; `n_bytes`: of the graph and its arrays."""
    import onnx
    import onnxruntime

    graph = model.graph
    chosen = _chosen(graph, _FACTOR * n_bytes + limits.MEMORY)
    nodes, rest = ([node for k, node in enumerate(graph.node) if (k in chosen) == among] for among in (True, False))
    wanted = {name for node in rest for name in node.input}
    results = [name for node in nodes for name in node.output if name in wanted]
    if not results:
        return
    needed = {name for node in nodes for name in node.input}
    constants = [node for node in rest if node.op_type == "Constant" and needed.intersection(node.output)]
    part = onnx.helper.make_model(
        onnx.helper.make_graph(
            [*constants, *nodes], "constants", [], [onnx.ValueInfoProto(name=name) for name in results],
            [tensor for tensor in graph.initializer if tensor.name in needed],
        ),
        opset_imports=list(model.opset_import), ir_version=model.ir_version,
    )  # fmt: skip
    found = new_session(part, values, session_options()).run(results, {})
    for name, array in zip(results, found, strict=True):
        # of numpy's memory, as onnxruntime takes no initializers from its own
        values[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        data_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        mark_external(graph.initializer.add(name=name, data_type=data_type, dims=array.shape))
    for k in sorted(chosen, reverse=True):
        del graph.node[k]
    used = wanted.union(one.name for one in graph.output)
    for k in reversed(range(len(graph.initializer))):
        if graph.initializer[k].name not in used:
            values.pop(graph.initializer[k].name, None)
            del graph.initializer[k]


def _chosen(graph: Any, budget: int) -> set[int]:
    """The places of the nodes to compute: of operators that give no more than they take, and at most so many bytes."""
    numeric = [tensor for tensor in graph.initializer if tensor.data_type in NUMERIC]
    known = {tensor.name: bytes_of(tensor) for tensor in numeric}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in numeric}
    outputs, chosen = {one.name for one in graph.output}, set()
    for k, node in enumerate(graph.node):
        inputs = [name for name in node.input if name]
        if node.op_type == "Constant":
            known.update(dict.fromkeys(node.output, int(node.ByteSize())))
        if node.op_type not in _BYTES_PER_BYTE or outputs.intersection(node.output) or not inputs:
            continue
        if node.op_type == "Cast" and _cast_type(node) not in NUMERIC:
            continue
        of_inputs = [shapes.get(name) for name in inputs]
        if all(name in known for name in inputs) and not _may_expand(node.op_type, of_inputs):
            n_bytes = _BYTES_PER_BYTE[node.op_type] * sum(known[name] for name in inputs)
            if node.op_type in ("Cast", "Sub") and of_inputs[0] is not None:
                shapes.update(dict.fromkeys(node.output, of_inputs[0]))
            if node.op_type == "Cast" and of_inputs[0] is not None:
                n_bytes = math.prod(of_inputs[0]) * _item_size(_cast_type(node))
            if n_bytes <= budget:
                budget -= n_bytes
                known.update(dict.fromkeys(node.output, n_bytes))
                chosen.add(k)
    return chosen


def _may_expand(op: str, shapes: list[tuple[int, ...] | None]) -> bool:
    """Whether an operator may give more elements than its first input has, or its inputs have no known shape."""
    first = shapes[0]
    if op == "Sub":  # (n, 1) − (1, n) has n² elements
        return first is None or shapes[1:] != [first[len(first) - len(shapes[-1] or ()) :]]
    return op == "ReduceSumSquare" and not (first and math.prod(first))  # of an axis without elements there are sums


def has_many_uses(graph: Any, n_bytes: int) -> bool:
    """Whether the nodes read more constants than there are, as where thousands of convolutions share their weights.

    Each of them would get weights of its own where onnxruntime joins it with the node behind it.
    """
    known = {tensor.name: bytes_of(tensor) for tensor in graph.initializer}
    return sum(known.get(name, 0) for node in graph.node for name in node.input) > _FACTOR * n_bytes + limits.MEMORY
