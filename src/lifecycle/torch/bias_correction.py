"""Biases that make good the mean error of the outputs of quantized layers (Nagel et al., 2019)."""

from typing import Any

import torch
from torch import nn

from lifecycle.torch.calibration import batches_of, evaluating
from lifecycle.torch.modules import named_modules
from lifecycle.torch.quantized import Int4Linear, Int8Affine, QuantizedModule

_BATCH_SIZE = 32
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def output_means(net: nn.Module, paths: set[str], inputs: Any) -> dict[str, torch.Tensor]:
    """Mean of each output channel over all calibration rows, float64, for the layers at these paths with a bias.

    They are in the order of their first call; layers of other kinds, without a bias or not called are left out.

    Raises
    ------
    ValueError
        An output is NaN or infinite.
    """
    layers = {m: path for path, m in named_modules(net) if path in paths and _n_spatial(m) is not None}
    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def see(layer: nn.Module, _: Any, out: torch.Tensor) -> None:
        path, n_spatial = layers[layer], _n_spatial(layer) or 0
        rows = out.detach().double().movedim(-1 - n_spatial, -1).reshape(-1, out.shape[-1 - n_spatial])
        sums[path] = sums.get(path, 0.0) + rows.sum(0)
        counts[path] = counts.get(path, 0) + len(rows)

    handles = [layer.register_forward_hook(see) for layer in layers]
    try:
        with evaluating(net), torch.no_grad():
            for arguments, keywords in batches_of(net, inputs, _BATCH_SIZE):
                net(*arguments, **keywords)
    finally:
        for handle in handles:
            handle.remove()
    means = {path: total / counts[path] for path, total in sums.items()}
    for path, mean in means.items():
        if not torch.isfinite(mean).all():
            raise ValueError(f"the outputs of the layer {path!r} on the calibration rows contain NaN or infinity")
    return means


def correct_biases(net: nn.Module, wanted: dict[str, torch.Tensor], inputs: Any) -> None:
    """Give the layers these mean outputs, in place, one after another: each correction changes the inputs of the next.

    `wanted`: what `output_means` returned for the network before it was quantized.
    """
    of_path = dict(named_modules(net))
    for path, mean in wanted.items():
        change = mean - output_means(net, {path}, inputs)[path]
        bias: Any = of_path[path].bias
        with torch.no_grad():
            bias += change.to(bias.dtype)


def _n_spatial(layer: Any) -> int | None:
    """Dimensions of an output behind its channels; None for a layer of another kind, or without a bias."""
    if not isinstance(layer, (nn.Linear, Int4Linear, Int8Affine, *_CONVOLUTIONS)) or layer.bias is None:
        return None
    weight = layer.codes if isinstance(layer, QuantizedModule) else layer.weight  # which would be decoded first
    return int(weight.ndim) - 2
