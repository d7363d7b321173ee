"""Optimizer steps of lifecycle.torch against torch.optim (default, foreach, fused) and the 8-bit ones that run on CPUs.

Every candidate steps its own copy of the parameters over the same recorded gradients; only `step()` is timed. Beside
each time stands its answer: the relative difference in norm of the parameters after all steps from torch in float64.
The 8-bit peers (bitsandbytes, torchao) take part where they are installed.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle._jit import element
from lifecycle.formats import list_formats
from lifecycle.loops import elementwise

from ._harness import alternate, markdown, quartiles, record, summary, version_of

OURS = "lifecycle"
PEERS = {
    "torch, default (a loop)": {"foreach": False, "fused": False},
    "torch, foreach": {"foreach": True},
    "torch, fused": {"fused": True},
}
PROBE = "memory probe"
COPIES = 4  # of every candidate, one after another: where its memory happens to lie decides a tenth of its time
EIGHT_BIT = {"bitsandbytes, 8 bits": "bitsandbytes.optim", "torchao, 8 bits": "torchao.optim"}


def eight_bit_peers() -> dict[str, Any]:
    """AdamW8bit of the packages that are installed."""
    found = {}
    for who, module in EIGHT_BIT.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[who] = import_module(module).AdamW8bit
        except ImportError:
            pass
    return found


class Stack:
    """The usual sequence in torch: clipping by the global norm, a fused step, an average by foreach."""

    def __init__(self, params: list, max_grad_norm: float, ema_decay: float, **options):
        self.params, self.max_grad_norm, self.ema_decay = params, max_grad_norm, ema_decay
        self.optimizer = torch.optim.AdamW(params, **options)
        self.means = [p.detach().clone() for p in params]

    @torch.no_grad()
    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.params, self.max_grad_norm)
        self.optimizer.step()
        torch._foreach_lerp_(self.means, self.params, 1.0 - self.ema_decay)


class Rule(NamedTuple):
    """What is compared: our class, torch's, their hyperparameters, and how our slots may be stored besides."""

    ours: str
    theirs: Any
    hyper: dict
    peers: dict = PEERS
    states: tuple[str, ...] = ()
    bytes: int = 28  # that a float32 step moves for each parameter


CLIP = {"lr": 1e-3, "max_grad_norm": 1.0, "ema_decay": 0.999}
RULES = {
    "AdamW": Rule("AdamW", torch.optim.AdamW, {"lr": 1e-3}, states=("bfloat16", "int8")),
    "clip, AdamW, average of the weights": Rule(
        "AdamW", Stack, CLIP, {"torch: clip_grad_norm_, fused, foreach": {"fused": True}}, bytes=40
    ),
    "SGD, momentum 0.9": Rule("SGD", torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9}, bytes=20),
    "Adagrad": Rule("Adagrad", torch.optim.Adagrad, {"lr": 1e-3}, bytes=20),
}


@element
def _streams(p, g, a, b, s):
    return p + g, a + g, b + g


class MemoryProbe:
    """Read four float32 arrays, write three: the traffic of an Adam step with next to no arithmetic."""

    def __init__(self, n: int):
        arrays = [np.zeros(n, np.float32) for _ in range(4)]
        form = list_formats()["float32"]
        self.bytes = 7 * 4 * n
        self.call = elementwise.prepare(
            _streams, ("signed", "signed"), form, form, np.array([[a.ctypes.data for a in arrays]]), np.array([n]),
            np.ones((1, 3), np.float32), np.zeros(1, np.uint32), False,
        )  # fmt: skip
        self.arrays = arrays  # kept alive

    def __call__(self) -> None:
        self.call()


def minilm_shapes() -> list[tuple[int, ...]]:
    """Those of all-MiniLM-L6-v2, a BERT encoder of six layers: 103 tensors, 22.7 M parameters."""
    norm, square = [(384,), (384,)], [(384, 384), (384,)]
    layer = square * 4 + norm + [(1536, 384), (1536,), (384, 1536), (384,)] + norm
    return [(30522, 384), (512, 384), (2, 384), *norm, *layer * 6, *square]


def made_up(shapes: list[tuple[int, ...]], n_gradients: int) -> tuple[list, list]:
    """Normal parameters, and gradients whose scales differ from element to element."""
    generator = torch.Generator().manual_seed(0)

    def draw(scale: float) -> list[torch.Tensor]:
        return [torch.randn(s, generator=generator).mul_(scale) for s in shapes]

    start = draw(0.05)
    spread = [x.exp_() for x in draw(1.0)]
    return start, [[g.mul_(s) for g, s in zip(draw(1e-2), spread, strict=True)] for _ in range(n_gradients)]


def from_reference_cnn(n_gradients: int) -> tuple[list, list]:
    """The reference CNN's first parameters and its gradients along a run on scikit-learn's digits."""
    from tests.networks import recorded_gradients

    start, grads = recorded_gradients(n_gradients)
    return [torch.tensor(a, dtype=torch.float32) for a in start], grads


class Candidate:
    """One optimizer over its own copy of the parameters; a call makes `steps` steps and returns their seconds."""

    def __init__(self, cls, hyper: dict, start: list, grads: list, steps: int, dtype=torch.float32, before=None):
        self.before = before
        self.params = [torch.nn.Parameter(a.to(dtype, copy=True)) for a in start]
        self.optimizer = cls(self.params, **hyper)
        self.grads, self.steps, self.dtype, self.done = grads, steps, dtype, 0

    def __call__(self) -> float:
        seconds = 0.0
        for _ in range(self.steps):
            for p, g in zip(self.params, self.grads[self.done % len(self.grads)], strict=True):
                p.grad = g.to(self.dtype)
            if self.before is not None:
                self.before()
            begin = perf_counter()
            self.optimizer.step()
            seconds += perf_counter() - begin
            self.done += 1
        return seconds / self.steps

    def distance(self, other: "Candidate") -> float:
        """|difference| / |other|, over all parameters, in float64."""
        gap = norm = 0.0
        for p, q in zip(self.params, other.params, strict=True):
            p64, q64 = p.detach().double(), q.detach().double()
            gap += float((p64 - q64).square().sum())
            norm += float(q64.square().sum())
        return (gap / norm) ** 0.5


class Case(NamedTuple):
    """One set of parameters and gradients, and what is measured on it."""

    name: str
    data: Callable[[], tuple[list, list]]
    steps: int  # in a run
    probe: bool = False
    before: Callable | None = None  # each step
    rules: tuple[str, ...] = tuple(RULES)


def measure(case: Case, rounds: int) -> list[dict]:
    """A record for each rule."""
    start, grads = case.data()
    n = sum(p.numel() for p in start)
    found = []

    def candidate(cls, hyper, **more) -> Candidate:
        return Candidate(cls, hyper, start, grads, case.steps, before=case.before, **more)

    for name in case.rules:
        rule = RULES[name]
        ours = getattr(lt, rule.ours)
        makers = {OURS: (ours, rule.hyper)}
        for state in rule.states:
            makers[f"{OURS}, {state} states"] = (ours, {**rule.hyper, "state_dtype": state})
        makers |= {who: (rule.theirs, {**rule.hyper, **how}) for who, how in rule.peers.items()}
        if case.probe and rule.states:
            makers |= {who: (cls, rule.hyper) for who, cls in eight_bit_peers().items()}
        seconds: dict[str, list[float]] = {}
        copies = min(COPIES, rounds)
        for k in range(copies):
            runs = {who: candidate(cls, hyper) for who, (cls, hyper) in makers.items()}
            extra = {PROBE: MemoryProbe(n)} if case.probe else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what peers say of their own while they compile
                found_now = alternate({**runs, **extra}, (rounds + k) // copies)
            for who, values in found_now.items():
                seconds.setdefault(who, []).extend(values)
        probed = seconds.pop(PROBE, None)
        exact = Candidate(rule.theirs, {**rule.hyper, "fused": False}, start, grads, 1, torch.float64)
        for _ in range(runs[OURS].done):
            exact()
        rows = summary(seconds, OURS)
        for who, row in rows.items():
            row |= {"ns_per_parameter": 1e9 * row["median"] / n, "error": runs[who].distance(exact)}
            if hasattr(runs[who].optimizer, "state_bytes"):
                row["state_bytes_per_parameter"] = runs[who].optimizer.state_bytes() / n
        one = {"case": case.name, "rule": name, "parameters": n, "tensors": len(start), "steps": runs[OURS].done}
        if probed is not None:
            one["probe_gb_per_s"] = extra[PROBE].bytes / quartiles(probed)[1] / 1e9
            one["our_gb_per_s"] = rule.bytes * n / rows[OURS]["median"] / 1e9
        found.append({**one, "rows": rows})
    return found


FIRST = """
import time, torch
p = torch.nn.Parameter(torch.zeros({n}))
p.grad = torch.ones({n})
torch.optim.SGD([p])  # imports what torch imports then
begin = time.perf_counter()
{code}
optimizer.step()
print(time.perf_counter() - begin)
"""
FIRST_OF = {
    "lifecycle, nothing compiled yet": "import lifecycle.torch as lt; optimizer = lt.AdamW([p])",
    "lifecycle, compiled before": "import lifecycle.torch as lt; optimizer = lt.AdamW([p])",
    "torch, fused": "optimizer = torch.optim.AdamW([p], fused=True)",
}


def first_steps(rounds: int) -> dict[str, dict]:
    """Import, making an optimizer and its first step in a new process, without the import of torch."""
    seconds: dict[str, list[float]] = {who: [] for who in FIRST_OF}
    with tempfile.TemporaryDirectory() as folder:
        for k in range(rounds):
            for who, code in FIRST_OF.items():
                cache = str(Path(folder) / (f"new {k}" if "nothing" in who else "kept"))
                done = [
                    subprocess.run([sys.executable, "-c", FIRST.format(n=1 << 21, code=code)], check=True, text=True,
                                   env={**os.environ, "NUMBA_CACHE_DIR": cache}, capture_output=True).stdout
                    for _ in range(2 if "before" in who and not k else 1)
                ]  # fmt: skip
                seconds[who].append(float(done[-1]))
    return summary(seconds, "torch, fused")


def run(rounds: int = 20, threads: int = 2, scale: float = 1.0) -> dict:
    """The cases; `scale` < 1 shrinks those of made-up tensors, to try the program."""
    torch.set_num_threads(threads)
    large, many = max(1, round(scale * (1 << 24))), max(1, round(scale * 1000))
    square = torch.randn(600, 600)
    cases = [
        Case("one tensor of 16 M", lambda: made_up([(large,)], 3), 1, probe=True),
        Case("1,000 tensors of 1,000", lambda: made_up([(1000,)] * many, 8), 5),
        Case("the shapes of MiniLM", lambda: made_up(minilm_shapes() if scale == 1 else [(50, 8)] * 103, 2), 1),
        Case("the reference CNN", lambda: from_reference_cnn(20 if scale == 1 else 2), 5),
        Case("the reference CNN, right after a matrix product", lambda: from_reference_cnn(20 if scale == 1 else 2), 5,
             before=lambda: square @ square, rules=("AdamW",)),
    ]  # fmt: skip
    found: list[dict] = []
    with lc.threads(threads):
        for case in cases:
            found += measure(case, rounds)
    settings = {"rounds": rounds, "threads": threads, "scale": scale, "dtype": "float32"}
    first = first_steps(min(rounds, 10))
    return record("optimizers", settings=settings, cases=found, first=first, peers=peer_versions())


def peer_versions() -> dict[str, str]:
    """Of the 8-bit peers."""
    return {name: version_of(name) for name in ("bitsandbytes", "torchao")}


def table(result: dict) -> str:
    """The markdown tables of a record."""
    settings = result["settings"]
    lines = [
        "## Optimizer steps",
        f"One `step()` in {settings['dtype']} on {settings['threads']} threads; median and quartiles of "
        f"{settings['rounds']} alternating runs in one process, over {COPIES} copies of everything. × is the time as a "
        "multiple of lifecycle's. "
        "Error is the relative difference in norm of the parameters after all steps from torch in float64 on the "
        "same gradients; those of the reference CNN are recorded from a training run, the others are random. The state "
        "is in bytes per parameter, averages of the weights included.",
    ]
    for one in result["cases"]:
        lines.append(f"### {one['case']}: {one['rule']}")
        rows = [
            (
                who,
                duration(row["median"]),
                f"{duration(row['q1'])} – {duration(row['q3'])}",
                f"{row['ns_per_parameter']:.2f}",
                f"{row['ratio']:.2f}",
                f"{row['error']:.2e}",
                f"{row['state_bytes_per_parameter']:.2f}" if "state_bytes_per_parameter" in row else "",
            )
            for who, row in one["rows"].items()
        ]
        lines.append(markdown(("", "median", "quartiles", "ns / parameter", "×", "error", "state, bytes"), rows))
        tensors = f"{one['tensors']:,} tensor{'s' if one['tensors'] > 1 else ''}"
        note = f"{one['parameters']:,} parameters in {tensors}, {one['steps']} steps."
        if "probe_gb_per_s" in one:
            note += (
                f" Memory probe (reads 4 streams, writes 3), alternating with them: {one['probe_gb_per_s']:.1f} GB/s; "
                f"lifecycle's step moved {one['our_gb_per_s']:.1f} GB/s."
            )
        lines.append(note)
    lines += [
        "### the first step in a new process",
        markdown(
            ("", "median", "quartiles"),
            [
                (who, duration(row["median"]), f"{duration(row['q1'])} – {duration(row['q3'])}")
                for who, row in result["first"].items()
            ],
        ),
        "Import, construction of AdamW over 2 M parameters, one step; the import of torch is not counted. "
        f"8-bit peers: {', '.join(f'{name} {version}' for name, version in result['peers'].items())}.",
    ]
    return "\n\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
