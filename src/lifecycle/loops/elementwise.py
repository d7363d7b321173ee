"""One element at a time, parameters and slots each in a format of their own: float64, float32, bfloat16, float16."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import element, magnitude_bits, memory, native, searchsorted_right, to_fixed_tuple, wide_vectors
from lifecycle._threads import ParallelFor
from lifecycle.loops._update import (
    EXAMINED,
    clipped_update,
    is_large,
    keeps_squares,
    rounding_noise,
    three_slot_update,
)
from lifecycle.loops.averaging import running_mean

INT64, UINT32 = np.dtype(np.int64), np.dtype(np.uint32)


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
    """A call that applies `update` to every element of every segment, in place.

    Parameters
    ----------
    update, kinds
        A rule's function, and the kind of each slot: signed, non-negative or weight.
    param, slot
        Formats of parameter and gradient, and of the slots.
    addresses, lengths, scalars, keys
        See `loops`; with `averaged` the last column of addresses is an average of the parameter, in scalars' dtype.
    """
    ends = np.cumsum(lengths)
    loop = compiled(update, tuple(kinds), param, slot, scalars.dtype, scalars.shape[1] - 2, averaged)
    return ParallelFor(loop, int(ends[-1]) if ends.size else 0, 1, addresses, ends, scalars, keys)


@cache
def step_of_codes(update: Callable, kinds: tuple[str, ...], param: Any, slot: Any) -> Callable:
    """Function of one element: (p, g, a, b, c, s, factor, start, i, key) -> (x, p, a, b, c).

    Parameter, gradient and slots are codes of their formats; slots that the rule does not have pass through. s are the
    rule's coefficients, factor is that of the gradient; start, i, key as in `rounding_noise`. x is the parameter before
    it is rounded. Codes and i may be torch tensors.
    """
    n_slots = len(kinds)
    apply = three_slot_update(update, n_slots)
    stores = [slot.store_positive if kind == "non-negative" else slot.store for kind in kinds]
    store_a, store_b, store_c = [*stores, slot.store, slot.store, slot.store][:3]
    load_p, store_p, load, stochastic = param.load, param.store, slot.load, param.STOCHASTIC or slot.STOCHASTIC

    def step(p, g, a, b, c, s, factor, start, i, key):
        x = load_p(p)
        va = load(a) if n_slots > 0 else x
        vb = load(b) if n_slots > 1 else x
        vc = load(c) if n_slots > 2 else x
        x, va, vb, vc = apply(x, factor * load_p(g), va, vb, vc, s)
        noise_p, noise_a, noise_b, noise_c = rounding_noise(start, i, key) if stochastic else (key, key, key, key)
        p = store_p(x, noise_p)
        a = store_a(va, noise_a) if n_slots > 0 else a
        b = store_b(vb, noise_b) if n_slots > 1 else b
        c = store_c(vc, noise_c) if n_slots > 2 else c
        return x, p, a, b, c

    return element(step)


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
    """Kernel (addresses, ends, scalars, keys): elements [begin, end) of all segments laid end to end."""
    n_slots = len(kinds)
    width, last = n_scalars + 2, 1 + n_slots + averaged
    p_dtype, slot_dtype = param.DTYPE, slot.DTYPE
    # beside the rounding of 16-bit parameters it takes less time to clip each element than to examine it
    squares, load_p = keeps_squares(kinds), param.load
    examined = squares and not param.STOCHASTIC
    no_size, one = np.uint32(0), dtype.type(1.0)

    def block_of(step):
        """Function that steps a block, and returns the size of the largest gradient of the next one."""

        def step_block(p, g, a, b, c, mean, s, factor, ema_weight, start, key, next_g):
            wide_vectors()
            largest = no_size
            for i in range(p.size):
                x, p[i], new_a, new_b, new_c = step(p[i], g[i], a[i], b[i], c[i], s, factor, start, i, key)
                if n_slots > 0:
                    a[i] = new_a
                if n_slots > 1:
                    b[i] = new_b
                if n_slots > 2:
                    c[i] = new_c
                if averaged:
                    mean[i] = running_mean(mean[i], x, ema_weight)
                if examined:  # costs less here than in a loop of its own
                    largest = max(largest, magnitude_bits(np.float32(load_p(next_g[i]))))
            return largest

        return element(step_block)

    step_block = block_of(step_of_codes(update, kinds, param, slot))
    step_clipped_block = block_of(step_of_codes(clipped_update(update, kinds), kinds, param, slot))

    def loop(arguments, begin, end):
        wide_vectors()
        table = memory(arguments, 0, 8, INT64)
        n_segments = table[1]
        addresses = memory(table[0], 0, n_segments * (last + 1), INT64)
        ends = memory(table[2], 0, n_segments, INT64)
        scalars = memory(table[4], 0, n_segments * width, dtype)
        keys = memory(table[6], 0, n_segments, UINT32)
        for k in range(searchsorted_right(ends, begin), n_segments):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            lo = max(begin, first) - first
            n = min(end, ends[k]) - first - lo
            row = addresses[k * (last + 1) : (k + 1) * (last + 1)]
            s = to_fixed_tuple(scalars[k * width : (k + 1) * width], n_scalars)
            factor, ema_weight, key = scalars[k * width + n_scalars], scalars[k * width + n_scalars + 1], keys[k]
            largest = no_size
            for block in range(-(-n // EXAMINED)):
                start = lo + block * EXAMINED
                m = min(EXAMINED, lo + n - start)
                p = memory(row[0], start, m, p_dtype)
                g = memory(row[1], start, m, p_dtype)
                # a slot that the rule does not have is another column, which is not written
                a = memory(row[min(2, 1 + n_slots)], start, m, slot_dtype)
                b = memory(row[min(3, 1 + n_slots)], start, m, slot_dtype)
                c = memory(row[min(4, 1 + n_slots)], start, m, slot_dtype)
                mean = memory(row[last], start, m, dtype)
                next_g = g
                if examined:
                    if block == 0 or m < EXAMINED:
                        largest = no_size
                        for i in range(m):
                            largest = max(largest, magnitude_bits(np.float32(load_p(g[i]))))
                    if start + 2 * EXAMINED <= lo + n:
                        next_g = memory(row[1], start + EXAMINED, m, p_dtype)
                if (squares and not examined) or is_large(largest):
                    largest = step_clipped_block(p, g, a, b, c, mean, s, factor, ema_weight, start, key, next_g)
                elif examined and factor == one:  # without a multiplication, which pays for the examination
                    largest = step_block(p, g, a, b, c, mean, s, one, ema_weight, start, key, next_g)
                else:
                    largest = step_block(p, g, a, b, c, mean, s, factor, ema_weight, start, key, next_g)

    return native(loop)
