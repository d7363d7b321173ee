"""Other libraries that are compared where they are installed: they are imported here, inside of functions."""

import copy
import importlib.util
import warnings
from collections.abc import Sequence

import torch
from torch import nn

PACKAGES = ("torchao", "onnxruntime", "onnx", "onnxscript", "torch-pruning")  # whose versions a record keeps


def missing(*packages: str) -> list[str]:
    """Those that are not installed."""
    return [name for name in packages if importlib.util.find_spec(name.replace("-", "_")) is None]


def about_missing(packages: Sequence[str]) -> str:
    """A sentence for the table, or nothing."""
    if not packages:
        return ""
    return f" Left out, as not installed: what needs {' and '.join(packages)}."


def torch_ao(net: nn.Module) -> nn.Module | None:
    """torch's own dynamic quantization, while torch has it."""
    from torch.ao import quantization

    if not hasattr(quantization, "quantize_dynamic"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        return quantization.quantize_dynamic(net, {nn.Linear, nn.GRU, nn.GRUCell}, torch.qint8)


def torchao_eager(net: nn.Module) -> nn.Module:
    """torchao with int8 activations and weights, not compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what it does not find on a CPU
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantized = copy.deepcopy(net)
        quantize_(quantized, Int8DynamicActivationInt8WeightConfig())
    return quantized


def group_l2(net: nn.Module, example: torch.Tensor, ratio: float, ignored: Sequence[nn.Module]) -> nn.Module:
    """Torch-Pruning's group L2 norm over all layers: a copy of the network without that share of its channels."""
    import torch_pruning

    copied, kept = copy.deepcopy((net, list(ignored)))
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    pruner = torch_pruning.pruner.BasePruner(
        copied, example, importance=importance, global_pruning=True, pruning_ratio=ratio, ignored_layers=kept
    )
    pruner.step()
    return copied
