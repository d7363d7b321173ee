"""Whether models differ: cross-validation results compared fold by fold."""

import html
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import number
from lifecycle.validation._interval import Interval, corrected_interval, overlap, standard_error
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
        """How the numbers were made."""
        pairs = "pair" if len(self) == 1 else "pairs"
        return (
            f"paired Student's t over {self.n_splits} folds, variance corrected for overlapping training sets (Nadeau "
            f"& Bengio, 2003); p-values of {len(self)} {pairs} by Holm (1979); each {self.confidence_level:.4g} "
            "interval is of its pair alone"
        )

    def __reduce__(self) -> tuple:
        return Comparison, (list(self), self.metric, self.confidence_level, self.n_splits)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = [("models", self.metric, f"{100 * self.confidence_level:.4g} % interval", "p")]
        for model, against, difference, (low, high), p in self:
            ends = "none" if np.isnan(low) else f"[{low:+.4g}, {high:+.4g}]"
            rows.append((f"{model} - {against}", f"{difference:+.4g}", ends, "none" if np.isnan(p) else f"{p:.3g}"))
        return rows

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self.method])

    def _repr_html_(self) -> str:
        head, *body = [[html.escape(cell) for cell in row] for row in self._rows()]
        lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body)
        return (
            f"<table><caption>{html.escape(self.method)}</caption><thead><tr>"
            + "".join(f"<th>{cell}</th>" for cell in head)
            + f"</tr></thead><tbody>{lines}</tbody></table>"
        )

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row per pair: model, against, difference, low, high, p_value, method."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas") from error
        rows = [(p.model, p.against, p.difference, *p.interval, p.p_value, self.method) for p in self]
        names = ["model", "against", "difference", "low", "high", "p_value", "method"]
        return pandas.DataFrame(rows, columns=names)

    def plot(self, *, ax: Any = None) -> Any:
        """Draw the differences with their intervals; returns the matplotlib Axes."""
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError("plot needs matplotlib: pip install 'lifecycle-ml[plot]'") from error
        if ax is None:
            _, ax = plt.subplots(figsize=(6, 1 + 0.4 * len(self)), layout="constrained")
        places = np.arange(len(self))
        ax.axvline(0, color="grey", linewidth=1)
        ax.hlines(places, [p.interval.low for p in self], [p.interval.high for p in self])
        ax.plot([p.difference for p in self], places, "o", color="black")
        ax.set(
            yticks=places, yticklabels=[f"{p.model} - {p.against}" for p in self], xlabel=f"difference of {self.metric}"
        )
        ax.invert_yaxis()
        return ax


def compare(results: Mapping[str, CVResult], *, baseline: str | None = None, metric: str | None = None,
            confidence_level: float = 0.95) -> Comparison:  # fmt: skip
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
        If there are fewer than two results or folds, the folds differ, or a fold has no score.
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
        metric_here = results[name]._metric(metric)
        if not _same_folds(first, results[name]):
            raise ValueError(
                f"{names[0]!r} and {name!r} were not scored on the same folds, so they cannot be paired: give both the "
                "same data and the same cv with a fixed random_state"
            )
        scores[name] = np.asarray(results[name][f"test_{metric_here}"], dtype=float)
        if len(scores[name]) < 2:
            raise ValueError("a comparison needs the scores of at least 2 folds; there is 1")
        if not np.isfinite(scores[name]).all():
            raise ValueError(
                f"a comparison needs the scores of all folds; those of {name!r} are {scores[name].tolist()}"
            )
    pairs = list(combinations(names, 2)) if baseline is None else [(n, baseline) for n in names if n != baseline]
    ratio = overlap(first._folds)
    found = [_difference(scores[a], scores[b], ratio, confidence_level) for a, b in pairs]
    corrected = _holm([p for _, _, p in found])
    return Comparison(
        [Difference(a, b, f[0], f[1], p) for (a, b), f, p in zip(pairs, found, corrected, strict=True)],
        first._metric(metric), confidence_level, first.n_splits,
    )  # fmt: skip


def _same_folds(a: CVResult, b: CVResult) -> bool:
    return a._n == b._n and len(a._folds) == len(b._folds) and all(
        np.array_equal(x, y) for one, other in zip(a._folds, b._folds, strict=True)
        for x, y in zip(one, other, strict=True)
    )  # fmt: skip


def _difference(a: np.ndarray, b: np.ndarray, tests_per_train: float,
                confidence_level: float) -> tuple[float, Interval, float]:  # fmt: skip
    """Mean, interval and p-value of paired differences."""
    d = a - b
    mean, rounding = float(d.mean()), 1e-12 * max(np.abs(a).max(), np.abs(b).max())
    if np.ptp(d) <= rounding:
        return mean, Interval(np.nan, np.nan), 1.0 if np.abs(d).max() <= rounding else np.nan
    from scipy.special import stdtr

    t = abs(mean) / standard_error(d, tests_per_train)
    return mean, corrected_interval(d, tests_per_train, confidence_level), float(2 * stdtr(len(d) - 1, -t))


def _holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction; a p-value that is NaN counts as a comparison, and stays NaN."""
    p = np.asarray(p_values)
    corrected = np.full(len(p), np.nan)
    largest = 0.0
    for k, i in enumerate(np.argsort(p)):  # NaN last
        if not np.isnan(p[i]):
            largest = max(largest, min(1.0, (len(p) - k) * p[i]))
            corrected[i] = largest
    return corrected.tolist()
