"""Structured pruning: channels and recurrent units that matter least are removed from all layers that share them."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle._check import UnsupportedModel
from lifecycle.torch.batches import input_dtype_and_device
from lifecycle.torch.calibration import batches_of, evaluating, squared_gradients
from lifecycle.torch.channels.coupling import Coupling, Use, find_coupling
from lifecycle.torch.channels.operations import BATCH_NORMS, RECURRENT
from lifecycle.torch.channels.refitting import reestimate_batch_norms, refit_inputs
from lifecycle.torch.channels.slicing import GATES, keep_channels
from lifecycle.torch.outputs import CHECK_ROWS, largest, outputs_of_call

_TOLERANCE = 1e-3  # of what the masks change in the outputs
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}  # of the outputs


def remove_channels(
    net: nn.Module,
    amount: float,
    *,
    method: str,
    scope: str,
    calibration: Any,
    targets: Any,
    loss: Any,
    protect: list[str],
    random_state: np.random.RandomState,
) -> nn.Module:
    """The network, in place, without that share of its channels.

    Of the channels that can be removed, those with the lowest scores go; every layer keeps one. The result is compared
    with the network whose channels are zero, on calibration rows. Then the weights that read the channels are fitted to
    those that remain, and the statistics of batch normalizations are estimated again.

    Raises
    ------
    UnsupportedModel
        The network cannot be traced, no channel can be removed, or without them the outputs are others than with zeros.
    """
    arguments, keywords = next(batches_of(net, calibration, CHECK_ROWS))
    with evaluating(net):
        coupling = find_coupling(net, *copy.deepcopy((arguments, keywords)), set(protect))
        kept = _choose(net, coupling, amount, method, scope, calibration, targets, loss, random_state)
        if kept.all():
            return net
        before, masked = copy.deepcopy(net), copy.deepcopy(net)
        _mask(masked, coupling, kept)
        for use in coupling.uses.values():
            keep_channels(use, kept)
        _check_equal(net, masked, before, arguments, keywords)
        refit_inputs(before, net, coupling.uses, kept, calibration)
        reestimate_batch_norms(net, calibration, {net.get_submodule(path) for path in protect})
    return net


def _choose(
    net: nn.Module,
    coupling: Coupling,
    amount: float,
    method: str,
    scope: str,
    calibration: Any,
    targets: Any,
    loss: Any,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Which channels stay, by number."""
    n_groups = len(coupling.frozen)
    free = ~coupling.frozen
    if not free.any():
        why = "; ".join(coupling.reasons) or "it has no layer whose outputs are another layer's inputs"
        raise UnsupportedModel(f"no channel of this {type(net).__name__} can be removed: {why}")
    scores = _scores(net, coupling, method, calibration, targets, loss, random_state)
    # channels whose layers are the same are compared with each other: a space is one set of coupled layers
    space = np.full(n_groups, np.iinfo(int).max)
    np.minimum.at(space, coupling.group_of, coupling.space_of)
    kept = np.ones(n_groups, bool)
    spaces = [np.flatnonzero(free & (space == s)) for s in np.unique(space[free])]
    relative = np.full(n_groups, np.inf)
    for groups in spaces:
        relative[groups] = scores[groups] / (scores[groups].mean() or 1.0)
    protected = np.concatenate([groups[[np.argmax(relative[groups])]] for groups in spaces])
    if scope == "global":
        relative[protected] = np.inf
        order = np.argsort(relative, kind="stable")
        kept[order[: min(round(amount * free.sum()), int(free.sum()) - len(spaces))]] = False
    else:
        for groups in spaces:
            order = groups[np.argsort(relative[groups], kind="stable")]
            kept[order[: min(round(amount * len(groups)), len(groups) - 1)]] = False
    if any(isinstance(use.module, RECURRENT) for use in coupling.uses.values()):
        _even_out(coupling, kept, relative)
    return kept[coupling.group_of]


def _even_out(coupling: Coupling, kept: np.ndarray, relative: np.ndarray) -> None:
    """All layers and directions of a recurrent network have as many units: those with few get some back."""
    for use in coupling.uses.values():
        if not use.hidden:
            continue
        size = use.module.hidden_size
        parts = [coupling.group_of[numbers].reshape(-1, size) for numbers in use.hidden]
        parts = [part for of_layer in parts for part in of_layer]
        most = max(int(kept[part].sum()) for part in parts)
        for part in parts:
            gone = part[~kept[part]]
            back = gone[np.argsort(-relative[gone], kind="stable")][: most - int(kept[part].sum())]
            kept[back] = True


def _scores(
    net: nn.Module, coupling: Coupling, method: str, calibration: Any, targets: Any, loss: Any,
    random_state: np.random.RandomState,
) -> np.ndarray:  # fmt: skip
    """Of each group: the norm of all weights that it takes away, or of their products with the gradients."""
    if method == "random":
        return random_state.uniform(size=len(coupling.frozen))
    parameters = [p for use in coupling.uses.values() for p in use.module._parameters.values() if p is not None]
    squares = {id(p): p.detach().double().cpu() ** 2 for p in parameters}
    if method == "taylor":
        gradients = squared_gradients(net, parameters, calibration, targets, loss)
        squares = {id(p): squares[id(p)] * torch.from_numpy(g) for p, g in zip(parameters, gradients, strict=True)}
    total = np.zeros(len(coupling.frozen))
    for use in coupling.uses.values():
        for numbers, values in _values_of_channels(use, squares):
            np.add.at(total, coupling.group_of[numbers], values)
    return np.sqrt(total)


def _values_of_channels(use: Use, squares: dict[int, torch.Tensor]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Numbers of channels, and for each the sum of the squares of the weights that belong to it in this layer."""
    module: Any = use.module
    found = []
    if isinstance(module, RECURRENT):
        n_directions = 2 if module.bidirectional else 1
        for layer, numbers in enumerate(use.hidden):
            for d in range(n_directions):
                suffix = f"_l{layer}" + "_reverse" * d
                rows = squares[id(getattr(module, f"weight_ih{suffix}"))].sum(1)
                rows = rows + squares[id(getattr(module, f"weight_hh{suffix}"))].sum(1)
                per_unit = rows.view(-1, module.hidden_size).sum(0).numpy()
                found.append((numbers[d * module.hidden_size : (d + 1) * module.hidden_size], per_unit))
        return found
    weight = squares.get(id(module.weight))
    if weight is None:
        return []
    if isinstance(module, BATCH_NORMS):
        return [(use.inputs, weight.numpy())] if use.inputs is not None else []
    flat = weight.flatten(1)
    if use.outputs is not None:
        found.append((use.outputs, flat.sum(1).numpy()))
    if use.inputs is not None and use.inputs is not use.outputs:
        per_input = weight.transpose(0, 1).flatten(1).sum(1).numpy()
        found.append((use.inputs[: len(per_input)], per_input))
    return found


def _mask(net: nn.Module, coupling: Coupling, kept: np.ndarray) -> None:
    """Make the channels that go zero wherever a layer gives them."""
    with torch.no_grad():
        for path, use in coupling.uses.items():
            module: Any = net.get_submodule(path)
            if isinstance(module, RECURRENT):
                n_directions = 2 if module.bidirectional else 1
                for layer, numbers in enumerate(use.hidden):
                    for d, own in enumerate(np.split(kept[numbers], n_directions)):
                        gone = torch.from_numpy(np.tile(~own, GATES[type(module)]))
                        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                            value = getattr(module, f"{name}_l{layer}" + "_reverse" * d, None)
                            if value is not None:
                                value[gone] = 0.0
            elif use.outputs is not None:
                gone = torch.from_numpy(~kept[use.outputs])
                for name in ("weight", "bias", "running_mean"):
                    value = getattr(module, name, None)
                    if value is not None:
                        value[gone] = 0.0


def _check_equal(
    net: nn.Module, masked: nn.Module, full: nn.Module, arguments: tuple, keywords: dict[str, Any]
) -> None:
    """UnsupportedModel unless the sliced network computes what the masked one does; `full`: without masks."""
    name = type(net).__name__
    try:
        found, wanted, before = (outputs_of_call(m, arguments, keywords) for m in (net, masked, full))
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).partition("\n")[0]
        raise UnsupportedModel(
            f"without some channels this {name} does not run ({reason}): its forward needs their number; protect the "
            "layers there"
        ) from error
    if not wanted:
        raise UnsupportedModel(f"this {name} returns no tensors: it is not known what its channels are for")
    rounding = _ROUNDING.get(input_dtype_and_device(net)[0], 1e-5)
    for a, b, c in zip(found, wanted, before, strict=True):
        scale, change = largest(b), largest(b - c)
        tolerance = _TOLERANCE * change + rounding * scale
        if a.shape != b.shape or not torch.allclose(a, b, rtol=0.0, atol=tolerance):
            raise UnsupportedModel(
                f"without some channels this {name} computes something else than with zeros in their place: protect "
                "the layers around what it does between them"
            )
