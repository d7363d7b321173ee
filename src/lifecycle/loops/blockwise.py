"""Slots in a format of blocks: each block is updated, its new scales are found, then it is written."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import first_after, memory, native, noise, stamp, to_fixed_tuple
from lifecycle._threads import Call
from lifecycle.loops._update import uniform
from lifecycle.loops.elementwise import INT64, UINT32

_FLOAT32 = np.dtype(np.float32)


def prepare(update: Callable, kinds: Sequence[str], param: Any, slot: Any, addresses: np.ndarray,
            lengths: np.ndarray, scalars: np.ndarray, keys: np.ndarray, averaged: bool) -> Call:  # fmt: skip
    """As `elementwise.prepare`; every slot has two columns of addresses, its codes and its scales (float32, one a block)."""
    ends = np.cumsum(-(-lengths // slot.BLOCK))  # in blocks
    walk = compiled(update, tuple(kinds), param, slot, scalars.dtype, scalars.shape[1] - 2, averaged)
    return Call(walk, int(ends[-1]) if ends.size else 0, slot.BLOCK, addresses, lengths, ends, scalars, keys)


@cache
def compiled(update: Callable, kinds: tuple[str, ...], param: Any, slot: Any, dtype: np.dtype,
             n_scalars: int, averaged: bool) -> Any:  # fmt: skip
    """Kernel (addresses, lengths, ends, scalars, keys): blocks [begin, end) of all segments laid end to end."""
    n_slots, size = len(kinds), slot.BLOCK
    width, last = n_scalars + 2, 1 + 2 * n_slots + averaged
    of_p, of_slot = param.DTYPE, slot.DTYPE
    apply = uniform(update, n_slots)
    loads = [slot.load_positive if kind == "non-negative" else slot.load for kind in kinds]
    stores = [slot.store_positive if kind == "non-negative" else slot.store for kind in kinds]
    load_a, load_b, load_c = [*loads, slot.load, slot.load, slot.load][:3]
    store_a, store_b, store_c = [*stores, slot.store, slot.store, slot.store][:3]
    load_p, store_p, pattern, scale = param.load, param.store, slot.pattern, slot.scale
    mark = stamp(apply, load_p, store_p, pattern, scale, slot.load, slot.store, slot.load_positive,
                 slot.store_positive, kinds, of_p, of_slot, dtype, n_scalars, averaged)  # fmt: skip

    def walk(arguments, begin, end):
        mark  # noqa: B018
        at = memory(arguments, 0, 10, INT64)
        n_segments = at[1]
        addresses = memory(at[0], 0, n_segments * (last + 1), INT64)
        lengths = memory(at[2], 0, n_segments, INT64)
        ends = memory(at[4], 0, n_segments, INT64)
        scalars = memory(at[6], 0, n_segments * width, dtype)
        keys = memory(at[8], 0, n_segments, UINT32)
        new_a, new_b, new_c = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
        for k in range(first_after(ends, begin), n_segments):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            here = max(begin, first) - first
            n_blocks = min(end, ends[k]) - first - here
            lo = here * size
            n = min(lengths[k] - lo, n_blocks * size)
            row = addresses[k * (last + 1) : (k + 1) * (last + 1)]
            s = to_fixed_tuple(scalars[k * width : (k + 1) * width], n_scalars)
            factor, share, key = scalars[k * width + n_scalars], scalars[k * width + n_scalars + 1], keys[k]
            other = np.uint32(key ^ np.uint32(0x5BD1E995))
            p = memory(row[0], lo, n, of_p)
            g = memory(row[1], lo, n, of_p)
            # columns that are not there are not read: the branches are decided when the kernel is compiled
            a = memory(row[min(2, 2 * n_slots)], lo, n, of_slot)
            b = memory(row[min(4, 2 * n_slots)], lo, n, of_slot)
            c = memory(row[min(6, 2 * n_slots)], lo, n, of_slot)
            scale_a = memory(row[min(3, 2 * n_slots + 1)], here, n_blocks, _FLOAT32)
            scale_b = memory(row[min(5, 2 * n_slots + 1)], here, n_blocks, _FLOAT32)
            scale_c = memory(row[min(7, 2 * n_slots + 1)], here, n_blocks, _FLOAT32)
            mean = memory(row[last], lo, n, dtype)
            for block in range(n_blocks):  # from 0: else numba cannot rule negative indices out, and vectorizes nothing
                o = block * size
                m = min(size, n - o)
                old_a = scale_a[block]
                old_b = scale_b[block] if n_slots > 1 else old_a
                old_c = scale_c[block] if n_slots > 2 else old_a
                top_a = top_b = top_c = np.uint32(0)
                for i in range(m):
                    x = load_p(p[o + i])
                    va = load_a(a[o + i], old_a)
                    vb = load_b(b[o + i], old_b) if n_slots > 1 else x
                    vc = load_c(c[o + i], old_c) if n_slots > 2 else x
                    x, va, vb, vc = apply(x, factor * load_p(g[o + i]), va, vb, vc, s)
                    p[o + i] = store_p(x, noise(lo + o, i, other))
                    new_a[i] = va
                    top_a = max(top_a, pattern(va))
                    if n_slots > 1:
                        new_b[i] = vb
                        top_b = max(top_b, pattern(vb))
                    if n_slots > 2:
                        new_c[i] = vc
                        top_c = max(top_c, pattern(vc))
                    if averaged:
                        mean[o + i] = mean[o + i] + share * (x - mean[o + i])
                inverse_a, scale_a[block] = scale(top_a, old_a)
                inverse_b, inverse_c = inverse_a, inverse_a
                if n_slots > 1:
                    inverse_b, scale_b[block] = scale(top_b, old_b)
                if n_slots > 2:
                    inverse_c, scale_c[block] = scale(top_c, old_c)
                for i in range(m):
                    r = noise(lo + o, i, key)
                    a[o + i] = store_a(new_a[i], inverse_a, r)
                    if n_slots > 1:
                        b[o + i] = store_b(new_b[i], inverse_b, np.uint32(r << np.uint32(12)))
                    if n_slots > 2:
                        c[o + i] = store_c(new_c[i], inverse_c, np.uint32(noise(lo + o, i, other) << np.uint32(12)))

    return native(walk, mark)
