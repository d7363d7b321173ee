"""What remains of a network takes over from the channels that are gone, without training."""

from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle.torch.calibration import batches_of, evaluating, second_moments
from lifecycle.torch.channels.coupling import Use
from lifecycle.torch.channels.operations import BATCH_NORMS, CONVOLUTIONS

_DAMPING = 0.01  # of the second moments, relative to the mean of their diagonal
_BATCH_SIZE = 64


def refit_inputs(before: nn.Module, after: nn.Module, uses: dict[str, Use], kept: np.ndarray, rows: Any) -> None:
    """Adapt the weights of each layer to the inputs that it still has, by least squares on its outputs before.

    W' = W H_k (H_kk)⁻¹, with the second moments H of the layer's inputs in the network before, and those kept, k
    (ThiNet; Luo, Wu & Lin, 2017).
    """
    for path, use in uses.items():
        module: Any = after.get_submodule(path)
        if not isinstance(module, (nn.Linear, *CONVOLUTIONS[:2])) or use.inputs is None or kept[use.inputs].all():
            continue
        old: Any = before.get_submodule(path)
        if getattr(old, "groups", 1) > 1:
            continue
        ((moments,),) = second_moments(before, None, [old], rows)
        damping = _DAMPING * np.trace(moments) / len(moments)
        moments = moments + (damping or 1.0) * np.eye(len(moments))
        places = np.repeat(kept[use.inputs], len(moments) // len(use.inputs))  # of every channel those of its kernel
        outputs = slice(None) if use.outputs is None else kept[use.outputs]
        weight = old.weight.detach().flatten(1).double().cpu().numpy()[outputs]
        fitted = np.linalg.solve(moments[np.ix_(places, places)], moments[places] @ weight.T).T
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(fitted).view_as(module.weight))


def reestimate_batch_norms(net: nn.Module, rows: Any, protected: set[nn.Module]) -> None:
    """Mean and variance of every batch normalization from calibration rows, as the network computes them now.

    Batches are random and differ by one row at most, so that the mean of their statistics is that of all rows.
    """
    norms = [
        m for m in net.modules() if isinstance(m, BATCH_NORMS) and m.running_mean is not None and m not in protected
    ]
    batches = list(batches_of(net, rows, _BATCH_SIZE, shuffle=True)) if norms else []
    if not batches or len(next(iter((*batches[0][0], *batches[0][1].values())))) < 2:  # one row has no variance
        return
    momenta = [norm.momentum for norm in norms]
    try:
        with evaluating(net), torch.no_grad():
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the mean over all batches
                norm.training = True
            for arguments, keywords in batches:
                net(*arguments, **keywords)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
