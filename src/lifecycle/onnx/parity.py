"""Whether a graph answers as the model does that it was made of."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle._display import html_table, text_table
from lifecycle.onnx.conversion import Conversion
from lifecycle.onnx.interface import LABEL, MODULE
from lifecycle.onnx.rows import extremes, like, n_rows, take_rows
from lifecycle.store.limits import shorten

BATCHES = (1, 2, 7, 64)
RTOL, ATOL = 1e-4, 1e-5
_TIE = 1e-12  # of two scores, relative to the larger one: which is the first depends on the order of a sum


class ParityError(ValueError):
    """A graph whose outputs differ from those of its model; `report` holds by how much."""

    def __init__(self, message: str, report: "ParityReport"):
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.report)


@dataclass(frozen=True)
class ParityReport:
    """How a graph in onnxruntime compares with the model that it was made of.

    Attributes
    ----------
    rows : int
        That were compared, in batches of the sizes `batches`.
    hard_rows : int
        Of these, how many the exporter made: at the thresholds of trees and one unit in the last place beside them,
        with missing values, and at the largest and smallest values of the example.
    max_abs_error, max_rel_error : float
    label_flips : int
        Rows with another label. Rows whose two largest scores are equal but for rounding count as `ties` instead.
    ties : int
        Also rows whose last neighbors are at the same distance but for rounding, and have different targets: which of
        them are taken is not compared.
    rtol, atol : float
        What was allowed: |difference| ≤ atol + rtol · |value|, for the output that comes closest to it. `atol` is 1e-5,
        times the largest |value| of the output for the rows of the example where that is below 1.
    onnxruntime : str
        The version.
    """

    rows: int
    hard_rows: int
    batches: tuple[int, ...]
    max_abs_error: float
    max_rel_error: float
    label_flips: int
    ties: int
    rtol: float
    atol: float
    onnxruntime: str

    def _facts(self) -> list[tuple[str, str]]:
        return [
            ("rows compared", f"{self.rows:,}, in batches of {', '.join(map(str, self.batches))}"),
            ("of these made", f"{self.hard_rows:,}"),
            ("largest absolute error", f"{self.max_abs_error:.3g}"),
            ("largest relative error", f"{self.max_rel_error:.3g}"),
            ("label flips", f"{self.label_flips} ({self.ties} ties)"),
            ("allowed", f"{self.atol:g} + {self.rtol:g} · |value|, no flip"),
            ("onnxruntime", self.onnxruntime),
        ]  # fmt: skip

    def __repr__(self) -> str:
        return "\n".join(text_table(self._facts()))

    def _repr_html_(self) -> str:
        return html_table((), self._facts(), text_columns=[1])

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "batches": list(self.batches)}


def compare(converted: Conversion, example: Any, refused: Sequence[Any] = ()) -> ParityReport:
    """Compare a graph with its model; ParityError unless they agree.

    `refused` are made of the first row of the example, one row each; the model refuses them, and the graph must.
    """
    import onnxruntime

    session = _session(converted)
    names = [one.name for one in converted.interface.outputs]
    n = n_rows(example)
    parts = [take_rows(example, np.arange(size) % n) for size in (n, *BATCHES)]
    largest_and_smallest = [] if converted.interface.task == MODULE else extremes(example)
    hard = [like(example, part) for part in (*converted.hard_rows, *largest_and_smallest) if len(part)]
    largest, relative, flips, ties, undefined, rows = 0.0, 0.0, 0, 0, 0, 0
    excess, allowed = -np.inf, ATOL  # of the value that comes closest to its tolerance, or exceeds it most
    largest_of: dict[str, float] = {}  # by output, in the first part, which has all rows of the example
    for part in (*parts, *hard):
        wanted = answer(converted.reference, part)
        found = _run(session, names, converted.interface.feeds(part))
        rows += len(found[0])
        shapes = [[np.shape(array) for array in arrays] for arrays in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise UnsupportedModel(f"the graph gives arrays of the shapes {shapes[0]}, and the model {shapes[1]}")
        if converted.ties is not None:
            defined = ~converted.ties(part)
            found, wanted = ([array[defined] for array in arrays] for arrays in (found, wanted))
            undefined += len(defined) - int(defined.sum())
        for name, a, b in zip(names, found, wanted, strict=True):
            if name == LABEL:
                different = np.flatnonzero(a != b.astype(a.dtype))
                tied = [is_tie(wanted[1][row]) for row in different]
                flips, ties = flips + len(tied) - sum(tied), ties + sum(tied)
                continue
            errors, sizes = _errors(np.asarray(a, np.float64), np.asarray(b, np.float64))
            # of small numbers all are small: of an output below 1 the tolerance is relative to its largest value
            atol = ATOL * min(1.0, largest_of.setdefault(name, float(sizes.max(initial=0.0)) or 1.0))
            is_large = sizes > atol
            largest = max(largest, float(errors.max(initial=0.0)))
            relative = max(relative, float((errors[is_large] / sizes[is_large]).max(initial=0.0)))
            excess, allowed = max(
                (excess, allowed), (float(((errors - atol - RTOL * sizes) / atol).max(initial=-np.inf)), atol)
            )
    if 2 * undefined > rows:
        raise UnsupportedModel(
            f"for {undefined} of {rows} rows an order that the model does not define decides, as of neighbors at the "
            "same distance: their answers cannot be compared; give an example with rows between the training rows, or "
            "another n_neighbors"
        )
    report = ParityReport(
        rows, sum(map(len, hard)), tuple(sorted({*BATCHES, n})), largest, relative, flips, ties + undefined, RTOL,
        allowed, str(onnxruntime.__version__),
    )  # fmt: skip
    hint = ""
    if any(one.dtype == "float32" for one in converted.interface.inputs) and converted.interface.task != MODULE:
        hint = ". Give example in float64, if the model computes in float64"
    if flips or excess > 0:
        raise ParityError(
            f"the graph differs from its model on {rows:,} rows: {flips} labels, largest error {largest:.3g} "
            f"(relative {relative:.3g}); allowed are no label and {allowed:g} + {RTOL:g} · |value|{hint}",
            report,
        )
    for row in refused:
        if not _is_refused(session, names, converted.interface.feeds(row)):
            raise ParityError(
                f"the graph answers the first row of example with other values in {_changed(example, row)}, which the "
                "model refuses: save the model without example=",
                report,
            )
    return report


def answer(reference: Callable[[Any], list[np.ndarray]], rows: Any) -> list[np.ndarray]:
    """The model's own answer for rows of the example."""
    try:
        return reference(rows)
    except UnsupportedModel:
        raise
    except (TypeError, ValueError) as error:
        raise ValueError(shorten(f"the model refuses rows of example: {error}")) from None


def _session(converted: Conversion) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    data = converted.model.SerializeToString()
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes have no common base
        raise UnsupportedModel(shorten(f"onnxruntime cannot run the graph: {error}")) from None


def _run(session: Any, names: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    try:
        found: list[np.ndarray] = session.run(names, feeds)
    except Exception as error:  # as above
        raise UnsupportedModel(shorten(f"the graph refuses rows that the model takes: {error}")) from None
    return found


def _is_refused(session: Any, names: list[str], feeds: dict[str, np.ndarray]) -> bool:
    try:
        session.run(names, feeds)
    except Exception:  # as above
        return True
    return False


def _changed(example: Any, row: Any) -> str:
    """The columns in which a row differs from the first one of the example, with its values, for a message."""
    is_frame = hasattr(example, "iloc")
    names = list(example.columns) if is_frame else range(example.shape[1])
    before, after = ((X.iloc[0] if is_frame else X[0]).tolist() for X in (example, row))
    found = [
        f"{name!r} ({new!r})"
        for name, old, new in zip(names, before, after, strict=True)
        if old != new and not (old != old and new != new)  # of two missing values
    ]
    return shorten(", ".join(found))


def _errors(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|a − b| and |b|; infinity where only one of both is a number, 0 where both are NaN or the same infinity."""
    with np.errstate(invalid="ignore"):
        error = np.abs(a - b)
    error[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return np.where(np.isnan(error), np.inf, error), np.where(np.isfinite(b), np.abs(b), 0.0)


def is_tie(scores: np.ndarray) -> bool:
    """Whether the two largest scores of a row are equal but for rounding, or its only one is zero but for that."""
    scores = np.atleast_1d(scores)
    if len(scores) == 1:
        return bool(abs(scores[0]) <= _TIE)
    second, first = np.sort(scores)[-2:]
    return bool(first - second <= _TIE * max(abs(first), 1.0))
