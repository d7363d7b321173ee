"""What a network returns on a few rows, before and after a change that must not change it."""

import copy
from typing import Any

import torch
from torch import nn

CHECK_ROWS = 32  # on which networks are compared


@torch.no_grad()
def outputs_of_call(net: nn.Module, arguments: tuple, keywords: dict[str, Any]) -> list[torch.Tensor]:
    """All tensors that a network returns, as numbers in double precision."""
    args, kwargs = copy.deepcopy((arguments, keywords))  # a network may write to its input
    return [tensor.double() for tensor in _tensors(net(*args, **kwargs))]


def _tensors(out: Any) -> list[torch.Tensor]:
    if isinstance(out, torch.Tensor):
        return [out]
    parts = out.values() if isinstance(out, dict) else out if isinstance(out, list | tuple) else []
    return [tensor for part in parts for tensor in _tensors(part)]


def largest(x: torch.Tensor) -> float:
    """The largest absolute value of the finite elements, 0 if there are none."""
    finite = x[torch.isfinite(x)]
    return float(finite.abs().max()) if finite.numel() else 0.0


def are_close(found: list[torch.Tensor], wanted: list[torch.Tensor], tolerance: float) -> bool:
    """Whether there are outputs, and they differ by at most `tolerance` times the largest of each tensor."""
    return bool(wanted) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=0.0, atol=tolerance * largest(b), equal_nan=True)
        for a, b in zip(found, wanted, strict=True)
    )
