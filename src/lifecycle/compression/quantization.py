"""quantize: the weights of a model become int8 codes."""

from collections.abc import Sequence
from typing import Any

from lifecycle._check import integer, one_of
from lifecycle.codecs import list_codecs
from lifecycle.compression._layers import unprotected_layers
from lifecycle.store import adapters

__all__ = ["quantize"]


def quantize(
    model: Any, *, bits: int = 8, method: str = "absmax", activations: str | None = "auto", protect: Sequence[str] = ()
) -> Any:
    """Store the weights of a copy of the model as int8 codes with one scale for each output channel.

    Parameters
    ----------
    model : torch.nn.Module, TorchClassifier, TorchRegressor, LinearClassifier, LinearRegressor, or a Pipeline of these
        An estimator must be fitted. The model is not changed. A compiled module, or one in DataParallel, stands for the
        module that it wraps.
    bits : int, default=8
        Bits per weight.
    method : str, default="absmax"
        How scales are chosen: "absmax", the largest |w| of a channel divided by 127.
    activations : {"auto", None, "dynamic"}, default="auto"
        "dynamic": the input of each float32 ``nn.Linear`` and ``nn.Conv2d`` is quantized too, at each call, so that
        the layer runs in int8; raises if the model has no such layer. None: weights only; they are decoded once and
        the model computes in floating point, which makes the file smaller, not the computation faster. "auto":
        "dynamic" for every layer that supports it, weights only for all others (recurrent layers, embeddings, other
        convolutions, tied weights, layers with so many inputs that sums of 32 bits could overflow, linear estimators).
    protect : sequence of str, default=()
        Layers that are not changed, named as in `prune`.

    Returns
    -------
    A copy of the model, in the same training mode, for inference.

    Raises
    ------
    ValueError
        An option or name is unknown, a weight is NaN or infinite, a parameter has no values (a lazy module, or one on
        the meta device), or no layer supports "dynamic".
    UnsupportedModel
        The model is of another kind, is not fitted, has no weight to quantize, or has one that is computed from others.

    Notes
    -----
    With "dynamic", a layer's input has one scale for the whole batch: every input has an error of up to 1/250 (without
    VNNI instructions, 1/125) of the largest in the batch, so the prediction for a row depends a little on the other
    rows. Rows with NaN or infinity have no part in the scale: such a layer computes them in floating point, and also
    all that is differentiated with respect to its input.
    """
    quantizers = {name: codec for name, codec in list_codecs().items() if not codec.LOSSLESS}
    codec = quantizers[one_of("method", method, quantizers)]
    one_of("bits", integer("bits", bits), codec.BITS)
    one_of("activations", activations, ("auto", None, "dynamic"))
    adapter = adapters.adapter_for(model)
    names = [layer.name for layer in unprotected_layers(adapter.layers(model), protect, model)]
    return adapter.quantize_layers(adapter.copy(model), names, codec, activations)
