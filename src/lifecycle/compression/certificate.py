"""Proof that a compressed model is not worse than the original by more than was allowed."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lifecycle._display import html_table
from lifecycle.compression.row_losses import RowLoss
from lifecycle.evaluation.empirical_bernstein import fewest_values, mean_upper_bound
from lifecycle.evaluation.paired_proportions import METHOD as EXACT
from lifecycle.evaluation.paired_proportions import drop_upper_bound, is_non_inferior, rows_needed

BERNSTEIN = "empirical Bernstein bound (Maurer & Pontil, 2009)"
BERNSTEIN_OF_GROUPS = f"{BERNSTEIN} of the means of groups"


@dataclass(frozen=True)
class Certificate:
    """How much worse the compressed model is, on rows that had no part in making it.

    Attributes
    ----------
    holds : bool
        Whether a drop of `max_drop` or more is rejected. If it is for no candidate, the model is the original one.
    metric : str
        The mean of row losses that is compared.
    before : float
        Mean loss of the original.
    drop : float
        How much larger that of the compressed model is.
    bound : float
        Upper confidence bound of the drop in the population that the rows were drawn from.
    max_drop, confidence_level : float
        As they were asked for.
    n : int
        Rows, or groups of rows.
    worse, better : int
        Rows whose loss rose, and fell.
    test : str
        What gives the bound.
    rows_hash : str
        SHA-256 of the rows and targets.
    """

    holds: bool
    metric: str
    before: float
    drop: float
    bound: float
    max_drop: float
    confidence_level: float
    n: int
    worse: int
    better: int
    test: str
    rows_hash: str

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "does not hold"
        units = "groups" if self.test == BERNSTEIN_OF_GROUPS else "rows"
        change = f"{'fell' if self.drop < 0 else 'rose'} by {abs(self.drop):.4f}"
        return (
            f"{verdict}: with {100 * self.confidence_level:g} % confidence the {self.metric} rises by less than "
            f"{self.bound:.4f}; allowed are {self.max_drop:g}. On {self.n} {units} it was {self.before:.4f} and "
            f"{change} ({self.worse} rows worse, {self.better} better); {self.test}"
        )

    def _repr_html_(self) -> str:
        return html_table(["", "value"], [(name, str(value)) for name, value in asdict(self).items()], text_columns=[1])


def certify_in_order(
    before: np.ndarray, losses: Iterable[np.ndarray], loss: RowLoss, max_drop: float, level: float,
    groups: np.ndarray | None, rows_hash: str,
) -> Iterator[Certificate]:  # fmt: skip
    """Certificates of models, until one does not hold: fixed-sequence testing (Maurer, Hothorn & Lehmacher, 1995).

    As the order is not chosen by these rows, each test has the whole level.
    """
    for after in losses:
        found = certify(before, after, loss, max_drop, level, groups, rows_hash)
        yield found
        if not found.holds:
            return


def certify(
    before: np.ndarray,
    after: np.ndarray,
    loss: RowLoss,
    max_drop: float,
    level: float,
    groups: np.ndarray | None,
    rows_hash: str,
) -> Certificate:
    """The certificate of a model, from the losses of the same rows with it and with the original."""
    change = after - before
    worse, better = int((change > 0).sum()), int((change < 0).sum())
    values = change if groups is None else _means_of_groups(change, groups)
    n = len(values)
    if groups is None and loss.is_zero_one:
        bound, test = drop_upper_bound(worse, better, n, level, max_drop), EXACT
        holds = is_non_inferior(worse, better, n, max_drop, level)
    else:
        bound = mean_upper_bound(values, 2 * loss.largest, level)
        test = BERNSTEIN if groups is None else BERNSTEIN_OF_GROUPS
        holds = bound < max_drop
    mean_before = float((before if groups is None else _means_of_groups(before, groups)).mean())
    return Certificate(
        holds, loss.name, mean_before, float(values.mean()), bound, max_drop, level, n, worse, better, test, rows_hash
    )


def check_rows(n: int, loss: RowLoss, max_drop: float, level: float, has_groups: bool, given: str) -> None:
    """ValueError if so few rows could not certify `max_drop` even if nothing changed."""
    if loss.is_zero_one and not has_groups:
        needed, smallest = rows_needed(max_drop, level), drop_upper_bound(0, 0, n, level)
    else:
        needed = fewest_values(max_drop, 2 * loss.largest, level)
        smallest = mean_upper_bound(np.zeros(n), 2 * loss.largest, level) if n > 1 else 1.0
    if n >= needed:
        return
    smallest, units = float(np.ceil(1000 * smallest) / 1000), "groups" if has_groups else "rows"
    advice = f", or max_drop={smallest:g} or more" if smallest < 1 else ""
    raise ValueError(
        f"max_drop={max_drop:g} with {100 * level:g} % confidence needs at least {needed} "
        f"{units} to certify on, and there are {n} ({given}): pass more {units}{advice}"
    )


def _means_of_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    codes = np.unique(groups, return_inverse=True)[1].ravel()
    return np.bincount(codes, values) / np.bincount(codes)


def hash_of_rows(X: Any, y: np.ndarray) -> str:
    """SHA-256 of arrays, tensors, DataFrames (their values), sparse matrices, and tuples, lists or dicts of them."""
    digest = hashlib.sha256()
    for part in (*_arrays(X), y):
        _add_to_hash(digest, part)
    return digest.hexdigest()


def _add_to_hash(digest: Any, part: Any) -> None:
    array = np.ascontiguousarray(part)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    if array.dtype.kind != "O":
        digest.update(array.tobytes())
        return
    for value in array.flat:  # sequences of any length among them
        if isinstance(value, np.ndarray | list | tuple):
            _add_to_hash(digest, value)
        else:
            digest.update(repr(value).encode())


def _arrays(X: Any) -> Iterator[Any]:
    if isinstance(X, dict):
        for name in sorted(X, key=str):
            yield np.array(str(name))
            yield from _arrays(X[name])
    elif isinstance(X, tuple | list):
        for part in X:
            yield from _arrays(part)
    elif hasattr(X, "tocsr"):
        X = X.tocsr()
        yield from (np.array(X.shape), X.data, X.indices, X.indptr)
    elif hasattr(X, "detach"):  # a tensor; numpy has no bfloat16
        on_cpu = X.detach().cpu()
        yield (on_cpu.float() if str(on_cpu.dtype) == "torch.bfloat16" else on_cpu).numpy()
    else:
        yield X.to_numpy() if hasattr(X, "to_numpy") else X
