"""One element of a step, for any rule: its update with a fixed signature, its gradient, and the noise of its rounding.

A rule with slots that are not negative keeps squares of its gradient, and divides by a root of them. A square beyond
the largest float would be infinite, and the step after it NaN. So such a rule takes a gradient beyond 2^63 (float64:
2^511) as this number; a single one, of any size, then takes the step that exact arithmetic would give.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from lifecycle._jit import clip_for_square, element, noise, uint32

MAX_SLOTS = 3
_SECOND_KEY = np.uint32(0x5BD1E995)
EXAMINED = 4096  # elements whose gradients are examined before they are stepped
_LARGE = np.uint32((127 + 63) << 23)  # bits of 2^63
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


def keeps_squares(kinds: Sequence[str]) -> bool:
    """Whether a rule with slots of these kinds keeps squares of its gradient."""
    return "non-negative" in kinds


@cache
def clipped_update(update: Callable, kinds: tuple[str, ...]) -> Callable:
    """The update of a rule, with the gradient clipped if the rule keeps squares."""
    if not keeps_squares(kinds):
        return update

    def one(p, g, a, s):
        return update(p, clip_for_square(g), a, s)

    def two(p, g, a, b, s):
        return update(p, clip_for_square(g), a, b, s)

    def three(p, g, a, b, c, s):
        return update(p, clip_for_square(g), a, b, c, s)

    return element((one, two, three)[len(kinds) - 1])


@element
def is_large(size):
    """Whether a gradient of this size, in `magnitude_bits`, may have to be clipped."""
    return size > _LARGE


@element
def rounding_noise(start, i, key):
    """Noise of the parameter and of the slots a, b, c, from the element's index start + i and its segment's key."""
    first, second = noise(start, i, key), noise(start, i, uint32(key ^ _SECOND_KEY))
    return second, first, uint32(first << _SHIFT), uint32(second << _SHIFT)
