"""Scales of the int8 grid on which a floating-point parameter lies, kept on its module."""

from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle.codecs import on_grid

_SCALES = "_lifecycle_scales"  # attribute of a module, in pickles too: {parameter name: (scales, channel axis)}


def set_scales(module: nn.Module, name: str, scales: np.ndarray, axis: int) -> None:
    """Keep the scales of the int8 grid on which a parameter of the module lies."""
    setattr(module, _SCALES, {**vars(module).get(_SCALES, {}), name: (scales, axis)})


def clear_scales(module: nn.Module, name: str | None = None) -> None:
    """Remove the scales of a parameter; None: of all."""
    remaining = {k: v for k, v in vars(module).pop(_SCALES, {}).items() if name not in (None, k)}
    if remaining:
        setattr(module, _SCALES, remaining)


def scales_of(module: nn.Module, name: str) -> tuple[np.ndarray, int] | None:
    """Scales and channel axis of a quantized parameter; None for any other."""
    found: Any = vars(module).get(_SCALES, {}).get(name)
    return found


def codes_of(module: nn.Module, name: str, array: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Codes, scales and channel axis, if this array of the parameter's values is on its grid; else None."""
    grid = scales_of(module, name)
    if grid is None:
        return None
    dtype = getattr(module, name).dtype

    def rounded(decoded: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(decoded)
        return tensor.to(dtype).to(tensor.dtype).numpy()

    codes = on_grid(array, *grid, rounded)
    return None if codes is None else (codes, *grid)
