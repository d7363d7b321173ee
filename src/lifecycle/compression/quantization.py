"""quantize: the weights of a model become codes of 4 or 8 bits."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle._check import integer, one_of
from lifecycle.codecs import encode, even_group_size, list_quantizers, max_code
from lifecycle.compression._layers import unprotected_layers
from lifecycle.compression._obs import LayerInputs, quantize_layer
from lifecycle.compression._statistics import check_calibration
from lifecycle.store import adapters
from lifecycle.store.adapters import ACTIVATION_RANGES, Grid, QuantizationOptions

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
    activation_range: str = "minmax",
    batch_size: int = 1,
    bias_correction: bool = False,
    equalize: bool = False,
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
        scale for each channel. Activations of layers with groups stay in floating point.
    method : str, default="absmax"
        * "absmax": the scale of a channel is its largest \\|w\\| divided by the largest code;
        * "mse": the scale has the least squared error, and may clip the largest weights (Choukroun et al., 2019);
        * "gptq": scales as "mse"; weights are rounded one input after another, and what a rounding changes in the
          outputs is made good by the weights that follow (Frantar et al., 2023). Layers whose inputs are not recorded
          on the calibration rows take "mse", and a UserWarning names them: all but ``nn.Linear``, ``nn.Conv1d`` and
          ``nn.Conv2d``, those that the model does not call as modules, as the projections of
          ``nn.MultiheadAttention``, and those with more than 16,384 inputs.

    activations : {"auto", None, "dynamic", "static"}, default="auto"
        How layers compute. In torch models, layers with integer weights can take the place of floating-point ones:
        ``nn.Linear``, ``nn.Conv1d`` and ``nn.Conv2d`` (with zero padding), ``nn.LSTM``, ``nn.GRU`` and their cells,
        ``nn.Embedding``, and with 4 bits in groups that all have 32, 64, 128 or 256 inputs ``nn.Linear`` with a
        multiple of 16 outputs, in "auto" only. The type of a layer (``print(model)``) tells which it is. All other
        layers hold codes, which are decoded once, and compute in floating point: the file is smaller, not the
        computation faster. The layers of 4 bits (``Int4Linear``) round their inputs and scales to bfloat16, which is an
        error of about 0.3 % of their outputs beside that of the codes. As "auto" replaces a layer by what it measures,
        the same call can give layers with other rounding, on another machine or at another time; None does not.

        * "auto": each layer is timed beside its floating-point one, on this machine, with `batch_size` rows and the
          present number of threads (of an estimator, the number that its `predict` takes for a batch), and replaced
          where that makes it at least 5 % faster. Equal layers are timed once in a process.
        * "dynamic": all of these layers but those with groups are replaced; their inputs are quantized at each call,
          with one scale for the whole batch. Raises if the model has none that quantizes inputs.
        * "static": as "dynamic", with a range of inputs from `calibration`, so that a prediction does not depend on the
          other rows of the batch; values beyond the range are clipped. Recurrent layers compute in floating point.
        * None: no layer is replaced.

        Layers on another device or in another precision, tied weights, layers with hooks or with so many inputs that
        sums of 32 bits could overflow, linear estimators and scikit-learn's MLPs are never replaced.
    activation_range : {"minmax", "percentile", "mse"}, default="minmax"
        For "static", the range of a layer's inputs on the calibration rows: all values; 99.99 % of the absolute values;
        or the share of all values whose rounding and clipping have the least squared error, of a histogram.
    batch_size : int, default=1
        For "auto": rows of a batch in the timing.
    bias_correction : bool, default=False
        Add to the bias of each linear and convolution layer what quantization takes from its mean output on the
        calibration rows, one layer after another (Nagel et al., 2019). The network runs over the rows once for each
        layer. Torch models only.
    equalize : bool, default=False
        Before the weights are rounded, scale the channels between two linear or convolution layers that are joined by
        ReLU alone, so that their weights in both have the same largest \\|w\\| (Nagel et al., 2019). A factor is
        between 1/16 and 16, as it multiplies the channel's bias and activations too; channels whose weights are below a
        thousandth of the largest of the layer are left as they are. The network is traced by torch.fx; that its outputs
        stay the same is checked on calibration rows. Torch models only.
    calibration : array, tensor, or tuple or dict of these, optional
        Rows as the model takes them, for "gptq", "static", `bias_correction` and `equalize` (some hundreds do), and for
        "auto", which times each layer with the input that it has on them. Without them "auto" assumes one vector for
        each row of a linear layer and of a cell, 32 × 32 places for ``nn.Conv2d``, 128 for ``nn.Conv1d``, 32 steps of a
        sequence and 32 tokens. Linear estimators and scikit-learn's MLPs take them for "gptq" alone.
    protect : sequence of str, default=()
        Layers that are not changed, named as in `prune`.

    Returns
    -------
    A copy of the model, in the same training mode, for inference.

    Raises
    ------
    ValueError
        An option or name is unknown, or no use is made of it; a layer has integer weights and other activations
        already; `calibration` does not fit the method or the model; a weight is NaN or infinite; a parameter has no
        values (a lazy module, or one on the meta device); no layer supports "dynamic" or "static".
    UnsupportedModel
        The model is of another kind, is not fitted, has no weight to quantize, has one that is computed from others, or
        one whose inputs "static" needs and cannot get; "gptq" gets the inputs of no layer; there is nothing to
        equalize.

    Notes
    -----
    In a layer with dynamic activations, the input has one scale for the whole batch: every input has an error of up to
    1/250 (without VNNI instructions, 1/125) of the largest in the batch, so the prediction for a row depends a little
    on the other rows. Rows with NaN or infinity have no part in the scale: such a layer computes them in floating
    point, and also all that is differentiated with respect to its input.
    """
    quantizers = list_quantizers()
    one_of("method", method, [*quantizers, GPTQ])
    one_of("bits", integer("bits", bits), _BITS)
    group_size = None if group_size is None else integer("group_size", group_size, low=1)
    options = QuantizationOptions(
        activations, calibration, activation_range, integer("batch_size", batch_size, low=1),
        one_of("bias_correction", bias_correction, (True, False)), one_of("equalize", equalize, (True, False)),
        encodes_by_inputs=method == GPTQ,
    )  # fmt: skip
    _check_options(options, group_size)
    if method == GPTQ or not (activations in ("auto", "static") or bias_correction or equalize):
        check_calibration(f'method="{method}"', "inputs" if method == GPTQ else None, calibration)
    adapter = adapters.adapter_for(model)
    layers = {layer.name: layer for layer in unprotected_layers(adapter.layers(model), protect, model)}
    copied = adapter.copy(model)
    codec = quantizers["mse" if method == GPTQ else method]

    without_inputs: list[str] = []

    def encode_layer(name: str, weight: np.ndarray, axis: int, grid: Grid | None) -> Grid:
        if grid is not None and _holds(grid, bits, group_size):
            return grid  # quantizing twice changes nothing
        if method == GPTQ:
            moments = adapter.second_moments(copied, [name], calibration, skip_unknown=True).get(name)
            if moments is not None:
                return quantize_layer(layers[name], weight, LayerInputs(moments), codec, bits, group_size)
            without_inputs.append(name)
            if len(without_inputs) == len(layers):
                adapter.second_moments(copied, [name], calibration)  # raises, with the reason
        return encode(weight, codec.scales, axis, bits, group_size)

    quantized = adapter.quantize_layers(copied, list(layers), encode_layer, options)
    if without_inputs:
        warnings.warn(
            'method="gptq": the inputs of these layers are not known, and they were quantized as by method="mse" '
            f"(protect them to keep them as they are): {', '.join(without_inputs)}",
            stacklevel=2,
        )
    return quantized


def _check_options(options: QuantizationOptions, group_size: int | None) -> None:
    """ValueError for options that are unknown, or do not fit each other."""
    activations, activation_range = options.activations, options.activation_range
    one_of("activations", activations, ("auto", None, "dynamic", "static"))
    one_of("activation_range", activation_range, ACTIVATION_RANGES)
    if group_size is not None and activations in ("dynamic", "static"):
        raise ValueError(
            'activations of a layer with group_size stay in floating point: pass activations="auto" or None'
        )
    if activation_range != "minmax" and activations != "static":
        raise ValueError(f'activation_range="{activation_range}" is for activations="static": leave it out')
    if options.batch_size != 1 and activations != "auto":
        raise ValueError('batch_size is for the timing of activations="auto": leave it out')
    for argument, needs_rows in (
        ('activations="static"', activations == "static"),
        ("bias_correction=True", options.bias_correction),
        ("equalize=True", options.equalize),
    ):
        if needs_rows:
            check_calibration(argument, "inputs", options.calibration)


def _holds(grid: Grid, bits: int, group_size: int | None) -> bool:
    """Whether a weight is quantized in this way already."""
    codes, scales = grid
    n_inputs = codes.size // max(len(scales), 1)
    n_groups = max(-(-n_inputs // even_group_size(n_inputs, group_size)), 1)
    is_grouped = (scales.shape[1] if scales.ndim == 2 else 1) == n_groups
    return is_grouped and int(np.abs(codes, dtype=np.int16).max(initial=0)) <= max_code(bits)
