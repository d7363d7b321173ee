"""One element at a time, parameters and slots each in a format of their own: float64, float32, bfloat16, float16."""

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from .. import _threads
from .._jit import kernel, memory, noise, stamp, to_fixed_tuple
from ._update import uniform


def step(update: Callable, kinds: Sequence[str], param: ModuleType, slot: ModuleType, addresses: np.ndarray,
         lengths: np.ndarray, scalars: np.ndarray, keys: np.ndarray, averaged: bool) -> None:  # fmt: skip
    """Apply `update` to every element of every segment, in place.

    Parameters
    ----------
    update, kinds : of a rule: its function, and what each slot holds
    param, slot : formats of parameter and gradient, and of the slots
    addresses, lengths, scalars, keys : see `loops`; with `averaged` the last column is an average in scalars' dtype
    """
    ends = np.cumsum(lengths)
    if ends.size and ends[-1]:
        walk = compiled(update, tuple(kinds), param, slot, scalars.shape[1] - 2, averaged)
        like = np.empty(0, param.DTYPE), np.empty(0, slot.DTYPE)
        _threads.run(lambda begin, end: walk(addresses, ends, scalars, keys, *like, begin, end), int(ends[-1]))


@cache
def compiled(update: Callable, kinds: tuple[str, ...], param: ModuleType, slot: ModuleType, n_scalars: int,
             averaged: bool) -> Any:  # fmt: skip
    """Kernel (addresses, ends, scalars, keys, like, like_slot, begin, end): elements [begin, end) laid end to end."""
    n_slots = len(kinds)
    apply = uniform(update, n_slots)
    stores = [slot.store_positive if kind == "non-negative" else slot.store for kind in kinds]
    store_a, store_b, store_c = [*stores, slot.store, slot.store, slot.store][:3]
    load_p, store_p, load = param.load, param.store, slot.load
    mark = stamp(apply, load_p, store_p, load, slot.store, slot.store_positive)

    def walk(addresses, ends, scalars, keys, like, like_slot, begin, end):
        mark  # noqa: B018  (in the closure, so that the disk cache sees an edited rule)
        for k in range(np.searchsorted(ends, begin, "right"), ends.size):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            lo = max(begin, first) - first
            n = min(end, ends[k]) - first - lo
            s = to_fixed_tuple(scalars[k], n_scalars)
            factor, share, key = scalars[k, n_scalars], scalars[k, n_scalars + 1], keys[k]
            other = np.uint32(key ^ np.uint32(0x5BD1E995))
            p = memory(addresses[k, 0], lo, n, like)
            g = memory(addresses[k, 1], lo, n, like)
            # columns that are not there are not read: the branches are decided when the kernel is compiled
            a = memory(addresses[k, min(2, 1 + n_slots)], lo, n, like_slot)
            b = memory(addresses[k, min(3, 1 + n_slots)], lo, n, like_slot)
            c = memory(addresses[k, min(4, 1 + n_slots)], lo, n, like_slot)
            mean = memory(addresses[k, addresses.shape[1] - 1], lo, n, scalars)
            for i in range(n):
                x = load_p(p[i])
                va = load(a[i]) if n_slots > 0 else x
                vb = load(b[i]) if n_slots > 1 else x
                vc = load(c[i]) if n_slots > 2 else x
                x, va, vb, vc = apply(x, factor * load_p(g[i]), va, vb, vc, s)
                r, q = noise(lo + i, key), noise(lo + i, other)
                p[i] = store_p(x, q)
                if n_slots > 0:
                    a[i] = store_a(va, r)
                if n_slots > 1:
                    b[i] = store_b(vb, np.uint32(r << np.uint32(12)))
                if n_slots > 2:
                    c[i] = store_c(vc, np.uint32(q << np.uint32(12)))
                if averaged:
                    mean[i] = mean[i] + share * (x - mean[i])

    return kernel(walk, mark)
