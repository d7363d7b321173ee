"""What pruning and quantization need besides the weights: calibration rows, and statistics of the layers' inputs."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lifecycle.store.adapters import Adapter, Layer


def check_calibration(argument: str, needs: str | None, calibration: Any) -> None:
    """ValueError if what an argument asks for has no calibration rows that it needs, or some that it does not use."""
    if needs in (None, "uniform"):
        if calibration is not None:
            raise ValueError(f"{argument} uses no calibration rows: leave calibration out")
    elif needs == "gradients":
        if not isinstance(calibration, tuple) or len(calibration) != 2:
            raise ValueError(f"{argument} needs the gradients of the loss: calibration=(X, y)")
    elif calibration is None:
        raise ValueError(f"{argument} needs the inputs of the layers: calibration=X, some hundred rows")


_MOMENTS_BYTES = 1 << 28  # of layers whose second moments are in memory together


def second_moments(
    adapter: Adapter, model: Any, layers: list[Layer], calibration: Any, *, skip_unknown: bool = False
) -> Iterator[Any]:
    """The second moments of the inputs of each layer; None where they are not known, if that is no error.

    The model is applied to the calibration rows once for as many layers as 256 MiB hold.
    """
    parts: list[list[Layer]] = []
    free = 0
    for layer in layers:
        n_inputs = int(np.prod([size for axis, size in enumerate(layer.shape) if axis != layer.channel_axis]))
        if not parts or 8 * n_inputs**2 > free:
            parts, free = [*parts, []], _MOMENTS_BYTES
        parts[-1].append(layer)
        free -= 8 * n_inputs**2
    for part in parts:
        names = [layer.name for layer in part]
        found = adapter.second_moments(model, names, calibration, skip_unknown=skip_unknown)
        yield from (found.pop(name, None) for name in names)


def statistics(
    adapter: Adapter, model: Any, layers: list[Layer], weights: list[np.ndarray], needs: str | None,
    calibration: Any, random_state: np.random.RandomState,
) -> list[np.ndarray | None]:  # fmt: skip
    """For each layer the statistic of the criterion, which broadcasts with the weight."""
    if needs == "uniform":
        return [random_state.uniform(size=w.shape) for w in weights]
    if needs == "gradients":
        return [np.sqrt(g) for g in adapter.squared_gradients(model, [layer.name for layer in layers], *calibration)]
    if needs == "input_norms":
        found = second_moments(adapter, model, layers, calibration)
        return [_input_norms(m, layer) for layer, m in zip(layers, found, strict=True)]
    return [None] * len(layers)


def _input_norms(moments: np.ndarray, layer: Layer) -> np.ndarray:
    """Root mean squares of the inputs of each weight, in the weight's shape."""
    norms = np.sqrt(np.diagonal(moments, axis1=1, axis2=2))
    if len(layer.shape) < 2:
        return np.asarray(norms.reshape(layer.shape))
    axis, others = layer.channel_axis, [n for k, n in enumerate(layer.shape) if k != layer.channel_axis]
    channels = np.repeat(norms, layer.shape[axis] // len(norms), axis=0).reshape(layer.shape[axis], *others)
    return np.moveaxis(channels, 0, axis)
