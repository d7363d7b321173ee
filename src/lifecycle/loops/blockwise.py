"""Slots in a format of blocks: each block is updated, its new scales are computed, then it is stored."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import clip_for_square, memory, native, prefetch, searchsorted_right, to_fixed_tuple, wide_vectors
from lifecycle._threads import ParallelFor
from lifecycle.loops._update import is_large, keeps_squares, rounding_noise, three_slot_update
from lifecycle.loops.averaging import running_mean
from lifecycle.loops.elementwise import INT64, UINT32

_FLOAT32 = np.dtype(np.float32)


def prepare(
    update: Callable,
    kinds: Sequence[str],
    param: Any,
    slot: Any,
    addresses: np.ndarray,
    lengths: np.ndarray,
    scalars: np.ndarray,
    keys: np.ndarray,
    averaged: bool,
) -> ParallelFor:
    """As `elementwise.prepare`; every slot has two columns of addresses: codes, and scales (float32, one a block)."""
    ends = np.cumsum(-(-lengths // slot.BLOCK))  # in blocks
    loop = compiled(update, tuple(kinds), param, slot, scalars.dtype, scalars.shape[1] - 2, averaged)
    return ParallelFor(loop, int(ends[-1]) if ends.size else 0, slot.BLOCK, addresses, lengths, ends, scalars, keys)


@cache
def compiled(
    update: Callable,
    kinds: tuple[str, ...],
    param: Any,
    slot: Any,
    dtype: np.dtype,
    n_scalars: int,
    averaged: bool,
) -> Any:
    """Kernel (addresses, lengths, ends, scalars, keys): blocks [begin, end) of all segments laid end to end."""
    n_slots, size, squares = len(kinds), slot.BLOCK, keeps_squares(kinds)
    width, last = n_scalars + 2, 1 + 2 * n_slots + averaged
    p_dtype, slot_dtype = param.DTYPE, slot.DTYPE
    apply = three_slot_update(update, n_slots)
    loads = [slot.load_positive if kind == "non-negative" else slot.load for kind in kinds]
    stores = [slot.store_positive if kind == "non-negative" else slot.store for kind in kinds]
    load_a, load_b, load_c = [*loads, slot.load, slot.load, slot.load][:3]
    store_a, store_b, store_c = [*stores, slot.store, slot.store, slot.store][:3]
    load_p, store_p, pattern, scale = param.load, param.store, slot.pattern, slot.scale

    def loop(arguments, begin, end):
        wide_vectors()
        table = memory(arguments, 0, 10, INT64)
        n_segments = table[1]
        addresses = memory(table[0], 0, n_segments * (last + 1), INT64)
        lengths = memory(table[2], 0, n_segments, INT64)
        ends = memory(table[4], 0, n_segments, INT64)
        scalars = memory(table[6], 0, n_segments * width, dtype)
        keys = memory(table[8], 0, n_segments, UINT32)
        new_a, new_b, new_c = np.empty(size, dtype), np.empty(size, dtype), np.empty(size, dtype)
        gradient = np.empty(size, dtype)
        for k in range(searchsorted_right(ends, begin), n_segments):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            first_block = max(begin, first) - first
            n_blocks = min(end, ends[k]) - first - first_block
            lo = first_block * size
            n = min(lengths[k] - lo, n_blocks * size)
            row = addresses[k * (last + 1) : (k + 1) * (last + 1)]
            s = to_fixed_tuple(scalars[k * width : (k + 1) * width], n_scalars)
            factor, ema_weight, key = scalars[k * width + n_scalars], scalars[k * width + n_scalars + 1], keys[k]
            p = memory(row[0], lo, n, p_dtype)
            g = memory(row[1], lo, n, p_dtype)
            # columns that do not exist are not read: the branches are decided when the kernel is compiled
            a = memory(row[min(2, 2 * n_slots)], lo, n, slot_dtype)
            b = memory(row[min(4, 2 * n_slots)], lo, n, slot_dtype)
            c = memory(row[min(6, 2 * n_slots)], lo, n, slot_dtype)
            scale_a = memory(row[min(3, 2 * n_slots + 1)], first_block, n_blocks, _FLOAT32)
            scale_b = memory(row[min(5, 2 * n_slots + 1)], first_block, n_blocks, _FLOAT32)
            scale_c = memory(row[min(7, 2 * n_slots + 1)], first_block, n_blocks, _FLOAT32)
            mean = memory(row[last], lo, n, dtype)
            for block in range(n_blocks):  # from 0: else numba cannot exclude negative indices, and vectorizes nothing
                o = block * size
                m = min(size, n - o)
                old_a = scale_a[block]
                old_b = scale_b[block] if n_slots > 1 else old_a
                old_c = scale_c[block] if n_slots > 2 else old_a
                largest = max_a = max_b = max_c = np.uint32(0)
                for i in range(m):
                    gradient[i] = factor * load_p(g[o + i])
                    if squares:
                        largest = max(largest, pattern(gradient[i]))
                if squares and is_large(largest):
                    for i in range(m):
                        gradient[i] = clip_for_square(gradient[i])
                for i in range(m):
                    x = load_p(p[o + i])
                    va = load_a(a[o + i], old_a)
                    vb = load_b(b[o + i], old_b) if n_slots > 1 else x
                    vc = load_c(c[o + i], old_c) if n_slots > 2 else x
                    x, va, vb, vc = apply(x, gradient[i], va, vb, vc, s)
                    p[o + i] = store_p(x, rounding_noise(lo + o, i, key)[0])
                    new_a[i] = va
                    max_a = max(max_a, pattern(va))
                    if n_slots > 1:
                        new_b[i] = vb
                        max_b = max(max_b, pattern(vb))
                    if n_slots > 2:
                        new_c[i] = vc
                        max_c = max(max_c, pattern(vc))
                    if averaged:
                        mean[o + i] = running_mean(mean[o + i], x, ema_weight)
                # while the loop below computes within the cache; slots that do not exist are other columns
                prefetch(p, o + size, size)
                prefetch(g, o + size, size)
                prefetch(a, o + size, size)
                prefetch(b, o + size, size)
                prefetch(c, o + size, size)
                inverse_a, scale_a[block] = scale(max_a, old_a)
                inverse_b, inverse_c = inverse_a, inverse_a
                if n_slots > 1:
                    inverse_b, scale_b[block] = scale(max_b, old_b)
                if n_slots > 2:
                    inverse_c, scale_c[block] = scale(max_c, old_c)
                for i in range(m):
                    _, noise_a, noise_b, noise_c = rounding_noise(lo + o, i, key)
                    a[o + i] = store_a(new_a[i], inverse_a, noise_a)
                    if n_slots > 1:
                        b[o + i] = store_b(new_b[i], inverse_b, noise_b)
                    if n_slots > 2:
                        c[o + i] = store_c(new_c[i], inverse_c, noise_c)

    return native(loop)
