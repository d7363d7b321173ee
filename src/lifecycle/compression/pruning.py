"""prune: the least important weights of a model become zero."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle._check import number, one_of
from lifecycle.compression._layers import unprotected_layers
from lifecycle.masks import list_masks, lowest, n_of_m
from lifecycle.store import adapters

__all__ = ["prune"]


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
    estimators, are pruned; biases, normalization layers and parameters of custom modules are not. Zeros make the stored
    file smaller (see `size_of`), not the computation faster.

    Parameters
    ----------
    model : torch.nn.Module, TorchClassifier, TorchRegressor, LinearClassifier, LinearRegressor, or a Pipeline of these
        An estimator must be fitted. The model is not changed. A compiled module, or one in DataParallel, stands for the
        module that it wraps.
    amount : float, optional
        Fraction of the weights to be zero, 0 ≤ amount < 1; exactly round(amount × number of weights) are. Required
        for "unstructured", not allowed for "n:m".
    method : str, default="magnitude"
        Criterion: "magnitude", the smallest |w| are pruned first (Han et al., 2015).
    structure : str, default="unstructured"
        "unstructured", or "n:m" such as "2:4": of every m consecutive weights along the input axis, the n most
        important stay.
    scope : {"global", "layer"}, default="global"
        Whether all weights compete, or `amount` holds in each layer. For "n:m" both mean the same.
    protect : sequence of str, default=()
        Layers that are not changed: names of weights ("0.weight"), or of modules ("0") with all their submodules.

    Returns
    -------
    A copy of the model, in the same training mode. Tied weights stay tied.

    Raises
    ------
    ValueError
        An option or name is unknown, `amount` does not fit the structure, a weight is NaN, or a parameter has no values
        (a lazy module, or one on the meta device).
    UnsupportedModel
        The model is of another kind, is not fitted, has no weight to prune, or has one that is computed from others.

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
    n_and_m = _n_and_m(structure)
    if n_and_m is None:
        if amount is None:
            raise ValueError('amount is needed for structure="unstructured": the fraction of weights to be zero')
        amount = number("amount", amount, low=0, below=1)
    elif amount is not None:
        raise ValueError(f'structure="{structure}" fixes how many weights stay: leave amount out; got {amount!r}')
    adapter = adapters.adapter_for(model)
    layers = unprotected_layers(adapter.layers(model), protect, model)
    pruned = adapter.copy(model)
    weights = [adapter.read_weight(pruned, layer.name) for layer in layers]
    scores = [criterion.scores(w) for w in weights]
    if n_and_m is not None:
        masks = [n_of_m(s, *n_and_m, axis=layer.input_axis) for s, layer in zip(scores, layers, strict=True)]
    elif scope == "global":
        masks = lowest(scores, amount or 0.0)
    else:
        masks = [lowest([s], amount or 0.0)[0] for s in scores]
    for layer, weight, keep in zip(layers, weights, masks, strict=True):
        adapter.replace_weight(pruned, layer.name, np.where(keep, weight, weight.dtype.type(0)))
    return pruned


def _n_and_m(structure: Any) -> tuple[int, int] | None:
    """n and m of "n:m"; None for "unstructured"."""
    if structure == "unstructured":
        return None
    match = re.fullmatch(r"(\d{1,6}):(\d{1,6})", structure) if isinstance(structure, str) else None
    if match is None or not 1 <= int(match[1]) < int(match[2]):
        raise ValueError(f'structure must be "unstructured" or "n:m" with 1 <= n < m, such as "2:4"; got {structure!r}')
    return int(match[1]), int(match[2])
