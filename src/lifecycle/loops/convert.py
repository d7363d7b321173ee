"""Whole arrays into a format and back, each number to its nearest neighbour."""

from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import kernel, stamp

_HALF = np.uint32(1 << 31)  # noise of one half: rounds to the nearest


def encode(values: np.ndarray, form: Any, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales of a flat float array; kind as in a rule's SLOTS. Formats without blocks have no scales."""
    codes = np.empty(values.size, form.DTYPE)
    scales = np.zeros(0 if form.BLOCK == 1 else -(-values.size // form.BLOCK), np.float32)
    _encoder(form, kind == "non-negative")(values, codes, scales)
    return codes, scales


def decode(codes: np.ndarray, scales: np.ndarray, form: Any, kind: str) -> np.ndarray:
    """The numbers, float64 from codes of that type, else float32."""
    values = np.empty(codes.size, np.float64 if codes.dtype == np.float64 else np.float32)
    _decoder(form, kind == "non-negative")(codes, scales, values)
    return values


@cache
def _encoder(form: Any, positive: bool) -> Any:
    store = form.store_positive if positive else form.store
    if form.BLOCK == 1:
        mark = stamp(store)

        def walk(values, codes, scales):
            mark  # noqa: B018
            for i in range(values.size):
                codes[i] = store(values[i], _HALF)

        return kernel(walk, mark)
    size, pattern, scale = form.BLOCK, form.pattern, form.scale
    mark = stamp(store, pattern, scale)

    def walk_blocks(values, codes, scales):
        mark  # noqa: B018
        for block in range(scales.size):
            o = block * size
            n = min(size, values.size - o)
            top = np.uint32(0)
            for i in range(n):
                top = max(top, pattern(np.float32(values[o + i])))
            inverse, scales[block] = scale(top, np.float32(0.0))
            for i in range(n):
                codes[o + i] = store(np.float32(values[o + i]), inverse, _HALF)

    return kernel(walk_blocks, mark)


@cache
def _decoder(form: Any, positive: bool) -> Any:
    if form.BLOCK == 1:
        load = form.load
        mark = stamp(load)

        def walk(codes, scales, values):
            mark  # noqa: B018
            for i in range(values.size):
                values[i] = load(codes[i])

        return kernel(walk, mark)
    size, load_block = form.BLOCK, form.load_positive if positive else form.load
    mark = stamp(load_block)

    def walk_blocks(codes, scales, values):
        mark  # noqa: B018
        for i in range(values.size):
            values[i] = load_block(codes[i], scales[i // size])

    return kernel(walk_blocks, mark)
