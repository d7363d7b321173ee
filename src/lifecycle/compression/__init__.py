"""prune, quantize and size_of: what is decided about a model, whatever its kind; copies only, never the original."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, integer, number, one_of
from lifecycle.codecs import list_codecs, pack
from lifecycle.masks import list_masks, lowest, n_of_m
from lifecycle.store import adapters
from lifecycle.store.adapters import Layer

__all__ = ["prune", "quantize", "size_of"]


def prune(
    model: Any,
    amount: float | None = None,
    *,
    method: str = "magnitude",
    structure: str = "unstructured",
    scope: str = "global",
    protect: Sequence[str] = (),
) -> Any:
    """Set the least important weights of a copy of the model to zero.

    Weights of linear, convolutional, recurrent, attention and embedding layers, and the coefficients of linear
    estimators, are pruned; biases, normalization layers and a module's own parameters are left alone. Zeros make the
    stored file smaller (see `size_of`), not the computation faster.

    Parameters
    ----------
    model : torch.nn.Module, TorchClassifier, TorchRegressor, LinearClassifier, LinearRegressor, or a Pipeline of these
        An estimator must be fitted. It is left as it is, bit for bit.
    amount : float, optional
        Fraction of the weights to be zero, 0 ≤ amount < 1; exactly round(amount × number of weights) are. Needed for
        "unstructured", not allowed for "n:m".
    method : str, default="magnitude"
        Criterion: "magnitude", small |w| go first (Han et al., 2015).
    structure : str, default="unstructured"
        "unstructured", or "n:m" such as "2:4": of every m weights that follow each other along the input axis, the n
        most important stay.
    scope : {"global", "layer"}, default="global"
        Whether all weights compete, or `amount` holds in each layer. For "n:m" both mean the same.
    protect : sequence of str, default=()
        Layers to leave alone: names of weights ("0.weight"), or of modules ("0"), with all that is below them.

    Returns
    -------
    A copy of the model, in the same training mode. Tied weights stay tied.

    Raises
    ------
    ValueError
        An unknown option or name, an `amount` that does not fit the structure, NaN among the weights.
    UnsupportedModel
        Not a model of these kinds, not fitted, without any weight to prune, or with one that is computed from others.

    Examples
    --------
    >>> import lifecycle as lc
    >>> from torch import nn
    >>> small = lc.prune(nn.Linear(100, 10), 0.8)
    >>> int((small.weight == 0).sum())
    800
    """
    criterion = list_masks()[one_of("method", method, list_masks())]
    one_of("scope", scope, ("global", "layer"))
    pattern = _pattern(structure)
    if pattern is None:
        if amount is None:
            raise ValueError('amount is needed for structure="unstructured": the fraction of weights to be zero')
        amount = number("amount", amount, low=0, below=1)
    elif amount is not None:
        raise ValueError(f'structure="{structure}" fixes how many weights stay: leave amount out; got {amount!r}')
    room = adapters.adapter_for(model)
    chosen = _chosen(room.layers(model), protect, model)
    result = room.copy(model)
    weights = [room.read_weight(result, layer.name) for layer in chosen]
    scores = [criterion.scores(w) for w in weights]
    if pattern is not None:
        masks = [n_of_m(s, *pattern, axis=layer.input_axis) for s, layer in zip(scores, chosen, strict=True)]
    elif scope == "global":
        masks = lowest(scores, amount or 0.0)
    else:
        masks = [lowest([s], amount or 0.0)[0] for s in scores]
    for layer, weight, keep in zip(chosen, weights, masks, strict=True):
        room.replace_weight(result, layer.name, np.where(keep, weight, weight.dtype.type(0)))
    return result


def quantize(
    model: Any, *, bits: int = 8, method: str = "absmax", activations: str | None = "auto", protect: Sequence[str] = ()
) -> Any:
    """Store the weights of a copy of the model as int8 codes with one scale for each output channel.

    Parameters
    ----------
    model : torch.nn.Module, TorchClassifier, TorchRegressor, LinearClassifier, LinearRegressor, or a Pipeline of these
        An estimator must be fitted. It is left as it is, bit for bit.
    bits : int, default=8
        Bits a weight.
    method : str, default="absmax"
        How scales are chosen: "absmax", the largest |w| of a channel / 127.
    activations : {"auto", None, "dynamic"}, default="auto"
        "dynamic": the input of each float32 ``nn.Linear`` and ``nn.Conv2d`` is quantized too, on the fly, so that the
        layer runs in int8; raises if the model has no such layer. None: weights only; they are decoded once and
        computed with in floating point, which makes the file smaller, not the computation faster. "auto": "dynamic"
        for every layer that can, weights only for all others (recurrent layers, embeddings, other convolutions, tied
        weights, linear estimators).
    protect : sequence of str, default=()
        Layers to leave alone, named as in `prune`.

    Returns
    -------
    A copy of the model, in the same training mode, for inference.

    Raises
    ------
    ValueError
        An unknown option or name, weights with NaN or infinity, "dynamic" where nothing can be.
    UnsupportedModel
        Not a model of these kinds, not fitted, without any weight to quantize, or with one that is computed from
        others.

    Notes
    -----
    With "dynamic", a layer's input has one scale for the whole batch, so a prediction depends a little on the rows
    that are predicted together with it.
    """
    quantizers = {name: codec for name, codec in list_codecs().items() if not codec.LOSSLESS}
    codec = quantizers[one_of("method", method, quantizers)]
    one_of("bits", integer("bits", bits), codec.BITS)
    one_of("activations", activations, ("auto", None, "dynamic"))
    room = adapters.adapter_for(model)
    chosen = _chosen(room.layers(model), protect, model)
    return room.quantize_layers(room.copy(model), [layer.name for layer in chosen], codec, activations)


def size_of(model: Any) -> int:
    """Bytes of a model's parameters and buffers as `save` stores them.

    int8 weights count as codes and scales, pruned ones as a bit mask and their non-zero values where that is smaller,
    tied ones once.
    """
    arrays = adapters.adapter_for(model).tensors(model).values()
    return sum(part.nbytes for array in arrays for part in pack(array)[1].values())


def _pattern(structure: Any) -> tuple[int, int] | None:
    """(n, m) of "n:m", or None for "unstructured"."""
    if structure == "unstructured":
        return None
    found = re.fullmatch(r"(\d{1,6}):(\d{1,6})", structure) if isinstance(structure, str) else None
    if found is None or not 1 <= int(found[1]) < int(found[2]):
        raise ValueError(f'structure must be "unstructured" or "n:m" with 1 <= n < m, such as "2:4"; got {structure!r}')
    return int(found[1]), int(found[2])


def _chosen(layers: list[Layer], protect: Sequence[str], model: Any) -> list[Layer]:
    """Layers that are not protected; errors where a name is unknown or nothing is left."""
    if isinstance(protect, str) or not all(isinstance(name, str) for name in protect):
        raise TypeError(f"protect must be a list of layer names; got {protect!r}")
    names = [layer.name for layer in layers]
    if not names:
        raise UnsupportedModel(f"this {type(model).__name__} has no weight that can be compressed")
    for name in protect:
        if not any(_covers(name, n) for n in names):
            raise ValueError(f"protect names {name!r}, which is no layer of the model; layers: {', '.join(names)}")
    left = [layer for layer in layers if not any(_covers(name, layer.name) for name in protect)]
    if not left:
        raise ValueError("protect leaves no layer to compress")
    for layer in left:
        if layer.kind == adapters.COMPUTED:
            raise UnsupportedModel(
                f"{layer.name} is computed from other parameters (weight_norm, parametrize, torch's own pruning): make "
                f"it a parameter with remove_parametrizations (remove_weight_norm, prune.remove), or protect it, "
                f"protect=[{layer.name!r}]"
            )
    return left


def _covers(name: str, weight: str) -> bool:
    return weight == name or weight.startswith(f"{name}.")
