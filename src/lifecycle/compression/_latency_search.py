"""Fast candidates: networks without some of their channels, with and without int8 layers, timed on this machine."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.compression._candidate_search import AMOUNTS, CandidateSearch, Proposal
from lifecycle.compression._plans import frontier
from lifecycle.compression.quantization import quantize
from lifecycle.compression.result import Candidate
from lifecycle.compression.size import size_of
from lifecycle.evaluation.latency import alternating_quartiles
from lifecycle.evaluation.rows import n_rows, take

_FASTER = 0.95  # of the original's time, at most


class _Timed(NamedTuple):
    """A model, what was done to it, the time of a call as a share of the original's, and the damage."""

    model: Any
    description: str
    seconds: float
    ratio: float
    damage: float


class LatencySearch(CandidateSearch):
    """Calls of a compressed model and of the original alternate; those that are no faster are no candidates.

    Ranges of the inputs of int8 layers come from the search rows: with ranges of the batch, predictions would depend
    on the other rows, and the rows to certify on would not be independent.
    """

    def __init__(self, *arguments: Any, batch_size: int):
        super().__init__(*arguments)
        self.batch_size = batch_size
        self.batch = take(self.rows.X_search, np.arange(batch_size) % n_rows(self.rows.X_search))
        self.n_steps = 6 * len(AMOUNTS)

    def proposals(self, on_step: Callable[[], Any], max_drop: float) -> list[Proposal]:
        """From the slowest to the fastest, without those that another one surpasses in both time and damage."""
        found: list[_Timed] = []
        for amount, model in self.without_channels():
            is_smaller = size_of(model) < self.size
            parts = [f"{100 * amount:g} % of the channels removed"] if amount else []
            if not amount:
                parts += ["batch normalizations folded"] if is_smaller else []
                channels_last = self._is_faster_with_channels_last(model)
            if channels_last:
                model = self.adapter.channels_last(model)
                parts.append("channels last in memory")
            if channels_last or is_smaller:
                found.append(self._time(model, parts))
            on_step()
            int8 = self._with_int8_layers(model)
            if int8 is not None:
                found.append(self._time(int8, [*parts, "int8"]))
            found = _fastest(found)
            on_step()
        # the fastest of many measurements is fast by chance, too: each is timed again
        again = _fastest([self._time(one.model, [one.description]) for one in found])
        made = self.until_one_fails(self._proposals(again, on_step), max_drop)
        return self.mild_to_strong(made, lambda one: 1 / (one.times_faster or 1.0), max_drop)

    def none_found(self) -> str:
        reasons = "".join(f"; {note}" for note in self.notes)
        return (
            f"no candidate is faster than the model on this machine, for {self.batch_size} rows a call{reasons}: "
            'objective="bytes" makes the file smaller'
        )

    def about(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "notes": self.notes}

    def _proposals(self, timed: list[_Timed], on_step: Callable[[], Any]) -> Iterator[Proposal]:
        for one in timed:
            drop = self.search_drop(one.model)
            candidate = Candidate({"model": one.description}, size_of(one.model), drop, one.seconds, 1 / one.ratio)
            yield Proposal(candidate, partial(getattr, one, "model"))
            on_step()

    def _with_int8_layers(self, model: Any) -> Any:
        """The model with int8 in those layers that it makes faster; None where there are none."""
        if self.adapter.integer_layers(model) is None:
            return None
        try:
            timed = quantize(model, batch_size=self.batch_size, calibration=self.calibration)
            faster = self.adapter.integer_layers(timed) or []
            slower = [layer.name for layer in self.adapter.layers(model) if layer.name not in faster]
            if not faster:
                return None
            return quantize(model, activations="static", calibration=self.calibration, protect=slower)
        except (UnsupportedModel, ValueError) as error:  # a layer that has int8 weights but no range of inputs
            self._note(f"int8 layers were not tried: {error}")
            return None

    def _is_faster_with_channels_last(self, model: Any) -> bool:
        changed = self.adapter.channels_last(self.adapter.copy(model))
        if changed is None:
            return False
        try:
            return self._compare(model, changed)[1] <= _FASTER
        except RuntimeError as error:  # of a `view`, which depends on the order in memory
            reason = str(error).partition("\n")[0]
            self._note(f"channels were not laid out last in memory: {reason}")
            return False

    def _time(self, model: Any, parts: list[str]) -> _Timed:
        return _Timed(model, ", ".join(parts), *self._compare(self.model, model), self.damage(model))

    def _compare(self, before: Any, after: Any) -> tuple[float, float]:
        """Seconds of a call of the second model, and their share of those of the first; calls of both alternate."""
        calls = [partial(self.scorer.predictions, model, self.batch) for model in (before, after)]
        seconds = [median for _, median, _ in alternating_quartiles(calls)]
        return seconds[1], seconds[1] / seconds[0]


def _fastest(timed: list[_Timed]) -> list[_Timed]:
    """Those that are faster than the original, without those that another one surpasses in both time and damage."""
    faster = [one for one in timed if one.ratio <= _FASTER]
    return frontier(faster, lambda one: one.ratio, lambda one: one.damage)
