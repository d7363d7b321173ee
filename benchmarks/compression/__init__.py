"""Pruning and quantization after training: what they damage, what they save, and how long they take.

Each case runs the peers' way, or the textbook's, beside ours. Data and models that are not there are skipped: FASHION,
MINILM, NEWSGROUPS and NEWSGROUPS_TEST name them, or DATA_DIR the folder of all.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lifecycle as lc

from .._harness import chosen, record
from . import _certified, _column_loop, _encoder
from ._tables import table_of

CASES: dict[str, Callable[..., dict]] = {
    "MiniLM, 4 bits in groups of 64": _encoder.quantized,
    "MiniLM, 50 % of the weights pruned": _encoder.pruned,
    "column loop, 384 → 1536": partial(_column_loop.measure, 1536, 384),
    "column loop, 1536 → 384": partial(_column_loop.measure, 384, 1536),
    "CNN on Fashion-MNIST, compress(max_drop=0.01)": _certified.fashion,
}


def run(rounds: int = 20, threads: int = 2, scale: float = 1.0, only: Sequence[str] = ()) -> dict:
    """The cases whose names contain one of `only`; `scale` < 1 takes fewer rows, to try the program."""
    import torch

    measured, n_before = [], torch.get_num_threads()
    torch.set_num_threads(threads)
    with lc.threads(threads):
        for name, measure in CASES.items():
            if not chosen(name, only):
                continue
            print(name, file=sys.stderr, flush=True)
            try:
                one = measure(rounds=rounds, scale=scale)
            except FileNotFoundError as error:
                one = {"skipped": str(error)}
            measured.append({"case": name, **one})
    torch.set_num_threads(n_before)
    return record("compression", settings={"rounds": rounds, "threads": threads, "scale": scale}, cases=measured)


def table(result: dict[str, Any]) -> str:
    """The markdown tables of a record."""
    lines = ["## Compression", "Models are compressed after their training, without any more of it."]
    for one in result["cases"]:
        lines += table_of(one)
    return "\n\n".join(lines) + "\n"
