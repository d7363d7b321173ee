"""From an object to the room that knows its kind, imported on demand.

A room is a module with the verbs of `Adapter`. A new one is one file and its rows in the two tables below; nothing
else in the library names a framework, and no name that stands in a file is ever imported.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np

from lifecycle._check import CorruptBundle, UnsupportedModel
from lifecycle.codecs import Quantizer

__all__ = ["COMPUTED", "Adapter", "Layer", "adapter_for", "adapter_for_kind", "checkpoints_of"]

# where a class, or one of its bases, was defined -> the room; the first that fits wins
_BY_PACKAGE = {
    "lifecycle.torch": "lifecycle.torch.adapter",
    "lifecycle.linear": "lifecycle.store.adapters.linear",
    "torch": "lifecycle.torch.adapter",
    "sklearn": "lifecycle.store.adapters.sklearn",
}
# config["kind"] of a model that was taken apart -> the room
_BY_KIND = {
    "torch.module": "lifecycle.torch.adapter",
    "torch.estimator": "lifecycle.torch.adapter",
    "linear.estimator": "lifecycle.store.adapters.linear",
    "sklearn.pipeline": "lifecycle.store.adapters.sklearn",
}
_SERVED = (
    "a torch nn.Module, a TorchClassifier, TorchRegressor, LinearClassifier or LinearRegressor, or a scikit-learn "
    "Pipeline with one of these at its end"
)
COMPUTED = "computed"  # kind of a weight that is no parameter but computed from some: it cannot be replaced


@dataclass(frozen=True)
class Layer:
    """One weight that can be pruned and quantized.

    `input_axis` runs over the inputs (n:m groups lie along it), `channel_axis` over the outputs (one scale each).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    input_axis: int = 1
    channel_axis: int = 0


class Adapter(Protocol):
    """The verbs of a room."""

    def layers(self, model: Any) -> list[Layer]:
        """Weights that can be pruned and quantized; tied ones once."""

    def read_weight(self, model: Any, name: str) -> np.ndarray:
        """Values of a weight, as a floating-point array that is not shared with the model."""

    def replace_weight(self, model: Any, name: str, array: np.ndarray) -> None:
        """Put values in a weight's place; a quantized weight stays quantized."""

    def quantize_layers(self, model: Any, names: list[str], codec: Quantizer, activations: str | None) -> Any:
        """The model with these weights quantized, in place where the room can."""

    def copy(self, model: Any) -> Any:
        """Independent copy."""

    def tensors(self, model: Any) -> dict[str, np.ndarray]:
        """Parameters and buffers as they are stored (codes and scales instead of quantized weights)."""

    def take_apart(self, model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What `rebuild` needs: a config that is JSON, with its kind, and arrays."""

    def rebuild(self, config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
        """The model again; a ValueError says what does not fit `into`."""


def adapter_for(model: Any) -> Adapter:
    """The room that knows this object's type; UnsupportedModel if there is none."""
    if isinstance(model, type):
        raise UnsupportedModel(f"got the class {model.__name__}, not a model: make and fit one first")
    for base in type(model).__mro__:
        for package, room in _BY_PACKAGE.items():
            if f"{base.__module__}.".startswith(f"{package}."):
                return cast(Adapter, import_module(room))
    raise UnsupportedModel(f"a {type(model).__name__} is not served; what is: {_SERVED}")


def adapter_for_kind(kind: Any) -> Adapter:
    """The room for a kind that a file names; CorruptBundle if this version knows none."""
    if not isinstance(kind, str) or kind not in _BY_KIND:
        raise CorruptBundle(f"the file holds a model of the unknown kind {kind!r}; known: {', '.join(_BY_KIND)}")
    return cast(Adapter, import_module(_BY_KIND[kind]))


def checkpoints_of(model: Any) -> Any:
    """The room that takes a run of this model apart and puts it back."""
    if not any(base.__module__.partition(".")[0] == "torch" for base in type(model).__mro__):
        raise UnsupportedModel(
            f"a checkpoint is of a torch.nn.Module; got a {type(model).__name__}: lifecycle.save stores models"
        )
    return import_module("lifecycle.torch.checkpoint")
