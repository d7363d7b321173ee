"""Files: their size, how fast they are written, read and first answered from, and predictions of what they hold.

The answers stand beside the times. A file that is not there skips its case: ADULT, LETTER and MINILM name them, or
DATA_DIR the folder of all. Peers that are not installed are left out.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

import lifecycle as lc

from .._harness import measure_cases, record, versions
from . import _networks, _states, _tables, _trees

__all__ = ["CASES", "run", "table"]

# name -> (module with `table`, what measures)
CASES = {
    "RandomForest(100) on letter": (_trees, _trees.forest),
    "HistGradientBoosting on Adult": (_trees, _trees.boosting),
    "the reference CNN": (_networks, _networks.cnn),
    "MiniLM": (_networks, _networks.minilm),
    "a scaled logistic regression": (_networks, _networks.pipeline),
    "a state of 1 GB": (_states, _states.measure),
    "a million rows of CSV": (_tables, _tables.measure),
}


def run(
    rounds: int = 20, threads: int = 2, scale: float = 1.0, only: Sequence[str] = (), resume: Path | None = None
) -> dict:
    """All cases; `scale` < 1 takes fewer rows and bytes, to try the program."""
    settings = {"rounds": rounds, "threads": threads, "scale": scale}
    measures = {name: partial(measure, rounds, threads, scale) for name, (_, measure) in CASES.items()}

    def made(cases: list[dict]) -> dict:
        peers = versions("onnxruntime", "skl2onnx", "safetensors", "skops", "joblib", "pandas")
        return record("shipping", versions=peers, settings=settings, cases=cases)

    with lc.threads(threads), threadpool_limits(threads):
        return made(measure_cases(measures, only, resume, made))


def table(result: dict) -> str:
    """The markdown tables of a record."""
    settings = result["settings"]
    lines = [
        "## Files and predictors",
        f"Calls alternate, {settings['rounds']} rounds; every side may use {settings['threads']} threads and has its "
        "default arguments.",
    ]
    for one in result["cases"]:
        lines.append(f"### {one['case']}")
        lines.append(one.get("skipped") or CASES[one["case"]][0].table(one, settings))
    return "\n\n".join(lines) + "\n"
