"""quantize: the weights of a model become codes of 4 or 8 bits."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle._check import integer, one_of
from lifecycle.codecs import encode, even_group_size, list_quantizers, max_code
from lifecycle.compression._layers import unprotected_layers
from lifecycle.compression._obs import LayerInputs, quantize_layer
from lifecycle.compression._statistics import check_calibration
from lifecycle.store import adapters
from lifecycle.store.adapters import Grid

__all__ = ["quantize"]

GPTQ = "gptq"
_BITS = (4, 8)


def quantize(
    model: Any,
    *,
    bits: int = 8,
    group_size: int | None = None,
    method: str = "absmax",
    activations: str | None = "auto",
    calibration: Any = None,
    protect: Sequence[str] = (),
) -> Any:
    """Store the weights of a copy of the model as codes of 8 or 4 bits, with a scale for each output channel or group.

    Parameters
    ----------
    model : torch.nn.Module, estimator of this library or of scikit-learn, or a Pipeline of these
        Of scikit-learn: its linear models with a dense ``coef_``, MLPClassifier and MLPRegressor. An estimator must be
        fitted. The model is not changed. A compiled module, or one in DataParallel, stands for the
        module that it wraps.
    bits : {8, 4}, default=8
        Bits per weight.
    group_size : int, optional
        Inputs of a channel that share a scale, at most; their groups are of one size but for the last. None: one
        scale for each channel. Layers with groups compute in floating point.
    method : str, default="absmax"
        * "absmax": the scale of a channel is its largest \\|w\\| divided by the largest code;
        * "mse": the scale has the least squared error, and may clip the largest weights (Choukroun et al., 2019);
        * "gptq": scales as "mse"; weights are rounded one input after another, and what a rounding changes in the
          outputs is made good by the weights that follow (Frantar et al., 2023).

    activations : {"auto", None, "dynamic"}, default="auto"
        "dynamic": the input of each float32 ``nn.Linear`` and ``nn.Conv2d`` is quantized too, at each call, so that
        the layer runs in int8; raises if the model has no such layer. None: weights only; they are decoded once and
        the model computes in floating point, which makes the file smaller, not the computation faster. "auto":
        "dynamic" for every layer that supports it, weights only for all others (recurrent layers, embeddings, other
        convolutions, tied weights, groups, layers with so many inputs that sums of 32 bits could overflow, linear
        estimators, scikit-learn's MLPs).
    calibration : array, tensor, or tuple or dict of these, optional
        Rows as the model takes them, for "gptq"; some hundreds do.
    protect : sequence of str, default=()
        Layers that are not changed, named as in `prune`.

    Returns
    -------
    A copy of the model, in the same training mode, for inference.

    Raises
    ------
    ValueError
        An option or name is unknown, `calibration` does not fit the method or the model, a weight is NaN or infinite, a
        parameter has no values (a lazy module, or one on the meta device), or no layer supports "dynamic".
    UnsupportedModel
        The model is of another kind, is not fitted, has no weight to quantize, has one that is computed from others, or
        one whose inputs "gptq" needs and cannot get.

    Notes
    -----
    With "dynamic", a layer's input has one scale for the whole batch: every input has an error of up to 1/250 (without
    VNNI instructions, 1/125) of the largest in the batch, so the prediction for a row depends a little on the other
    rows. Rows with NaN or infinity have no part in the scale: such a layer computes them in floating point, and also
    all that is differentiated with respect to its input.
    """
    quantizers = list_quantizers()
    one_of("method", method, [*quantizers, GPTQ])
    one_of("bits", integer("bits", bits), _BITS)
    one_of("activations", activations, ("auto", None, "dynamic"))
    group_size = None if group_size is None else integer("group_size", group_size, low=1)
    if group_size is not None and activations == "dynamic":
        raise ValueError('a layer with group_size computes in floating point: pass activations="auto" or None')
    check_calibration(f'method="{method}"', "inputs" if method == GPTQ else None, calibration)
    adapter = adapters.adapter_for(model)
    layers = {layer.name: layer for layer in unprotected_layers(adapter.layers(model), protect, model)}
    copied = adapter.copy(model)
    codec = quantizers["mse" if method == GPTQ else method]

    def encode_layer(name: str, weight: np.ndarray, axis: int, grid: Grid | None) -> Grid:
        if grid is not None and _holds(grid, bits, group_size):
            return grid  # quantizing twice changes nothing
        if method == GPTQ:
            moments = adapter.second_moments(copied, [name], calibration)[name]
            return quantize_layer(layers[name], weight, LayerInputs(moments), codec, bits, group_size)
        return encode(weight, codec.scales, axis, bits, group_size)

    return adapter.quantize_layers(copied, list(layers), encode_layer, activations)


def _holds(grid: Grid, bits: int, group_size: int | None) -> bool:
    """Whether a weight is quantized in this way already."""
    codes, scales = grid
    n_inputs = codes.size // max(len(scales), 1)
    n_groups = max(-(-n_inputs // even_group_size(n_inputs, group_size)), 1)
    is_grouped = (scales.shape[1] if scales.ndim == 2 else 1) == n_groups
    return is_grouped and int(np.abs(codes, dtype=np.int16).max(initial=0)) <= max_code(bits)
