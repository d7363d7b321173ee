"""Searches over linear models, single fits, splitters, memory and growth, against scikit-learn.

All sides get the same data, the same folds and the same cores, and alternate in one process. Each time is printed
with its answer. Missing data sets are skipped: ADULT, LETTER, DIAMONDS and NEWSGROUPS name their files.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import lifecycle as lc

from .. import _data
from .._harness import measure_cases, record, version_of
from . import _growth, _memory, _paths, _searches, _single, _splitters
from ._sides import table_of

FEW = 3  # rounds of what takes minutes


def cases(rounds: int, threads: int, scale: float) -> dict[str, tuple[str, Callable[[], dict]]]:
    """name -> (section, function that measures it)."""
    more: dict[str, Any] = {"rounds": rounds, "threads": threads, "scale": scale}
    few = more | {"rounds": min(rounds, FEW)}
    alphas = np.logspace(-6, -2, 10)
    measures: dict[str, tuple[str, Callable[[], dict]]] = {}

    def add(section: str, name: str, function: Callable, *arguments: Any, **options: Any) -> None:
        named = {} if function in _NAMED else {"name": name}
        measures[name] = section, partial(function, *arguments, **named, **options)

    grid = "10 alphas x 5 folds, logistic: "
    for name, load, targets in (
        ("make_classification", _data.classes, (4.0, 2.5)),
        ("Adult", _data.adult, (4.0, 2.5)),
        ("letter", _data.letter, (2.0, 2.0)),
    ):
        options = few if name == "letter" else more
        add("Searches", grid + name, _searches.logistic, load=load, targets=targets, **options)
    for name, load in (("make_regression", _data.regression), ("diamonds", _data.diamonds)):
        add("Searches", f"20 alphas x 5 folds, ridge: {name}", _searches.ridge, load=load, **more)
    grid = "10 alphas x 5 folds, per-sample SGD: "
    options = more | {"loss": "log_loss", "alphas": alphas, "targets": {"float32": 12.0, "float64": 6.0}}
    for name, load in (("make_classification", _data.classes), ("Adult", _data.adult)):
        add("Searches", grid + name, _searches.sgd, load=load, **options)
    options = few | {"loss": "hinge", "alphas": np.logspace(-6, -4, 10), "targets": {"float64": 4.0}, "warm": True}
    add("Searches", f"{grid}20 Newsgroups, hinge", _searches.sgd, load=_data.newsgroups, **options)
    add("Searches", "nested", _searches.nested, **more)
    cancer = partial(_data.scaled, partial(_data.bundled, "breast_cancer"))
    for penalty, l1_ratio in (("l1", 1.0), ("elastic net", 0.5)):
        for data, load, n, options in (("breast_cancer", cancer, 1_000, more), ("Adult", _data.adult, 100, few)):
            name = f"10 alphas x 5 folds, logistic, {penalty}: {data}"
            add("Searches", name, _paths.logistic, load=load, l1_ratio=l1_ratio, max_iter=n, **options)
        for data, load in (("diabetes", partial(_data.bundled, "diabetes")), ("diamonds", _data.diamonds)):
            name = f"10 alphas x 5 folds, squared error, {penalty}: {data}"
            add("Searches", name, _paths.squared, load=load, l1_ratio=l1_ratio, **more)
    fits = [(sort, data) for sort, (_, names) in _single.SORTS.items() for data in names]
    for sort, data, dtype in ((*fit, dtype) for fit in fits for dtype in ("float32", "float64")):
        add("One fit", f"{sort}, {data}, {dtype}", _single.one_fit, sort, data, dtype, rounds=rounds, scale=scale)
    add("Memory", "memory", _memory.memory, threads=threads, scale=scale)
    for name in _splitters.SPLITTERS:
        add("Splitters", f"splitter: {name}", _splitters.splitter, name, rounds=rounds, scale=scale)
    add("Growth", "models", _growth.models, rounds=min(rounds, 5), scale=scale)
    add("Growth", "rows", _growth.rows, rounds=min(rounds, 5), scale=scale)
    return measures


_NAMED = (_searches.nested, _single.one_fit, _memory.memory, _splitters.splitter, _growth.models, _growth.rows)


def run(
    rounds: int = 20, threads: int = 2, scale: float = 1.0, only: Sequence[str] = (), resume: Path | None = None
) -> dict:
    """The cases whose names contain one of `only`; `scale` < 1 takes fewer rows, to try the program.

    `resume`: a file that keeps what was measured after each case. If it is there, its cases are not measured again.
    """
    settings = {"rounds": rounds, "threads": threads, "scale": scale, "joblib": version_of("joblib")}
    found = cases(rounds, threads, scale)
    sections = {name: section for name, (section, _) in found.items()}

    def made(measured: list[dict]) -> dict:
        named = [{"case": one["name"], "section": sections[one["name"]], **one} for one in measured]
        return record("validation", settings=settings, cases=named)

    with lc.threads(threads), threadpool_limits(threads):
        measures = {name: measure for name, (_, measure) in found.items()}
        return made(measure_cases(measures, only, resume, made, key="name"))


def table(result: dict) -> str:
    """The markdown tables of a record."""
    settings = result["settings"]
    lines = [
        "## Validation and linear models",
        f"lifecycle against scikit-learn: the same data, folds and number of cores ({settings['threads']} threads of "
        f"lifecycle's, n_jobs={settings['threads']} of joblib {settings['joblib']}); median and quartiles of "
        "alternating runs in one process, everything compiled and every worker started before. Speed is relative to "
        "the fastest of scikit-learn's rows; target is the speed that was aimed for.",
    ]
    for one in result["cases"]:
        table = {"Memory": _memory.table_of, "Growth": _growth.table_of}.get(one["section"], table_of)
        lines += table(one)
    return "\n\n".join(lines) + "\n"


def plots(result: dict, folder: Path) -> list[Path]:
    """The plots that the page shows."""
    return [_growth.draw(one, folder) for one in result["cases"] if one["section"] == "Growth"]
