"""Networks and a pipeline: from the start of a process to the first prediction, and the latency of later ones."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import lifecycle as lc

from .. import _data
from .._harness import alternate, markdown, quartiles, version_of
from ..optimizers import duration
from ._trees import _timed

OURS = "lc.load_predictor"
# what each side runs in a new process: argument 1 is the file, 2 the rows; it prints the sum of the first prediction
PREDICTOR = """
import sys, numpy as np, lifecycle as lc
predictor = lc.load_predictor(sys.argv[1])
print(float(np.sum(predictor.{method}(np.load(sys.argv[2])))))
"""
STATE = """
import sys, numpy as np, torch
from {module} import {name}
net = {name}()
net.load_state_dict(torch.load(sys.argv[1], weights_only=True))
with torch.inference_mode():
    print(float(net.eval()(torch.from_numpy(np.load(sys.argv[2]))).sum()))
"""
JOBLIB = """
import sys, numpy as np, joblib
model = joblib.load(sys.argv[1])
X = np.load(sys.argv[2])
{predict}
"""
SKOPS = """
import sys, numpy as np, skops.io
model = skops.io.load(sys.argv[1], trusted=[])
print(float(np.sum(model.predict_proba(np.load(sys.argv[2])))))
"""
OF_TORCH = "import torch\nwith torch.inference_mode():\n    print(float(model.eval()(torch.from_numpy(X)).sum()))"
OF_SKLEARN = "print(float(np.sum(model.predict_proba(X))))"


def cnn(rounds: int, threads: int, scale: float) -> dict:
    from tests.networks import reference_cnn

    X = np.random.RandomState(0).standard_normal((64, 3, 32, 32)).astype(np.float32)
    return _measure_module(reference_cnn().eval(), "tests.networks", "reference_cnn", X, rounds)


def minilm(rounds: int, threads: int, scale: float) -> dict:
    from ..compression import _minilm

    _data.require("tokenizers")
    net = _minilm.load(_data.path("MINILM"))
    texts, _ = _data.newsgroup_texts("NEWSGROUPS", 64)
    tokens = _minilm.tokenize(_data.path("MINILM"), texts, 64).numpy()
    return _measure_module(net, "benchmarks.compression._minilm", "MiniLM", tokens, rounds)


def pipeline(rounds: int, threads: int, scale: float) -> dict:
    """A pipeline of scikit-learn on the digits."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)

    def save(folder: Path) -> dict[str, tuple[Path, str]]:
        import joblib

        joblib.dump(model, folder / "model.joblib")
        sides = {"joblib.load": (folder / "model.joblib", JOBLIB.format(predict=OF_SKLEARN))}
        if version_of("skops") != "not installed":
            import skops.io

            skops.io.dump(model, folder / "model.skops")
            sides["skops.io.load"] = folder / "model.skops", SKOPS
        return sides

    return _measured(model, X, save, lambda rows: model.predict_proba(rows), "predict_proba", rounds)


def _measure_module(net: Any, module: str, name: str, X: np.ndarray, rounds: int) -> dict:
    import torch

    def save(folder: Path) -> dict[str, tuple[Path, str]]:
        import joblib

        torch.save(net.state_dict(), folder / "state.pt")
        joblib.dump(net, folder / "model.joblib")
        return {
            "torch.load and the class": (folder / "state.pt", STATE.format(module=module, name=name)),
            "joblib.load": (folder / "model.joblib", JOBLIB.format(predict=OF_TORCH)),
        }

    def predict(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net(torch.from_numpy(rows)).numpy()

    return _measured(net, X, save, predict, "predict", rounds)


def _measured(
    model: Any, X: np.ndarray, save: Callable[[Path], dict], predict: Callable[[Any], Any], method: str, rounds: int
) -> dict:
    """The record of a case; `save` writes the files of the peers, each with the program that opens it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = {OURS: (folder / "model.lc", PREDICTOR.format(method=method)), **save(folder)}
        lc.save(model, folder / "model.lc", example=X)
        np.save(folder / "row.npy", X[:1])
        answers: dict[str, list[float]] = {who: [] for who in sides}

        def first(who: str) -> None:
            file, code = sides[who]
            command = [sys.executable, "-c", code, str(file), str(folder / "row.npy")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            answers[who].append(float(done.stdout.splitlines()[-1]))

        started = alternate({who: partial(first, who) for who in sides}, rounds)
        inspected = lc.inspect(folder / "model.lc")
        sizes = {who: file.stat().st_size for who, (file, _) in sides.items()}
        stored = sum(size for *_, size in inspected.arrays)
        predictor = lc.load_predictor(folder / "model.lc")
        call = getattr(predictor, method)
        calls: dict[str, dict] = {}
        for batch in (1, 32):
            rows = X[:batch]
            runs = {OURS: partial(_timed, partial(call, rows)), "the model": partial(_timed, partial(predict, rows))}
            times = alternate(runs, rounds)
            error = float(np.abs(np.asarray(call(rows)) - np.asarray(predict(rows))).max())
            ratio = quartiles(list(np.divide(times["the model"], times[OURS])))
            calls[str(batch)] = {
                "ours": quartiles(times[OURS]), "model": quartiles(times["the model"]), "ratio": ratio, "error": error,
            }  # fmt: skip
    rows_of_sides = {
        who: {
            "seconds": quartiles(times), "bytes": sizes[who], "answer": answers[who][-1],
            "ratio": quartiles(list(np.divide(times, started[OURS]))),
        }
        for who, times in started.items()
    }  # fmt: skip
    parity = inspected.facts["parity"]
    return {"sides": rows_of_sides, "calls": calls, "stored": stored, "graph": inspected.graph_bytes, "parity": parity}


def table(one: dict, settings: dict) -> str:
    """The markdown of a case."""
    rows = [
        [who, duration(row["seconds"][1]), f"{row['ratio'][1]:.2f} ({row['ratio'][0]:.2f} – {row['ratio'][2]:.2f})",
         f"{row['answer']:.6g}", f"{row['bytes']:,}"]
        for who, row in one["sides"].items()
    ]  # fmt: skip
    calls = [
        [batch, duration(row["ours"][1]), duration(row["model"][1]),
         f"{row['ratio'][1]:.2f} ({row['ratio'][0]:.2f} – {row['ratio'][2]:.2f})", f"{row['error']:.1e}"]
        for batch, row in one["calls"].items()
    ]  # fmt: skip
    parity = one["parity"]
    share = one["sides"][OURS]["bytes"] / (one["stored"] + one["graph"])
    return "\n\n".join([
        "A new process that loads the file and predicts one row, from its start to its end (median, and how many times "
        "as long as ours; quartiles):",
        markdown(("", "start and first prediction", "×", "sum of the prediction", "bytes"), rows),
        f"The file is {share:.3f} × the {one['stored']:,} bytes of stored weights and the {one['graph']:,} of the "
        f"graph. Parity on {parity['rows']:,} rows: largest error {parity['max_abs_error']:.1e}, "
        f"{parity['label_flips']} label flips.",
        markdown(("batch", "predictor", "the model", "× as long as ours", "largest difference"), calls),
    ])  # fmt: skip
