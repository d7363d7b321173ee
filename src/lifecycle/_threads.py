"""All threads of the library: run a kernel's range in chunks on n threads, or a function of each of many items.

Where a framework has a thread team of its own (OpenMP), `use_team` lets the chunks run on it, because two teams on the
same cores slow each other down. Otherwise a pool of Python threads runs them. Both belong to the process that made
them; a forked child makes a new pool. Below `SERIAL_BELOW` elements threads cost more time than they save.
"""

import _signal  # without the conversion to enums of `signal`, which takes as long as a small step
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
_ALIGN = 64  # elements: where a segment starts on a cache line, so do its chunks
_MAX_THREADS = 1024  # the system ends a process that asks for too many
_SERIAL_BELOW_OPERATIONS = 1 << 22  # multiplications
_MIN_CHUNK, _CHUNKS_PER_THREAD = 1 << 14, 8  # elements at least; chunks at most

_local = threading.local()
_lock = threading.Lock()
_pool: tuple[int, int, ThreadPoolExecutor] | None = None  # (process id, size, pool)
_default: int | None = None


class Team(NamedTuple):
    """Threads of a framework.

    `start(function, argument, n)` has n threads call the C function at an address with an argument; `size()` is the
    number of threads that the framework uses.
    """

    start: Callable[[int, int, int], object]
    size: Callable[[], int]


_team: Team | None = None
_team_usable = False
_forked = False  # the parent's threads do not exist in a forked child, whose team would wait for them


def use_team(team: Team) -> None:
    """Run chunks on the threads of a framework from now on, as many as it uses unless a number was set here."""
    global _team, _team_usable
    _team, _team_usable = team, not forked()


def forked() -> bool:
    """Whether this process is a forked child, without the threads that frameworks started in its parent."""
    return _forked or _forked_by_multiprocessing()


def _forked_by_multiprocessing() -> bool:
    """Whether multiprocessing forked this process; in a process that it spawned the main module has another name."""
    module, main = sys.modules.get("multiprocessing"), sys.modules.get("__main__")
    return module is not None and module.parent_process() is not None and getattr(main, "__name__", "") != "__mp_main__"


@cache
def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # joblib limits its workers through these
    limits = [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")]
    return max(1, min([cores, *(int(s) for s in limits if re.fullmatch("[0-9]+", s))]))


@cache
def _from_environment() -> int | None:
    text = os.environ.get("LIFECYCLE_NUM_THREADS")
    if text is None:
        return None
    if not re.fullmatch("[0-9]+", text.strip()) or not 1 <= int(text) <= _MAX_THREADS:
        raise ValueError(f"LIFECYCLE_NUM_THREADS must be an integer from 1 to {_MAX_THREADS}; got {text!r}")
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
    _default = integer("n", n, low=1, high=_MAX_THREADS)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use `n` threads for the kernels called from this thread inside the block."""
    integer("n", n, low=1, high=_MAX_THREADS)
    before = getattr(_local, "limit", None)
    _local.limit = n
    try:
        yield
    finally:
        _local.limit = before


class uninterrupted:
    """Context in which Ctrl-C waits for the end of the block, so that a step is taken as a whole or not at all.

    Only the main thread receives it.
    """

    def __enter__(self) -> None:
        self.handler: Any = None
        self.pending: tuple | None = None
        if threading.current_thread() is threading.main_thread():
            handler = _signal.getsignal(_signal.SIGINT)
            if callable(handler):
                _signal.signal(_signal.SIGINT, self._keep)  # raises what came before it
                self.handler = handler

    def _keep(self, *arguments: Any) -> None:
        self.pending = arguments

    def __exit__(self, *_: object) -> None:
        if self.handler is not None:
            _signal.signal(_signal.SIGINT, self.handler)
            if self.pending is not None:
                self.handler(*self.pending)


class ParallelFor:
    """A kernel, its range and its arguments: arrays whose contents may change between two calls.

    Parameters
    ----------
    kernel : made by `_jit.native`
        Called with (arguments, begin, end) for each chunk; `arguments` is the address of a table of int64: address and
        length of every array.
    size, unit : int
        The range is [0, size); each of its places is `unit` elements.
    """

    def __init__(self, kernel: Any, size: int, unit: int, *arrays: np.ndarray):
        self.kernel, self.size, self.unit = kernel, size, unit
        self.arrays = arrays  # kept alive
        self._table = np.array([x for a in arrays for x in (a.ctypes.data, len(a))], np.int64)
        self.arguments = self._table.ctypes.data

    def __call__(self) -> None:
        size, unit = self.size, self.unit
        on_team = _team is not None and _team_usable
        serial = size * unit < SERIAL_BELOW["team" if on_team else "pool"]
        n = 1 if serial else min(num_threads(), -(-size * unit // _MIN_CHUNK))
        if n <= 1:
            self.kernel.call(self.arguments, 0, size)
            return
        align = max(1, _ALIGN // unit)
        step = max(-(-size // (n * _CHUNKS_PER_THREAD)), _MIN_CHUNK // unit)
        step = -(-step // align) * align
        job = np.array([self.kernel.address, self.arguments, size, step, 0], np.int64)
        if on_team:
            _team.start(_chunk_runner().address, job.ctypes.data, n)  # type: ignore[union-attr]
        else:
            self._on_pool(n, job)

    def _on_pool(self, n: int, job: np.ndarray) -> None:
        global _pool
        run_chunks = _chunk_runner().call

        def work() -> None:
            run_chunks(job.ctypes.data)  # the closure keeps job and arrays until the last thread is done

        futures: list[Future] = []
        try:
            with _lock:  # a pool that is too small for another thread must not be shut down before the last submit
                if _pool is None or _pool[0] != os.getpid() or _pool[1] < n - 1:
                    if _pool is not None and _pool[0] == os.getpid():
                        _pool[2].shutdown(wait=False)
                    _pool = (os.getpid(), n - 1, ThreadPoolExecutor(n - 1, thread_name_prefix="lifecycle"))
                futures += [_pool[2].submit(work) for _ in range(n - 1)]
            work()
        finally:
            job[4] = job[2]  # after an exception too, no further chunk begins
            _cancel_or_wait(futures)


def map_ordered(work: Callable[[Any], Any], items: Sequence[Any], size: int) -> Iterator[Any]:
    """work(item) for each item, on threads, in the order of the items; `work` must release the GIL most of its time.

    `size`: multiplications in all; few are done without threads.
    """
    n = min(num_threads(), len(items))
    if n <= 1 or size < _SERIAL_BELOW_OPERATIONS:
        yield from map(work, items)
        return
    workers, futures = _workers(os.getpid(), num_threads()), deque[Future]()
    with single_threaded_blas():
        try:
            for item in items:
                futures.append(workers.submit(work, item))
                if len(futures) > 4 * n:  # bounds the memory of finished results
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        finally:
            _cancel_or_wait(futures)


@cache
def _workers(process: int, n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="lifecycle", initializer=_use_one_thread)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Compute matrix products on the calling thread alone, so that BLAS's threads and ours do not compete for cores.

    The limit holds for the process, until the last block that asked for it ends.
    """
    with _blas.lock:
        if not _blas.users:
            if _blas.libraries is None:  # searches all loaded libraries, once
                from threadpoolctl import ThreadpoolController

                _blas.libraries = ThreadpoolController()
            _blas.limiter = _blas.libraries.limit(limits=1, user_api="blas")
        _blas.users += 1
    try:
        yield
    finally:
        with _blas.lock:
            _blas.users -= 1
            if not _blas.users:
                _blas.limiter.restore_original_limits()


class _BlasLimit:
    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.libraries: Any = None
        self.limiter: Any = None


_blas = _BlasLimit()


def _use_one_thread() -> None:
    _local.limit = 1


def _cancel_or_wait(futures: Iterable[Future]) -> None:
    """Return when no thread uses the caller's memory any more, after Ctrl-C too."""
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
def _chunk_runner() -> Any:
    """Kernel (job): run one chunk of a job after another, until none is left."""
    from lifecycle import _jit  # through the module, or no process would find the kernel that another one has compiled

    int64 = np.dtype(np.int64)

    def run_chunks(job):
        fields = _jit.memory(job, 0, 5, int64)
        kernel, arguments, size, step = fields[0], fields[1], fields[2], fields[3]
        begin = _jit.fetch_and_add(job + 32, step)  # type: ignore[call-arg, var-annotated]
        while begin < size:
            _jit.call_native(kernel, arguments, begin, min(begin + step, size))  # type: ignore[call-arg]
            begin = _jit.fetch_and_add(job + 32, step)  # type: ignore[call-arg]

    return _jit.native(run_chunks, arguments=1)


def _renew_after_fork() -> None:
    global _lock, _pool, _team_usable, _forked, _blas
    _lock, _pool, _team_usable, _forked = threading.Lock(), None, False, True
    if _blas.users:  # the threads that set the limit do not exist in the child
        _blas.limiter.restore_original_limits()
    _blas = _BlasLimit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
