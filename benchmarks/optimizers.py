"""Optimizer steps of lifecycle.torch against torch.optim: default, foreach and fused.

Every candidate steps its own copy of the parameters over the same recorded gradients; only `step()` is timed. Beside
each time stands its answer: the relative difference in norm of the parameters after all steps from torch in float64.
"""

from time import perf_counter

import numpy as np
import torch

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle import _threads
from lifecycle._jit import kernel

from ._harness import alternate, markdown, quartiles, record, summary

OURS = "lifecycle"
# rule -> (our class, torch's, hyperparameters, bytes moved per float32 parameter)
RULES = {
    "AdamW": ("AdamW", torch.optim.AdamW, {"lr": 1e-3}, 28),
    "Adam": ("Adam", torch.optim.Adam, {"lr": 1e-3}, 28),
    "SGD, momentum 0.9": ("SGD", torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9}, 20),
}
PEERS = {
    "torch, default (a loop)": {"foreach": False, "fused": False},
    "torch, foreach": {"foreach": True},
    "torch, fused": {"fused": True},
}
PROBE = "memory probe"


@kernel
def _streams(p, g, m, v):
    for i in range(p.size):
        x = g[i]
        p[i] += x
        m[i] += x
        v[i] += x


class MemoryProbe:
    """Read four float32 arrays, write three: the traffic of an Adam step with next to no arithmetic."""

    def __init__(self, n: int):
        self.arrays = [np.zeros(n, np.float32) for _ in range(4)]
        self.bytes = 7 * 4 * n

    def __call__(self) -> None:
        _threads.run(lambda begin, end: _streams(*(a[begin:end] for a in self.arrays)), self.arrays[0].size)


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

    def __init__(self, cls, hyper: dict, start: list, grads: list, steps: int, dtype=torch.float32):
        self.params = [torch.nn.Parameter(a.to(dtype, copy=True)) for a in start]
        self.optimizer = cls(self.params, **hyper)
        self.grads, self.steps, self.dtype, self.done = grads, steps, dtype, 0

    def __call__(self) -> float:
        seconds = 0.0
        for _ in range(self.steps):
            for p, g in zip(self.params, self.grads[self.done % len(self.grads)], strict=True):
                p.grad = g.to(self.dtype)
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


def measure(case: str, start: list, grads: list, steps: int, rounds: int, *, probe: bool) -> list[dict]:
    """Every rule on one set of parameters: a record for each rule."""
    n = sum(p.numel() for p in start)
    found = []
    for rule, (ours, theirs, hyper, moved) in RULES.items():
        runs = {OURS: Candidate(getattr(lt, ours), hyper, start, grads, steps)}
        runs |= {who: Candidate(theirs, {**hyper, **how}, start, grads, steps) for who, how in PEERS.items()}
        extra = {PROBE: MemoryProbe(n)} if probe else {}
        seconds = alternate({**runs, **extra}, rounds)
        probed = seconds.pop(PROBE, None)
        exact = Candidate(theirs, {**hyper, "foreach": False, "fused": False}, start, grads, 1, torch.float64)
        for _ in range(runs[OURS].done):
            exact()
        rows = summary(seconds, OURS)
        for who, row in rows.items():
            row |= {"ns_per_parameter": 1e9 * row["median"] / n, "error": runs[who].distance(exact)}
        one = {"case": case, "rule": rule, "parameters": n, "tensors": len(start), "steps": runs[OURS].done}
        if probed is not None:
            one["probe_gb_per_s"] = extra[PROBE].bytes / quartiles(probed)[1] / 1e9
            one["our_gb_per_s"] = moved * n / rows[OURS]["median"] / 1e9
        found.append({**one, "rows": rows})
    return found


def run(rounds: int = 20, threads: int = 2, scale: float = 1.0) -> dict:
    """The three cases; `scale` < 1 shrinks the first two, to try the program."""
    torch.set_num_threads(threads)
    large, many = max(1, round(scale * (1 << 24))), max(1, round(scale * 1000))
    cases = [
        ("one tensor of 16 M", lambda: made_up([(large,)], 3), 1, True),
        ("1,000 tensors of 1,000", lambda: made_up([(1000,)] * many, 8), 5, False),
        ("the reference CNN", lambda: from_reference_cnn(20 if scale == 1 else 2), 5, False),
    ]
    found: list[dict] = []
    with lc.threads(threads):
        for case, data, steps, probe in cases:
            found += measure(case, *data(), steps, rounds, probe=probe)
    settings = {"rounds": rounds, "threads": threads, "scale": scale, "dtype": "float32"}
    return record("optimizers", settings=settings, cases=found)


def table(result: dict) -> str:
    """The markdown tables of a record."""
    settings = result["settings"]
    lines = [
        "## Optimizer steps",
        f"One `step()` in {settings['dtype']} on {settings['threads']} threads; median and quartiles of "
        f"{settings['rounds']} alternating runs in one process. × is the time as a multiple of lifecycle's. "
        "Error is the relative difference in norm of the parameters after all steps from torch in float64 on the "
        "same gradients; those of the reference CNN are recorded from a training run, the others are random.",
    ]
    if settings["scale"] != 1:
        lines.append(f"**A trial at {settings['scale']:g} of the sizes: these times mean nothing.**")
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
            )
            for who, row in one["rows"].items()
        ]
        lines.append(markdown(("", "median", "quartiles", "ns / parameter", "×", "error"), rows))
        tensors = f"{one['tensors']:,} tensor{'s' if one['tensors'] > 1 else ''}"
        note = f"{one['parameters']:,} parameters in {tensors}, {one['steps']} steps."
        if "probe_gb_per_s" in one:
            note += (
                f" Memory probe (reads 4 streams, writes 3), alternating with them: {one['probe_gb_per_s']:.1f} GB/s; "
                f"lifecycle's step moved {one['our_gb_per_s']:.1f} GB/s."
            )
        lines.append(note)
    return "\n\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
