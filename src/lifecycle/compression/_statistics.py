"""What the criteria of `masks` need besides the weights."""

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
        return [_input_norms(adapter.second_moments(model, layer.name, calibration), layer) for layer in layers]
    return [None] * len(layers)


def _input_norms(moments: np.ndarray, layer: Layer) -> np.ndarray:
    """Root mean squares of the inputs of each weight, in the weight's shape."""
    norms = np.sqrt(np.diagonal(moments, axis1=1, axis2=2))
    if len(layer.shape) < 2:
        return np.asarray(norms.reshape(layer.shape))
    return np.asarray(np.repeat(norms, layer.shape[0] // len(norms), axis=0).reshape(layer.shape))
