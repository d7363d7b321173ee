"""What the searches for small and for fast candidates share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.compression._plans import frontier
from lifecycle.compression._scorer import Scorer
from lifecycle.compression._search_rows import SearchRows
from lifecycle.compression.result import Candidate
from lifecycle.compression.row_losses import RowLoss
from lifecycle.compression.size import size_of
from lifecycle.evaluation.rows import take

# rows on which the damage of an option is measured, and on which layers are calibrated: the fewer, the larger the model
_PROBE_WEIGHTS, _FEWEST_PROBE_ROWS, _MOST_PROBE_ROWS = 2_000_000_000, 64, 512
_MOST_CALIBRATION_ROWS = 4096
AMOUNTS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75)  # of the channels that are removed


class Proposal(NamedTuple):
    """A candidate, and what makes its model."""

    candidate: Candidate
    build: Callable[[], Any]


class CandidateSearch(ABC):
    """Proposals for a model, by what its compressed copies do on the search rows."""

    n_steps: int  # of the progress bar

    def __init__(
        self, model: Any, rows: SearchRows, scorer: Scorer, loss: RowLoss, predictions: np.ndarray, calibration: Any
    ):
        self.model, self.rows, self.scorer, self.loss = model, rows, scorer, loss
        self.adapter = scorer.adapter
        self.losses_before = loss(rows.y_search, predictions)
        self.size = size_of(model)
        n_weights = sum(int(np.prod(layer.shape)) for layer in self.adapter.layers(model))
        affordable = max(_PROBE_WEIGHTS // max(n_weights, 1), _FEWEST_PROBE_ROWS)
        probe = np.arange(min(affordable, _MOST_PROBE_ROWS, len(rows.search)))
        self.X_probe = take(rows.X_search, probe)
        self.calibration, self.calibration_targets = calibration, None
        if calibration is None:
            chosen = np.arange(min(affordable, _MOST_CALIBRATION_ROWS, len(rows.search)))
            self.calibration, self.calibration_targets = take(rows.X_search, chosen), rows.y_search[chosen]
        self.reference = scorer.outputs(model, self.X_probe)
        self.notes: list[str] = []

    @abstractmethod
    def proposals(self, on_step: Callable[[], Any], max_drop: float) -> list[Proposal]:
        """From the mildest to the strongest; the last may be the first that fails on the search rows.

        Stronger ones hardly do better.
        """

    @abstractmethod
    def none_found(self) -> str:
        """What is said where there is no candidate."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What the result says of the search."""

    def without_channels(self) -> Iterator[tuple[float, Any]]:
        """Shares of each layer's channels, from none on, and the model without them; each batch norm is folded.

        The channels with the smallest gradients go, where there are targets for these. Shares that remove no channel
        are left out.
        """
        method, rows = "magnitude", self.calibration
        if self.calibration_targets is not None and self.scorer.predict is None:
            method, rows = "taylor", (self.calibration, self.calibration_targets)
        size = None
        for amount in AMOUNTS:
            model = self.adapter.copy(self.model)
            try:
                if amount:
                    model = self.adapter.remove_channels(model, amount, method, "layer", rows, (), None)
            except UnsupportedModel as error:
                self._note(f"no channels were removed: {error}")
                return
            if model is None:
                return
            try:
                model = self.adapter.fold_batch_norms(model, self.calibration)
            except UnsupportedModel as error:
                self._note(f"batch normalizations were not folded: {error}")
            before, size = size, size_of(model)
            if size != before:
                yield amount, model

    def _note(self, text: str) -> None:
        self.notes += [text] if text not in self.notes else []

    def until_one_fails(self, proposals: Iterable[Proposal], max_drop: float) -> list[Proposal]:
        """Proposals up to the first whose loss rises by more than `max_drop` on the search rows."""
        found = []
        for proposal in proposals:
            found.append(proposal)
            if proposal.candidate.search_drop > max_drop:
                break
        return found

    def mild_to_strong(
        self, proposals: Iterable[Proposal], cost: Callable[[Candidate], float], max_drop: float
    ) -> list[Proposal]:
        """Proposals from the most to the least costly, up to the first that fails on the search rows.

        A cheaper one that loses less there is more likely to pass. Those that it surpasses are left out, as each may
        end the sequence of tests; but not those that lose at most half of `max_drop`, which are likely to pass.
        """
        made = list(proposals)
        best = frontier(made, lambda one: cost(one.candidate), lambda one: one.candidate.search_drop)
        mild = [one for one in made if one.candidate.search_drop <= max_drop / 2 and one not in best]
        ordered = sorted([*best, *mild], key=lambda one: cost(one.candidate), reverse=True)
        return self.until_one_fails(ordered, max_drop)

    def search_drop(self, model: Any) -> float:
        """The rise of the mean loss on the search rows."""
        after = self.loss(self.rows.y_search, self.scorer.predictions(model, self.rows.X_search))
        return float((after - self.losses_before).mean())

    def damage(self, model: Any) -> float:
        """Mean squared change of the outputs on some search rows, over their variance; of labels, how many change."""
        outputs, reference = self.scorer.outputs(model, self.X_probe), self.reference
        if reference.dtype.kind != "f" and (self.scorer.is_classifier or reference.dtype.kind not in "iu"):
            return float(np.mean(outputs != reference))
        if not np.isfinite(outputs).all():
            return np.inf
        change = np.square(np.asarray(outputs, float) - reference)
        return float(change.mean() / (np.var(reference.astype(float)) or 1.0))
