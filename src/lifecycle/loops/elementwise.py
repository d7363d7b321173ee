"""One element at a time, parameters and slots each in a format of their own: float64, float32, bfloat16, float16."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import first_after, memory, native, noise, stamp, to_fixed_tuple
from lifecycle._threads import Call
from lifecycle.loops._update import uniform

INT64, UINT32 = np.dtype(np.int64), np.dtype(np.uint32)


def prepare(update: Callable, kinds: Sequence[str], param: Any, slot: Any, addresses: np.ndarray,
            lengths: np.ndarray, scalars: np.ndarray, keys: np.ndarray, averaged: bool) -> Call:  # fmt: skip
    """A call that applies `update` to every element of every segment, in place.

    Parameters
    ----------
    update, kinds : of a rule: its function, and what each slot holds
    param, slot : formats of parameter and gradient, and of the slots
    addresses, lengths, scalars, keys : see `loops`; with `averaged` the last column is an average in scalars' dtype
    """
    ends = np.cumsum(lengths)
    walk = compiled(update, tuple(kinds), param, slot, scalars.dtype, scalars.shape[1] - 2, averaged)
    return Call(walk, int(ends[-1]) if ends.size else 0, 1, addresses, ends, scalars, keys)


@cache
def compiled(update: Callable, kinds: tuple[str, ...], param: Any, slot: Any, dtype: np.dtype,
             n_scalars: int, averaged: bool) -> Any:  # fmt: skip
    """Kernel (addresses, ends, scalars, keys): elements [begin, end) of all segments laid end to end."""
    n_slots = len(kinds)
    width, last = n_scalars + 2, 1 + n_slots + averaged
    of_p, of_slot = param.DTYPE, slot.DTYPE
    apply = uniform(update, n_slots)
    stores = [slot.store_positive if kind == "non-negative" else slot.store for kind in kinds]
    store_a, store_b, store_c = [*stores, slot.store, slot.store, slot.store][:3]
    load_p, store_p, load = param.load, param.store, slot.load
    mark = stamp(apply, load_p, store_p, load, slot.store, slot.store_positive, kinds, of_p, of_slot, dtype, n_scalars,
                 averaged)  # fmt: skip

    def walk(arguments, begin, end):
        mark  # noqa: B018  (in the closure, so that the disk cache sees an edited rule)
        at = memory(arguments, 0, 8, INT64)
        n_segments = at[1]
        addresses = memory(at[0], 0, n_segments * (last + 1), INT64)
        ends = memory(at[2], 0, n_segments, INT64)
        scalars = memory(at[4], 0, n_segments * width, dtype)
        keys = memory(at[6], 0, n_segments, UINT32)
        for k in range(first_after(ends, begin), n_segments):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            lo = max(begin, first) - first
            n = min(end, ends[k]) - first - lo
            row = addresses[k * (last + 1) : (k + 1) * (last + 1)]
            s = to_fixed_tuple(scalars[k * width : (k + 1) * width], n_scalars)
            factor, share, key = scalars[k * width + n_scalars], scalars[k * width + n_scalars + 1], keys[k]
            other = np.uint32(key ^ np.uint32(0x5BD1E995))
            p = memory(row[0], lo, n, of_p)
            g = memory(row[1], lo, n, of_p)
            # columns that are not there are not read: the branches are decided when the kernel is compiled
            a = memory(row[min(2, 1 + n_slots)], lo, n, of_slot)
            b = memory(row[min(3, 1 + n_slots)], lo, n, of_slot)
            c = memory(row[min(4, 1 + n_slots)], lo, n, of_slot)
            mean = memory(row[last], lo, n, dtype)
            for i in range(n):
                x = load_p(p[i])
                va = load(a[i]) if n_slots > 0 else x
                vb = load(b[i]) if n_slots > 1 else x
                vc = load(c[i]) if n_slots > 2 else x
                x, va, vb, vc = apply(x, factor * load_p(g[i]), va, vb, vc, s)
                r, q = noise(lo, i, key), noise(lo, i, other)
                p[i] = store_p(x, q)
                if n_slots > 0:
                    a[i] = store_a(va, r)
                if n_slots > 1:
                    b[i] = store_b(vb, np.uint32(r << np.uint32(12)))
                if n_slots > 2:
                    c[i] = store_c(vc, np.uint32(q << np.uint32(12)))
                if averaged:
                    mean[i] = mean[i] + share * (x - mean[i])

    return native(walk, mark)
