"""The sum of squares of all elements of all segments."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import memory, native, searchsorted_right
from lifecycle._threads import ParallelFor

_INT64, _FLOAT64 = np.dtype(np.int64), np.dtype(np.float64)
_BLOCK = 4096  # elements whose squares are summed before they are added to the others, in a fixed order


def prepare(form: Any, addresses: np.ndarray, lengths: np.ndarray) -> Callable[[], float]:
    """A call that returns the sum of squares in double precision; the same bits on any number of threads.

    Parameters
    ----------
    form
        Format of the segments.
    addresses, lengths : int64, (segments,)
    """
    ends = np.cumsum(-(-lengths // _BLOCK))
    partial = np.zeros(ends[-1] if ends.size else 0)
    call = ParallelFor(compiled(form), partial.size, _BLOCK, addresses, lengths, ends, partial)

    def total() -> float:
        call()
        return float(partial.sum())

    return total


@cache
def compiled(form: Any) -> Any:
    """Kernel (addresses, lengths, ends, partial): blocks [begin, end) of all segments laid end to end."""
    load, g_dtype = form.load, form.DTYPE

    def loop(arguments, begin, end):
        table = memory(arguments, 0, 8, _INT64)
        n_segments = table[1]
        addresses = memory(table[0], 0, n_segments, _INT64)
        lengths = memory(table[2], 0, n_segments, _INT64)
        ends = memory(table[4], 0, n_segments, _INT64)
        partial = memory(table[6], 0, table[7], _FLOAT64)
        for k in range(searchsorted_right(ends, begin), n_segments):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            for block in range(max(begin, first), min(end, ends[k])):
                lo = (block - first) * _BLOCK
                n = min(_BLOCK, lengths[k] - lo)
                g = memory(addresses[k], lo, n, g_dtype)
                total = 0.0
                for i in range(n):
                    x = np.float64(load(g[i]))
                    total += x * x
                partial[block] = total

    return native(loop, reassociate=True)
