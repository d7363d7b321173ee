"""Arrays into a format and back, each number to its nearest neighbour."""

from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import kernel

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
    """Kernel (values, codes, scales)."""
    size, store = form.BLOCK, form.store_positive if positive else form.store

    def loop(values, codes, scales):
        for i in range(values.size):
            codes[i] = store(values[i], _HALF)

    if size == 1:
        return kernel(loop)
    pattern, scale = form.pattern, form.scale

    def loop_over_blocks(values, codes, scales):
        for block in range(scales.size):
            o = block * size
            n = min(size, values.size - o)
            largest = np.uint32(0)
            for i in range(n):
                largest = max(largest, pattern(np.float32(values[o + i])))
            inverse, scales[block] = scale(largest, np.float32(0.0))
            for i in range(n):
                codes[o + i] = store(np.float32(values[o + i]), inverse, _HALF)

    return kernel(loop_over_blocks)


@cache
def _decoder(form: Any, positive: bool) -> Any:
    """Kernel (codes, scales, values)."""
    size, load = form.BLOCK, form.load_positive if positive and form.BLOCK > 1 else form.load

    def loop(codes, scales, values):
        for i in range(values.size):
            values[i] = load(codes[i])

    def loop_over_blocks(codes, scales, values):
        for i in range(values.size):
            values[i] = load(codes[i], scales[i // size])

    return kernel(loop if size == 1 else loop_over_blocks)
