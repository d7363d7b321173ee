"""A rule's update with one signature for any number of slots, which lets one walk serve all rules."""

from collections.abc import Callable

from lifecycle._jit import element, stamp

MOST_SLOTS = 3


def uniform(update: Callable, n_slots: int) -> Callable:
    """(p, g, a, b, c, s) -> (p, a, b, c); slots that the rule does not have pass through.

    numba vectorizes stores to named arrays, not to a tuple of arrays: hence three names.
    """
    if n_slots > MOST_SLOTS:
        raise ValueError(f"a rule may have up to {MOST_SLOTS} slots; this one has {n_slots}")

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

    return element((none, one, two, three)[n_slots], stamp(update))
