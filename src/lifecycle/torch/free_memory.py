"""Memory that the C library keeps for later allocations."""

import ctypes
from collections.abc import Callable
from functools import cache


def release_free_memory() -> None:
    """Give it back to the system, where the C library can (glibc).

    glibc keeps freed blocks of up to 32 MiB, and those between others that are in use. After work on one large layer,
    the work on the next needs blocks of other sizes, and the process would grow by more than is ever in use.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    return found
