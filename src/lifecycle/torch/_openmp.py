"""Run kernels on the OpenMP threads of torch, and torch without them where they do not exist.

After a parallel operation torch's threads stay on their cores for milliseconds, waiting for the next one. Threads of
our own would share the cores with them: a step after a backward pass would run as if it had one thread.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lifecycle import _threads


def use() -> None:
    """Have `_threads` use torch's OpenMP team, where torch was built with one that can be reached."""
    try:
        library = ctypes.CDLL(str(next((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"))))
        # GNU's entry to a parallel region; LLVM's and Intel's libraries have it too
        parallel = library.GOMP_parallel
    except (OSError, AttributeError, StopIteration):
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
