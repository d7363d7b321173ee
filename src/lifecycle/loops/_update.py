"""One element of a step, for any rule: its update with a fixed signature, and the noise of its rounding."""

from collections.abc import Callable

import numpy as np

from lifecycle._jit import element, noise, uint32

MAX_SLOTS = 3
_SECOND_KEY = np.uint32(0x5BD1E995)
_SHIFT = 12  # the formats use the upper 20 bits of the noise at most


def three_slot_update(update: Callable, n_slots: int) -> Callable:
    """(p, g, a, b, c, s) -> (p, a, b, c); slots that the rule does not have pass through.

    numba vectorizes stores to named arrays, not to a tuple of arrays: hence three names.
    """
    if n_slots > MAX_SLOTS:
        raise ValueError(f"a rule may have up to {MAX_SLOTS} slots; this one has {n_slots}")

    def none(p, g, a, b, c, s):
        return update(p, g, s)[0], a, b, c

    def one(p, g, a, b, c, s):
        p, a = update(p, g, a, s)
        return p, a, b, c

    def two(p, g, a, b, c, s):
        p, a, b = update(p, g, a, b, s)
        return p, a, b, c

    def three(p, g, a, b, c, s):
        return update(p, g, a, b, c, s)

    return element((none, one, two, three)[n_slots])


@element
def rounding_noise(start, i, key):
    """Noise of the parameter and of the slots a, b, c, from the element's index start + i and its segment's key."""
    first, second = noise(start, i, key), noise(start, i, uint32(key ^ _SECOND_KEY))
    return second, first, uint32(first << _SHIFT), uint32(second << _SHIFT)
