"""Alternating runs in one process, their medians and ratios, the machine they ran on, and the file that keeps them."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter

import numpy  # noqa: F401 - loads the library that threadpool_info describes
from threadpoolctl import threadpool_info

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("lifecycle-ml", "numpy", "numba", "torch", "scipy", "scikit-learn")


def alternate(runs: Mapping[str, Callable[[], float | None]], rounds: int, *, warm_up: int = 1) -> dict[str, list]:
    """Seconds of each run, `rounds` times; in every round each runs once and another one goes first.

    A run may return its own seconds, when part of what it does is not to be timed.
    """
    names = list(runs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for k in range(warm_up + rounds):
        first = k % len(names)
        for name in names[first:] + names[:first]:
            begin = perf_counter()
            own = runs[name]()
            took = perf_counter() - begin if own is None else own
            if k >= warm_up:
                seconds[name].append(took)
    return seconds


def summary(seconds: Mapping[str, Sequence[float]], baseline: str) -> dict[str, dict[str, float]]:
    """Median, quartiles and number of runs of each, and its median as a multiple of the baseline's."""
    base = statistics.median(seconds[baseline])
    rows = {}
    for name, values in seconds.items():
        low, middle, high = quartiles(values)
        rows[name] = {"median": middle, "q1": low, "q3": high, "runs": len(values), "ratio": middle / base}
    return rows


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def chosen(name: str, only: Sequence[str]) -> bool:
    """Whether a case is to be measured: its name contains one of `only`, or that is empty."""
    return not only or any(part in name for part in only)


def machine() -> dict[str, str | int]:
    """Processor, cores that this process may use, memory, the processor that OpenBLAS computes for, system, Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    about: dict[str, str | int] = {"processor": _processor(), "cores": cores}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        about["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    if kernels := {lib["architecture"] for lib in threadpool_info() if lib["internal_api"] == "openblas"}:
        about["openblas"] = ", ".join(sorted(kernels))  # OPENBLAS_CORETYPE may name a slower one than this processor
    return {**about, "system": platform.system(), "python": platform.python_version()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions(*more: str) -> dict[str, str]:
    """Installed versions of what was measured, and of `more` packages."""
    return {name: version_of(name) for name in (*PACKAGES, *more)}


def version_of(name: str) -> str:
    """Of a package, or that it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def record(name: str, **content) -> dict:
    """What a benchmark found, with the time, the machine and the versions."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"name": name, "when": now, "machine": machine(), "versions": versions(), **content}


def write(result: dict, folder: Path = RESULTS) -> Path:
    """Keep a record as `folder/NAME.json`, numbers to four digits."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_json(result, folder / f"{result['name']}.json")


def write_json(result: dict, path: Path) -> Path:
    """Keep a record in a file, numbers to four digits."""
    path.write_text(json.dumps(_short(result), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_partial(path: Path | None, now: dict) -> dict:
    """The record of a run that was interrupted; ValueError if it is of another machine, versions or settings."""
    if path is None or not path.exists():
        return {}
    earlier = json.loads(path.read_text(encoding="utf-8"))
    for part in ("name", "machine", "versions", "settings"):
        if earlier[part] != _short(now[part]):
            raise ValueError(f"{path} was measured with other {part}: {earlier[part]}; now: {now[part]}")
    return earlier


def measure_cases(
    measures: Mapping[str, Callable[[], dict]],
    only: Sequence[str],
    resume: Path | None,
    made: Callable[[list[dict]], dict],
    key: str = "case",
) -> list[dict]:
    """What each case found whose name contains one of `only`; one that lacks its data is skipped, with the reason.

    Parameters
    ----------
    measures : name -> function that measures the case
    resume : a file that keeps the record after each case. If it is there, its cases are not measured again.
    made : the record of some cases
    key : where a case keeps its name
    """
    done = {one[key]: one for one in read_partial(resume, made([])).get("cases", [])}
    found = []
    for name, measure in measures.items():
        if name in done:
            found.append(done[name])
        if name in done or not chosen(name, only):
            continue
        print(name, file=sys.stderr, flush=True)
        try:
            one = measure()
        except FileNotFoundError as error:
            one = {"skipped": str(error)}
            print("    skipped:", error, file=sys.stderr, flush=True)
        found.append({key: name, **one})
        if resume is not None:
            later = [one for case, one in done.items() if case not in {this[key] for this in found}]
            write_json(made([*found, *later]), resume)
    return found


def memory_of(what: str, process: str = "self") -> int:
    """Bytes that Linux reports of a process: VmRSS, in use now; VmHWM, at most so far."""
    text = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(what + ":"))


def _short(value):
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_short(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table that is also readable as text; all but the first column to the right."""
    cells = [list(columns), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (w - 1) if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(columns), f"| {' | '.join(rule)} |", *map(line, rows)])
