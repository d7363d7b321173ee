"""How long `predict` takes: the calls of several models alternate, so that all meet the same load of the machine."""

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from lifecycle.evaluation.result import Latency
from lifecycle.evaluation.rows import n_rows, take

_BATCH_SIZE = 256
_SECONDS, _MAX_CALLS = 0.2, 50  # of each model
_MIN_CALLS, _MIN_CALLS_TO_COMPARE = 5, 20


def measure_latency(models: Sequence[Any], X: Any, batch_size: int = _BATCH_SIZE) -> list[Latency]:
    """Median and quartiles of the seconds of one call of `predict` for each model, on one row and on a batch."""
    n = min(n_rows(X), batch_size)
    rows = [take(X, slice(size)) for size in (1, n)]
    row, batch = (alternating_quartiles([partial(model.predict, x) for model in models]) for x in rows)
    return [Latency(r[1], b[1], n, (r[0], r[2]), (b[0], b[2])) for r, b in zip(row, batch, strict=True)]


def alternating_quartiles(calls: Sequence[Callable[[], Any]]) -> list[list[float]]:
    """First quartile, median and third quartile of the seconds of each call.

    Each is made as often as fits in 0.2 seconds, at most 50 times, after one that is not counted; at least 5 times, and
    20 where there are others to compare with.
    """
    for call in calls:
        call()
    seconds: list[list[float]] = [[] for _ in calls]
    n_min = _MIN_CALLS if len(calls) == 1 else _MIN_CALLS_TO_COMPARE
    n_calls = 0
    while n_calls < n_min or (n_calls < _MAX_CALLS and sum(map(sum, seconds)) < _SECONDS * len(calls)):
        order = range(len(calls)) if n_calls % 2 == 0 else reversed(range(len(calls)))
        for k in order:
            started = perf_counter()
            calls[k]()
            seconds[k].append(perf_counter() - started)
        n_calls += 1
    return [np.quantile(values, [0.25, 0.5, 0.75]).tolist() for values in seconds]
