"""Digests of the stored tensors, piece by piece, so that threads compute them."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from lifecycle._threads import map_ordered

PIECE = 1 << 24  # bytes


def pieces(size: int) -> list[tuple[int, int]]:
    """Begin and end of each piece of so many bytes; an empty tensor has one piece, which is empty."""
    return [(begin, min(begin + PIECE, size)) for begin in range(0, max(size, 1), PIECE)]


def groups(sizes: Sequence[int]) -> list[range]:
    """Consecutive pieces in groups of about `PIECE` bytes, so that no thread is called for a small one alone."""
    found, begin, total = [], 0, 0
    for k, size in enumerate(sizes):
        total += size
        if total >= PIECE or k == len(sizes) - 1:
            found.append(range(begin, k + 1))
            begin, total = k + 1, 0
    return found


def digests(buffers: Sequence[Any], before: Callable[[range], object] = lambda group: None) -> list[str]:
    """SHA-256 of each buffer of bytes, on threads; `before` is called with each group of buffers before it is read."""

    def of_group(group: range) -> list[str]:
        before(group)
        return [hashlib.sha256(buffers[k]).hexdigest() for k in group]

    sizes = [len(buffer) for buffer in buffers]
    return [digest for found in map_ordered(of_group, groups(sizes), sum(sizes)) for digest in found]
