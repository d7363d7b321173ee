"""Candidates with fewer trees: the first ones of a forest, or the first iterations of boosting."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lifecycle.compression._candidate_search import CandidateSearch, Proposal
from lifecycle.compression.result import Candidate
from lifecycle.compression.size import size_of

_SHARES = (0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)


class TreeSearch(CandidateSearch):
    """Of a forest any trees are as good as the first ones, as each is drawn like the others."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.n_steps = 2 * len(_SHARES)

    def proposals(self, on_step: Callable[[], Any], max_drop: float) -> list[Proposal]:
        return self.mild_to_strong(self._proposals(on_step), lambda one: one.size, max_drop)

    def _proposals(self, on_step: Callable[[], Any]) -> Iterator[Proposal]:
        size = self.size
        for share in _SHARES:
            model = self.adapter.first_trees(self.model, share)
            before, size = size, size_of(model)
            if size < before:
                options = {"trees": f"{100 * share:g} % of the trees"}
                yield Proposal(
                    Candidate(options, size, self.search_drop(model)),
                    partial(self.adapter.first_trees, self.model, share),
                )
            on_step()

    def none_found(self) -> str:
        return "the model has one tree, or one iteration: there is nothing to leave out"

    def about(self) -> dict[str, Any]:
        return {"notes": self.notes}
