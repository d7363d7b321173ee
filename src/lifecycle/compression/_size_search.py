"""Candidates of few bytes: channels are removed, each layer is pruned and quantized, and all layers share the bytes."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from lifecycle.compression._candidate_search import AMOUNTS, CandidateSearch, Proposal
from lifecycle.compression._layer_options import MEASURED, LayerOptions, Plan
from lifecycle.compression._plans import frontier
from lifecycle.compression.result import Candidate
from lifecycle.compression.size import size_of

_N_SIZES = 60  # between the smallest and the original model that are looked for
_STRIDE = 4  # sizes from one that is tested on all search rows to the next, until one fails


class _Sized(NamedTuple):
    """A choice of options for the layers of a model, its bytes, and its damage to the outputs."""

    of: LayerOptions
    plan: Plan
    channels_removed: float
    size: int
    damage: float


class SizeSearch(CandidateSearch):
    """Options for the layers of the model, and of the model without some of its channels.

    A dynamic programme chooses for many sizes; those that another choice surpasses in both bytes and damage, with as
    many channels or others, are no candidates.
    """

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.methods: dict[str, tuple[str, str]] = {}
        n_layers = len(self.adapter.layers(self.model))
        self.n_steps = len(AMOUNTS) * (n_layers * (1 + len(MEASURED)) + _N_SIZES) + _N_SIZES

    def proposals(self, on_step: Callable[[], Any], max_drop: float) -> list[Proposal]:
        """From the largest to the smallest."""
        found: list[_Sized] = []
        for amount, model in self.without_channels():
            if amount and self.search_drop(model) > max_drop / 2:
                break  # bits and zeros need the rest
            options = LayerOptions(self.adapter, model, self.calibration, self.damage, on_step)
            self.methods = self.methods or options.methods
            for plan in options.plans(_N_SIZES):
                changed = options.apply(plan)
                found.append(_Sized(options, plan, amount, size_of(changed), self.damage(changed)))
                on_step()
            smaller = [one for one in found if one.size < self.size]
            found = frontier(smaller, lambda one: one.size, lambda one: one.damage)
            if not any(one.of is options for one in found):
                break  # with still fewer channels there is hardly a better choice
        return self._proposals(found, on_step, max_drop)

    def none_found(self) -> str:
        return "no candidate is smaller than the model: there is nothing to compress"

    def about(self) -> dict[str, Any]:
        return {"methods": self.methods, "notes": self.notes}

    def _proposals(self, sized: list[_Sized], on_step: Callable[[], Any], max_drop: float) -> list[Proposal]:
        """Some of the candidates up to the first that fails on the search rows, and all of the last before it."""
        made: dict[int, Proposal] = {}

        def make_until_one_fails(places: range) -> None:
            for k in places:
                made[k] = made.get(k) or self._proposal(sized[k])
                on_step()
                if made[k].candidate.search_drop > max_drop:
                    break

        make_until_one_fails(range(0, len(sized), _STRIDE))
        make_until_one_fails(range(max(max(made, default=0) - 2 * _STRIDE, 0), len(sized)))
        return self.mild_to_strong(made.values(), lambda one: one.size, max_drop)

    def _proposal(self, one: _Sized) -> Proposal:
        options = {name: str(option) for name, option in one.plan.items()}
        drop = self.search_drop(one.of.apply(one.plan))
        candidate = Candidate(options, one.size, drop, channels_removed=one.channels_removed)
        return Proposal(candidate, partial(one.of.apply, one.plan))
