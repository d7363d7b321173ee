"""Candidates of few bytes: each layer is pruned and quantized in several ways, and all layers share the bytes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lifecycle.codecs import decode, encode, list_quantizers, pack
from lifecycle.compression._candidate_search import CandidateSearch, Proposal
from lifecycle.compression._layers import unprotected_layers
from lifecycle.compression._obs import LayerInputs, output_error, prune_layer, quantize_layer
from lifecycle.compression._plans import least_damage
from lifecycle.compression._statistics import second_moments
from lifecycle.compression.result import Candidate
from lifecycle.compression.size import size_of
from lifecycle.masks import lowest
from lifecycle.store.adapters import Grid, Layer

_N_SIZES = 20  # between the smallest and the original model that are looked for
_GROUP_SIZE = 64  # inputs that share a scale of 4-bit codes where no weight is pruned


class Option(NamedTuple):
    """What may be done to one layer: a share of its weights pruned, bits of those that stay (32: as they are)."""

    amount: float
    bits: int
    group_size: int | None = None

    def __str__(self) -> str:
        if self == _UNCHANGED:
            return "unchanged"
        groups = f" in groups of {self.group_size}" if self.group_size else ""
        return ", ".join([f"{100 * self.amount:g} % pruned"] * (self.amount > 0) + [f"int{self.bits}{groups}"])


_UNCHANGED = Option(0.0, 32)
# where weights of a group are pruned, its scale costs as much as the others
_OPTIONS = (
    _UNCHANGED,
    Option(0.0, 8),
    Option(0.0, 4, _GROUP_SIZE),
    Option(0.0, 4),
    *(Option(amount, 4) for amount in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)),
)
# options whose damage to the outputs of the model is measured; that of the others follows from the layer's own outputs
_MEASURED = (Option(0.0, 4), Option(0.8, 4))

Plan = dict[str, Option]  # by the name of the layer


class SizeSearch(CandidateSearch):
    """What each option saves and damages in a layer, and the choices of options that a dynamic programme makes."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.layers = unprotected_layers(self.adapter.layers(self.model), (), self.model)
        self.stored = {k: float(_bytes_of(array)) for k, array in self.adapter.tensors(self.model).items()}
        self.encoded: dict[str, dict[Option, Grid]] = {}
        self.methods: dict[str, tuple[str, str]] = {}
        self.n_steps = len(self.layers) * (1 + len(_MEASURED)) + 2 * _N_SIZES

    def proposals(self, on_step: Callable[[], Any], max_drop: float) -> list[Proposal]:
        """From the largest to the smallest, for budgets of bytes in equal ratios."""
        sizes, damages = [], []
        moments = second_moments(self.adapter, self.model, self.layers, self.calibration, skip_unknown=True)
        for layer, of_layer in zip(self.layers, moments, strict=True):
            errors = self._encode(layer, None if of_layer is None else LayerInputs(of_layer))
            on_step()
            sizes.append(self._sizes(layer))
            damages.append(self._damages(layer, errors, on_step))
        smallest, largest = (sum(float(f(each)) for each in sizes) for f in (np.min, lambda each: each[0]))
        if smallest >= largest:
            return []
        budgets = np.geomspace(smallest, largest, _N_SIZES, endpoint=False)[::-1] - smallest
        choices = least_damage([each - each.min() for each in sizes], damages, budgets)
        return self.until_one_fails(self._proposals(choices, on_step), max_drop)

    def none_found(self) -> str:
        return "no candidate is smaller than the model: there is nothing to compress"

    def about(self) -> dict[str, Any]:
        return {"methods": self.methods}

    def _proposals(self, choices: list[list[int] | None], on_step: Callable[[], Any]) -> Iterator[Proposal]:
        seen = set()
        size = self.size
        for choice in choices:
            on_step()
            if choice is None or tuple(choice) in seen or not any(choice):
                continue
            seen.add(tuple(choice))
            plan = {layer.name: _OPTIONS[k] for layer, k in zip(self.layers, choice, strict=True)}
            changed = self.apply(plan)
            now = size_of(changed)
            if now >= size:
                continue
            size = now
            options = {name: str(option) for name, option in plan.items()}
            yield Proposal(Candidate(options, size, self.search_drop(changed)), partial(self.apply, plan))

    def apply(self, plan: Plan) -> Any:
        """The model with the option of each layer that is named; all others are as they were."""
        plan = {name: option for name, option in plan.items() if option != _UNCHANGED}

        def chosen(name: str, weight: np.ndarray, axis: int, grid: Grid | None) -> Grid:
            return self.encoded[name][plan[name]]

        return self.adapter.quantize_layers(self.adapter.copy(self.model), list(plan), chosen, None)

    def _encode(self, layer: Layer, inputs: LayerInputs | None) -> list[float]:
        """Keep codes and scales of a layer for every option; returns their errors: of the layer's outputs, if known."""
        weight, quantizer = self.adapter.read_weight(self.model, layer.name), list_quantizers()["mse"]
        self.methods[layer.name] = ("magnitude", "mse") if inputs is None else ("obs", "gptq")
        grids, errors = {}, [0.0]
        for option in _OPTIONS[1:]:
            if inputs is None:
                pruned = np.where(lowest([np.abs(weight)], option.amount)[0], weight, weight.dtype.type(0))
                grid = encode(pruned, quantizer.scales, layer.channel_axis, option.bits, option.group_size)
            else:
                drop = round(option.amount * weight.size)
                pruned = prune_layer(layer, weight, inputs, drop, None) if drop else weight
                grid = quantize_layer(layer, pruned, inputs, quantizer, option.bits, option.group_size)
            change = decode(*grid, layer.channel_axis, weight.dtype) - weight
            errors.append(float(np.square(change).sum()) if inputs is None else output_error(layer, change, inputs))
            grids[option] = grid
        self.encoded[layer.name] = grids
        return errors

    def _sizes(self, layer: Layer) -> np.ndarray:
        """Bytes of the layer with each option."""
        stored = [float(sum(_bytes_of(part) for part in grid)) for grid in self.encoded[layer.name].values()]
        now = [self.stored.get(f"{layer.name}{end}", 0.0) for end in ("", ".codes", ".scales")]
        if not any(now):  # inside a pipeline the names are longer
            now = [self.size - size_of(self.apply({layer.name: _OPTIONS[1]})) + stored[0]]
        return np.array([sum(now), *stored])

    def _damages(self, layer: Layer, errors: list[float], on_step: Callable[[], Any]) -> np.ndarray:
        """The damage of each option: in proportion to the layer's error, from the measured one with the nearest error.

        Small changes of a layer's outputs change those of the model in proportion.
        """
        floor = max(max(errors), np.finfo(float).tiny) * 1e-12
        logs = np.log(np.maximum(errors, floor))
        measured = [_OPTIONS.index(option) for option in _MEASURED]
        found = []
        for k in measured:
            found.append(self.damage(self.apply({layer.name: _OPTIONS[k]})))
            on_step()
        nearest = np.abs(logs[:, None] - logs[measured]).argmin(axis=1)
        with np.errstate(invalid="ignore"):
            damages = np.array(found)[nearest] * np.exp(logs - logs[measured][nearest])
        damages[~np.isfinite(damages)] = np.inf  # an option whose outputs are not finite is no option
        damages[0] = 0.0
        return damages


def _bytes_of(array: np.ndarray) -> int:
    return sum(part.nbytes for part in pack(array)[1].values())
