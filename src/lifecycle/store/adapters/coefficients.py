"""Weights that stay arrays of floating-point numbers, and what the adapters of linear estimators share.

A quantized weight keeps its dtype, with values on a grid of 4 or 8 bits; the scales of the grid are kept beside it, so
that codes and scales are stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, one_of
from lifecycle.codecs import decode, encode_like, on_grid
from lifecycle.store.adapters import MAX_INPUTS, Encode, Grid, Layer, QuantizationOptions, check_n_inputs

SCALES = "_coef_scales"  # the attribute of an estimator that holds the scales of a quantized coef_


@dataclass(frozen=True)
class Weight:
    """Values, the scales of the grid that they were put on (None: they were not), and the axis of the channels."""

    values: np.ndarray
    scales: np.ndarray | None = None
    axis: int = 0

    def grid(self) -> Grid | None:
        """Codes and scales; None where the values are on no grid, or were changed after they were."""
        if self.scales is None:
            return None
        codes = on_grid(self.values, self.scales, self.axis)
        return None if codes is None else (codes, self.scales)

    def replaced(self, array: np.ndarray) -> "Weight":
        """Other values, which are put on the grid where the present ones are on it."""
        grid = self.grid()
        scales = None if grid is None else self.scales
        if grid is not None and on_grid(array, grid[1], self.axis) is None:
            codes, scales = encode_like(array, *grid, self.axis)
            array = decode(codes, scales, self.axis, self.values.dtype)
        return replace(self, values=np.array(array, dtype=self.values.dtype, order="C"), scales=scales)

    def quantized(self, name: str, encode: Encode) -> "Weight":
        """The values on the grid that `encode` chooses."""
        codes, scales = encode(name, np.array(self.values), self.axis, self.grid())
        values = decode(codes, scales, self.axis, self.values.dtype)
        return replace(self, values=np.ascontiguousarray(values), scales=scales)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """As the weight is stored."""
        grid = self.grid()
        return {name: self.values} if grid is None else {f"{name}.codes": grid[0], f"{name}.scales": grid[1]}


def pop_weight(arrays: dict[str, np.ndarray], name: str, dtype: Any, axis: int = 0) -> Weight:
    """The weight of which `Weight.arrays` gave the arrays; these are taken out of `arrays`."""
    scales = arrays.pop(f"{name}.scales", None)
    if scales is None:
        return Weight(arrays.pop(name), None, axis)
    decoded = decode(arrays.pop(f"{name}.codes"), scales, axis, np.dtype(one_of("dtype", dtype, ["<f4", "<f8"])))
    return Weight(decoded, scales, axis)


# -- functions of adapters, for a fitted estimator whose only weight is `coef_`: (inputs,) or (outputs, inputs) --------


def coef_of(model: Any) -> Weight:
    return Weight(model.coef_, vars(model).get(SCALES))


def set_coef(model: Any, coef: Weight) -> None:
    model.coef_ = coef.values
    if coef.scales is None:
        vars(model).pop(SCALES, None)
    else:
        setattr(model, SCALES, coef.scales)


def layers_of_coef(model: Any) -> list[Layer]:
    shape = model.coef_.shape
    return [Layer("coef_", "linear", shape, input_axis=len(shape) - 1, channel_axis=0)]


def read_weight(model: Any, name: str) -> np.ndarray:
    return np.array(getattr(model, one_of("name", name, ["coef_"])))


def replace_weight(model: Any, name: str, array: np.ndarray) -> None:
    one_of("name", name, ["coef_"])
    set_coef(model, coef_of(model).replaced(array))


def quantize_layers(model: Any, names: list[str], encode: Encode, options: QuantizationOptions | None) -> Any:
    check_options(options, "a linear estimator")
    for name in names:
        set_coef(model, coef_of(model).quantized(name, encode))
    return model


def check_options(options: QuantizationOptions | None, kind: str) -> None:
    """ValueError for what only torch layers have."""
    if options is None:
        return
    if options.activations in ("dynamic", "static"):
        raise ValueError(f'activations="{options.activations}" needs torch layers; {kind} takes "auto" or None')
    if options.batch_size != 1:
        raise ValueError(f"batch_size is for the timing of torch layers; {kind} has none: leave it out")
    if options.bias_correction or options.equalize:
        raise ValueError("bias_correction and equalize are for torch models, whose layers feed each other")
    if options.calibration is not None and not options.encodes_by_inputs:
        raise ValueError(f'{kind} uses calibration for method="gptq" alone: leave it out, or pass that method')


def integer_layers(model: Any) -> list[str] | None:
    return None


def second_moments(
    model: Any, names: Sequence[str], inputs: Any, *, skip_unknown: bool = False
) -> dict[str, np.ndarray]:
    from sklearn.utils.validation import validate_data

    X = validate_data(model, inputs, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
    if skip_unknown and X.shape[1] > MAX_INPUTS:
        return {}
    return {name: moments_of_rows(name, X) for name in names}


def moments_of_rows(name: str, X: Any) -> np.ndarray:
    """Mean of x xᵀ over the rows of a dense or CSR array, of shape (1, inputs, inputs)."""
    check_n_inputs(name, X.shape[1])
    products = X.T @ X
    return np.asarray(products.toarray() if hasattr(products, "toarray") else products, np.float64)[None] / X.shape[0]


def squared_gradients(model: Any, names: list[str], inputs: Any, targets: Any) -> list[np.ndarray]:
    raise UnsupportedModel(
        'method="taylor" needs the gradients of a torch model or of an MLP; for a linear estimator there are '
        '"magnitude", "wanda" and "obs"'
    )


def remove_channels(
    model: Any, amount: float, method: str, scope: str, calibration: Any, protect: Sequence[str], seed: Any
) -> Any:
    return None


def fold_batch_norms(model: Any, calibration: Any) -> Any:
    return model


def channels_last(model: Any) -> Any:
    return None


def first_trees(model: Any, share: float) -> Any:
    return None
