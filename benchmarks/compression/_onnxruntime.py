"""A module in onnxruntime, in float32 and with dynamic int8 quantization."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ._timing import has_vnni

NEEDED = ("onnxruntime", "onnx", "onnxscript")
FLOAT, INT8, FUSED_INT8 = "onnxruntime float32", "onnxruntime int8", "onnxruntime int8, fused first"

Embed = Callable[[torch.Tensor], np.ndarray]


def sessions(net: nn.Module, example: torch.Tensor, folder: Path) -> dict[str, Embed]:
    """What embeds batches of the example's shape.

    The int8 files are made with the options that are documented for CPUs: int8 weights with a scale for each channel,
    of the matrix products with a constant. In the second, the graph is optimized before it is quantized, as the
    documentation of onnxruntime advises. Both are optimized when they are loaded, too.
    """
    path, fused = folder / f"{len(example)}.onnx", folder / f"{len(example)}-fused.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(net, (example,), path, dynamo=True, external_data=False, verbose=False)
    embed = {FLOAT: _session(path, save=fused)}
    for who, source in ((INT8, path), (FUSED_INT8, fused)):
        embed[who] = _session(_quantized(source))
    return embed


def _quantized(path: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    to = path.with_suffix(".int8.onnx")
    quantize_dynamic(
        path, to, op_types_to_quantize=["MatMul", "Gemm", "Attention"], per_channel=True, weight_type=QuantType.QInt8,
        reduce_range=not has_vnni(),
    )  # fmt: skip
    return to


def _session(path: Path, save: Path | None = None) -> Embed:
    """The graph with all optimizations; `save`: where those go that do not depend on the layout of memory."""
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    if save is not None:
        options = _options()
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(save)
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    options = _options()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return lambda tokens: session.run(None, {name: tokens.numpy()})[0]


def _options():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    return options
