"""compress: the smallest model that is not worse by more than was allowed, and the proof."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import UnsupportedModel, number, one_of, random_state
from lifecycle._progress import progress_bar
from lifecycle.codecs import encode, list_quantizers, pack
from lifecycle.compression._layers import unprotected_layers
from lifecycle.compression._obs import prune_layer, quantize_layer
from lifecycle.compression._plans import least_damage
from lifecycle.compression._scorer import Scorer, check_targets
from lifecycle.compression.certificate import certify_in_order, check_rows, hash_of_rows
from lifecycle.compression.result import Candidate, Compression
from lifecycle.compression.row_losses import RowLoss, row_loss
from lifecycle.compression.size import size_of
from lifecycle.evaluation import has_missing
from lifecycle.evaluation.rows import take
from lifecycle.masks import lowest
from lifecycle.store.adapters import Grid, Layer

__all__ = ["compress"]

_N_CANDIDATES = 24  # sizes between the smallest and the original model that are looked for
# rows on which the damage of an option is measured, and layers are calibrated: the fewer, the larger the model
_PROBE_WEIGHTS, _FEWEST_PROBE_ROWS, _MOST_PROBE_ROWS = 2_000_000_000, 64, 512
_GROUP_SIZE = 64  # inputs that share a scale of 4-bit codes


class Option(NamedTuple):
    """What may be done to one layer: a share of its weights pruned, and bits of those that stay (32: as they are)."""

    amount: float
    bits: int

    @property
    def group_size(self) -> int | None:
        return _GROUP_SIZE if self.bits == 4 else None

    def __str__(self) -> str:
        if self == _UNCHANGED:
            return "unchanged"
        parts = [f"{100 * self.amount:g} % pruned"] * (self.amount > 0) + [f"int{self.bits}"] * (self.bits < 32)
        return ", ".join(parts)


_UNCHANGED = Option(0.0, 32)
_OPTIONS = (
    _UNCHANGED,
    *(Option(0.0, bits) for bits in (8, 4)),
    *(Option(0.5, bits) for bits in (8, 4)),
    *(Option(amount, 4) for amount in (0.7, 0.8, 0.9)),
)


Plan = dict[str, Option]  # by the name of the layer


def compress(
    model: Any,
    X: Any,
    y: Any,
    *,
    max_drop: float = 0.01,
    confidence_level: float = 0.95,
    objective: str = "bytes",
    scoring: Any = None,
    groups: Any = None,
    certify_size: float = 0.5,
    calibration: Any = None,
    predict: Callable[[Any, Any], Any] | None = None,
    random_state: Any = None,
    progress: bool | None = None,
) -> Compression:
    """Find the smallest model whose score drops by less than `max_drop`, and prove it.

    Rows are split in two. On the search rows, each layer is pruned and quantized in several ways, alone, to learn what
    that does to the outputs; a dynamic programme then chooses an option for every layer, for many sizes. On the other
    rows, which had no part in this, the candidates are tested from the mildest to the strongest until one fails
    (fixed-sequence testing): the last that passed is returned. The probability that its score in truth drops by
    `max_drop` or more is at most 1 − confidence_level.

    Parameters
    ----------
    model : torch.nn.Module, or an estimator of this library, or a Pipeline that ends with one
        An estimator must be fitted. The model is not changed.
    X, y : rows and targets that the model was not trained on
        X is of any type that the model takes: array, DataFrame, tensor, or a tuple or dict of these.
    max_drop : float, default=0.01
        Of the accuracy; for regression of R², with clipped errors: see `scoring`.
    confidence_level : float, default=0.95
    objective : {"bytes"}, default="bytes"
        What is made small: the bytes in a file (`size_of`).
    scoring : None, "accuracy" or callable, default=None
        None: accuracy, or for regression the squared errors over the variance of the targets, clipped at the variance,
        or at the 99 % quantile of the original's on the search rows if that is larger. A callable (y_true, y_pred)
        gives each row a loss from 0 to 1.
    groups : array-like of shape (n_samples,), optional
        Rows of one group are not independent: they are searched on or certified on together, and the certificate is of
        the mean over groups.
    certify_size : float, default=0.5
        Share of the rows to certify on.
    calibration : as X, optional
        Rows for the methods that need the inputs of layers; None: 64 to 512 of the search rows, the fewer the larger
        the model.
    predict : callable (model, X) -> array, optional
        Labels, or values; where y holds class numbers, a column of scores for each class will do. None: the model's
        `predict`, or the outputs of a module.
    random_state : int, RandomState, Generator or None, default=None
        Of the split.
    progress : bool or None, default=None
        A bar; None: in a terminal or notebook only.

    Returns
    -------
    Compression
        With `model`, `certificate`, `table` and `plot()`.

    Raises
    ------
    ValueError
        So few rows could not certify `max_drop` whatever the model (the message says how many can), a score is no mean
        of bounded losses, or X and y do not fit each other.
    UnsupportedModel
        The model is of another kind, is not fitted, or has no weight to compress.
    """
    max_drop = number("max_drop", max_drop, above=0, below=1)
    level = number("confidence_level", confidence_level, above=0, below=1)
    one_of("objective", objective, ("bytes",))
    number("certify_size", certify_size, above=0, below=1)
    rows = _Rows(X, y, groups, certify_size, random_state)
    scored = Scorer(model, predict, rows.y)
    before = scored.predictions(model, rows.X_search)
    loss = row_loss(scoring, scored.is_classifier, rows.y_search, before)
    given = f"certify_size={certify_size:g} of {len(rows.y)} rows"
    check_rows(rows.n_certify, loss, max_drop, level, groups is not None, given)
    rows_hash = hash_of_rows(take(X, rows.certify), rows.y[rows.certify])
    search = _Search(model, rows, scored, loss, before, calibration)
    with progress_bar(search.n_steps, "compress", progress) as bar:
        found = search.candidates(bar.update, max_drop)
        return _certified(model, search, found, max_drop, level, rows_hash, bar.update)


class _Rows:
    """The rows to search on, and those to certify on."""

    def __init__(self, X: Any, y: Any, groups: Any, certify_size: float, seed: Any):
        self.X, self.y = X, check_targets(X, y)
        self.groups = None if groups is None else np.asarray(groups)
        if self.groups is not None and (self.groups.shape != self.y.shape[:1] or has_missing(self.groups)):
            raise ValueError(f"groups must have one entry for each of the {len(self.y)} rows")
        units = (
            np.arange(len(self.y)) if self.groups is None else np.unique(self.groups, return_inverse=True)[1].ravel()
        )
        n_units = int(units.max(initial=-1)) + 1
        n_search = n_units - round(certify_size * n_units)
        if not 0 < n_search < n_units:
            raise ValueError(f"certify_size={certify_size:g} leaves no rows to search or to certify on, of {n_units}")
        searched, rng = np.zeros(n_units, bool), random_state(seed)
        searched[rng.permutation(n_units)[:n_search]] = True
        # in a random order, as the first of them are looked at most
        self.search = rng.permutation(np.flatnonzero(searched[units]))
        self.certify = np.flatnonzero(~searched[units])
        self.n_certify = n_units - n_search
        self.X_search, self.y_search = take(X, self.search), self.y[self.search]

    @property
    def certify_groups(self) -> np.ndarray | None:
        return None if self.groups is None else self.groups[self.certify]


class _Search:
    """Options of each layer, what they save and what they damage, and the candidates made of them."""

    def __init__(self, model: Any, rows: _Rows, scored: Scorer, loss: RowLoss, before: np.ndarray, calibration: Any):
        self.model, self.rows, self.scored, self.loss, self.before = model, rows, scored, loss, before
        adapter = scored.adapter
        self.layers = unprotected_layers(adapter.layers(model), (), model)
        n_weights = sum(int(np.prod(layer.shape)) for layer in self.layers)
        n_probe = min(max(_PROBE_WEIGHTS // max(n_weights, 1), _FEWEST_PROBE_ROWS), _MOST_PROBE_ROWS, len(rows.search))
        self.X_probe = take(rows.X_search, np.arange(n_probe))
        self.calibration = self.X_probe if calibration is None else calibration
        self.methods: dict[str, tuple[str, str]] = {}
        self.encoded: dict[str, list[Grid]] = {}  # of each layer, for every option but the first
        self.n_steps = len(self.layers) * (len(_OPTIONS) - 1) + 2 * _N_CANDIDATES

    def candidates(self, on_step: Callable[[], Any], max_drop: float) -> list[tuple[Candidate, Plan]]:
        """Candidates and what is done to their layers, from the largest to the smallest.

        They end with the first whose loss rises by more than `max_drop` on the search rows: stronger ones hardly do
        better.
        """
        reference, size = self.scored.outputs(self.model, self.X_probe), size_of(self.model)
        sizes, damages = [], []
        for layer in self.layers:
            weight = self.scored.adapter.read_weight(self.model, layer.name)
            self.encoded[layer.name] = self._encode(layer, weight)
            stored, damage = [], [0.0]
            for option, grid in zip(_OPTIONS[1:], self.encoded[layer.name], strict=True):
                changed = self.apply({layer.name: option})
                stored.append(float(sum(_bytes_of(part) for part in grid)))
                if len(stored) == 1:  # as the layer is stored now, which may be in codes
                    unchanged = size - size_of(changed) + stored[0]
                damage.append(_difference(self.scored.outputs(changed, self.X_probe), reference))
                on_step()
            sizes.append(np.array([unchanged, *stored]))
            damages.append(np.array(damage))
        smallest, largest = (sum(float(f(each)) for each in sizes) for f in (np.min, lambda each: each[0]))
        if smallest >= largest:
            return []
        budgets = np.geomspace(smallest, largest, _N_CANDIDATES, endpoint=False) - smallest
        found: dict[tuple, tuple[Candidate, Plan]] = {}
        before = self.loss(self.rows.y_search, self.before)
        for choice in least_damage([each - each.min() for each in sizes], damages, budgets)[::-1]:
            on_step()
            if choice is None or tuple(choice) in found or not any(choice):
                continue
            plan = {layer.name: _OPTIONS[k] for layer, k in zip(self.layers, choice, strict=True)}
            changed = self.apply(plan)
            change = self.losses(changed, self.rows.X_search, self.rows.y_search) - before
            named = {name: str(option) for name, option in plan.items()}
            found[tuple(choice)] = Candidate(named, size_of(changed), float(change.mean())), plan
            if change.mean() > max_drop:
                break
        smaller = [one for one in found.values() if one[0].size < size]
        return sorted(smaller, key=lambda one: -one[0].size)

    def _encode(self, layer: Layer, weight: np.ndarray) -> list[Grid]:
        """Codes and scales of a layer for every option but the first."""
        quantizer, found = list_quantizers()["mse"], []
        try:
            moments = self.scored.adapter.second_moments(self.model, layer.name, self.calibration)
        except UnsupportedModel:
            self.methods[layer.name] = "magnitude", "mse"
            for option in _OPTIONS[1:]:
                kept = lowest([np.abs(weight)], option.amount)[0]
                pruned = np.where(kept, weight, weight.dtype.type(0))
                found.append(encode(pruned, quantizer.scales, layer.channel_axis, option.bits, option.group_size))
            return found
        self.methods[layer.name] = "obs", "gptq"
        for option in _OPTIONS[1:]:
            drop = round(option.amount * weight.size)
            pruned = prune_layer(layer, weight, moments, drop, None) if drop else weight
            found.append(quantize_layer(layer, pruned, moments, quantizer, option.bits, option.group_size))
        return found

    def apply(self, plan: Plan) -> Any:
        """The model with the option of each layer that is named; all others are as they were."""
        plan = {name: option for name, option in plan.items() if option != _UNCHANGED}

        def chosen(name: str, weight: np.ndarray, axis: int, grid: Grid | None) -> Grid:
            return self.encoded[name][_OPTIONS.index(plan[name]) - 1]

        adapter = self.scored.adapter
        return adapter.quantize_layers(adapter.copy(self.model), list(plan), chosen, None)

    def losses(self, model: Any, X: Any, y: np.ndarray) -> np.ndarray:
        return self.loss(y, self.scored.predictions(model, X))


def _bytes_of(array: np.ndarray) -> int:
    return sum(part.nbytes for part in pack(array)[1].values())


def _difference(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Mean squared change of the outputs, over their variance."""
    if reference.dtype.kind not in "fiu":
        return float(np.mean(outputs != reference))
    change = np.square(np.asarray(outputs, float) - reference)
    finite = np.where(np.isfinite(change), change, np.finfo(float).max)
    return float(finite.mean() / (np.var(reference.astype(float)) or 1.0))


def _certified(
    model: Any, search: _Search, found: list[tuple[Candidate, Plan]], max_drop: float, level: float, rows_hash: str,
    on_step: Callable[[], Any],
) -> Compression:  # fmt: skip
    """Test the candidates in their order, until one fails."""
    rows = search.rows
    X, y = take(rows.X, rows.certify), rows.y[rows.certify]
    losses = (search.losses(search.apply(plan), X, y) for _, plan in found)
    before = search.losses(model, X, y)
    proofs = []
    for proof in certify_in_order(before, losses, search.loss, max_drop, level, rows.certify_groups, rows_hash):
        proofs.append(proof)
        on_step()
    if not proofs:
        raise ValueError("no candidate is smaller than the model: there is nothing to compress")
    tested = [*proofs, *[None] * (len(found) - len(proofs))]
    candidates = [replace(one, certificate=proof) for (one, _), proof in zip(found, tested, strict=True)]
    n_held = sum(proof.holds for proof in proofs)
    best, proof = (search.apply(found[n_held - 1][1]), proofs[n_held - 1]) if n_held else (model, proofs[0])
    return Compression(best, proof, candidates, size_of(model), size_of(best), search.methods)
