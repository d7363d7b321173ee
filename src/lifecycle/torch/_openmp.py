"""Run kernels on the OpenMP threads of torch, and torch without them where they do not exist.

After a parallel operation torch's threads stay on their cores for milliseconds, waiting for the next one. Threads of
our own would share the cores with them: a step after a backward pass would run as if it had one thread.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lifecycle import _threads


@cache
def _function(name: str) -> Any:
    """A C function of torch or of a library that it is linked with; None where there is none of this name."""
    try:
        library = ctypes.CDLL(str(next((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"))))
        return getattr(library, name)
    except (OSError, AttributeError, StopIteration):
        return None


def use() -> None:
    """Have `_threads` use torch's OpenMP team, where torch was built with one that can be reached."""
    # GNU's entry to a parallel region; LLVM's and Intel's libraries have it too
    parallel = _function("GOMP_parallel")
    if parallel is None:
        return
    parallel.argtypes, parallel.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    _threads.use_team(_threads.Team(lambda at, job, n: parallel(at, job, n, 0), torch.get_num_threads))


@contextmanager
def serial_in_forked_child() -> Iterator[None]:
    """Run torch's operations on one thread inside the block, if this process was forked.

    If its parent had used torch's threads, an operation on many elements would wait for them for ever.
    """
    n = torch.get_num_threads()
    if n == 1 or not _threads.forked():
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n)


def set_num_threads_of_caller(n: int) -> Callable[[], None]:
    """Set torch's number of threads for the calling thread; returns a function that undoes it.

    `torch.set_num_threads` would also set the number that threads which start inside the block keep behind it. It is
    used where the functions of OpenMP cannot be reached.
    """
    before = torch.get_num_threads()
    set_openmp, set_mkl = _function("omp_set_num_threads"), _function("MKL_Set_Num_Threads_Local")
    if set_openmp is None:
        torch.set_num_threads(n)
        return lambda: torch.set_num_threads(before)
    mkl_before = 0 if set_mkl is None else set_mkl(n)
    set_openmp(n)

    def restore() -> None:
        set_openmp(before)
        if set_mkl is not None:
            set_mkl(mkl_before)

    return restore
