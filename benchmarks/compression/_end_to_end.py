"""MiniLM in int8, beside float32 and onnxruntime: the time of a batch, and the accuracy of a classifier."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lifecycle as lc

from . import _onnxruntime, _peers
from ._minilm import EMBEDDINGS, N_TOKENS
from ._onnxruntime import FUSED_INT8, INT8, Embed, sessions
from ._probe import Probe, accuracy_cells, at_most
from ._timing import about_vnni, at_least, cells, seconds_of

OURS, BASELINE = "lifecycle int8", "float32"
SPEED = {1: 4.0, 32: 2.5}  # batch size -> how many times as fast as float32
MOST_DROP = 0.005


def measure(rounds: int, scale: float) -> dict:
    """Texts of 64 tokens, one at a time and 32 at a time."""
    probe = Probe.load(scale)
    nets = {BASELINE: probe.net, OURS: lc.quantize(probe.net, activations="dynamic", protect=EMBEDDINGS)}
    left_out = _peers.missing(*_onnxruntime.NEEDED)
    rows: dict[str, dict[str, Any]] = {}
    targets = []
    hits: dict[str, np.ndarray] = {who: probe.hits(net) for who, net in nets.items()}
    with tempfile.TemporaryDirectory() as folder:
        for batch, least in SPEED.items():
            tokens = probe.test_tokens[:batch].contiguous()
            peers = {} if left_out else sessions(probe.net, tokens, Path(folder))
            calls: dict[str, Callable[[], Any]] = {who: lambda net=net, x=tokens: net(x) for who, net in nets.items()}
            calls |= {who: lambda embed=embed, x=tokens: embed(x) for who, embed in peers.items()}
            seconds = seconds_of(calls, rounds)
            hits |= {who: probe.hits(_of_batches(embed, batch)) for who, embed in peers.items() if batch > 1}
            rows |= {f"batch {batch}: {who}": cells(seconds, who, BASELINE) for who in calls}
            targets.append(at_least(f"batch {batch}", seconds, BASELINE, OURS, least))
            peer = min((INT8, FUSED_INT8), key=lambda who, seconds=seconds: np.median(seconds.get(who, np.inf)))
            if peer in seconds:
                targets.append(at_least(f"batch {batch}", seconds, peer, OURS, 1.1))
    for name, row in rows.items():
        who = name.partition(": ")[2]
        row |= accuracy_cells(hits[BASELINE], hits[who])
    targets.append(at_most(OURS, hits[BASELINE], hits[OURS], MOST_DROP))
    about = (
        f"{N_TOKENS} tokens a text, {rounds} alternating rounds. {probe.about} The graph of onnxruntime is exported "
        "for each batch size, prepared for quantization by its own tool, and optimized when it is loaded; “fused "
        "first”: operators were fused before the quantization. The target is for the faster of the two. The embedding "
        "tables stay in float32 everywhere. " + about_vnni() + _peers.about_missing(left_out)
    )
    return {"rows": rows, "targets": targets, "about": about}


def _of_batches(embed: Embed, size: int) -> Callable[[torch.Tensor], np.ndarray]:
    """What embeds any number of texts, with a graph that takes so many."""

    def embed_all(tokens: torch.Tensor) -> np.ndarray:
        filled = torch.cat([tokens, tokens[:1].repeat(-len(tokens) % size, 1)])
        return np.concatenate([embed(part) for part in filled.split(size)])[: len(tokens)]

    return embed_all
