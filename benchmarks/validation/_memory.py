"""Peak memory of a grid over a large X, in a separate process and its workers, measured from outside."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .._harness import markdown, memory_of
from ._sides import duration, is_ours

ROOT = Path(__file__).parents[2]
TARGET = 1.15  # of the bytes of X, X itself included
SIDES = ("lifecycle, newton", "lifecycle, per-sample SGD", "scikit-learn, SGDClassifier")
EPOCHS = 2


def search(who: str, threads: int) -> Any:
    """The grid: 10 alphas x 5 folds."""
    import numpy as np
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import GridSearchCV, KFold

    import lifecycle as lc

    grid, cv = {"alpha": np.logspace(-6, -2, 10)}, KFold(5, shuffle=True, random_state=0)
    if not is_ours(who):
        model = SGDClassifier(loss="log_loss", max_iter=EPOCHS, tol=None, random_state=0)
        return GridSearchCV(model, grid, cv=cv, refit=False, n_jobs=threads)
    options = {"optimizer": "newton"} if "newton" in who else {"max_iter": EPOCHS, "tol": None, "random_state": 0}
    return lc.GridSearchCV(lc.LinearClassifier(**options, progress=False), grid, cv=cv, refit=False, progress=False)


def child(who: str, n: int, p: int, threads: int) -> None:
    """Compile on a few rows, make X, wait, search; what this process prints are its steps."""
    from threadpoolctl import threadpool_limits

    import lifecycle as lc

    from .. import _data

    with lc.threads(threads), threadpool_limits(threads):
        search(who, threads).fit(*_data.normal(1000, p))
        X, y = _data.normal(n, p)
        print("made", flush=True)
        sys.stdin.readline()
        highest = memory_of("VmHWM")
        begin = time.perf_counter()
        found = search(who, threads).fit(X, y)
        took = time.perf_counter() - begin
        grown = max(0, memory_of("VmHWM") - highest)
        print(json.dumps({"seconds": took, "own_peak": memory_of("VmHWM") if grown else 0, "bytes": X.nbytes,
                          "score": float(found.cv_results_["mean_test_score"].max())}), flush=True)  # fmt: skip
        sys.stdin.readline()


def in_use(process: Any) -> int:
    """Memory of a process and its workers; what several share counts once."""
    import psutil

    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it has ended
            pass
    return total


def watched(who: str, n: int, p: int, threads: int) -> dict:
    """Peak of a search above what was in use when X had been made, X added, in bytes."""
    import psutil

    code = f"from benchmarks.validation._memory import child; child({who!r}, {n}, {p}, {threads})"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        process = psutil.Process(started.pid)
        if started.stdout.readline().strip() != "made":
            raise RuntimeError(f"the process of {who!r} ended before it made its data")
        before, own_before, peak = in_use(process), memory_of("VmRSS", str(started.pid)), 0
        done = threading.Event()

        def sample() -> None:
            nonlocal peak
            while not done.wait(0.02):
                peak = max(peak, in_use(process))

        sampler = threading.Thread(target=sample)
        sampler.start()
        started.stdin.write("\n")
        started.stdin.flush()
        answer = started.stdout.readline()
        done.set()
        sampler.join()
        if not answer:
            raise RuntimeError(f"the process of {who!r} ended before its search did")
        found = json.loads(answer)
        grown = max(peak - before, found["own_peak"] - own_before, 0)
        return {"peak": (found["bytes"] + grown) / found["bytes"], "seconds": found["seconds"], "score": found["score"]}


def memory(threads: int, scale: float) -> dict:
    """Each side once."""
    n, p = max(5000, round(scale * 2_500_000)), 100
    name = "peak memory: 10 alphas x 5 folds over a large X"
    if not Path("/proc/self/status").exists():
        return {"case": name, "skipped": "it reads the memory of processes from /proc"}
    rows = {who: watched(who, n, p, threads) for who in SIDES}
    return {"case": name, "n": n, "p": p, "bytes": 4 * n * p, "target": TARGET, "rows": rows}


def table_of(one: dict) -> list[str]:
    """The markdown of the case."""
    if "skipped" in one:
        return [f"### {one['case']}", f"Skipped: {one['skipped']}."]
    rows = []
    for who, row in one["rows"].items():
        target = (f"≤ {one['target']:g}", "yes" if row["peak"] <= one["target"] else "no") if is_ours(who) else ("", "")
        rows.append([who, f"{row['peak']:.2f}", *target, duration(row["seconds"]), f"{row['score']:.4f}"])
    return [
        f"### {one['case']}",
        markdown(("", "peak / X", "target", "met", "time", "best mean accuracy"), rows),
        f"{one['n']:,} rows of {one['p']} features in float32, {one['bytes'] / 1e9:.2g} GB; no refit; SGD with "
        f"{EPOCHS} epochs. Each side once, in a separate process: the peak memory of it and its workers (shared "
        "memory counted once), less what they held when X had been made, plus X. Only memory is judged.",
    ]
