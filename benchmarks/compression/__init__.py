"""Pruning and quantization after training: what they damage, what they save, and how long they take.

Each case runs the peers' way, or the textbook's, beside ours. Data and models that are not there are skipped: FASHION,
G2P, MINILM, NEWSGROUPS and NEWSGROUPS_TEST name them, or DATA_DIR the folder of all. Peers that are not installed are
left out: torchao, Torch-Pruning, and onnxruntime, which needs onnx and onnxscript for the export.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

import lifecycle as lc

from .._harness import measure_cases, record, versions
from . import (
    _certified,
    _channels,
    _column_loop,
    _encoder,
    _end_to_end,
    _g2p,
    _int8_linear,
    _memory,
    _not_faster,
    _peers,
)  # fmt: skip
from ._tables import table_of

CASES: dict[str, Callable[..., dict]] = {
    "MiniLM, 4 bits in groups of 64": _encoder.quantized,
    "MiniLM, 50 % of the weights pruned": _encoder.pruned,
    "column loop, 384 → 1536": partial(_column_loop.measure, 1536, 384),
    "column loop, 1536 → 384": partial(_column_loop.measure, 384, 1536),
    "CNN on Fashion-MNIST, compress(max_drop=0.01)": _certified.fashion,
    "int8 linear layer, 384 → 1536": _int8_linear.of_minilm,
    "int8 linear layer, 1000 → 1000": partial(_int8_linear.of_normal_weights, 1000, 1000),
    "MiniLM in int8, end to end": _end_to_end.measure,
    "g2p_en, GRU in int8": _g2p.measure,
    "residual network on Fashion-MNIST, channels removed": _channels.measure,
    "what is not faster": _not_faster.measure,
    "memory: MiniLM, 4 bits by gptq": _memory.minilm,
    "memory: 100 M parameters, 4 bits by gptq": _memory.stack,
}


def run(
    rounds: int = 20, threads: int = 2, scale: float = 1.0, only: Sequence[str] = (), resume: Path | None = None
) -> dict:
    """The cases whose names contain one of `only`; `scale` < 1 takes fewer rows, to try the program.

    `resume`: a file that keeps what was measured after each case. If it is there, its cases are not measured again.
    """
    import torch

    settings = {"rounds": rounds, "threads": threads, "scale": scale}
    measures = {name: partial(measure, rounds=rounds, scale=scale) for name, measure in CASES.items()}

    def made(cases: list[dict]) -> dict:
        return record("compression", versions=versions(*_peers.PACKAGES), settings=settings, cases=cases)

    n_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with lc.threads(threads), threadpool_limits(threads):
            return made(measure_cases(measures, only, resume, made))
    finally:
        torch.set_num_threads(n_before)


def table(result: dict[str, Any]) -> str:
    """The markdown tables of a record."""
    lines = [
        "## Compression",
        "Models are compressed after their training; only the residual network is fine-tuned. All sides have "
        f"{result['settings']['threads']} threads.",
    ]
    for one in result["cases"]:
        lines += table_of(one)
    return "\n\n".join(lines) + "\n"
