"""The demo: one model through its whole life, on scanned digits or on somebody's own table."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import lifecycle as lc
from lifecycle._progress import progress_bar
from lifecycle.cli import tables
from lifecycle.reporting import BeforeAfter, Table

__all__ = ["Demo", "run"]

REPORT, MODEL = "lifecycle-report.html", "lifecycle-model.safetensors"


@dataclass
class Demo:
    """What the demo found: a line for each stage, and the files it wrote."""

    title: str
    notes: list[str]
    stages: list[tuple[str, str, float]] = field(default_factory=list)
    report: Path = Path(REPORT)
    model: Path = Path(MODEL)

    def __str__(self) -> str:
        rows = [("stage", "answer", "seconds")]
        for name, answer, seconds in self.stages:
            first, *more = answer.split("; ")
            rows += [(name, first, f"{seconds:.1f}"), *(("", line, "") for line in more)]
        rows.append(("", "the whole life", f"{sum(s for *_, s in self.stages):.1f}"))
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, *self.notes, "", lines[0], rule, *lines[1:-1], rule, lines[-1]])

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Time a stage; what is put into the list becomes its answer."""
        answer: list[str] = []
        began = perf_counter()
        yield answer
        self.stages.append((name, "; ".join(answer), perf_counter() - began))


@dataclass
class _Problem:
    """What is to be learned, with an estimator for it that is not fitted yet."""

    title: str
    X: Any
    y: np.ndarray
    classification: bool
    model: Any
    network: str
    notes: list[str]
    linear: Any = None  # what the network is compared with


def _digits() -> _Problem:
    from sklearn.datasets import load_digits

    import lifecycle.torch as lt

    X, y = load_digits(return_X_y=True)
    columns = [f"pixel {k}" for k in range(64)]
    frame = tables._pandas().DataFrame((X / 16).astype(np.float32), columns=columns)
    model = lt.TorchClassifier(lt.CNN, module__channels=(32, 64), module__hidden=(64,), module__dropout=0.25,
                               **_training(max_epochs=25, n_iter_no_change=5))  # fmt: skip
    return _Problem("1,797 scanned digits of 8×8 pixels", frame, y, True, model,
                    "lt.CNN: 2 convolutions, a hidden layer of 64", [])  # fmt: skip


def _table(path: str | os.PathLike, target: str) -> _Problem:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import StandardScaler

    import lifecycle.torch as lt

    task = tables.read_task(path, target)
    shape = {"module__hidden": (64, 64), "module__dropout": 0.1, **_training(max_epochs=40, n_iter_no_change=4)}
    if task.classification:
        model: Any = lt.TorchClassifier(lt.MLP, **shape)
        learned = f"{len(np.unique(task.y))} classes"
    else:
        model = TransformedTargetRegressor(lt.TorchRegressor(lt.MLP, **shape), transformer=StandardScaler())
        learned = "a quantity"
    linear = lc.LinearClassifier(optimizer="newton") if task.classification else lc.LinearRegressor(optimizer="exact")
    columns = f"columns of numbers: {len(task.numbers)}, of words: {len(task.words)}"
    title = f"{task.name}: {len(task.y):,} rows; {columns}; the target {target!r} is {learned}"
    return _Problem(title, task.X, task.y, task.classification, tables.prepared(task.numbers, task.words, model),
                    "lt.MLP: 2 hidden layers of 64, behind scikit-learn's imputers, scaler and encoder",
                    task.notes, tables.prepared(task.numbers, task.words, linear))  # fmt: skip


def _training(**epochs: int) -> dict[str, Any]:
    return {"optimizer": "adam", "lr": 2e-3, "batch_size": 64, "early_stopping": True, "max_grad_norm": 1.0,
            "random_state": 0, **epochs}  # fmt: skip


def run(data: str | os.PathLike | None = None, target: str | None = None, out: str | os.PathLike = ".",
        *, progress: bool | None = None) -> Demo:  # fmt: skip
    """Build, train, validate, compress, ship and apply a model.

    Parameters
    ----------
    data : path-like, default=None
        A CSV file; None: scikit-learn's scanned digits.
    target : str, default=None
        The column of `data` to predict.
    out : path-like, default="."
        Folder of the report and the model; both are written at the very end.
    progress : bool, default=None
        Bars on what takes long; None shows them in a terminal only.

    Raises
    ------
    OSError, ValueError
        `data` cannot be read or learned from, `out` cannot be written to.
    """
    if (data is None) != (target is None):
        raise ValueError("--data and --target go together: a CSV file, and the name of its column to predict")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give a folder")
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not os.access(there, os.W_OK):
        raise PermissionError(f"--out {out} cannot be written to")
    problem = _digits() if data is None or target is None else _table(data, target)
    _show_bars(problem.model, progress)
    demo = Demo(problem.title, problem.notes)
    results = _live(demo, problem, progress)
    out.mkdir(parents=True, exist_ok=True)
    demo.report, demo.model = out / REPORT, out / MODEL
    shipped = results.pop()
    lc.save(shipped, demo.model, metadata={"data": problem.title})  # the bytes of the stage "ship"
    about = " ".join(f"{sentence}." for sentence in [problem.title, *problem.notes])
    stages = [(name, answer, round(seconds, 1)) for name, answer, seconds in demo.stages]
    lc.report(demo.report, Table("The life of this model", ["stage", "answer", "seconds"], stages, about), *results)
    return demo


def _show_bars(model: Any, progress: bool | None) -> None:
    for name in model.get_params():
        if name == "progress" or name.endswith("__progress"):
            model.set_params(**{name: progress})


def _live(demo: Demo, problem: _Problem, progress: bool | None) -> list[Any]:
    """All stages; returns what the report shows, and at the end the model to be shipped."""
    from sklearn.base import clone
    from sklearn.model_selection import train_test_split

    stratify = problem.y if problem.classification else None
    X, X_test, y, y_test = train_test_split(problem.X, problem.y, test_size=0.25, stratify=stratify, random_state=0)
    measure = "accuracy" if problem.classification else "r2"

    with demo.stage("build") as said:
        model = clone(problem.model)
        said.append(problem.network)

    with demo.stage("train") as said:
        model.fit(X, y)
        trained = _trained(model)
        weights = sum(p.numel() for p in trained.module_.parameters())
        said.append(f"{weights:,} weights on {len(y):,} rows, {trained.n_iter_} epochs, the best {trained.best_epoch_}")

    with demo.stage("validate") as said:
        cv = (lc.StratifiedKFold if problem.classification else lc.KFold)(5, shuffle=True, random_state=0)
        quiet = clone(problem.model)
        _show_bars(quiet, False)
        folds = lc.cross_validate(quiet, X, y, cv=cv, scoring=measure, progress=progress)
        try:
            interval = "95 % interval {:.4f} to {:.4f}".format(*folds.interval())
        except ValueError:
            interval = "the same in all: no interval"
        said.append(f"mean {measure} of 5 folds {folds['test_score'].mean():.4f}, {interval}")
        rivals = []
        if problem.linear is not None:
            began = perf_counter()
            grid = {"model__alpha": np.logspace(-6, 0, 13)}
            # the models of a fold are trained together
            search = lc.GridSearchCV(problem.linear, grid, cv=cv, scoring=measure, progress=progress).fit(X, y)
            took, alpha = perf_counter() - began, search.best_params_["model__alpha"]
            rival = lc.cross_validate(clone(search.best_estimator_), X, y, cv=cv, scoring=measure, progress=progress)
            pair = lc.compare({"network": folds, "linear": rival})
            rivals = [pair]
            said += [f"a linear model for {len(search.cv_results_['params'])} penalties × 5 folds in {took:.1f} s: "
                     f"{search.best_score_:.4f} at alpha = {alpha:.1e}",
                     f"network - linear {pair[0].difference:+.4f}, p = {pair[0].p_value:.2g}"]  # fmt: skip

    with demo.stage("compress") as said:
        small = lc.quantize(lc.prune(model, 0.5))
        change, text = _compared(model, small, X_test, y_test, measure)
        said += ["half of the weights pruned, the rest int8", text]

    with demo.stage("ship") as said, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        lc.save(small, path, metadata={"data": problem.title})
        n_equal = _equal_in_a_new_process(small, X_test, path, progress)
        loaded = lc.load(path)
        said.append(f"one file of {path.stat().st_size:,} bytes; in a new process {n_equal:,} of {len(y_test):,} "
                    "predictions are equal")  # fmt: skip

    with demo.stage("apply") as said:
        applied = lc.evaluate(loaded, X_test, y_test, progress=progress)
        found = applied.metrics[measure]
        said.append(f"{measure} on {len(y_test):,} test rows {found.value:.4f}, "
                    f"95 % interval {found.low:.4f} to {found.high:.4f}")  # fmt: skip
    return [trained, folds, *rivals, change, applied, small]


def _trained(model: Any) -> Any:
    """The torch estimator inside."""
    while not hasattr(model, "module_"):
        model = model.steps[-1][1] if hasattr(model, "steps") else model.regressor_
    return model


def _compared(model: Any, small: Any, X: Any, y: np.ndarray, measure: str) -> tuple[BeforeAfter, str]:
    """Bytes, score, changed predictions and latency before and after, measured on the same rows."""
    before, after = lc.evaluate(model, X, y), lc.evaluate(small, X, y)
    n = after.latency.batch_size
    rows = {"bytes": (lc.size_of(model), lc.size_of(small)),
            measure: (before.metrics[measure].value, after.metrics[measure].value)}  # fmt: skip
    better = {"bytes": "lower", measure: "higher"}
    if before.task == "classification":
        changed = int((before.y_pred != after.y_pred).sum())
        rows[f"changed predictions of {len(y):,}"] = (0, changed)
        text = f"{changed} of {len(y):,} predictions changed"
    else:
        moved = float(np.abs(before.y_pred - after.y_pred).mean() / np.std(y))
        rows["mean change of a prediction, in standard deviations of the target"] = (0.0, moved)
        text = f"predictions moved by {moved:.3f} standard deviations in the mean"
    rows["ms for one row"] = (1e3 * before.latency.row, 1e3 * after.latency.row)
    rows[f"ms for {n} rows"] = (1e3 * before.latency.batch, 1e3 * after.latency.batch)
    better |= {name: "lower" for name in rows if name not in better}
    table = BeforeAfter("Compression", {k: v[0] for k, v in rows.items()}, {k: v[1] for k, v in rows.items()}, better,
                        "Half of the weights set to zero, then int8 with one scale a channel; measured on the test "
                        "rows, that neither training nor validation has seen.")  # fmt: skip
    sizes, scores = rows["bytes"], rows[measure]
    return table, f"{sizes[0]:,} → {sizes[1]:,} bytes; {measure} {scores[0]:.4f} → {scores[1]:.4f}; {text}"


def _equal_in_a_new_process(model: Any, X: Any, path: Path, progress: bool | None) -> int:
    """How many rows the command line, in a process of its own, predicts to the last digit as this model does."""
    rows, answer = path.with_name("rows.csv"), path.with_name("predictions.csv")
    X.to_csv(rows, index=False)
    command = [sys.executable, "-m", "lifecycle", "predict", str(path), str(rows), "--out", str(answer)]
    with progress_bar(1, "a new process loads the file", progress) as bar:
        done = subprocess.run(command, capture_output=True, text=True)
        bar.update()
    if done.returncode:
        raise RuntimeError(f"the new process failed: {done.stderr.strip()}")
    here = tables.predict_table(model, tables.read_table(rows))
    there = tables.read_table(answer)
    equal = np.ones(len(here), dtype=bool)
    for name in here:
        kind = type(here[name].iloc[0])
        equal &= np.array([a == kind(b) for a, b in zip(here[name], there[name], strict=True)])
    return int(equal.sum())
