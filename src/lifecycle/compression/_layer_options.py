"""What may be done to the layers of a model for fewer bytes, and what each of it saves and damages."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lifecycle.codecs import decode, encode, list_quantizers, pack, unpack
from lifecycle.compression._layers import unprotected_layers
from lifecycle.compression._obs import LayerInputs, output_error, prune_layer, quantize_layer
from lifecycle.compression._plans import frontier, least_damage
from lifecycle.compression._statistics import second_moments
from lifecycle.compression.size import size_of
from lifecycle.masks import lowest
from lifecycle.store.adapters import Adapter, Grid, Layer

_GROUP_SIZE = 64  # inputs that share a scale of 4-bit codes where no weight is pruned


class Option(NamedTuple):
    """What may be done to one layer: a share of its weights pruned, bits of those that stay (32: as they are)."""

    amount: float
    bits: int
    group_size: int | None = None

    def __str__(self) -> str:
        if self == UNCHANGED:
            return "unchanged"
        groups = f" in groups of {self.group_size}" if self.group_size else ""
        return ", ".join([f"{100 * self.amount:g} % pruned"] * (self.amount > 0) + [f"int{self.bits}{groups}"])


UNCHANGED = Option(0.0, 32)
_AMOUNTS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# where weights of a group are pruned, its scale costs as much as the others
OPTIONS = (
    UNCHANGED,
    Option(0.0, 8),
    Option(0.0, 4, _GROUP_SIZE),
    *(Option(amount, bits) for amount in (0.0, *_AMOUNTS) for bits in (4, 3)),
)
# options whose damage to the outputs of the model is measured; that of the others follows from the layer's own outputs
MEASURED = (Option(0.0, 4), Option(0.8, 4))

Plan = dict[str, Option]  # by the name of the layer
_Packed = tuple[str | None, dict[str, np.ndarray], tuple[int, ...], np.ndarray]  # codes as in a file; scales


class LayerOptions:
    """Codes and scales of each layer of a model, for every option.

    Codes are kept as in a file, and only of options that no other one of the layer surpasses in bytes and damage.
    """

    def __init__(
        self, adapter: Adapter, model: Any, calibration: Any, damage: Callable[[Any], float],
        on_step: Callable[[], Any],
    ):  # fmt: skip
        self.adapter, self.model, self.damage = adapter, model, damage
        self.damage_before = damage(model)  # the model may lack channels of the one that outputs are compared with
        self.layers = unprotected_layers(adapter.layers(model), (), model)
        self.stored = {k: float(_bytes_of(array)) for k, array in adapter.tensors(model).items()}
        self.packed: dict[str, dict[Option, _Packed]] = {}
        self.methods: dict[str, tuple[str, str]] = {}
        self.sizes: list[np.ndarray] = []
        self.damages: list[np.ndarray] = []
        moments = second_moments(adapter, model, self.layers, calibration, skip_unknown=True)
        for layer, of_layer in zip(self.layers, moments, strict=True):
            errors = self._encode(layer, None if of_layer is None else LayerInputs(of_layer))
            on_step()
            self.sizes.append(self._sizes(layer))
            self.damages.append(self._damages(layer, errors, on_step))
            self._keep_frontier(layer, self.sizes[-1], self.damages[-1])

    def plans(self, n_sizes: int) -> list[Plan]:
        """For budgets of bytes in equal ratios, from the largest to the smallest."""
        smallest, largest = (sum(float(f(each)) for each in self.sizes) for f in (np.min, lambda each: each[0]))
        if smallest >= largest:
            return []
        budgets = np.geomspace(smallest, largest, n_sizes, endpoint=False)[::-1] - smallest
        choices = least_damage([each - each.min() for each in self.sizes], self.damages, budgets)
        found = dict.fromkeys(tuple(choice) for choice in choices if choice is not None)
        plans = [{la.name: OPTIONS[k] for la, k in zip(self.layers, choice, strict=True)} for choice in found]
        for layer in self.layers:
            self._keep(layer, {plan[layer.name] for plan in plans})
        return plans

    def apply(self, plan: Plan) -> Any:
        """The model with the option of each layer that is named; all others are as they were."""
        plan = {name: option for name, option in plan.items() if option != UNCHANGED}

        def chosen(name: str, weight: np.ndarray, axis: int, grid: Grid | None) -> Grid:
            codec, parts, shape, scales = self.packed[name][plan[name]]
            codes = parts[""] if codec is None else unpack(codec, parts, np.dtype(np.int8), shape)
            return codes, scales

        return self.adapter.quantize_layers(self.adapter.copy(self.model), list(plan), chosen, None)

    def _keep_frontier(self, layer: Layer, sizes: np.ndarray, damages: np.ndarray) -> None:
        """Forget options that another one surpasses in both bytes and damage."""
        best = frontier(range(len(OPTIONS)), sizes.__getitem__, damages.__getitem__)
        damages[[k for k in range(len(OPTIONS)) if k not in best]] = np.inf
        self._keep(layer, {OPTIONS[k] for k in best})

    def _keep(self, layer: Layer, used: set[Option]) -> None:
        grids = self.packed[layer.name]
        self.packed[layer.name] = {option: grid for option, grid in grids.items() if option in used}

    def _encode(self, layer: Layer, inputs: LayerInputs | None) -> list[float]:
        """Keep codes and scales of a layer for every option; returns their errors: of the layer's outputs, if known."""
        weight, quantizer = self.adapter.read_weight(self.model, layer.name), list_quantizers()["mse"]
        self.methods[layer.name] = ("magnitude", "mse") if inputs is None else ("obs", "gptq")
        self.packed[layer.name], errors, amount, pruned = {}, [0.0], 0.0, weight
        for option in OPTIONS[1:]:
            if option.amount != amount:
                amount, pruned = option.amount, _pruned(layer, weight, inputs, option.amount)
            if inputs is None:
                grid = encode(pruned, quantizer.scales, layer.channel_axis, option.bits, option.group_size)
            else:
                grid = quantize_layer(layer, pruned, inputs, quantizer, option.bits, option.group_size)
            change = decode(*grid, layer.channel_axis, weight.dtype) - weight
            errors.append(float(np.square(change).sum()) if inputs is None else output_error(layer, change, inputs))
            self.packed[layer.name][option] = (*pack(grid[0]), grid[0].shape, grid[1])
        return errors

    def _sizes(self, layer: Layer) -> np.ndarray:
        """Bytes of the layer with each option."""
        stored = [
            float(sum(part.nbytes for part in parts.values()) + _bytes_of(scales))
            for _, parts, _, scales in self.packed[layer.name].values()
        ]
        now = [self.stored.get(f"{layer.name}{end}", 0.0) for end in ("", ".codes", ".scales")]
        if not any(now):  # inside a pipeline the names are longer
            now = [size_of(self.model) - size_of(self.apply({layer.name: OPTIONS[1]})) + stored[0]]
        return np.array([sum(now), *stored])

    def _damages(self, layer: Layer, errors: list[float], on_step: Callable[[], Any]) -> np.ndarray:
        """What each option adds to the damage: in proportion to the layer's error, from the measured one nearest to it.

        Small changes of a layer's outputs change those of the model in proportion.
        """
        floor = max(max(errors), np.finfo(float).tiny) * 1e-12
        logs = np.log(np.maximum(errors, floor))
        measured = [OPTIONS.index(option) for option in MEASURED]
        found = []
        for k in measured:
            found.append(max(self.damage(self.apply({layer.name: OPTIONS[k]})) - self.damage_before, 0.0))
            on_step()
        nearest = np.abs(logs[:, None] - logs[measured]).argmin(axis=1)
        with np.errstate(invalid="ignore"):
            damages = np.array(found)[nearest] * np.exp(logs - logs[measured][nearest])
        damages[~np.isfinite(damages)] = np.inf  # an option whose outputs are not finite is no option
        damages[0] = 0.0
        return damages


def _pruned(layer: Layer, weight: np.ndarray, inputs: LayerInputs | None, amount: float) -> np.ndarray:
    """The weight without that share of its values; with known inputs the others make it good."""
    if inputs is None:
        return np.where(lowest([np.abs(weight)], amount)[0], weight, weight.dtype.type(0))
    drop = round(amount * weight.size)
    return prune_layer(layer, weight, inputs, drop, None) if drop else weight


def _bytes_of(array: np.ndarray) -> int:
    return sum(part.nbytes for part in pack(array)[1].values())
