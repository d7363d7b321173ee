"""What layers of a module are called with on calibration rows."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lifecycle.torch.calibration import batch_of, batches_of, evaluating

_BATCH_SIZE = 32


def first_arguments(net: nn.Module, layers: Sequence[nn.Module], inputs: Any, batch_size: int) -> dict[int, tuple]:
    """The arguments of the first call of each layer on a batch of that size, by the layer's id; none if not called."""
    found: dict[int, tuple] = {}
    with _seen(layers, lambda layer, arguments: found.setdefault(id(layer), arguments)), evaluating(net):
        arguments, keywords = batch_of(net, inputs, batch_size)
        with torch.no_grad():
            net(*arguments, **keywords)
    return found


def see_inputs(net: nn.Module, layers: Sequence[nn.Module], inputs: Any, see: Callable[[nn.Module, Any], None]) -> None:
    """Call `see` with a layer and its first argument, for each call of each of the layers on all calibration rows."""
    with _seen(layers, lambda layer, arguments: see(layer, arguments[0])), evaluating(net), torch.no_grad():
        for arguments, keywords in batches_of(net, inputs, _BATCH_SIZE):
            net(*arguments, **keywords)


@contextmanager
def _seen(layers: Sequence[nn.Module], see: Callable[[nn.Module, tuple], Any]) -> Iterator[None]:
    """Inside of the block, `see` gets every call of a layer, with its arguments in the order of its signature."""

    def hook(layer: nn.Module, arguments: tuple, keywords: dict) -> None:
        bound = inspect.signature(layer.forward).bind(*arguments, **keywords)
        see(layer, (*bound.args, *bound.kwargs.values()))

    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
