"""States in the parameters' own precision: one kernel call for any number of tensors."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .. import _threads
from .._jit import kernel, memory, stamp, to_fixed_tuple


def step(update: Callable, addresses: np.ndarray, lengths: np.ndarray, scalars: np.ndarray) -> None:
    """Apply `update` to every element of every segment, in place.

    Parameters
    ----------
    update : function of a rule, (p, g, *slots, s) -> (p, *slots)
    addresses : int64, (segments, 2 + slots)
        Where parameter, gradient and slots of a segment lie; each is `lengths` contiguous elements.
    lengths : int64, (segments,)
    scalars : float32 or float64, (segments, scalars)
        The coefficients `s`; their dtype is that of the memory.
    """
    ends = np.cumsum(lengths)
    if ends.size and ends[-1]:
        walk = compiled(update, addresses.shape[1] - 2, scalars.shape[1])
        _threads.run(lambda begin, end: walk(addresses, ends, scalars, begin, end), int(ends[-1]))


@cache
def compiled(update: Callable, n_slots: int, n_scalars: int) -> Any:
    """Kernel (addresses, ends, scalars, begin, end): elements [begin, end) of the segments laid end to end."""
    if n_slots not in _WALKS:
        raise ValueError(f"a rule may have up to {max(_WALKS)} slots; this one has {n_slots}")
    return _WALKS[n_slots](update, n_scalars, stamp(update))


# The walk is written once per number of slots: numba vectorizes stores to named arrays, not to a tuple of arrays.


def _no_slots(update, n_scalars, mark):
    @kernel
    def walk(addresses, ends, scalars, begin, end):
        mark  # noqa: B018  (in the closure, so that the disk cache sees an edited rule)
        for k in range(np.searchsorted(ends, begin, "right"), ends.size):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            lo = max(begin, first) - first
            n = min(end, ends[k]) - first - lo
            s = to_fixed_tuple(scalars[k], n_scalars)
            p = memory(addresses[k, 0], lo, n, scalars)
            g = memory(addresses[k, 1], lo, n, scalars)
            for i in range(n):
                (p[i],) = update(p[i], g[i], s)

    return walk


def _one_slot(update, n_scalars, mark):
    @kernel
    def walk(addresses, ends, scalars, begin, end):
        mark  # noqa: B018
        for k in range(np.searchsorted(ends, begin, "right"), ends.size):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            lo = max(begin, first) - first
            n = min(end, ends[k]) - first - lo
            s = to_fixed_tuple(scalars[k], n_scalars)
            p = memory(addresses[k, 0], lo, n, scalars)
            g = memory(addresses[k, 1], lo, n, scalars)
            a = memory(addresses[k, 2], lo, n, scalars)
            for i in range(n):
                p[i], a[i] = update(p[i], g[i], a[i], s)

    return walk


def _two_slots(update, n_scalars, mark):
    @kernel
    def walk(addresses, ends, scalars, begin, end):
        mark  # noqa: B018
        for k in range(np.searchsorted(ends, begin, "right"), ends.size):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            lo = max(begin, first) - first
            n = min(end, ends[k]) - first - lo
            s = to_fixed_tuple(scalars[k], n_scalars)
            p = memory(addresses[k, 0], lo, n, scalars)
            g = memory(addresses[k, 1], lo, n, scalars)
            a = memory(addresses[k, 2], lo, n, scalars)
            b = memory(addresses[k, 3], lo, n, scalars)
            for i in range(n):
                p[i], a[i], b[i] = update(p[i], g[i], a[i], b[i], s)

    return walk


def _three_slots(update, n_scalars, mark):
    @kernel
    def walk(addresses, ends, scalars, begin, end):
        mark  # noqa: B018
        for k in range(np.searchsorted(ends, begin, "right"), ends.size):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            lo = max(begin, first) - first
            n = min(end, ends[k]) - first - lo
            s = to_fixed_tuple(scalars[k], n_scalars)
            p = memory(addresses[k, 0], lo, n, scalars)
            g = memory(addresses[k, 1], lo, n, scalars)
            a = memory(addresses[k, 2], lo, n, scalars)
            b = memory(addresses[k, 3], lo, n, scalars)
            c = memory(addresses[k, 4], lo, n, scalars)
            for i in range(n):
                p[i], a[i], b[i], c[i] = update(p[i], g[i], a[i], b[i], c[i], s)

    return walk


_WALKS = {0: _no_slots, 1: _one_slot, 2: _two_slots, 3: _three_slots}
