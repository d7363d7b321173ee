"""Whether a layer with integer weights is faster than its floating-point one, measured on this machine."""

from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import nn

from lifecycle.torch.calibration import evaluating
from lifecycle.torch.quantized.base import QuantizedModule

_CLEARLY = 0.95  # of the time of the floating-point layer
_CALLS, _FEWEST_CALLS = 15, 3  # of each of the two layers
_ENOUGH_SECONDS = 0.02  # after which no more calls than the fewest are timed


class Timing(NamedTuple):
    """Seconds of a call, the median of several."""

    floating: float
    quantized: float

    @property
    def is_faster(self) -> bool:
        """Whether the layer with integer weights is clearly faster."""
        return self.quantized <= _CLEARLY * self.floating


_measured: dict[tuple, Timing] = {}


def timing_of(layer: QuantizedModule, floating: nn.Module, arguments: tuple) -> Timing:
    """The times of both layers; of one geometry, with inputs of one shape and one number of threads, measured once."""
    key = (*layer.geometry_key(), *(_shapes(a) for a in arguments), torch.get_num_threads())
    if key not in _measured:
        _measured[key] = measure(layer, floating, arguments)
    return _measured[key]


def measure(layer: QuantizedModule, floating: nn.Module, arguments: tuple) -> Timing:
    """Alternating calls of both layers in eval mode, so that a change of the machine's speed concerns both."""
    both = (floating, layer)
    seconds: tuple[list[float], list[float]] = ([], [])
    with evaluating(nn.ModuleList(both)), torch.no_grad():
        for each in both:  # the first call packs the weight
            each(*arguments)
        start = perf_counter()
        while len(seconds[0]) < _CALLS:
            for each, of_each in zip(both, seconds, strict=True):
                before = perf_counter()
                each(*arguments)
                of_each.append(perf_counter() - before)
            if len(seconds[0]) >= _FEWEST_CALLS and perf_counter() - start > _ENOUGH_SECONDS:
                break
    return Timing(*map(median, seconds))


def _shapes(argument: Any) -> Any:
    if isinstance(argument, torch.Tensor):
        return tuple(argument.shape), argument.stride()
    return tuple(map(_shapes, argument)) if isinstance(argument, tuple | list) else argument
