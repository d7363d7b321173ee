"""The same rules as torch operations, on devices that our kernels do not reach."""

from typing import Any

import numpy as np
import torch


def step(group: Any, factor: float, keys: np.ndarray) -> None:
    """One step of a group of tensors; `keys`: of the stochastic rounding, for each tensor."""

    def real(x: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(x) if x.is_complex() else x

    def wide(x: torch.Tensor) -> torch.Tensor:
        return real(x) if x.dtype in (torch.float64, torch.complex128) else real(x).float()

    names = [name for name, _ in group.signature.slots]
    positive = [False, *(of == "non-negative" for _, of in group.signature.slots)]
    rows = zip(group.params, group.grads, group.states, group.ema_weights, keys.tolist(), strict=True)
    for p, g, own, share, key in rows:
        held = [own[name] for name in names]
        new, *slots = group.signature.update(wide(p), factor * wide(g), *map(wide, held), group.coefficients)
        for k, (stored, value) in enumerate(zip([p, *held], [new, *slots], strict=True)):
            if stored.dtype == torch.bfloat16:
                value = _rounded(value, key + k, positive[k])
            real(stored).copy_(value)
        if group.signature.averaged:
            real(own["ema"]).lerp_(new, share)


def _rounded(x: torch.Tensor, key: int, positive: bool) -> torch.Tensor:
    """float32 numbers rounded stochastically to those that bfloat16 has, as `formats/bfloat16.py` does."""
    place = torch.arange(x.numel(), device=x.device).view(x.shape)
    noise = (place ^ key) * 0x9E3779B1 & 0xFFFFFFFF
    noise = (noise ^ noise >> 15) * 0x85EBCA77 & 0xFFFFFFFF
    cut = (x.contiguous().view(torch.int32) + (noise >> 16).int() & -0x10000).view(torch.float32)
    if positive:  # never zero unless it is
        cut = torch.where((cut == 0) & (x > 0), torch.finfo(torch.bfloat16).smallest_normal, cut)
    return torch.where(x == x, cut, x)
