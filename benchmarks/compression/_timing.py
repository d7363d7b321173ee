"""Times of short calls that alternate, and how they compare pair by pair."""

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter, sleep
from typing import Any

import numpy as np
import torch

from .._harness import alternate, quartiles

SHORTEST = 0.02  # seconds of a timed run: shorter calls are repeated in it
PAUSE = 0.01  # seconds before a run: threads of another library still wait actively for more work


def has_vnni() -> bool:
    """Whether this CPU has the instructions that multiply int8 numbers fast."""
    return bool(torch.cpu._is_vnni_supported())


def about_vnni() -> str:
    """Which CPU the targets are for."""
    verb = "has" if has_vnni() else "lacks"
    return f"The targets of speed are for a CPU with VNNI instructions, which this one {verb}."


@torch.no_grad()
def seconds_of(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one call of each, in alternating rounds."""
    runs = {who: partial(_run, call, _repeats(call)) for who, call in calls.items()}
    return alternate(runs, rounds)


def _repeats(call: Callable[[], Any]) -> int:
    call()
    begin = perf_counter()
    call()
    return max(1, min(1000, round(SHORTEST / (perf_counter() - begin))))


def _run(call: Callable[[], Any], repeats: int) -> float:
    sleep(PAUSE)
    call()
    begin = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - begin) / repeats


def cells(seconds: Mapping[str, list[float]], who: str, baseline: str) -> dict[str, Any]:
    """Milliseconds of one of those that alternated, and how many times as long the baseline took."""
    low, middle, high = (1e3 * value for value in quartiles(seconds[who]))
    speed = quartiles(_ratios(seconds, baseline, who))[1]
    return {"milliseconds": middle, "quartiles": f"{low:.4g} – {high:.4g}", f"speed, × {baseline}": speed}


def at_least(what: str, seconds: Mapping[str, list[float]], slow: str, fast: str, least: float) -> dict[str, Any]:
    """A target for how many times as long one takes as the other: see `_tables.targets_of`."""
    low, middle, high = quartiles(_ratios(seconds, slow, fast))
    return {"what": f"{what}: time of {slow} / {fast}", "measured": middle, "low": low, "high": high, "least": least}


def _ratios(seconds: Mapping[str, list[float]], slow: str, fast: str) -> list[float]:
    return list(np.divide(seconds[slow], seconds[fast]))
