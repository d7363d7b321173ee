"""A save that is killed at any moment leaves the old file or the new one, complete, and the next save cleans up."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lifecycle.store import bundle, bundle_reader

# one save after the other; the numbers of a file say which save wrote it
SAVING = """
import sys
from pathlib import Path
import numpy as np
from lifecycle.store import bundle
k = int(sys.argv[2])
while True:
    arrays = {f"array{i}": np.full(500_000, k, np.int32) for i in range(5)}
    print(k, flush=True)
    bundle.write(Path(sys.argv[1]), {"kind": "numbers"}, arrays, {"save": k}, small=False)
    k += 1
"""


def killed(path, first, seconds):
    """Save again and again, and kill the process after this time; the last save that began."""
    process = subprocess.Popen([sys.executable, "-c", SAVING, str(path), str(first)], stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    lines = process.communicate()[0].split()
    return int(lines[-1]) if lines else first


def save_of(path):
    """The save that wrote the file: all of it."""
    with bundle_reader.reading(path.name, "numbers"):
        stored = bundle_reader.read(path)
    save = stored.manifest["metadata"]["save"]
    arrays = bundle_reader.arrays_of(stored)
    assert len(arrays) == 5
    assert all(np.array_equal(array, np.full(500_000, save)) for array in arrays.values())
    return save


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="only POSIX kills a process like this")
@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_a_killed_save_leaves_the_old_file_or_the_new_one(kills, tmp_path):
    path, rng = tmp_path / "f", random.Random(kills)
    arrays = {f"array{i}": np.zeros(500_000, np.int32) for i in range(5)}
    bundle.write(path, {"kind": "numbers"}, arrays, {"save": 0}, small=False)
    found, last, interrupted = 0, 0, 0
    for _ in range(kills):
        before, first = found, last + 1
        last = killed(path, first, rng.uniform(0, 0.2))
        found = save_of(path)
        assert found in (last, last - 1 if last > first else before)
        interrupted += len(list(tmp_path.iterdir())) > 1
    if kills > 50:
        assert interrupted > 0  # some were killed while they wrote
    bundle.write(path, {"kind": "numbers"}, {"array": np.zeros(3)}, None, small=False)
    assert list(tmp_path.iterdir()) == [path]
