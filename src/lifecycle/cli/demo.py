"""The demo: one model through its whole life, on scanned digits or on a CSV table."""

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import lifecycle as lc
from lifecycle._display import text_table
from lifecycle._progress import progress_bar
from lifecycle.cli.csv_tables import import_pandas, read_table
from lifecycle.cli.number_format import DECIMAL_POINTS, NumberFormat
from lifecycle.cli.prediction import predict_table, read_rows
from lifecycle.cli.table_dataset import preprocessing_pipeline, read_dataset
from lifecycle.reporting import Table
from lifecycle.store.files import write_atomically
from lifecycle.validation import CVResult

__all__ = ["Demo", "run"]

REPORT, MODEL = "lifecycle-report.html", "lifecycle-model.safetensors"
_LINE = 80  # characters of an answer
_MAX_DROP = 0.03  # of the compressed model's score
_EXAMPLE = 64  # rows with which a graph is compared with its model
_TEST_SIZE, _COMPRESS_SIZE = 0.2, 0.2  # of all rows


@dataclass
class Demo:
    """Result of the demo: (name, answer, seconds) of each stage, and the files that were written."""

    title: str
    notes: list[str]
    stages: list[tuple[str, str, float]] = field(default_factory=list)
    report: Path = Path(REPORT)
    model: Path = Path(MODEL)

    def __str__(self) -> str:
        rows = [("stage", "answer", "seconds")]
        for name, answer, seconds in self.stages:
            first, *more = [line for part in answer.split("; ") for line in textwrap.wrap(part, _LINE)]
            rows += [(name, first, f"{seconds:.1f}"), *(("", line, "") for line in more)]
        rows.append(("", "the whole life", f"{sum(s for *_, s in self.stages):.1f}"))
        lines = text_table(rows, "<<>")
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, *self.notes, "", lines[0], rule, *lines[1:-1], rule, lines[-1]])

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Time a stage; the strings that are appended to the list become its answer."""
        answer: list[str] = []
        started = perf_counter()
        yield answer
        self.stages.append((name, "; ".join(answer), perf_counter() - started))


@dataclass
class _Setup:
    """The data, and the estimators for it, which are not fitted yet."""

    title: str
    X: Any
    y: np.ndarray
    classification: bool
    model: Any
    network: str
    notes: list[str]
    linear: Any = None  # the network is compared with it
    number_format: NumberFormat = DECIMAL_POINTS

    def metadata(self) -> dict[str, Any]:
        """What is saved with the model; the command line reads new rows by it."""
        return {"data": self.title, "number_format": self.number_format._asdict()}


def _digits() -> _Setup:
    from sklearn.datasets import load_digits

    import lifecycle.torch as lt

    X, y = load_digits(return_X_y=True)
    columns = [f"pixel {k}" for k in range(64)]
    frame = import_pandas().DataFrame((X / 16).astype(np.float32), columns=columns)
    shape = {"module__channels": (32, 64), "module__hidden": (64,), "module__dropout": 0.25}
    model = lt.TorchClassifier(lt.CNN, **shape, **_training(max_epochs=25, n_iter_no_change=5))
    network = "lt.CNN: 2 convolutions, a hidden layer of 64"
    return _Setup("1,797 scanned digits of 8×8 pixels", frame, y, True, model, network, [])


def _table(path: str | os.PathLike, target: str, keep: Collection[str]) -> _Setup:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import StandardScaler

    import lifecycle.torch as lt

    data = read_dataset(path, target, keep)
    shape = {"module__hidden": (64, 64), "module__dropout": 0.1, **_training(max_epochs=40, n_iter_no_change=4)}
    if data.classification:
        model: Any = lt.TorchClassifier(lt.MLP, **shape)
        linear: Any = lc.LinearClassifier()
        kind = f"{len(np.unique(data.y))} classes"
    else:
        model = TransformedTargetRegressor(lt.TorchRegressor(lt.MLP, **shape), transformer=StandardScaler())
        linear = lc.LinearRegressor()
        kind = "a quantity"
    columns = f"columns of numbers: {len(data.numeric)}, of words: {len(data.categorical)}"
    title = f"{data.name}: {len(data.y):,} rows; {columns}; the target {target!r} is {kind}"
    network = "lt.MLP: 2 hidden layers of 64, behind scikit-learn's imputers, scaler and encoder"
    model, linear = (preprocessing_pipeline(data.numeric, data.categorical, last) for last in (model, linear))
    return _Setup(title, data.X, data.y, data.classification, model, network, data.notes, linear, data.number_format)


def _training(**epochs: int) -> dict[str, Any]:
    options = {"optimizer": "adam", "lr": 2e-3, "batch_size": 64, "early_stopping": True, "max_grad_norm": 1.0}
    return {**options, "random_state": 0, **epochs}


def run(
    data: str | os.PathLike | None = None,
    target: str | None = None,
    out: str | os.PathLike = ".",
    *,
    keep: Collection[str] = (),
    progress: bool | None = None,
) -> Demo:
    """Build, train, validate, compress, ship and apply a model.

    Parameters
    ----------
    data : path-like, default=None
        A CSV file; None: scikit-learn's scanned digits.
    target : str, default=None
        The column of `data` to predict.
    out : path-like, default="."
        Folder of the report and the model; both are written at the end.
    keep : collection of str, default=()
        Columns of `data` to learn from although they identify the row.
    progress : bool, default=None
        Progress bars; None shows them in a terminal only.

    Raises
    ------
    OSError, ValueError
        `data` cannot be read or learned from, `out` cannot be written to.
    """
    if data is None and keep:
        raise ValueError("--keep names columns of --data, which is not given")
    if (data is None) != (target is None):
        raise ValueError("--data and --target go together: a CSV file, and the name of its column to predict")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give a folder")
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not os.access(existing, os.W_OK):
        raise PermissionError(f"--out {out} cannot be written to")
    setup = _digits() if data is None or target is None else _table(data, target, keep)
    _set_progress(setup.model, progress)
    demo = Demo(setup.title, setup.notes)
    results, file, failure = _run_stages(demo, setup, progress)
    out.mkdir(parents=True, exist_ok=True)
    demo.report, demo.model = out / REPORT, out / MODEL
    write_atomically(demo.model, file)
    note = " ".join(f"{sentence}." for sentence in [setup.title, *setup.notes])
    stages = [(name, answer, round(seconds, 1)) for name, answer, seconds in demo.stages]
    lc.report(demo.report, Table("The life of this model", ["stage", "answer", "seconds"], stages, note), *results)
    if failure:
        raise ValueError(f"{demo.model} and {demo.report} are written, but {failure}")
    return demo


def _set_progress(model: Any, progress: bool | None) -> None:
    for name in model.get_params():
        if name == "progress" or name.endswith("__progress"):
            model.set_params(**{name: progress})


def _run_stages(demo: Demo, setup: _Setup, progress: bool | None) -> tuple[list[Any], Any, str]:
    """All stages; returns what the report shows, the model that is shipped, and what its check in a new process found.

    A check that fails is a sentence and no error, so that the trained model is not lost.
    """
    from sklearn.base import clone

    X, X_test, y, y_test = _split(setup.X, setup.y, setup.classification, _TEST_SIZE)
    X, X_compress, y, y_compress = _split(X, y, setup.classification, _COMPRESS_SIZE / (1 - _TEST_SIZE))
    metric = "accuracy" if setup.classification else "r2"

    with demo.stage("build") as answer:
        model = clone(setup.model)
        answer.append(setup.network)

    with demo.stage("train") as answer:
        model.fit(X, y)
        network = _torch_estimator(model)
        n_weights = sum(p.numel() for p in network.module_.parameters())
        epochs = f"{network.n_iter_} epochs, the best {network.best_epoch_}"
        answer.append(f"{n_weights:,} weights on {len(y):,} rows, {epochs}")

    with demo.stage("validate") as answer:
        validated, linear = _validate(setup, X, y, metric, progress, answer)
        if linear is not None:
            model = linear

    with demo.stage("compress") as answer:
        shipped, compression = _compress(model, X_compress, y_compress, progress, answer)
        if compression:
            change = lc.audit(model, shipped, X_test, y_test)
            compression.append(change)
            answer.append(f"{len(change.changed):,} of {len(y_test):,} predictions on the test rows changed")

    with demo.stage("ship") as answer, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        answer += _save(compression[0] if compression else shipped, path, X_test, setup.metadata())
        failure = ""
        try:
            n_equal = _equal_in_a_new_process(shipped, X_test, setup.number_format, path, progress)
            answer.append(f"in a new process {n_equal:,} of {len(y_test):,} predictions are equal")
        except (OSError, ValueError) as error:
            failure = f"the check in a new process failed: {' '.join(str(error).split())}"
            answer.append(failure)
        loaded, file = lc.load(path), path.read_bytes()

    with demo.stage("apply") as answer:
        evaluation = lc.evaluate(loaded, X_test, y_test, progress=progress)
        score = evaluation.metrics[metric]
        interval = f"95 % interval {score.low:.4f} to {score.high:.4f}"
        answer.append(f"{metric} on {len(y_test):,} test rows {score.value:.4f}, {interval}")
    return [network, *validated, *compression, evaluation], file, failure


def _save(model: Any, path: Path, X: Any, metadata: dict[str, Any]) -> list[str]:
    """Write the file, with a graph where one can be made; what is said of it."""
    example = X.iloc[:_EXAMPLE] if hasattr(X, "iloc") else X[:_EXAMPLE]
    try:
        lc.save(model, path, example=example, metadata=metadata)
    except (ImportError, ValueError, lc.UnsupportedModel) as error:
        lc.save(model, path, metadata=metadata)
        return [f"one file of {path.stat().st_size:,} bytes, without a graph: {' '.join(str(error).split())}"]
    inspected = lc.inspect(path)
    predictor, loaded = lc.load_predictor(path), lc.load(path)
    found, wanted = predictor.predict(X), loaded.predict(X)
    same = found == wanted if hasattr(loaded, "classes_") else np.isclose(found, wanted, rtol=1e-4, atol=1e-5)
    return [
        f"one file of {path.stat().st_size:,} bytes, {inspected.graph_bytes:,} of them a graph",
        f"in onnxruntime its graph gives {int(np.sum(same)):,} of {len(X):,} predictions",
    ]


def _split(X: Any, y: np.ndarray, classification: bool, test_size: float) -> Any:
    from sklearn.model_selection import train_test_split

    return train_test_split(X, y, test_size=test_size, stratify=y if classification else None, random_state=0)


def _compress(model: Any, X: Any, y: np.ndarray, progress: bool | None, answer: list[str]) -> tuple[Any, list[Any]]:
    """The model that is shipped, and what the report shows of its compression: nothing where none was possible."""
    try:
        result = lc.compress(model, X, y, max_drop=_MAX_DROP, random_state=0, progress=progress)
    except ValueError as error:  # too few rows to certify on, or nothing that is smaller
        answer.append(f"shipped as it is: {error}")
        return model, []
    proof = result.certificate
    answer.append(
        f"{len(y):,} rows to search and certify on: {result.summary()}" if proof.holds else "shipped as it is"
    )
    verdict = "certified" if proof.holds else "not certified"
    answer.append(
        f"{verdict}, with {100 * proof.confidence_level:g} % confidence: {proof.metric} rises by less than "
        f"{proof.bound:.4f}; allowed are {proof.max_drop:g}"
    )
    return result.model, [result]


def _validate(
    setup: _Setup, X: Any, y: np.ndarray, metric: str, progress: bool | None, answer: list[str]
) -> tuple[list[Any], Any]:
    """Cross-validation, and where there is a linear model a search of its penalty and the comparison.

    Returns what the report shows, and the linear model if it is better.
    """
    from sklearn.base import clone

    cv = (lc.StratifiedKFold if setup.classification else lc.KFold)(5, shuffle=True, random_state=0)
    options = {"cv": cv, "scoring": metric, "progress": progress}
    model = clone(setup.model)
    _set_progress(model, False)
    folds = lc.cross_validate(model, X, y, **options)
    try:
        interval = "95 % interval {:.4f} to {:.4f}".format(*folds.interval())
    except ValueError:
        interval = "the same in all: no interval"
    answer.append(f"mean {metric} of 5 folds {folds['test_score'].mean():.4f}, {interval}")
    if setup.linear is None:
        return [folds], None
    grid = {"model__alpha": np.logspace(-6, 0, 13)}
    search = lc.GridSearchCV(setup.linear, grid, **options).fit(X, y)  # the models of a fold are trained together
    linear_folds = lc.cross_validate(clone(search.best_estimator_), X, y, **options)
    n_penalties, alpha = len(search.cv_results_["params"]), search.best_params_["model__alpha"]
    answer += [
        f"a linear model, the best of {n_penalties} penalties: {search.best_score_:.4f} at alpha = {alpha:.1e}",
        "slightly optimistic: this penalty was chosen on these folds",
    ]
    ships_network, comparison, text = _choose(folds, linear_folds)
    answer.append(text)
    return [folds, *comparison], None if ships_network else search.best_estimator_


def _choose(network: CVResult, linear: CVResult) -> tuple[bool, list[Any], str]:
    """Whether the network is shipped, the comparison that this rests on if there is one, and a sentence.

    The higher mean score decides. The linear model, which is smaller, is shipped if they are equal. A model without a
    finite score in each fold is not shipped; if neither has them, `compare` raises ValueError.
    """
    finite = [bool(np.isfinite(folds["test_score"]).all()) for folds in (network, linear)]
    if finite[0] != finite[1]:
        worse, better = ("linear model", "network") if finite[0] else ("network", "linear model")
        return finite[0], [], f"the {worse} has no finite score in some fold: the {better} is shipped"
    comparison = lc.compare({"network": network, "linear": linear})
    difference, p_value = comparison[0].difference, comparison[0].p_value
    better = "network" if difference > 0 else "linear model"
    equal = ", equal" if difference == 0 else ""
    text = f"network - linear {difference:+.4f}, p = {p_value:.2g}{equal}: the {better} is shipped"
    return difference > 0, [comparison], text


def _torch_estimator(model: Any) -> Any:
    """The torch estimator inside."""
    while not hasattr(model, "module_"):
        model = model.steps[-1][1] if hasattr(model, "steps") else model.regressor_
    return model


def _equal_in_a_new_process(model: Any, X: Any, number_format: NumberFormat, path: Path, progress: bool | None) -> int:
    """The number of rows for which the command line, in another process, gives the predictions of this model."""
    rows, output = path.with_name("rows.csv"), path.with_name("predictions.csv")
    X.to_csv(rows, index=False, sep=";", decimal=number_format.decimal)
    command = [sys.executable, "-m", "lifecycle", "predict", str(path), str(rows), "--out", str(output)]
    with progress_bar(1, "a new process loads the file", progress) as bar:
        process = subprocess.run(command, capture_output=True, text=True)
        bar.update()
    if process.returncode:
        raise ValueError(process.stderr.strip().rpartition("\n")[2] or f"exit status {process.returncode}")
    expected, loaded = predict_table(model, read_rows(rows, model, number_format)), read_table(output)
    equal = np.ones(len(expected), dtype=bool)
    for name in expected:
        dtype = type(expected[name].iloc[0])
        equal &= np.array([a == dtype(b) for a, b in zip(expected[name], loaded[name], strict=True)])
    return int(equal.sum())
