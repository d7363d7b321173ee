"""Damaged files: what readers make of the same damage to files of their own formats.

Every reader gets a file of its format, cut off, with flipped bits, or with other bytes, in a process of its own with
limits of memory and time. The digests of our files are not repaired: it is damage, not an attack. An attack, with
digests that fit, is what the second table is about, which counts the files of `tests/mutated_files.py`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .._harness import markdown, record, versions

__all__ = ["run", "table"]

OUTCOMES = (  # in the order of the columns
    "named error", "other exception", "crash", "hang", "memory", "other numbers", "same numbers",
)  # fmt: skip
FILES = 1000  # of each reader
SECONDS = 600  # of the processor, for files with digests that fit
ROOT = Path(__file__).parents[2]


def run(rounds: int = 20, threads: int = 1, scale: float = 1.0) -> dict:
    """All readers, and our own with digests that fit; `scale` < 1 takes fewer files, to try the program."""
    from ._readers import READERS

    n = max(1, round(FILES * scale / 3)) * 3 + (FILES % 3 if scale == 1 else 0)
    settings = {"files": n, "seconds": SECONDS * scale, "scale": scale}
    cases = []
    for name in READERS:
        with tempfile.TemporaryDirectory() as folder:
            cases.append(_in_process("benchmarks.safety._readers", folder, name, str(n)))
    with tempfile.TemporaryDirectory() as folder:
        forged = _in_process("benchmarks.safety._forged", folder, str(SECONDS * scale))
    return record("safety", versions=versions("skops", "joblib"), settings=settings, cases=cases, forged=forged)


def _in_process(module: str, folder: str, *arguments: str) -> dict:
    """What a module prints last, as JSON; its process starts in an empty folder, which is where pickles may write."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [sys.executable, "-m", module, folder, *arguments]
    environment = {**os.environ, "PYTHONPATH": path, "HOME": folder, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(result: dict) -> str:
    """The markdown tables of a record."""
    files = result["settings"]["files"]
    lines = [
        "## Damaged and forged files",
        f"{files:,} files for each reader, of its own format: one third cut off at any byte, one third with a flipped "
        "bit, one third with one to eight other bytes in a row, the same places in proportion to the length. Each one "
        "is read in a process of its own with 4 GB of memory and 10 s. A named error is of a class of the library, or "
        "BadZipFile or UnpicklingError; a hang takes more than 1 s of the processor; memory is more than twice the "
        "file and 16 MB beyond what the original takes; other numbers: what was read predicts otherwise than the "
        "original, or not at all, without an error from the reader. A file counts once: as a crash, a hang or memory "
        "where it is one. The model of scikit-learn is a scaled RandomForestClassifier of 20 "
        "trees on the digits, that of torch an MLP of 64, 64 and 10 units.",
        markdown(
            ["reader", "bytes", *OUTCOMES],
            [
                [one["reader"], f"{one['bytes']:,}", *(f"{one['outcomes'].get(name, 0):,}" for name in OUTCOMES)]
                for one in result["cases"]
            ],
        ),
    ]
    others = [
        f"{one['reader']}: " + ", ".join(f"{name} {count:,}" for name, count in one["other_exceptions"].items())
        for one in result["cases"]
        if one["other_exceptions"]
    ]
    if others:
        lines.append("The other exceptions, most frequent first. " + "; ".join(others) + ".")
    forged = result["forged"]
    lines += [
        f"Forged files: {forged['files']:,} files of all kinds that this library reads, altered at random by "
        f"`python -m tests.mutated_files`, most with digests that fit, in {forged['seconds']:,.0f} s of the processor "
        "(as many as that time allows). Each was read in up to five ways, and models that were loaded had to predict. "
        "Faults (another exception, a crash, an `into` that changed, an import that reading the originals did not "
        "need, also of Python itself, memory beyond twice the file and 16 MB before all is checked): "
        f"{forged['faults']:,}. Calls above 1 s: {forged['slow']:,}; the longest took {forged['slowest']:.2f} s, and "
        f"the largest {forged['largest'] / 1e6:.1f} MB.",
        markdown(
            ["way", "loaded", "named error", "fault"],
            [
                [
                    way,
                    *(f"{forged['outcomes'].get(f'{way}: {name}', 0):,}" for name in ("loaded", "file error", "fault")),
                ]
                for way in sorted({key.partition(":")[0] for key in forged["outcomes"] if ":" in key})
            ],
        ),
    ]
    return "\n\n".join(lines) + "\n"
