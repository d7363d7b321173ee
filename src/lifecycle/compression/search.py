"""compress: the smallest or fastest model that is not worse by more than was allowed, and the proof."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from lifecycle._check import integer, number, one_of
from lifecycle._progress import progress_bar
from lifecycle.compression._candidate_search import CandidateSearch, Proposal
from lifecycle.compression._latency_search import LatencySearch
from lifecycle.compression._scorer import Scorer
from lifecycle.compression._search_rows import SearchRows
from lifecycle.compression._size_search import SizeSearch
from lifecycle.compression._tree_search import TreeSearch
from lifecycle.compression.certificate import certify_in_order, check_rows, hash_of_rows
from lifecycle.compression.result import Compression
from lifecycle.compression.row_losses import row_loss
from lifecycle.compression.size import size_of
from lifecycle.evaluation.rows import take
from lifecycle.store import adapters

__all__ = ["compress"]

OBJECTIVES = ("bytes", "latency")


def compress(
    model: Any,
    X: Any,
    y: Any,
    *,
    max_drop: float = 0.01,
    confidence_level: float = 0.95,
    objective: str = "bytes",
    batch_size: int = 1,
    scoring: Any = None,
    groups: Any = None,
    certify_size: float = 0.5,
    calibration: Any = None,
    predict: Callable[[Any, Any], Any] | None = None,
    random_state: Any = None,
    progress: bool | None = None,
) -> Compression:
    """Find the smallest or fastest model whose score drops by less than `max_drop`, and prove it.

    Rows are split in two. On the search rows candidates are made. Batch normalizations are folded into the layers
    before them, and shares of the channels are removed. For few bytes, each layer of what remains is pruned and
    quantized in several ways, of which two are tried alone, to learn what that does to the outputs; a dynamic programme
    then chooses an option for every layer, for many sizes. For a short latency, convolutions run with the channels last
    in memory, and layers in int8, where that is faster here; each candidate is timed. On the other rows, which
    had no part in this, the candidates are tested from the mildest to the strongest until one fails (fixed-sequence
    testing): the last that passed is returned. The probability that its score in truth drops by `max_drop` or more is
    at most 1 − confidence_level.

    Parameters
    ----------
    model : torch.nn.Module, estimator of this library or of scikit-learn (as `prune`), or a Pipeline that ends with one
        An estimator must be fitted. The model is not changed. Trees, forests and boosting of scikit-learn become
        a `TreeClassifier` or `TreeRegressor`, which predicts the same, faster; of these some trees are left out.
    X, y : rows and targets that the model was not trained on
        X is of any type that the model takes: array, DataFrame, tensor, or a tuple or dict of these.
    max_drop : float, default=0.01
        Of the accuracy; for regression of R², with clipped errors: see `scoring`.
    confidence_level : float, default=0.95
    objective : {"bytes", "latency"}, default="bytes"
        What is made small: the bytes of the arrays in a file (`size_of`), or the time of a call on this machine.
        Whether "latency" finds anything depends on the machine and the model: it needs a torch model, or an MLP of
        scikit-learn. Outputs of convolutions may then have their channels last in memory, as `best.description` says:
        a forward that calls ``view`` on them for inputs of other sizes needs ``reshape``.
    batch_size : int, default=1
        Rows of the calls that are timed, for "latency".
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
        Rows for the methods that need the inputs of layers; None: 64 to 4096 of the search rows, the fewer the larger
        the model. They must not be among X, some of which are the evidence.
    predict : callable (model, X) -> array or tensor, optional
        Called with rows of X as it was given.
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
        of bounded losses, X and y do not fit each other, or no candidate is smaller, or faster.
    UnsupportedModel
        The model is of another kind, is not fitted, or has no weight to compress.
    """
    max_drop = number("max_drop", max_drop, above=0, below=1)
    level = number("confidence_level", confidence_level, above=0, below=1)
    one_of("objective", objective, OBJECTIVES)
    batch_size = integer("batch_size", batch_size, low=1)
    if objective == "bytes" and batch_size != 1:
        raise ValueError('batch_size is of the calls that are timed: it needs objective="latency"')
    number("certify_size", certify_size, above=0, below=1)
    if calibration is not None and calibration is X:
        raise ValueError("calibration must not be X: rows that certify the result may have no part in making it")
    trees = adapters.adapter_for(model).first_trees(model, 1.0)
    if trees is not None:
        if objective != "bytes":
            raise ValueError('of trees, fewer take less time as well as fewer bytes: leave objective="latency" out')
        model = trees
    rows = SearchRows(X, y, groups, certify_size, random_state)
    scorer = Scorer(model, predict, rows.y)
    copied = scorer.adapter.copy(model)  # a module may write to its buffers in any call
    before = scorer.predictions(copied, rows.X_search)
    loss = row_loss(scoring, scorer.is_classifier, rows.y_search, before)
    given = f"certify_size={certify_size:g} of {len(rows.y)} rows"
    check_rows(rows.n_certify, loss, max_drop, level, groups is not None, given)
    known = (copied, rows, scorer, loss, before, calibration)
    search: CandidateSearch
    if trees is not None:
        search = TreeSearch(*known)
    else:
        search = LatencySearch(*known, batch_size=batch_size) if objective == "latency" else SizeSearch(*known)
    with progress_bar(search.n_steps, "compress", progress) as bar:
        found = search.proposals(bar.update, max_drop)
        if not found:
            raise ValueError(search.none_found())
        return _certified(model, search, found, max_drop, level, bar.update)


def _certified(
    original: Any, search: CandidateSearch, found: list[Proposal], max_drop: float, level: float,
    on_step: Callable[[], Any],
) -> Compression:  # fmt: skip
    """Test the candidates in their order, until one fails."""
    rows, scorer, loss = search.rows, search.scorer, search.loss
    X, y = take(rows.X, rows.certify), rows.y[rows.certify]
    best = model = original

    def losses() -> Iterator[np.ndarray]:
        nonlocal best, model
        for proposal in found:
            best, model = model, proposal.build()  # one that is followed by another has passed
            yield loss(y, scorer.predictions(model, X))

    before, rows_hash = loss(y, scorer.predictions(search.model, X)), hash_of_rows(X, y)
    proofs = []
    for proof in certify_in_order(before, losses(), loss, max_drop, level, rows.certify_groups, rows_hash):
        proofs.append(proof)
        on_step()
    if proofs[-1].holds:
        best = model
    tested = [*proofs, *[None] * (len(found) - len(proofs))]
    n_held = sum(proof.holds for proof in proofs)
    return Compression(
        model=best,
        certificate=proofs[max(n_held - 1, 0)],
        candidates=[replace(one.candidate, certificate=proof) for one, proof in zip(found, tested, strict=True)],
        size_before=search.size,
        size_after=size_of(best),
        **search.about(),
    )
