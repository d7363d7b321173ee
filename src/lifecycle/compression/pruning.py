"""prune: the least important weights of a model become zero."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, number, one_of, random_state
from lifecycle.compression._layers import unprotected_layers
from lifecycle.compression._obs import LayerInputs, prune_layer
from lifecycle.compression._statistics import check_calibration, statistics
from lifecycle.masks import Criterion, lamp, list_masks, lowest, lowest_count, n_of_m
from lifecycle.store import adapters
from lifecycle.store.adapters import Adapter, Layer

__all__ = ["prune"]

OBS, CHANNELS = "obs", "channels"
_CHANNEL_METHODS = ("magnitude", "random", "taylor")
NOfM = tuple[int, int]


def prune(
    model: Any,
    amount: float | None = None,
    *,
    method: str = "magnitude",
    structure: str = "unstructured",
    scope: str = "global",
    calibration: Any = None,
    protect: Sequence[str] = (),
    random_state: Any = None,
) -> Any:
    """Set the least important weights of a copy of the model to zero, or remove its least important channels.

    Weights of linear, convolutional, recurrent, attention and embedding layers, and the coefficients of linear
    estimators and of scikit-learn's MLPs ("coefs_.0", "coefs_.1" …), are pruned; biases, normalization layers and
    parameters of custom modules are not. Zeros make the stored file smaller (see `size_of`), not the computation
    faster. Channels that are removed make both smaller: the layers of the result have other sizes, and it runs
    anywhere.

    Parameters
    ----------
    model : torch.nn.Module, estimator of this library or of scikit-learn, or a Pipeline of these
        Of scikit-learn: its linear models with a dense ``coef_``, MLPClassifier and MLPRegressor. An estimator must be
        fitted. The model is not changed. A compiled module, or one in DataParallel, stands for the
        module that it wraps.
    amount : float, optional
        Fraction of the weights to be zero, 0 ≤ amount < 1; exactly round(amount × number of weights) are. Required
        for "unstructured", not allowed for "n:m".
    method : str, default="magnitude"
        Which weights are pruned first:

        * "magnitude": those with the smallest \\|w\\| (Han et al., 2015);
        * "random";
        * "wanda": those with the smallest \\|w\\| ‖x‖, x being the weight's inputs (Sun et al., 2024);
        * "taylor": those with the smallest \\|w g\\|, g being the gradients of the loss (Molchanov et al., 2019);
        * "obs": those whose loss changes the layer's outputs least, after the others made it good; what stays is
          adapted so that the outputs change little (SparseGPT; Frantar & Alistarh, 2023).

    structure : str, default="unstructured"
        * "unstructured";
        * "n:m" such as "2:4": of every m consecutive weights along the input axis, the n most important stay;
        * "channels": output channels of linear and convolutional layers, and units of recurrent ones, are removed from
          all layers that share them (residual connections, concatenations, normalizations), by "magnitude", "random"
          or "taylor". torch.fx must be able to trace the network, and `calibration` is needed: on these rows the
          result is compared with the network whose channels are zero; then layers are fitted to the inputs that they
          still have, by least squares, and batch normalizations are estimated again. `load(path, into=module)` fills
          a module of the original class. Of scikit-learn's MLPs hidden units are removed in the same way.

    scope : {"global", "layer"}, default="global"
        Whether all weights compete, or `amount` holds in each layer ("wanda": for each of its outputs). Where all
        compete, the scores of "magnitude" and "wanda" are made comparable by LAMP (Lee et al., 2021); for "obs" those
        of "magnitude" decide how many weights each layer loses. For "n:m" both mean the same.
    calibration : array, tensor, or tuple or dict of these, optional
        Rows as the model takes them, for "wanda", "obs" and "channels" (some hundreds do); for "taylor" a pair (X, y).
    protect : sequence of str, default=()
        Layers that are not changed: names of weights ("0.weight"), or of modules ("0") with all their submodules.
    random_state : int, RandomState, Generator or None, default=None
        For "random".

    Returns
    -------
    A copy of the model, in the same training mode. Tied weights stay tied.

    Raises
    ------
    ValueError
        An option or name is unknown, `amount` does not fit the structure, `calibration` does not fit the method or the
        model, a weight is NaN, or a parameter has no values (a lazy module, or one on the meta device).
    UnsupportedModel
        The model is of another kind, is not fitted, has no weight to prune, has one that is computed from others, or
        one whose inputs or gradients the method needs and cannot get; for "channels", it cannot be traced, no channel
        can be removed, or its outputs are not those of the network with zeros.

    Examples
    --------
    >>> import lifecycle as lc
    >>> from torch import nn
    >>> small = lc.prune(nn.Linear(100, 10), 0.8)
    >>> int((small.weight == 0).sum())
    800
    """
    one_of("method", method, [*list_masks(), OBS])
    one_of("scope", scope, ("global", "layer"))
    if structure == CHANNELS:
        return _remove_channels(model, amount, method, scope, calibration, protect, random_state)
    n_and_m = _n_and_m(structure)
    if n_and_m is None:
        if amount is None:
            raise ValueError('amount is needed for structure="unstructured": the fraction of weights to be zero')
        amount = number("amount", amount, low=0, below=1)
    elif amount is not None:
        raise ValueError(f'structure="{structure}" fixes how many weights stay: leave amount out; got {amount!r}')
    criterion = None if method == OBS else list_masks()[method]
    needs = "inputs" if criterion is None else criterion.STATISTIC
    check_calibration(f'method="{method}"', needs, calibration)
    adapter = adapters.adapter_for(model)
    layers = unprotected_layers(adapter.layers(model), protect, model)
    pruned = adapter.copy(model)
    if criterion is None:
        _prune_by_obs(adapter, pruned, layers, amount, n_and_m, scope, calibration)
    else:
        _prune_by_scores(adapter, pruned, layers, criterion, amount, n_and_m, scope, calibration, random_state)
    return pruned


def _remove_channels(
    model: Any, amount: float | None, method: str, scope: str, calibration: Any, protect: Sequence[str], seed: Any
) -> Any:
    if amount is None:
        raise ValueError('amount is needed for structure="channels": the fraction of channels to remove')
    amount = number("amount", amount, low=0, below=1)
    one_of('method for structure="channels"', method, _CHANNEL_METHODS)
    if method == "taylor":
        check_calibration('method="taylor"', "gradients", calibration)
    else:
        check_calibration('structure="channels"', "inputs", calibration)
    adapter = adapters.adapter_for(model)
    unprotected_layers(adapter.layers(model), protect, model)  # refuses weights that are computed from others
    copied, seed = adapter.copy(model), random_state(seed)
    pruned = adapter.remove_channels(copied, amount, method, scope, calibration, protect, seed)
    if pruned is None:
        raise UnsupportedModel('structure="channels" needs a torch model or an MLP: a linear estimator has no channels')
    return pruned


def _prune_by_scores(
    adapter: Adapter, model: Any, layers: list[Layer], criterion: Criterion, amount: float | None,
    n_and_m: NOfM | None, scope: str, calibration: Any, seed: Any,
) -> None:  # fmt: skip
    weights = [adapter.read_weight(model, layer.name) for layer in layers]
    found = statistics(adapter, model, layers, weights, criterion.STATISTIC, calibration, random_state(seed))
    scores = [criterion.scores(w, statistic) for w, statistic in zip(weights, found, strict=True)]
    if n_and_m is not None:
        masks = [n_of_m(s, *n_and_m, axis=layer.input_axis) for s, layer in zip(scores, layers, strict=True)]
    elif scope == "global":
        masks = lowest(scores if criterion.COMPARABLE else [lamp(s) for s in scores], amount or 0.0)
    elif criterion.PER_OUTPUT:
        masks = [
            _lowest_of_outputs(s, amount or 0.0, layer.channel_axis) for s, layer in zip(scores, layers, strict=True)
        ]
    else:
        masks = [lowest([s], amount or 0.0)[0] for s in scores]
    for layer, weight, keep in zip(layers, weights, masks, strict=True):
        adapter.replace_weight(model, layer.name, np.where(keep, weight, weight.dtype.type(0)))


def _lowest_of_outputs(scores: np.ndarray, amount: float, axis: int) -> np.ndarray:
    """Mask (True: keep) that drops the lowest of each output's scores; in all as many as `lowest` drops."""
    outputs = np.moveaxis(scores, axis, 0) if scores.ndim > 1 else scores[None]  # a vector has one output
    size = outputs[0].size if len(outputs) else 0
    ends = [round(amount * size * k) for k in range(len(outputs) + 1)]
    keep = [lowest_count(s, ends[k + 1] - ends[k]) for k, s in enumerate(outputs)]
    kept = np.array(keep, dtype=bool).reshape(outputs.shape)
    return np.moveaxis(kept, 0, axis) if scores.ndim > 1 else kept[0]


def _prune_by_obs(
    adapter: Adapter, model: Any, layers: list[Layer], amount: float | None, n_and_m: NOfM | None, scope: str,
    calibration: Any,
) -> None:  # fmt: skip
    """Layer after layer: each sees the inputs that the pruned layers before it give."""
    sizes = [int(np.prod(layer.shape)) for layer in layers]
    drops = [round((amount or 0.0) * size) for size in sizes]
    if n_and_m is None and scope == "global":
        masks = lowest([lamp(adapter.read_weight(model, layer.name)) for layer in layers], amount or 0.0)
        drops = [int(np.count_nonzero(~keep)) for keep in masks]
    for layer, drop in zip(layers, drops, strict=True):
        moments = adapter.second_moments(model, [layer.name], calibration)[layer.name]
        weight = adapter.read_weight(model, layer.name)
        adapter.replace_weight(model, layer.name, prune_layer(layer, weight, LayerInputs(moments), drop, n_and_m))


def _n_and_m(structure: Any) -> NOfM | None:
    """n and m of "n:m"; None for "unstructured"."""
    if structure == "unstructured":
        return None
    match = re.fullmatch(r"(\d{1,6}):(\d{1,6})", structure) if isinstance(structure, str) else None
    if match is None or not 1 <= int(match[1]) < int(match[2]):
        raise ValueError(
            f'structure must be "unstructured", "channels" or "n:m" with 1 <= n < m, such as "2:4"; got {structure!r}'
        )
    return int(match[1]), int(match[2])
