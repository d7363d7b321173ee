"""The step of `loops.elementwise` as torch operations, on devices that our kernels do not reach."""

from functools import partial
from typing import Any

import numpy as np
import torch

from lifecycle.formats import list_formats
from lifecycle.loops._update import MAX_SLOTS, clipped_update
from lifecycle.loops.elementwise import step_of_codes


def step(group: Any, factor: float, keys: np.ndarray) -> None:
    """One step of a group of tensors; `keys`: of the stochastic rounding, for each tensor."""
    signature, formats = group.signature, list_formats()
    param = formats[signature.param_format]
    slot = formats[signature.slot_format] if signature.slots else param
    names, kinds = zip(*signature.slots, strict=True) if signature.slots else ((), ())
    step_row = step_of_codes(clipped_update(signature.update, kinds), kinds, param, slot)
    # tensors, as torch divides a number by a tensor in two roundings
    number = partial(torch.tensor, dtype=torch.float64 if param.name == "float64" else torch.float32)
    s, g_factor = number(group.coefficients).unbind(), number(factor)
    tensors = zip(group.params, group.grads, group.states, group.ema_weights, keys, strict=True)
    for p, g, state, ema_weight, key in tensors:
        slots = [_codes(state[name]) for name in names]
        p, g, missing = _codes(p), _codes(g), [None] * (MAX_SLOTS - len(slots))
        index = torch.arange(p.numel(), device=p.device) if param.STOCHASTIC or slot.STOCHASTIC else 0
        x, *codes = step_row(p, g, *slots, *missing, s, g_factor, 0, index, key)
        for stored, code in zip([p, *slots], codes, strict=False):
            stored.copy_(code)
        if signature.averaged:
            mean = _codes(state["ema"])
            mean.add_(number(ema_weight) * (x - mean))


def _codes(x: torch.Tensor) -> torch.Tensor:
    """The codes of a dense tensor in memory order, as a view: the bits of 16-bit floats, else real numbers."""
    x = torch.view_as_real(x) if x.is_complex() else x
    flat = x.as_strided((x.numel(),), (1,))
    return flat.view(torch.int16) if flat.element_size() == 2 else flat
