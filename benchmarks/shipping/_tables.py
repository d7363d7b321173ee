"""Predictions for a large CSV file on the command line, beside a program of pandas and joblib."""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

import lifecycle as lc

from .._harness import alternate, markdown, quartiles
from ..optimizers import duration

PROGRAM = """
import sys, joblib, pandas
model = joblib.load(sys.argv[1])
table = pandas.read_csv(sys.argv[2])
result = pandas.DataFrame({"prediction": model.predict(table)})
for label, p in zip(model.classes_, model.predict_proba(table).T, strict=True):
    result[f"probability of {label}"] = p
result.to_csv(sys.argv[3], index=False)
"""
# runs a program and prints the most memory that it had, in MB
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def measure(rounds: int, threads: int, scale: float) -> dict:
    rng, n = np.random.RandomState(0), round(1_000_000 * scale)
    table = pd.DataFrame(rng.standard_normal((n, 10)).round(4), columns=[f"x{k}" for k in range(10)])
    y = (table.x0 * table.x1 + table.x2 > 0.5).astype(int).to_numpy()
    model = HistGradientBoostingClassifier(max_iter=50, random_state=0).fit(table.iloc[:20_000], y[:20_000])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table.to_csv(folder / "rows.csv", index=False)
        joblib.dump(model, folder / "model.joblib")
        lc.save(model, folder / "model.lc")
        commands = {
            "lifecycle predict": [sys.executable, "-m", "lifecycle", "predict", str(folder / "model.lc"),
                                  str(folder / "rows.csv"), "--out", str(folder / "ours.csv")],
            "pandas and joblib": [sys.executable, "-c", PROGRAM, str(folder / "model.joblib"),
                                  str(folder / "rows.csv"), str(folder / "theirs.csv")],
        }  # fmt: skip
        memory: dict[str, int] = {}

        def run(who: str) -> None:
            done = subprocess.run(
                [sys.executable, "-c", MEASURED, *commands[who]], capture_output=True, text=True, check=True
            )
            memory[who] = int(done.stdout)

        times = alternate({who: partial(run, who) for who in commands}, min(rounds, 5))
        ours, theirs = (pd.read_csv(folder / file) for file in ("ours.csv", "theirs.csv"))
        differ = int((ours.prediction != theirs.prediction).sum())
        size = (folder / "rows.csv").stat().st_size
    rows = {who: {"seconds": quartiles(values), "megabytes": memory[who]} for who, values in times.items()}
    return {"sides": rows, "n": n, "bytes": size, "differ": differ}


def table(one: dict, settings: dict) -> str:
    """The markdown of a case."""
    rows = [[who, duration(row["seconds"][1]), f"{row['megabytes']:,} MB"] for who, row in one["sides"].items()]
    return "\n\n".join([
        f"{one['n']:,} rows of 10 numbers, {one['bytes']:,} bytes; a HistGradientBoostingClassifier, whole processes. "
        f"{one['differ']} predictions differ.",
        markdown(("", "time", "memory at most"), rows),
    ])  # fmt: skip
