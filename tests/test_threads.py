"""Threads: each chunk runs once, on the pool and on torch's thread team, in forks, from many threads; settings."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import lifecycle as lc
from lifecycle import _threads
from lifecycle._jit import memory, native
from lifecycle._threads import map_ordered

# torch's thread team exists and lifecycle.torch is imported, but no optimizer exists: the child makes the first one
TORCH_RAN = "import torch, lifecycle.torch; torch.set_num_threads(2); torch.randn(500, 500) @ torch.randn(500, 500)"
INT64 = np.dtype(np.int64)


def count(arguments, begin, end):
    table = memory(arguments, 0, 2, INT64)
    seen = memory(table[0], begin, end - begin, INT64)
    for i in range(end - begin):
        seen[i] += 1


@pytest.fixture(scope="module")
def counting():
    return native(count)


@pytest.fixture(autouse=True, params=["pool", "team"])
def _always_threaded(request, monkeypatch):
    if request.param == "team":
        pytest.importorskip("lifecycle.torch.optimizers")
        if _threads._team is None:
            pytest.skip("torch's threads cannot be used on this system")
    monkeypatch.setattr(_threads, "_team_usable", request.param == "team")
    monkeypatch.setattr(_threads, "SERIAL_BELOW", {"pool": 1, "team": 1})
    monkeypatch.setattr(_threads, "_MIN_CHUNK", 1)
    monkeypatch.setattr(_threads, "_default", 3)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000, 100_003])
@pytest.mark.parametrize("unit", [1, 256])
def test_every_element_is_covered_once(counting, size, unit):
    seen = np.zeros(size, np.int64)
    call = _threads.ParallelFor(counting, size, unit, seen)
    for times in (1, 2):
        call()
        assert (seen == times).all()


def test_many_threads_may_call_at_once(counting):
    failures = []

    def work():
        seen = np.zeros(5000, np.int64)
        call = _threads.ParallelFor(counting, 5000, 1, seen)
        for times in range(1, 51):
            call()
            if not (seen == times).all():
                failures.append(times)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert failures == []


def test_no_thread_is_at_work_after_ctrl_c(counting, monkeypatch):
    """The caller may free its memory as soon as the exception arrives."""
    if _threads._team_usable:
        pytest.skip("OpenMP waits for its team")
    seen = np.zeros(5000, np.int64)
    call = _threads.ParallelFor(counting, 5000, 1, seen)
    ended = []

    def wait(futures):
        if not ended:
            ended.append(False)
            raise KeyboardInterrupt
        ended.append(all(f.result() is None for f in futures))

    class Slow(_threads.ThreadPoolExecutor):
        def submit(self, work):
            return super().submit(lambda: (time.sleep(0.2), work())[1])

    monkeypatch.setattr(_threads, "wait", wait)
    monkeypatch.setattr(_threads, "ThreadPoolExecutor", Slow)
    monkeypatch.setattr(_threads, "_pool", None)
    blocker = threading.Event()
    monkeypatch.setattr(_threads.Future, "cancel", lambda self: blocker.is_set())
    with pytest.raises(KeyboardInterrupt):
        call()
    assert ended[:2] == [False, True]
    assert (seen == 1).all()


def test_more_threads_than_any_machine_has_are_refused():
    for wrong in (1025, 2**32 + 1):
        with pytest.raises(ValueError, match="n must be >= 1 and <= 1024"):
            lc.set_num_threads(wrong)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("before", ["", "import lifecycle.torch.optimizers", TORCH_RAN])
def test_a_forked_child_makes_its_own_pool(before):
    code = f"""
import os, numpy as np, lifecycle as lc
from lifecycle import _threads
{before}
_threads.SERIAL_BELOW = dict(pool=1, team=1)
lc.set_num_threads(3)
def step():
    x = np.ones(100_000); lc.GD(lr=1.0).step(x, np.ones(100_000), lc.GD().init(x)); return not x.any()
assert step()
child = os.fork()
if child == 0:
    import sys
    if "lifecycle.torch" in sys.modules:
        import lifecycle.torch.optimizers
    os._exit(0 if step() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and step()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(("how", "by_fork"), [("fork", "True"), ("spawn", "False")])
def test_a_child_that_multiprocessing_forked_is_recognized(how, by_fork, tmp_path):
    """It may be the first to import lifecycle, after its parent has used torch, whose threads it does not have."""
    script = tmp_path / "children.py"
    script.write_text(f"""
import multiprocessing
def child():
    from lifecycle import _threads
    print(_threads._forked_by_multiprocessing())
if __name__ == "__main__":
    process = multiprocessing.get_context({how!r}).Process(target=child)
    process.start(); process.join()
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == by_fork


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
        with pytest.raises(ValueError, match="n must be >= 1 and <= 1024"):
            lc.set_num_threads(wrong)
    with pytest.raises(TypeError, match="n must be an integer"):
        lc.set_num_threads(1.5)


@pytest.mark.parametrize("text", ["five", "0", "²", "2000", "5"])
def test_the_environment(text, monkeypatch):
    monkeypatch.setattr(_threads, "_default", None)
    monkeypatch.setenv("LIFECYCLE_NUM_THREADS", text)
    _threads._from_environment.cache_clear()
    try:
        if text == "5":
            assert _threads.num_threads() == 5
        else:
            with pytest.raises(ValueError, match="LIFECYCLE_NUM_THREADS"):
                _threads.num_threads()
    finally:
        monkeypatch.undo()
        _threads._from_environment.cache_clear()


def test_torch_s_number_of_threads_holds_until_ours_is_set(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("lifecycle.torch.optimizers")
    monkeypatch.setattr(_threads, "_default", None)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert _threads.num_threads() == 1
        torch.set_num_threads(3)
        assert _threads.num_threads() == 3
        with lc.threads(2):
            assert _threads.num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_map_ordered_gives_results_in_order_from_several_threads_with_single_threaded_blas():
    def of_blas():
        return tuple(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")

    before = of_blas()
    with lc.threads(2):
        seen = list(map_ordered(lambda i: (i, threading.get_ident(), of_blas()), range(40), 1 << 30))
    assert [i for i, *_ in seen] == list(range(40))
    assert threading.get_ident() not in {thread for _, thread, _ in seen}
    assert {n for *_, numbers in seen for n in numbers} == {1}
    assert of_blas() == before


def test_map_ordered_finishes_what_it_began_when_an_item_fails_or_the_caller_stops():
    begun, ended = [], []

    def work(i):
        begun.append(i)
        if i == 3:
            raise ValueError("three")
        time.sleep(0.01)
        ended.append(i)
        return i

    with lc.threads(2):
        with pytest.raises(ValueError, match="three"):
            list(map_ordered(work, range(100), 1 << 30))
        assert len(begun) == len(ended) + 1 < 100
        begun.clear()
        ended.clear()
        results = map_ordered(work, [5] * 100, 1 << 30)
        assert next(results) == 5
        results.close()
        assert len(begun) == len(ended) < 100
