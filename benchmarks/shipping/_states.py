"""A large state: writing and reading it with all digests, beside safetensors, which has none."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import torch as safetensors
from torch import nn

import lifecycle as lc

from .._harness import alternate, markdown, quartiles
from ..optimizers import duration

_LAYERS, _WIDTH = 60, 2048  # 60 matrices of 16 MiB and 600 small tensors
SAVE, LOAD = "save", "load"


class State(nn.Module):
    """The tensors of a network, which is never called."""

    def __init__(self, width: int):
        super().__init__()
        self.large = nn.ParameterList([nn.Parameter(torch.randn(width, width)) for _ in range(_LAYERS)])
        self.small = nn.ParameterList([nn.Parameter(torch.randn(width)) for _ in range(10 * _LAYERS)])


def measure(rounds: int, threads: int, scale: float) -> dict:
    net = State(round(_WIDTH * scale))
    state = {name: p.detach() for name, p in net.named_parameters()}
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = Path(name, "model.lc"), Path(name, "model.safetensors")
        into = State(round(_WIDTH * scale))

        def load_theirs() -> None:
            into.load_state_dict(safetensors.load_file(theirs))

        sides: dict[str, dict[str, Any]] = {
            SAVE: {
                "lifecycle": partial(_save, net, ours),
                "safetensors": partial(safetensors.save_file, state, theirs),
            },
            LOAD: {"lifecycle": partial(lc.load, ours, into=into), "safetensors": load_theirs},
        }
        found = {}
        for what, runs in sides.items():
            times = alternate({who: partial(_nothing, call) for who, call in runs.items()}, min(rounds, 10))
            found[what] = {
                "seconds": {who: quartiles(values) for who, values in times.items()},
                "share": quartiles(list(np.divide(times["safetensors"], times["lifecycle"]))),
            }
        lc.load(ours, into=into)
        equal = all(torch.equal(p, state[name]) for name, p in into.named_parameters())
        return {**found, "bytes": ours.stat().st_size, "equal": equal, "sha": _has_sha_instructions()}


def _save(net: nn.Module, path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the class is not stored
        lc.save(net, path)


def _nothing(call: Any) -> None:
    call()


def _has_sha_instructions() -> bool | None:
    info = Path("/proc/cpuinfo")
    return "sha_ni" in info.read_text() if info.exists() else None


def table(one: dict, settings: dict) -> str:
    """The markdown of a case."""
    rows = [
        [what, *(duration(one[what]["seconds"][who][1]) for who in ("lifecycle", "safetensors")),
         f"{one['bytes'] / one[what]['seconds']['lifecycle'][1] / 1e9:.2f} GB/s",
         f"{100 * one[what]['share'][1]:.0f} % ({100 * one[what]['share'][0]:.0f} – {100 * one[what]['share'][2]:.0f})"]
        for what in (SAVE, LOAD)
    ]  # fmt: skip
    sha = "has" if one["sha"] else "has no"
    equal = "equal" if one["equal"] else "NOT equal"
    return "\n\n".join([
        f"{one['bytes']:,} bytes. Ours writes through to the disk and checks a SHA-256 of every byte; the processor "
        f"{sha} instructions for it. The tensors are {equal} after loading into a module.",
        markdown(("", "lifecycle", "safetensors", "", "throughput, of safetensors'"), rows),
    ])  # fmt: skip
