"""One self-contained HTML page of the results of the other stages: no script, no link, nothing to load."""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from numbers import Real
from pathlib import Path
from typing import Any

from lifecycle.compression import Audit, Candidate, Compression
from lifecycle.evaluation import Evaluation
from lifecycle.reporting import charts
from lifecycle.reporting.page import page, section, table, tiles
from lifecycle.store.files import write_atomically
from lifecycle.validation import Comparison

__all__ = ["Table", "report"]

_MAX_CLASSES, _MAX_PAIRS = 40, 20  # of a confusion matrix that is drawn; of the list for more classes
_ACCEPTED = (
    "an Evaluation (lifecycle.evaluate), a CVResult (lifecycle.cross_validate), a Comparison (lifecycle.compare), a "
    "fitted TorchClassifier or TorchRegressor, a Compression (lifecycle.compress), an Audit (lifecycle.audit), or a "
    "Table (lifecycle.reporting)"
)


@dataclass(frozen=True)
class Table:
    """Rows under a title, for the report.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : sequence of sequences
        One value for each column; numbers are aligned right, text left.
    note : str
        A sentence above the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def __post_init__(self) -> None:
        wrong = [len(row) for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"Table {self.title!r} has {len(self.columns)} columns but a row of {wrong[0]} values")


def _float(value: Any) -> float:
    """Infinite where an integer is beyond the range of float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _compression(result: Compression) -> str:
    proof, title = result.certificate, "Compression" if result.certificate.holds else "Compression: not certified"
    cards = [
        ("bytes", f"{result.size_after:,}", f"{result.size_before:,} before"),
        ("times smaller", f"{result.size_before / result.size_after:.3g}", ""),
        (f"bound of the drop, {100 * proof.confidence_level:g} %", f"{proof.bound:.4f}", f"{proof.max_drop:g} allowed"),
    ]
    if result.best is not None and result.best.times_faster is not None:
        cards.insert(0, ("times faster", f"{result.best.times_faster:.3g}", f"{result.batch_size} rows a call"))
    name, *numbers = list(result.table[0])
    columns = [*numbers, name]  # names are long: at the end they wrap
    rows = [["–" if row[column] is None else row[column] for column in columns] for row in result.table]
    chart = charts.frontier(
        [_point(one) for one in result.candidates],
        proof.max_drop,
        x_label="bytes" if result.batch_size is None else "milliseconds",
    )
    body = (
        tiles(cards)
        + chart
        + "<h3>Candidates</h3>"
        + table(columns, rows, text_columns=[len(columns) - 2, len(columns) - 1])
    )
    return section(title, body, " ".join([f"The certificate {proof}.", *(f"{note}." for note in result.notes)]))


def _point(one: Candidate) -> charts.FrontierPoint:
    cost = float(one.size) if one.seconds is None else 1e3 * one.seconds
    if one.certificate is None:
        return charts.FrontierPoint(cost, one.search_drop)
    return charts.FrontierPoint(
        cost, one.search_drop, one.certificate.drop, one.certificate.bound, one.certificate.holds
    )


def _audit(result: Audit) -> str:
    note = f"{result.n_samples:,} rows; intervals at {100 * result.confidence_level:g} %."
    columns = ["", "before, or value", "after, or interval"]
    return section("What compression changed", table(columns, result.rows(), text_columns=[1, 2]), note)


def _table(result: Table) -> str:
    text_columns = [i for i in range(1, len(result.columns)) if any(isinstance(row[i], str) for row in result.rows)]
    return section(result.title, table(result.columns, result.rows, text_columns=text_columns), result.note)


def _evaluation(result: Evaluation) -> str:
    level = f"{100 * result.confidence_level:g} %"
    cards = [
        (name, f"{e.value:.4g}", "no interval" if math.isnan(e.low) else f"{e.low:.4g} to {e.high:.4g}")
        for name, e in result.metrics.items()
    ]
    rows = [(name, *estimate) for name, estimate in result.metrics.items()]
    parts = [tiles(cards)]
    if result.task == "classification":
        parts.append(_confusions(result))
        if result.calibration:
            parts += [
                "<h3>Calibration</h3>",
                f'<p class="note">Expected calibration error {result.expected_calibration_error:.4g}; '
                "on the dashed line the accuracy equals the probability.</p>",
                charts.reliability(result.calibration),
            ]
        recalls = list(result.recall.items())[:_MAX_CLASSES]
        rows += [(f"recall of {label}", *estimate) for label, estimate in recalls]
    else:
        parts += [
            "<h3>Predicted against true values</h3>",
            charts.scatter(result.y_true.ravel(), result.y_pred.ravel()),
        ]
    parts += ["<h3>All numbers</h3>", table(["", "value", "low", "high", "interval"], rows, text_columns=[4])]
    note = f"{result.model} on {result.n_samples:,} rows; intervals at {level}. predict takes {result.latency}."
    return section(f"Evaluation: {result.task}", "".join(parts), note)


def _confusions(result: Evaluation) -> str:
    """The confusion matrix, or of many classes the pairs that are confused most."""
    matrix, labels = result.confusion_matrix, result.labels
    if len(labels) <= _MAX_CLASSES:
        return "<h3>Confusion matrix</h3>" + charts.heat_map(matrix, labels)
    pairs = [(int(matrix[i, j]), labels[i], labels[j]) for i, j in zip(*matrix.nonzero(), strict=True) if i != j]
    pairs.sort(key=lambda pair: -pair[0])
    rows = [(str(true), str(predicted), n) for n, true, predicted in pairs[:_MAX_PAIRS]]
    return f"<h3>Most frequent confusions of {len(labels):,} classes</h3>" + table(
        ["true", "predicted", "rows"], rows, text_columns=[1]
    )


def _cross_validation(result: Any) -> str:
    keys = [key for key in result if key.startswith("test_")]
    parts = []
    for key in keys:
        scores = [float(v) for v in result[key]]
        mean = sum(v / len(scores) for v in scores) if scores and all(map(math.isfinite, scores)) else math.nan
        name = "score" if key == "test_score" else key.removeprefix("test_")
        interval, caption = (math.nan, math.nan), "no interval: it needs two folds or more, with scores that differ"
        with suppress(ValueError):
            low, high = result.interval() if key == "test_score" else result.interval(metric=name)
            interval, caption = (float(low), float(high)), f"{low:.4g} to {high:.4g}"
        parts.append(tiles([(f"mean {name} of {len(scores)} folds", f"{mean:.4g}", caption)]))
        parts.append(charts.fold_chart(scores, mean, interval, label=name))
    seconds = sum(float(v) for v in result["fit_time"]) if "fit_time" in result else None
    rows = [(fold, *(float(result[key][fold - 1]) for key in keys)) for fold in range(1, len(result[keys[0]]) + 1)]
    parts.append(table(["fold", *(key.removeprefix("test_") for key in keys)], rows))
    note = (
        "Each dot is a fold, the line their mean, the band its 95 % interval, corrected for overlapping training sets."
    )
    return section("Cross-validation", "".join(parts), note + (f" Fits took {seconds:.1f}\u00a0s." if seconds else ""))


def _comparison(result: Comparison) -> str:
    rows = [(f"{p.model} - {p.against}", p.difference, *p.interval, p.p_value) for p in result]
    columns = ["models", f"difference of {result.metric}", "low", "high", "p"]
    return section("Comparison", table(columns, rows), f"{result.method[0].upper()}{result.method[1:]}.")


def _training(model: Any) -> str:
    history = model.history_
    numbers = [
        key
        for key in history[0]
        if isinstance(key, str) and key != "epoch" and all(isinstance(h.get(key), Real | None) for h in history)
    ]

    def curve(key: str) -> list[float]:
        return [math.nan if h.get(key) is None else _float(h[key]) for h in history]

    losses = [key for key in numbers if "loss" in key]
    scores = [key for key in numbers if "score" in key or "accuracy" in key or key.endswith("r2")]
    parts = []
    if losses:
        parts += ["<h3>Loss</h3>", charts.line_chart({key: curve(key) for key in losses}, y_label="loss")]
    if scores:
        parts += ["<h3>Held-out score</h3>", charts.line_chart({k: curve(k) for k in scores}, y_label="score")]
    note = f"{type(model).__name__} with {len(history)} epochs."
    return section("Training", "".join(parts) or '<p class="note">The history holds no losses.</p>', note)


def _is_cv_result(result: Any) -> bool:
    is_dict = isinstance(result, dict) and any(str(key).startswith("test_") for key in result)
    return is_dict and callable(getattr(result, "interval", None))


def _section(result: Any) -> str:
    if isinstance(result, Evaluation):
        return _evaluation(result)
    if isinstance(result, Compression):
        return _compression(result)
    if isinstance(result, Audit):
        return _audit(result)
    if isinstance(result, Table):
        return _table(result)
    if isinstance(result, Comparison):
        return _comparison(result)
    if _is_cv_result(result):
        return _cross_validation(result)
    history = None if isinstance(result, type) else getattr(result, "history_", None)
    if isinstance(history, list) and history and all(isinstance(h, dict) for h in history):
        return _training(result)
    if type(result).__name__ in ("TorchClassifier", "TorchRegressor"):
        raise ValueError(f"this {type(result).__name__} is not fitted, so there is no history to report")
    raise TypeError(f"report cannot show a {type(result).__name__}; it takes {_ACCEPTED}")


def report(path: str | os.PathLike, *results: Any) -> Path:
    """Write one HTML file that shows results of the other stages, in the order given.

    The file needs neither the internet nor JavaScript, and follows the light or dark setting of the browser. It is
    written to a temporary file and renamed.

    Parameters
    ----------
    path : path-like
        The file to write; its folder must exist.
    *results : Evaluation, CVResult, Comparison, fitted TorchClassifier or TorchRegressor, Compression, Audit or Table
        At least one.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    TypeError
        A result of another kind.
    ValueError
        No result, or an estimator that is not fitted.
    OSError
        The path cannot be a file.
    """
    if not results:
        raise ValueError(f"report needs at least one result: {_ACCEPTED}")
    from lifecycle import __version__

    sections = [_section(result) for result in results]
    now = datetime.now().astimezone()
    lead = f"{now:%d %B %Y, %H:%M}"
    text = page("Model life cycle report", lead, sections, f"Written by lifecycle {__version__}.")
    return write_atomically(path, text.encode("utf-8"))
