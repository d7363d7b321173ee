"""The only home of threads: run a kernel's range in chunks on n threads, or any function of many items.

Where a framework has a team of threads waiting, `use_team` has the chunks run on it: two teams on the same cores wait
for each other. Else a pool of Python threads does it. Both belong to the process that made them; a forked child makes
a pool of its own. Below `SERIAL_BELOW` elements threads cost more than they give.
"""

import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import integer

SERIAL_BELOW = {"pool": 1 << 18, "team": 1 << 16}
_ALIGN = 64  # elements: where a segment starts on a cache line, so do the chunks of it
_MOST = 1024  # threads: the system ends a process that asks for too many
_WORTH_THREADS = 1 << 22  # multiplications
_SMALLEST, _PER_THREAD = 1 << 14, 8  # elements of a chunk, at least; chunks for each thread, at most

_local = threading.local()
_lock = threading.Lock()
_pool: tuple[int, int, ThreadPoolExecutor] | None = None  # (process id, size, pool)
_default: int | None = None


class Team(NamedTuple):
    """Threads of a framework: (address of a C function, its argument, number of threads) and how many it has."""

    start: Callable[[int, int, int], object]
    size: Callable[[], int]


_team: Team | None = None
_team_here = False
_forked = False  # the threads of the parent do not exist in a forked child, but its team would wait for them


def use_team(team: Team) -> None:
    """From now on run chunks on the threads of a framework; their number is its own, unless ours was set."""
    global _team, _team_here
    _team, _team_here = team, not (_forked or _made_by_fork())


def _made_by_fork() -> bool:
    """Whether multiprocessing forked this process; in one that it spawned the main module bears another name."""
    module, main = sys.modules.get("multiprocessing"), sys.modules.get("__main__")
    return module is not None and module.parent_process() is not None and getattr(main, "__name__", "") != "__mp_main__"


@cache
def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # joblib gives its workers their share of the cores through these
    shares = [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")]
    return max(1, min([cores, *(int(s) for s in shares if re.fullmatch("[0-9]+", s))]))


@cache
def _from_environment() -> int | None:
    text = os.environ.get("LIFECYCLE_NUM_THREADS")
    if text is None:
        return None
    if not re.fullmatch("[0-9]+", text.strip()) or not 1 <= int(text) <= _MOST:
        raise ValueError(f"LIFECYCLE_NUM_THREADS must be an integer from 1 to {_MOST}; got {text!r}")
    return int(text)


def num_threads() -> int:
    """Threads that a kernel call of this thread may use."""
    set_by_user = getattr(_local, "limit", None) or _default or _from_environment()
    return set_by_user or (_cores() if _team is None else _team.size())


def set_num_threads(n: int) -> None:
    """Set the number of threads that kernels use in this process.

    Without it: LIFECYCLE_NUM_THREADS, else, once lifecycle.torch is imported, torch.get_num_threads(), else the cores.
    """
    global _default
    _default = integer("n", n, low=1, high=_MOST)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use `n` threads for the kernels called from this thread inside the block."""
    integer("n", n, low=1, high=_MOST)
    before = getattr(_local, "limit", None)
    _local.limit = n
    try:
        yield
    finally:
        _local.limit = before


class Call:
    """A kernel and its arguments: arrays whose contents may change between two calls.

    Parameters
    ----------
    kernel : made by `_jit.native`
        Called with (arguments, begin, end); at `arguments` stand address and length of every array, as int64.
    size, unit : int
        The range is [0, size), each of `unit` elements.
    """

    def __init__(self, kernel: Any, size: int, unit: int, *arrays: np.ndarray):
        self.kernel, self.size, self.unit = kernel, size, unit
        self.arrays = arrays  # kept alive
        self._packed = np.array([x for a in arrays for x in (a.ctypes.data, len(a))], np.int64)
        self.arguments = self._packed.ctypes.data

    def __call__(self) -> None:
        size, unit = self.size, self.unit
        on_team = _team is not None and _team_here
        n = min(num_threads(), -(-size * unit // _SMALLEST))
        if n <= 1 or size * unit < SERIAL_BELOW["team" if on_team else "pool"]:
            self.kernel.call(self.arguments, 0, size)
            return
        align = max(1, _ALIGN // unit)
        step = max(-(-size // (n * _PER_THREAD)), _SMALLEST // unit)
        step = -(-step // align) * align
        job = np.array([self.kernel.address, self.arguments, size, step, 0], np.int64)
        if on_team:
            _team.start(_drain().address, job.ctypes.data, n)  # type: ignore[union-attr]
        else:
            self._on_pool(n, job)

    def _on_pool(self, n: int, job: np.ndarray) -> None:
        global _pool
        drain = _drain().call

        def work() -> None:
            drain(job.ctypes.data)  # the closure keeps job and arrays until the last thread is done

        futures: list[Future] = []
        try:
            with _lock:  # a pool that another thread outgrows may not close between here and the last submit
                if _pool is None or _pool[0] != os.getpid() or _pool[1] < n - 1:
                    if _pool is not None and _pool[0] == os.getpid():
                        _pool[2].shutdown(wait=False)
                    _pool = (os.getpid(), n - 1, ThreadPoolExecutor(n - 1, thread_name_prefix="lifecycle"))
                futures += [_pool[2].submit(work) for _ in range(n - 1)]
            work()
        finally:
            job[4] = job[2]  # whatever happened, no more is begun
            _end(futures)


def in_order(work: Callable[[Any], Any], items: Sequence[Any], size: int) -> Iterator[Any]:
    """work(item) for each item, on threads, in the order of the items; `work` must release the GIL most of its time.

    `size`: multiplications in all; a few do not pay for threads.
    """
    n = min(num_threads(), len(items))
    if n <= 1 or size < _WORTH_THREADS:
        yield from map(work, items)
        return
    workers, futures = _workers(os.getpid(), num_threads()), deque[Future]()
    with one_thread_each():
        try:
            for item in items:
                futures.append(workers.submit(work, item))
                if len(futures) > 4 * n:  # what waits to be taken stays small
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            _end(futures)


@cache
def _workers(process: int, n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="lifecycle", initializer=_alone)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Products of matrices stay on the thread that asks for them, or threads of BLAS and ours would be in each other's
    way; the limit is of the process, and ends with its last user."""
    with _limit.lock:
        if not _limit.users:
            if _limit.libraries is None:  # looks through all that are loaded, once
                from threadpoolctl import ThreadpoolController

                _limit.libraries = ThreadpoolController()
            _limit.limiter = _limit.libraries.limit(limits=1, user_api="blas")
        _limit.users += 1
    try:
        yield
    finally:
        with _limit.lock:
            _limit.users -= 1
            if not _limit.users:
                _limit.limiter.restore_original_limits()


class _Limit:
    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.libraries: Any = None
        self.limiter: Any = None


_limit = _Limit()


def _alone() -> None:
    _local.limit = 1


def _end(futures: Iterable[Future]) -> None:
    """The memory is the caller's again when no thread is at work on it, and no sooner: not after Ctrl-C either."""
    interrupted = None
    for future in futures:
        while not (future.cancel() or future.done()):
            try:
                wait([future])
            except KeyboardInterrupt as error:
                interrupted = error
    if interrupted is not None:
        raise interrupted


@cache
def _drain() -> Any:
    """Kernel (job): take one chunk of a job after another, until none is left."""
    from lifecycle._jit import fetch_and_add, memory, native, stamp, start

    int64, mark = np.dtype(np.int64), stamp()

    def drain(job):
        mark  # noqa: B018
        at = memory(job, 0, 5, int64)
        kernel, arguments, size, step = at[0], at[1], at[2], at[3]
        begin = fetch_and_add(job + 32, step)  # type: ignore[call-arg, var-annotated]
        while begin < size:
            start(kernel, arguments, begin, min(begin + step, size))  # type: ignore[call-arg]
            begin = fetch_and_add(job + 32, step)  # type: ignore[call-arg]

    return native(drain, mark, arguments=1)


def _renew_after_fork() -> None:
    global _lock, _pool, _team_here, _forked, _limit
    _lock, _pool, _team_here, _forked = threading.Lock(), None, False, True
    if _limit.users:  # who set the limit has no thread here
        _limit.limiter.restore_original_limits()
    _limit = _Limit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
