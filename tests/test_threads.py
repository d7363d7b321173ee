"""Pools: nested calls, forks, errors, and the settings."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import lifecycle as lc
from lifecycle import _threads


@pytest.fixture(autouse=True)
def _always_threaded(monkeypatch):
    monkeypatch.setattr(_threads, "SERIAL_BELOW", 1)
    monkeypatch.setattr(_threads, "_default", 3)


def covered(size):
    seen = np.zeros(size, dtype=int)
    names = set()

    def chunk(begin, end):
        seen[begin:end] += 1
        names.add(threading.current_thread().name)

    _threads.run(chunk, size)
    return seen, names


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000, 100_003])
def test_every_element_is_covered_once(size):
    assert (covered(size)[0] == 1).all()


def test_a_call_inside_a_chunk_runs_serially():
    names = []
    _threads.run(lambda begin, end: names.append((threading.current_thread().name, covered(1000)[1])), 1000)
    assert len(names) == 3
    assert all(inner == {outer} for outer, inner in names)


def test_an_error_in_any_chunk_is_raised_after_all_have_ended():
    ended = []

    def chunk(begin, end):
        if begin:
            raise RuntimeError("in a chunk")
        ended.append(begin)

    with pytest.raises(RuntimeError, match="in a chunk"):
        _threads.run(chunk, 1000)
    assert ended == [0]


def test_threads_of_the_caller_may_share_the_pool():
    failures = []

    def work():
        for _ in range(50):
            if not (covered(5000)[0] == 1).all():
                failures.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_makes_its_own_pool():
    code = """
import os, numpy as np, lifecycle as lc
from lifecycle import _threads
_threads.SERIAL_BELOW = 1
lc.set_num_threads(3)
def step():
    x = np.ones(10_000); lc.GD(lr=1.0).step(x, np.ones(10_000), lc.GD().init(x)); return not x.any()
assert step()
child = os.fork()
if child == 0:
    os._exit(0 if step() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and step()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_settings(monkeypatch):
    with lc.threads(2):
        assert _threads.num_threads() == 2
        with lc.threads(1):
            assert _threads.num_threads() == 1
        assert _threads.num_threads() == 2
    assert _threads.num_threads() == 3
    lc.set_num_threads(4)
    assert _threads.num_threads() == 4
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="n must be >= 1"):
            lc.set_num_threads(wrong)
    with pytest.raises(TypeError, match="n must be an integer"):
        lc.set_num_threads(1.5)
    monkeypatch.setenv("LIFECYCLE_NUM_THREADS", "five")
    monkeypatch.setattr(_threads, "_default", None)
    with pytest.raises(ValueError, match="LIFECYCLE_NUM_THREADS"):
        _threads.num_threads()
    monkeypatch.setenv("LIFECYCLE_NUM_THREADS", "5")
    assert _threads.num_threads() == 5
