"""The layers that `protect` leaves to prune and quantize."""

from collections.abc import Sequence
from typing import Any

from lifecycle._check import UnsupportedModel
from lifecycle.store import adapters
from lifecycle.store.adapters import Layer


def unprotected_layers(layers: list[Layer], protect: Sequence[str], model: Any) -> list[Layer]:
    """Layers that are not protected; raises if a name is unknown, no layer is left or one is computed from others."""
    if isinstance(protect, str) or not all(isinstance(name, str) for name in protect):
        raise TypeError(f"protect must be a list of layer names; got {protect!r}")
    names = [layer.name for layer in layers]
    if not names:
        raise UnsupportedModel(f"this {type(model).__name__} has no weight that can be compressed")
    for name in protect:
        if not any(_contains(name, n) for n in names):
            raise ValueError(f"protect names {name!r}, which is not a layer of the model; layers: {', '.join(names)}")
    unprotected = [layer for layer in layers if not any(_contains(name, layer.name) for name in protect)]
    if not unprotected:
        raise ValueError("protect leaves no layer to compress")
    for layer in unprotected:
        if layer.kind == adapters.COMPUTED:
            raise UnsupportedModel(
                f"{layer.name} is computed from other parameters (weight_norm, parametrize, torch's pruning): make "
                f"it a parameter with remove_parametrizations (remove_weight_norm, prune.remove), or protect it, "
                f"protect=[{layer.name!r}]"
            )
    return unprotected


def _contains(name: str, weight: str) -> bool:
    return weight == name or weight.startswith(f"{name}.")
