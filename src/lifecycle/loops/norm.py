"""The sum of squares of all elements of all segments."""

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from .. import _threads
from .._jit import kernel, memory, stamp

_BLOCK = 4096  # elements whose squares are summed before they are added to the others, in a fixed order


def sum_of_squares(form: ModuleType, addresses: np.ndarray, lengths: np.ndarray) -> float:
    """Sum of squares in double precision; the same bits on any number of threads.

    Parameters
    ----------
    form : format of the segments
    addresses, lengths : int64, (segments,)
    """
    ends = np.cumsum(-(-lengths // _BLOCK))
    if not ends.size or not ends[-1]:
        return 0.0
    partial = np.empty(ends[-1])
    walk, like = compiled(form), np.empty(0, form.DTYPE)
    _threads.run(lambda begin, end: walk(addresses, lengths, ends, like, partial, begin, end), partial.size, _BLOCK)
    return float(partial.sum())


@cache
def compiled(form: ModuleType) -> Any:
    """Kernel (addresses, lengths, ends, like, partial, begin, end): blocks [begin, end)."""
    load = form.load
    mark = stamp(load)

    def walk(addresses, lengths, ends, like, partial, begin, end):
        mark  # noqa: B018  (in the closure, so that the disk cache sees an edited format)
        for k in range(np.searchsorted(ends, begin, "right"), ends.size):
            first = ends[k - 1] if k else 0
            if first >= end:
                break
            for block in range(max(begin, first), min(end, ends[k])):
                lo = (block - first) * _BLOCK
                n = min(_BLOCK, lengths[k] - lo)
                g = memory(addresses[k], lo, n, like)
                total = 0.0
                for i in range(n):
                    x = np.float64(load(g[i]))
                    total += x * x
                partial[block] = total

    return kernel(walk, mark, reassociate=True)
