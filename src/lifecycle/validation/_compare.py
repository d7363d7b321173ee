"""Whether models differ: cross-validation results compared fold by fold."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import number
from lifecycle._display import axes_or_new, format_interval, html_table, import_optional, text_table
from lifecycle.validation._corrected_t_interval import (
    Interval,
    corrected_t_interval,
    corrected_t_p_value,
    fold_size_ratio,
)
from lifecycle.validation._holm import holm_correction
from lifecycle.validation._metrics import shown_scorer
from lifecycle.validation._result import CVResult


class Difference(NamedTuple):
    """Mean score of `model` minus that of `against`, its interval, and its p-value corrected for all pairs."""

    model: str
    against: str
    difference: float
    interval: Interval
    p_value: float


class Comparison(list):
    """A `Difference` for each pair; what `compare` returns."""

    def __init__(self, pairs: list[Difference], metric: str, confidence_level: float, n_splits: int):
        super().__init__(pairs)
        self.metric, self.confidence_level, self.n_splits = metric, confidence_level, n_splits

    @property
    def method(self) -> str:
        """The test, its correction, and what the intervals cover."""
        pairs = "pair" if len(self) == 1 else "pairs"
        return (
            f"paired Student's t over {self.n_splits} folds, variance corrected for overlapping training sets (Nadeau "
            f"& Bengio, 2003); p-values of {len(self)} {pairs} by Holm (1979); each {self.confidence_level:.4g} "
            "interval is of its pair alone"
        )

    def __reduce__(self) -> tuple:
        return Comparison, (list(self), self.metric, self.confidence_level, self.n_splits)

    def _table(self) -> tuple[list[str], list[tuple[str, str, str, str]]]:
        """Column names and rows."""
        rows = []
        for model, against, difference, (low, high), p in self:
            cells = (f"{difference:+.4g}", format_interval(low, high, "+.4g"), "none" if np.isnan(p) else f"{p:.3g}")
            rows.append((f"{model} - {against}", *cells))
        return ["models", self.metric, f"{100 * self.confidence_level:.4g} % interval", "p"], rows

    def __repr__(self) -> str:
        columns, rows = self._table()
        return "\n".join([*text_table([columns, *rows]), self.method])

    def _repr_html_(self) -> str:
        return html_table(*self._table(), caption=self.method)

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row per pair: model, against, difference, low, high, p_value, method."""
        rows = [(p.model, p.against, p.difference, *p.interval, p.p_value, self.method) for p in self]
        names = ["model", "against", "difference", "low", "high", "p_value", "method"]
        return import_optional("pandas", "to_frame()").DataFrame(rows, columns=names)

    def plot(self, *, ax: Any = None) -> Any:
        """Draw the differences with their intervals; returns the matplotlib Axes."""
        ax = axes_or_new(ax, figsize=(6, 1 + 0.4 * len(self)))
        positions = np.arange(len(self))
        ax.axvline(0, color="grey", linewidth=1)
        ax.hlines(positions, [p.interval.low for p in self], [p.interval.high for p in self])
        ax.plot([p.difference for p in self], positions, "o", color="black")
        labels = [f"{p.model} - {p.against}" for p in self]
        ax.set(yticks=positions, yticklabels=labels, xlabel=f"difference of {self.metric}")
        ax.invert_yaxis()
        return ax


def compare(
    results: Mapping[str, CVResult],
    *,
    baseline: str | None = None,
    metric: str | None = None,
    confidence_level: float = 0.95,
) -> Comparison:
    """Compare cross-validated models, paired over the same folds.

    Student's t of the J differences of fold scores, their variance taken as (1/J + n_test/n_train) s² because training
    sets overlap (Nadeau & Bengio, 2003; Bouckaert & Frank, 2004), and p-values corrected for the number of pairs (Holm,
    1979). The intervals are of each pair alone.

    Parameters
    ----------
    results : dict of str to CVResult
        Two at least, over the same folds.
    baseline : str, default=None
        Compare each of the others against this one; None compares all pairs.
    metric : str, default=None
        Needed where the results have several.
    confidence_level : float, default=0.95

    Returns
    -------
    Comparison
        A list of (model, against, difference, interval, p_value), with `method`, `to_frame` and `plot`. Folds without a
        spread of differences give no interval (NaN), and a p-value of 1 if the scores are the same, else NaN.

    Raises
    ------
    TypeError
        If a result is none of `cross_validate`.
    ValueError
        If there are fewer than two results or folds, a fold has no score, or the folds, y or the scorers differ.
    """
    if not isinstance(results, Mapping) or not all(isinstance(result, CVResult) for result in results.values()):
        raise TypeError('compare needs {"name": result, ...} with results of lifecycle.cross_validate')
    names = list(results)
    if len(names) < 2:
        raise ValueError(f"compare needs at least 2 results; got {len(names)}")
    if baseline is not None and baseline not in results:
        raise ValueError(f"baseline must be one of {', '.join(map(repr, names))}; got {baseline!r}")
    number("confidence_level", confidence_level, above=0, below=1)
    first = results[names[0]]
    scores = {}
    for name in names:
        try:
            result_metric = results[name]._metric(metric)
        except ValueError as error:
            raise ValueError(f"{name!r}: {error}") from None
        if not _same_folds(first, results[name]):
            raise ValueError(
                f"{names[0]!r} and {name!r} were not scored on the same folds, so they cannot be paired: give both the "
                "same data and the same cv with a fixed random_state"
            )
        if first._targets != results[name]._targets:
            raise ValueError(
                f"{names[0]!r} and {name!r} were scored against different y, so they cannot be paired: give both the "
                "same rows in the same order"
            )
        scorers = first._scorers[first._metric(metric)], results[name]._scorers[result_metric]
        if scorers[0] != scorers[1]:
            one, other = map(shown_scorer, scorers)
            raise ValueError(f"{names[0]!r} is scored by {one} and {name!r} by {other}: give both the same scoring")
        scores[name] = np.asarray(results[name][f"test_{result_metric}"], dtype=float)
        if len(scores[name]) < 2:
            raise ValueError("a comparison needs the scores of at least 2 folds; there is 1")
        if not np.isfinite(scores[name]).all():
            raise ValueError(
                f"a comparison needs the scores of all folds; those of {name!r} are {scores[name].tolist()}"
            )
    pairs = list(combinations(names, 2)) if baseline is None else [(n, baseline) for n in names if n != baseline]
    ratio = fold_size_ratio(first._folds)
    differences = [_difference(scores[a], scores[b], ratio, confidence_level) for a, b in pairs]
    p_values = holm_correction([p for *_, p in differences])
    rows = [Difference(*pair, *d[:2], p) for pair, d, p in zip(pairs, differences, p_values, strict=True)]
    return Comparison(rows, first._metric(metric), confidence_level, first.n_splits)


def _same_folds(a: CVResult, b: CVResult) -> bool:
    if a._n != b._n or len(a._folds) != len(b._folds):
        return False
    return all(
        np.array_equal(train_a, train_b) and np.array_equal(test_a, test_b)
        for (train_a, test_a), (train_b, test_b) in zip(a._folds, b._folds, strict=True)
    )


def _difference(a: np.ndarray, b: np.ndarray, ratio: float, confidence_level: float) -> tuple[float, Interval, float]:
    """Mean, interval and p-value of the folds' differences; `ratio` is n_test/n_train."""
    d = a - b
    mean, rounding = float(d.mean()), 1e-12 * max(np.abs(a).max(), np.abs(b).max())
    if np.ptp(d) <= rounding:
        return mean, Interval(np.nan, np.nan), 1.0 if np.abs(d).max() <= rounding else np.nan
    return mean, corrected_t_interval(d, ratio, confidence_level), corrected_t_p_value(d, ratio)
