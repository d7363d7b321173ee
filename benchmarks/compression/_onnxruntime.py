"""A module in onnxruntime, in float32 and with dynamic int8 quantization."""

import logging
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

    The int8 graphs are made as onnxruntime's documentation has it for CPUs: first `quant_pre_process`, then int8
    weights with a scale for each channel, of the matrix products with a constant. One of them had its operators fused
    before the quantization. Every graph has all optimizations when it is loaded.
    """
    path, prepared, fused = (folder / f"{len(example)}{end}.onnx" for end in ("", "-prepared", "-fused"))
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about itself
            torch.onnx.export(net, (example,), path, dynamo=True, external_data=False, verbose=False)
        from onnxruntime.quantization import shape_inference

        shape_inference.quant_pre_process(path, prepared, skip_symbolic_shape=True)
        _session(path, save=fused)
        return {FLOAT: _session(path), INT8: _session(_quantized(prepared)), FUSED_INT8: _session(_quantized(fused))}
    finally:
        logging.disable(logging.NOTSET)


def _quantized(path: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    to = path.with_suffix(".int8.onnx")
    quantize_dynamic(
        path, to, op_types_to_quantize=["MatMul", "Gemm", "Attention"], per_channel=True, weight_type=QuantType.QInt8,
        reduce_range=not has_vnni(),
    )  # fmt: skip
    return to


def _session(path: Path, save: Path | None = None) -> Embed:
    """The graph with all optimizations, or, to save it, with those that do not depend on the layout of memory."""
    import onnxruntime

    levels = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if save is None else levels.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    if save is not None:
        options.optimized_model_filepath = str(save)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return lambda tokens: session.run(None, {name: tokens.numpy()})[0]
