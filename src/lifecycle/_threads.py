"""The only home of threads: run chunks of a kernel on n threads.

A pool belongs to the process that made it (a forked child makes its own), a call from inside a pool thread runs
serially, and below `SERIAL_BELOW` elements threads cost more than they give.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ._check import integer

SERIAL_BELOW = 1 << 20
_ALIGN = 64  # elements: chunks start on a cache line, so that no two threads write to one

_local = threading.local()
_lock = threading.Lock()
_pool: tuple[int, int, ThreadPoolExecutor] | None = None  # (process id, size, pool)
_default: int | None = None


def _from_environment() -> int:
    text = os.environ.get("LIFECYCLE_NUM_THREADS")
    if text is not None:
        if not text.strip().isdigit() or int(text) < 1:
            raise ValueError(f"LIFECYCLE_NUM_THREADS must be an integer >= 1; got {text!r}")
        return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # joblib gives its workers their share of the cores through these
    shares = [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")]
    return max(1, min([cores, *(int(s) for s in shares if s.isdigit())]))


def num_threads() -> int:
    """Threads that a kernel call of this thread may use."""
    inside = getattr(_local, "limit", None)
    if inside is not None:
        return inside
    global _default
    if _default is None:
        _default = _from_environment()
    return _default


def set_num_threads(n: int) -> None:
    """Set the number of threads that kernels use in this process (default: LIFECYCLE_NUM_THREADS, else the cores)."""
    global _default
    _default = integer("n", n, low=1)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use `n` threads for the kernels called from this thread inside the block."""
    integer("n", n, low=1)
    before = getattr(_local, "limit", None)
    _local.limit = n
    try:
        yield
    finally:
        _local.limit = before


def _submit(size: int, function: Callable, bounds: list) -> list:
    global _pool
    with _lock:  # a pool that another thread outgrows may not close between here and the last submit
        if _pool is None or _pool[0] != os.getpid() or _pool[1] < size:
            if _pool is not None and _pool[0] == os.getpid():
                _pool[2].shutdown(wait=False)
            _pool = (os.getpid(), size, ThreadPoolExecutor(size, thread_name_prefix="lifecycle"))
        return [_pool[2].submit(function, *b) for b in bounds]


def _renew_after_fork() -> None:
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


def run(chunk: Callable[[int, int], object], size: int, unit: int = 1) -> None:
    """Call `chunk(begin, end)` until [0, size) is covered, each of `unit` elements; an error in any is raised here."""
    n = num_threads() if size * unit >= SERIAL_BELOW else 1
    if n == 1:
        chunk(0, size)
        return
    align = max(1, _ALIGN // unit)
    step = -(-size // (n * align)) * align
    bounds = [(begin, min(begin + step, size)) for begin in range(0, size, step)]

    def serially(begin: int, end: int) -> None:
        with threads(1):
            chunk(begin, end)

    futures = _submit(n, serially, bounds[1:])
    try:
        serially(*bounds[0])
    finally:
        for future in futures:
            future.exception()  # wait: the memory belongs to the caller again when this returns
    for future in futures:
        future.result()
