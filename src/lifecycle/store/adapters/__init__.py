"""Adapters: one for each kind of model, which compression and storage work through.

An adapter is a module with the functions of `Adapter`, imported on demand. A new one is one file and its rows in the
tables below. No name that a file contains is ever imported.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np

from lifecycle._check import CorruptBundle, UnsupportedModel

__all__ = [
    "ACTIVATION_RANGES",
    "COMPUTED",
    "MAX_INPUTS",
    "Adapter",
    "Encode",
    "Grid",
    "Layer",
    "QuantizationOptions",
    "adapter_for",
    "adapter_for_kind",
    "check_n_inputs",
    "checkpoint_adapter_for",
    "describe",
]

# config["kind"] of a file
TORCH_MODULE, TORCH_ESTIMATOR = "torch.module", "torch.estimator"
LINEAR_ESTIMATOR = "linear.estimator"
SKLEARN_PIPELINE = "sklearn.pipeline"
SKLEARN_LINEAR_MODEL, SKLEARN_MLP, SKLEARN_TREES = "sklearn.linear_model", "sklearn.mlp", "sklearn.trees"
SKLEARN_NEIGHBORS = "sklearn.neighbors"
TREE_MODEL = "trees"
CHECKPOINT = "checkpoint"

_ADAPTER_OF_KIND = {
    TORCH_MODULE: "lifecycle.torch.adapter",
    TORCH_ESTIMATOR: "lifecycle.torch.adapter",
    LINEAR_ESTIMATOR: "lifecycle.store.adapters.linear",
    SKLEARN_PIPELINE: "lifecycle.store.adapters.sklearn",
    SKLEARN_LINEAR_MODEL: "lifecycle.store.adapters.sklearn.linear_models",
    SKLEARN_MLP: "lifecycle.store.adapters.sklearn.mlp",
    SKLEARN_TREES: "lifecycle.store.adapters.sklearn.trees",
    SKLEARN_NEIGHBORS: "lifecycle.store.adapters.sklearn.neighbors",
    TREE_MODEL: "lifecycle.store.adapters.trees",
}
# package of a class or of one of its bases -> adapter; the first match of the first base wins
_ADAPTER_OF_PACKAGE = {
    "lifecycle.torch": "lifecycle.torch.adapter",
    "lifecycle.linear": "lifecycle.store.adapters.linear",
    "lifecycle.tree_models": "lifecycle.store.adapters.trees",
    "torch": "lifecycle.torch.adapter",
    "sklearn": "lifecycle.store.adapters.sklearn",
}
_SUPPORTED = (
    "a torch nn.Module, a TorchClassifier, TorchRegressor, LinearClassifier or LinearRegressor, a linear model, "
    "MLPClassifier, MLPRegressor, tree, forest, boosting or k-nearest-neighbors model of scikit-learn, or a "
    "scikit-learn Pipeline with one of these at its end"
)
MAX_INPUTS = 16_384  # of a weight whose second moments are computed: they take 2 GiB
COMPUTED = "computed"  # kind of a weight that is computed from other parameters and cannot be replaced


ACTIVATION_RANGES = ("minmax", "percentile", "mse")  # of the inputs of a layer with static activations
Grid = tuple[np.ndarray, np.ndarray]  # codes and scales
# name of a layer, its weight, axis of the channels, codes and scales that it has already -> codes and scales
Encode = Callable[[str, np.ndarray, int, Grid | None], Grid]


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


@dataclass(frozen=True)
class QuantizationOptions:
    """What `quantize` does besides rounding weights.

    `activations`: "auto", "dynamic", "static" or None. `calibration` are rows as the model takes them, or None;
    `activation_range` is for "static", `batch_size` for the timing of "auto". `encodes_by_inputs`: weights are rounded
    by the inputs that their layers have on these rows.
    """

    activations: str | None = None
    calibration: Any = None
    activation_range: str = "minmax"
    batch_size: int = 1
    bias_correction: bool = False
    equalize: bool = False
    encodes_by_inputs: bool = False


class Adapter(Protocol):
    """The functions of an adapter."""

    def layers(self, model: Any) -> list[Layer]:
        """Weights that can be pruned and quantized; tied ones once."""

    def read_weight(self, model: Any, name: str) -> np.ndarray:
        """Values of a weight, as a floating-point array that is not shared with the model."""

    def replace_weight(self, model: Any, name: str, array: np.ndarray) -> None:
        """Replace the values of a weight; a quantized weight stays quantized."""

    def quantize_layers(self, model: Any, names: list[str], encode: Encode, options: QuantizationOptions | None) -> Any:
        """The model with these weights quantized, in place where possible; options None: weights only."""

    def integer_layers(self, model: Any) -> list[str] | None:
        """Weights whose layers compute with their codes; None for a kind of model that never does."""

    def second_moments(
        self, model: Any, names: Sequence[str], inputs: Any, *, skip_unknown: bool = False
    ) -> dict[str, np.ndarray]:
        """Means of x xᵀ over all that each weight is multiplied with: (groups of channels, inputs, inputs).

        In float32 for layers that compute in float32 or less, else in float64.
        A weight whose inputs are not known, or are more than `MAX_INPUTS`, is left out, or raises UnsupportedModel.
        """

    def squared_gradients(self, model: Any, names: list[str], inputs: Any, targets: Any) -> list[np.ndarray]:
        """Mean of the squared gradients of the loss of small batches, for each weight."""

    def remove_channels(
        self, model: Any, amount: float, method: str, scope: str, calibration: Any, protect: Sequence[str], seed: Any
    ) -> Any:
        """The model, in place, without that share of its channels; None for a kind of model that has none."""

    def fold_batch_norms(self, model: Any, calibration: Any) -> Any:
        """The model, in place, for inference: batch normalizations are folded into the layers before them."""

    def channels_last(self, model: Any) -> Any:
        """The model, in place, with weights whose channels are last in memory; None where that changes nothing."""

    def first_trees(self, model: Any, share: float) -> Any:
        """The model with that share of its trees, the first ones, in the layout of `lifecycle.trees`.

        With a share of 1 it predicts the same. None for a kind of model that has no trees.
        """

    def copy(self, model: Any) -> Any:
        """Independent copy."""

    def tensors(self, model: Any) -> dict[str, np.ndarray]:
        """Parameters and buffers as they are stored (codes and scales instead of quantized weights)."""

    def serialize(self, model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The model as a config, which is JSON and names its kind, and arrays."""

    def deserialize(self, config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
        """The model that `serialize` was given, or `into`, filled; ValueError if the file does not fit `into`.

        `arrays` is emptied, so that no array is in memory twice. An error leaves `into` as it was.
        """


def adapter_for(model: Any) -> Adapter:
    """The adapter for an object; UnsupportedModel if there is none."""
    if isinstance(model, type):
        raise UnsupportedModel(f"got the class {model.__name__}, not a model: make and fit one first")
    for base in type(model).__mro__:
        for package, adapter in _ADAPTER_OF_PACKAGE.items():
            if f"{base.__module__}.".startswith(f"{package}."):
                return cast(Adapter, import_module(adapter))
    raise UnsupportedModel(f"a {type(model).__name__} is not supported; what is: {_SUPPORTED}")


def adapter_for_kind(kind: Any) -> Adapter:
    """The adapter for a kind that a file names; CorruptBundle if it is unknown."""
    if not isinstance(kind, str) or kind not in _ADAPTER_OF_KIND:
        known = ", ".join(_ADAPTER_OF_KIND)
        raise CorruptBundle(f"the file holds a model of the unknown kind {kind!r}; known: {known}")
    return cast(Adapter, import_module(_ADAPTER_OF_KIND[kind]))


def check_n_inputs(name: str, n: int) -> None:
    """UnsupportedModel if the second moments of so many inputs would take more than 2 GiB."""
    if n > MAX_INPUTS:
        raise UnsupportedModel(
            f"{name} has {n:,} inputs, and the products of all pairs are needed: {MAX_INPUTS:,} are supported; "
            "protect it, or choose a method that needs no calibration"
        )


def describe(config: dict[str, Any]) -> tuple[str, bool]:
    """The model's class in a file, and whether `load` makes it without `into`; imports no framework."""
    if config["kind"] in (TORCH_MODULE, TORCH_ESTIMATOR):
        from lifecycle.store.adapters import torch_config

        return torch_config.describe(config)
    return str(config["class"]), config["kind"] in _ADAPTER_OF_KIND and not config.get("missing")


def checkpoint_adapter_for(model: Any) -> Any:
    """The module that serializes and restores a training run of this model."""
    if not any(base.__module__.partition(".")[0] == "torch" for base in type(model).__mro__):
        raise UnsupportedModel(
            f"a checkpoint is of a torch.nn.Module; got a {type(model).__name__}: lifecycle.save stores models"
        )
    return import_module("lifecycle.torch.checkpoint")
