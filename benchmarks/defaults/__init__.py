"""What a user types: one fit and a grid of 5 penalties x 5 folds with default arguments, on many data sets.

Both sides get the same data, folds and cores, and alternate in one process. Data that are not there are skipped:
ADULT, AIRPORTS, DIAMONDS, FASHION, FLIGHTS, KEEL, LETTER and NEWSGROUPS name them, or DATA_DIR the folder of all.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

import lifecycle as lc

from .. import _data
from .._harness import measure_cases, read_partial, record, version_of
from ._measure import ALPHAS, FOLDS, grid, one_fit
from ._report import line, table

__all__ = ["CASES", "Case", "run", "table"]

FIRST = """
from time import perf_counter
from sklearn.datasets import load_iris
X, y = load_iris(return_X_y=True)
begin = perf_counter()
{code}.fit(X, y)
print(perf_counter() - begin)
"""
FIRST_OF = {
    "lifecycle, nothing compiled before": "import lifecycle as lc; lc.LinearClassifier(progress=False)",
    "lifecycle, compiled before": "import lifecycle as lc; lc.LinearClassifier(progress=False)",
    "scikit-learn": "from sklearn.linear_model import LogisticRegression; LogisticRegression()",
}


@dataclass(frozen=True)
class Case:
    """A data set, given as `load(scale=…)`; where its features are not on one scale, peers are scaled first too."""

    name: str
    load: Callable[..., tuple[Any, np.ndarray]]
    is_scaled: bool = False
    seconds: float | None = None  # that the grid is to take at most


def _bundled(name: str, title: str | None = None) -> Case:
    return Case(title or f"{name}, raw", partial(_data.bundled, name))


def _keel(name: str) -> Case:
    return Case(f"{name}, raw", partial(_data.keel, name))


CASES = (
    _bundled("iris"),
    _bundled("wine"),
    _bundled("breast_cancer"),
    Case("breast_cancer, scaled", partial(_data.scaled, partial(_data.bundled, "breast_cancer")), True),
    _bundled("digits"),
    _keel("phoneme"),
    _keel("spambase"),
    _keel("optdigits"),
    _keel("satimage"),
    _keel("penbased"),
    _keel("magic"),
    _keel("letter"),
    Case("letter, scaled", _data.letter, True),
    Case("Adult, numbers, raw", _data.adult_raw),
    Case("Adult, scaled and one-hot", _data.adult, True),
    Case("airports → state, raw", _data.airports),
    Case("diamonds → cut, raw", partial(_data.diamonds_raw, "cut")),
    Case("flights → late, raw", partial(_data.flights, "late")),
    Case("Fashion-MNIST, 10,000 images", _data.fashion, True),
    Case("20 Newsgroups, tf-idf", _data.newsgroups, True),
    Case("Newsgroups, two classes, tf-idf", _data.two_newsgroups, True),
    Case("diabetes → progression", partial(_data.bundled, "diabetes"), True),
    Case("diamonds → log price, scaled", _data.diamonds, True),
    Case("diamonds → price, raw", partial(_data.diamonds_raw, "price")),
    Case("flights → delay, raw", partial(_data.flights, "delay")),
    Case("synthetic, 200,000 × 300", partial(_data.synthetic, 200_000, 300, 2), True, 3.0),
    Case("synthetic, 20,000 × 128, 26 classes", partial(_data.synthetic, 20_000, 128, 26), True, 8.0),
    Case("synthetic text, 50,000 × 200,000", partial(_data.synthetic_text, 50_000, 200_000, 53), True, 4.0),
)


def run(
    rounds: int = 20, threads: int = 2, scale: float = 1.0, only: Sequence[str] = (), resume: Path | None = None
) -> dict:
    """The cases whose names contain one of `only`; `scale` < 1 takes fewer rows, to try the program.

    `resume`: a file that keeps what was measured after each case. If it is there, its cases are not measured again.
    """
    settings = {"rounds": rounds, "threads": threads, "scale": scale, "joblib": version_of("joblib"),
                "alphas": ALPHAS.tolist()}  # fmt: skip
    earlier = read_partial(resume, record("defaults", settings=settings))
    first = earlier.get("first") or first_answers(min(rounds, 3))

    def made(found: list[dict]) -> dict:
        left_out = [case.name for case in CASES if case.name not in {one["case"] for one in found}]
        return record("defaults", settings=settings, first=first, cases=found, left_out=left_out)

    def measure(case: Case) -> dict:
        Parallel(threads)(delayed(_warm_up)() for _ in range(threads))  # processes of joblib end when idle
        one = _measure(case, rounds, threads, scale)
        print("   ", line(one), file=sys.stderr, flush=True)
        return one

    with lc.threads(threads), threadpool_limits(threads):
        return made(measure_cases({case.name: partial(measure, case) for case in CASES}, only, resume, made))


def _measure(case: Case, rounds: int, threads: int, scale: float) -> dict:
    X, y = _of_frequent_classes(*case.load(scale=scale))
    shape = {"rows": X.shape[0], "columns": X.shape[1]} | ({"stored": int(X.nnz)} if hasattr(X, "nnz") else {})
    shape |= {} if y.dtype.kind == "f" else {"classes": len(np.unique(y))}
    goal = {} if case.seconds is None else {"seconds": case.seconds}
    fits = one_fit(X, y, case.is_scaled, rounds, threads)
    return {**shape, **goal, "fit": fits, "grid": grid(X, y, case.is_scaled, rounds, threads, fits["rows"])}


def _of_frequent_classes(X: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """A trial with few rows may leave fewer than ten of a class, so that not every fold has it."""
    if y.dtype.kind == "f":
        return X, y
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    kept = counts[codes] >= 2 * FOLDS
    return (X, y) if kept.all() else (X[kept], y[kept])


def _warm_up() -> None:
    """Imports this module in a process of joblib, and keeps it busy until the others have begun."""
    sleep(0.1)


def first_answers(rounds: int) -> dict[str, float]:
    """Seconds of import and first fit in a new process, on iris; median."""
    seconds: dict[str, list[float]] = {who: [] for who in FIRST_OF}
    with tempfile.TemporaryDirectory() as folder:
        for k in range(rounds):
            for who, code in FIRST_OF.items():  # the second finds what the first has compiled
                environment = {**os.environ, "NUMBA_CACHE_DIR": os.path.join(folder, str(k))}
                done = subprocess.run([sys.executable, "-c", FIRST.format(code=code)], env=environment, check=True,
                                      text=True, capture_output=True)  # fmt: skip
                seconds[who].append(float(done.stdout))
    return {who: median(values) for who, values in seconds.items()}
