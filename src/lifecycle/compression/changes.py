"""audit: what a compressed model does differently, beyond the mean of its score."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import number
from lifecycle._display import format_interval, html_table, import_optional, text_table
from lifecycle.compression._scorer import Scorer, check_targets
from lifecycle.compression.size import size_of
from lifecycle.evaluation import Estimate, has_missing
from lifecycle.evaluation.calibration import calibration_bins, expected_calibration_error
from lifecycle.evaluation.latency import measure_latency
from lifecycle.evaluation.paired_proportions import METHOD, drop_upper_bound
from lifecycle.evaluation.rows import take

__all__ = ["Audit", "audit"]

_BATCH_SIZE = 32
_PAIRED = f"{METHOD}, one for each side"
_T = "t interval of the paired squared errors over the variance of the targets"


class Pair(NamedTuple):
    """A quantity of both models."""

    before: Any
    after: Any


def _row(name: str, pair: Pair, spec: str) -> tuple[str, str, str]:
    return name, spec.format(pair.before), spec.format(pair.after)


@dataclass(repr=False)
class Audit:
    """Result of `audit`.

    Attributes
    ----------
    task : str
        "classification" or "regression".
    n_samples : int
    confidence_level : float
        Of every interval; those of all classes hold together, and those of all groups (Bonferroni).
    drop : Estimate
        By how much the accuracy falls, or R².
    worse, better : int
        Rows that only the first model has right, and only the second; of a regression, rows whose error rose and fell.
    changed : ndarray of int
        Rows whose prediction is another; of a regression, by more than 1 % of the targets' standard deviation.
    drop_of_class, drop_of_group : dict
        Of each class, and of each group that was given; empty for regression, and without groups.
    calibration_error : Pair of float, or None
        Expected calibration errors, where both models have probabilities.
    size : Pair of int
        Bytes, as `size_of` counts them.
    latency : Pair of Latency
        Of one row and of 32.
    peak_memory : Pair of int, or None
        Bytes by which the process grew while the model predicted all rows; None where the system does not tell.
    """

    task: str
    n_samples: int
    confidence_level: float
    drop: Estimate
    worse: int
    better: int
    changed: np.ndarray
    drop_of_class: dict[Any, Estimate]
    drop_of_group: dict[Any, Estimate]
    calibration_error: Pair | None
    size: Pair
    latency: Pair
    peak_memory: Pair | None

    @property
    def worst_group(self) -> tuple[Any, Estimate] | None:
        """The group, or without groups the class, with the largest drop."""
        drops = self.drop_of_group or self.drop_of_class
        return max(drops.items(), key=lambda item: item[1].value) if drops else None

    def rows(self) -> list[tuple[str, str, str]]:
        """Of each quantity its name, and its values before and after, or its value and interval, as text."""
        score = "accuracy" if self.task == "classification" else "R²"
        rows = [(f"drop of {score}", f"{self.drop.value:.4f}", format_interval(self.drop.low, self.drop.high, ".4f"))]
        rows.append(("rows worse / better", f"{self.worse} / {self.better}", f"of {self.n_samples}"))
        rows.append(("predictions changed", f"{len(self.changed)}", f"{len(self.changed) / self.n_samples:.2%}"))
        for kind, drops in (("class", self.drop_of_class), ("group", self.drop_of_group)):
            rows += [
                (f"drop of {kind} {k}", f"{e.value:.4f}", format_interval(e.low, e.high, ".4f"))
                for k, e in drops.items()
            ]
        if self.calibration_error is not None:
            rows.append(_row("calibration error", self.calibration_error, "{:.4f}"))
        rows.append(_row("bytes", self.size, "{:,}"))
        for name, unit in (("row", "1 row"), ("batch", f"{self.latency.before.batch_size} rows")):
            milliseconds = Pair(*(1e3 * getattr(one, name) for one in self.latency))
            rows.append(_row(f"milliseconds, {unit}", milliseconds, "{:.3g}"))
        if self.peak_memory is not None:
            rows.append(_row("peak memory", self.peak_memory, "{:,}"))
        return rows

    def __repr__(self) -> str:
        title = f"{self.task} on {self.n_samples} rows, {self.confidence_level:.4g} intervals; before and after"
        return "\n".join([title, *(f"  {line}" for line in text_table(self.rows(), "<>>"))])

    def _repr_html_(self) -> str:
        return html_table(
            ["", "before, or value", "after, or interval"], self.rows(), caption=repr(self).partition("\n")[0]
        )

    def to_frame(self) -> Any:
        """Drops as a pandas DataFrame: value, low, high, method."""
        pandas = import_optional("pandas", "to_frame()")
        named = {"all": self.drop, **{f"class {k}": e for k, e in self.drop_of_class.items()}}
        named |= {f"group {k}": e for k, e in self.drop_of_group.items()}
        return pandas.DataFrame.from_dict(named, orient="index", columns=Estimate._fields)


def audit(
    before: Any,
    after: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    predict: Callable[[Any, Any], Any] | None = None,
    confidence_level: float = 0.95,
) -> Audit:
    """Compare a compressed model with the original on rows that neither was trained or compressed on.

    Damage hides in few rows: the mean score may hold while one class or group loses much (Hooker et al., 2019).

    Parameters
    ----------
    before, after : models of one kind
        As `compress` takes and returns them.
    X, y : rows and targets
    groups : array-like of shape (n_samples,), optional
        Subgroups whose drops are told one by one.
    predict : callable (model, X) -> array, optional
        As for `compress`.
    confidence_level : float, default=0.95

    Returns
    -------
    Audit

    Raises
    ------
    ValueError
        X, y and groups do not fit each other or the models.
    """
    level = number("confidence_level", confidence_level, above=0, below=1)
    y = check_targets(X, y)
    groups = None if groups is None else np.asarray(groups)
    if groups is not None and (groups.shape != y.shape[:1] or has_missing(groups)):
        raise ValueError(f"groups must have one entry for each of the {len(y)} rows")
    scorer = Scorer(before, predict, y)
    models = (before, after)
    first = take(X, np.arange(min(_BATCH_SIZE, len(y))))
    for model in models:  # what is imported or compiled at the first call is not the model's memory
        scorer.predictions(model, first)
    peaks = [_peak_memory(scorer, model, X) for model in models]
    grown = [peak for peak, _ in peaks]
    measure = _classification if scorer.is_classifier else _regression
    callers = [_Predicting(scorer, model) for model in models]
    return Audit(
        task="classification" if scorer.is_classifier else "regression",
        n_samples=len(y),
        confidence_level=level,
        **measure(y, peaks[0][1], peaks[1][1], groups, level),
        calibration_error=_calibration_errors(scorer, models, X, y, level),
        size=Pair(*(size_of(model) for model in models)),
        latency=Pair(*measure_latency(callers, first, _BATCH_SIZE)),
        peak_memory=None if None in grown else Pair(*grown),
    )


class _Predicting:
    """A model whose `predict` gives labels or values."""

    def __init__(self, scorer: Scorer, model: Any):
        self.scorer, self.model = scorer, model

    def predict(self, X: Any) -> np.ndarray:
        return self.scorer.predictions(self.model, X)


def _classification(
    y: np.ndarray, before: np.ndarray, after: np.ndarray, groups: np.ndarray | None, level: float
) -> dict[str, Any]:
    right, still_right = before == y, after == y

    def drop(rows: np.ndarray, level: float) -> Estimate:
        worse, better = int((right & ~still_right)[rows].sum()), int((still_right & ~right)[rows].sum())
        n, one_sided = int(rows.sum()), (1 + level) / 2
        low, high = -drop_upper_bound(better, worse, n, one_sided), drop_upper_bound(worse, better, n, one_sided)
        return Estimate((worse - better) / n, low, high, _PAIRED)

    def drops(of: np.ndarray) -> dict[Any, Estimate]:
        names = np.unique(of)
        return {name: drop(of == name, 1 - (1 - level) / len(names)) for name in names.tolist()}

    return {
        "drop": drop(np.ones(len(y), bool), level),
        "worse": int((right & ~still_right).sum()),
        "better": int((still_right & ~right).sum()),
        "changed": np.flatnonzero(before != after),
        "drop_of_class": drops(y),
        "drop_of_group": {} if groups is None else drops(groups),
    }


def _regression(
    y: np.ndarray, before: np.ndarray, after: np.ndarray, groups: np.ndarray | None, level: float
) -> dict[str, Any]:
    from scipy.stats import t

    y, before, after = (np.asarray(v, float).reshape(len(y), -1) for v in (y, before, after))
    variance = float(np.var(y, axis=0).sum()) or 1.0
    change = (np.square(after - y) - np.square(before - y)).sum(axis=1) / variance

    def drop(rows: np.ndarray, level: float) -> Estimate:
        values = change[rows]
        if len(values) < 2:
            return Estimate(float(values.mean()), np.nan, np.nan, "no interval: there is one row")
        half = float(t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        return Estimate(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half, _T)

    names = [] if groups is None else np.unique(groups).tolist()
    moved = np.sqrt(np.square(after - before).sum(axis=1)) > 0.01 * np.sqrt(variance)
    return {
        "drop": drop(np.ones(len(y), bool), level),
        "worse": int((change > 0).sum()),
        "better": int((change < 0).sum()),
        "changed": np.flatnonzero(moved),
        "drop_of_class": {},
        "drop_of_group": {name: drop(np.asarray(groups == name), 1 - (1 - level) / len(names)) for name in names},
    }


def _calibration_errors(scorer: Scorer, models: tuple[Any, Any], X: Any, y: np.ndarray, level: float) -> Pair | None:
    errors = []
    for model in models:
        probabilities = scorer.probabilities(model, X)
        if probabilities is None:
            return None
        best = probabilities.argmax(axis=1)
        bins = calibration_bins(probabilities[np.arange(len(y)), best], np.asarray(model.classes_)[best] == y, level)
        errors.append(expected_calibration_error(bins, len(y)))
    return Pair(*errors)


def _peak_memory(scorer: Scorer, model: Any, X: Any) -> tuple[int | None, np.ndarray]:
    """Bytes by which the process grew at most while a model predicted all rows, and the predictions."""
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    try:
        clear.write_text("5")  # the highest resident size becomes the present one
    except OSError:
        return None, scorer.predictions(model, X)
    start = _resident_bytes(status, "VmHWM")
    result = scorer.predictions(model, X)
    return _resident_bytes(status, "VmHWM") - start, result


def _resident_bytes(status: Path, name: str) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])
