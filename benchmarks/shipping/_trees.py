"""Forests and boosting: the bytes of a file, and predictions from the flat layout, beside scikit-learn and onnxruntime.

The answers stand beside the times: every side predicts the rows that were not trained on. A file that is not there
skips its case: LETTER and ADULT name them, or DATA_DIR the folder of both. onnxruntime is left out where skl2onnx or it
is not installed.
"""

import pickle
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split

import lifecycle as lc
from lifecycle.store.adapters import adapter_for

from .. import _data
from .._harness import alternate, markdown, quartiles, version_of
from ..optimizers import duration

OURS, SKLEARN, ONNX = "lifecycle", "scikit-learn", "onnxruntime"
SHORTEST = 0.02  # seconds of a timed run: shorter calls are repeated in it


def forest(rounds: int, threads: int, scale: float) -> dict:
    """A forest of 100 trees that tells 26 letters apart."""
    X, y = _data.letter(scale=scale)
    X, X_test, y, y_test = train_test_split(X.astype(np.float32), y, test_size=0.25, stratify=y, random_state=0)
    model = RandomForestClassifier(100, random_state=0, n_jobs=None).fit(X, y)
    sides: dict[str, Callable[[Any], Any]] = {SKLEARN: model.predict}
    if "not installed" not in (version_of("onnxruntime"), version_of("skl2onnx")):
        sides[ONNX] = _onnx(model, X.shape[1], threads)
    return _compared(model, sides, X_test, y_test, (1, 10_000), rounds)


def boosting(rounds: int, threads: int, scale: float) -> dict:
    """HistGradientBoosting on a table with categories and missing values; the converter to ONNX lacks these."""
    table, y = _data.adult_table(scale=scale)
    train, test = train_test_split(np.arange(len(y)), test_size=0.25, stratify=y, random_state=0)
    model = HistGradientBoostingClassifier(random_state=0).fit(table.iloc[train], y[train])
    return _compared(model, {SKLEARN: model.predict}, table.iloc[test], y[test], (1, 30_000), rounds)


def _onnx(model: Any, n_features: int, threads: int) -> Callable[[Any], Any]:
    import onnxruntime
    from skl2onnx import to_onnx

    graph = to_onnx(model, np.zeros((1, n_features), np.float32), options={"zipmap": False})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    return lambda rows: session.run(["label"], {name: rows})[0]


def _compared(
    model: Any, sides: dict[str, Callable[[Any], Any]], X: Any, y: Any, batches: Sequence[int], rounds: int
) -> dict:
    begin = perf_counter()
    flat = adapter_for(model).first_trees(model, 1.0)
    seconds = perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.lc")
        lc.save(flat, file)
        sizes = {"pickle": len(pickle.dumps(model)), "file": file.stat().st_size}
        flat = lc.load(file)
    sides = {OURS: flat.predict, **sides}
    answers = {who: np.asarray(predict(X)) for who, predict in sides.items()}
    rows: dict[str, dict] = {
        who: {"score": float(np.mean(found == y)), "differ": int(np.sum(found != answers[SKLEARN]))}
        for who, found in answers.items()
    }
    for batch in batches:
        chosen = np.arange(batch) % len(y)
        part = X.iloc[chosen] if hasattr(X, "iloc") else X[chosen]
        runs = {who: partial(_timed, partial(predict, part)) for who, predict in sides.items()}
        times = alternate(runs, rounds)
        for who, values in times.items():
            low, middle, high = quartiles(values)
            ratio = quartiles(list(np.divide(values, times[OURS])))
            rows[who][str(batch)] = {"median": middle, "q1": low, "q3": high, "ratio": ratio[1]}
    return {"rows": rows, "sizes": sizes, "batches": list(batches), "seconds_to_convert": seconds, "tested": len(y)}


def _timed(call: Callable[[], Any]) -> float:
    begin = perf_counter()
    call()
    repeats = max(1, min(1000, round(SHORTEST / (perf_counter() - begin))))
    begin = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - begin) / repeats


def table(one: dict, settings: dict) -> str:
    """The markdown of a case."""
    columns = ["", *(text for batch in one["batches"] for text in (f"batch {batch:,}", "×"))]
    rows = [
        [who, *(text for batch in one["batches"] for text in
                (duration(row[str(batch)]["median"]), f"{row[str(batch)]['ratio']:.2f}")),
         f"{row['score']:.4f}", f"{row['differ']:,}"]
        for who, row in one["rows"].items()
    ]  # fmt: skip
    sizes = one["sizes"]
    return "\n\n".join([
        "Predictions of the flat layout that `lc.compress` returns and a file holds, of scikit-learn's own model, and "
        "of onnxruntime on the graph of skl2onnx, for rows that were not trained on. × is how many times as long as "
        "ours a call takes.",
        markdown((*columns, "accuracy", "labels that differ from scikit-learn's"), rows),
        f"{one['tested']:,} rows tested. The pickle has {sizes['pickle']:,} bytes, the file {sizes['file']:,}: "
        f"{sizes['pickle'] / sizes['file']:.1f} times fewer. Conversion took {one['seconds_to_convert']:.2f} s.",
    ])  # fmt: skip
