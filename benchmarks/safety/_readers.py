"""One reader and its damaged files: `python -m benchmarks.safety._readers FOLDER READER COUNT`.

Each file is read in a fork of a process that has read the original: imports and compilation are over then. A pickle
that was altered may run anything, so that the fork is in an empty folder and may neither grow nor last.
"""

import json
import math
import os
import pickle
import random
import resource
import select
import signal
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

MEMORY = 4 << 30  # bytes of the address space beyond what the process has
SECONDS = 10  # until a fork is killed
SLOW = 1.0  # seconds of the processor
ALLOWED = 16_000_000  # bytes beside twice the file and what the original takes
ROWS = 500


def _data() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0, n_jobs=1)).fit(*_data())


def _network() -> Any:
    import torch

    import lifecycle.torch as lt

    torch.manual_seed(0)
    return lt.MLP(64, 10, hidden=(64,)).eval()


def _rows_of_torch() -> Any:
    import torch

    return torch.from_numpy(_data()[0][:ROWS].astype(np.float32))


def _probabilities(model: Any) -> bytes:
    return np.asarray(model.predict_proba(_data()[0][:ROWS])).tobytes()


def _outputs(module: Any) -> bytes:
    import torch

    with torch.no_grad():
        return module(_rows_of_torch()).numpy().tobytes()


# each gives: a function that writes the file, one that reads it, one that gives the numbers of what was read, and the
# errors of the library


def _torch_export() -> tuple:
    import torch

    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(_network(), (_rows_of_torch(),), dynamic_shapes=({0: rows},))
    write = partial(torch.export.save, program)
    return write, torch.export.load, lambda found: _outputs(found.module()), ()


def _skops() -> tuple:
    import skops.io
    from skops.io import exceptions

    model = _forest()

    def read(path: str) -> Any:
        return skops.io.load(path, trusted=trusted)

    named = tuple(c for c in vars(exceptions).values() if isinstance(c, type) and issubclass(c, Exception))
    trusted = skops.io.get_untrusted_types(data=skops.io.dumps(model))
    return partial(skops.io.dump, model), read, _probabilities, named


def _joblib() -> tuple:
    import joblib

    return partial(joblib.dump, _forest()), joblib.load, _probabilities, ()


def _ours(model: Callable[[], Any], numbers: Callable[[Any], bytes], reader: str = "load", **options: Any) -> tuple:
    import lifecycle as lc

    write = partial(lc.save, model(), **{name: make() for name, make in options.items()})
    return write, getattr(lc, reader), numbers, (lc.CorruptBundle, lc.UnsupportedModel)


def _predicted(predictor: Any) -> bytes:
    return np.asarray(predictor.predict(_rows_of_torch().numpy())).tobytes()


READERS: dict[str, Callable[[], tuple]] = {
    "torch.export.load, MLP": _torch_export,
    "lc.load, MLP": partial(_ours, _network, _outputs),
    "lc.load_predictor, MLP": partial(_ours, _network, _predicted, "load_predictor", example=_rows_of_torch),
    "skops.io.load, forest": _skops,
    "joblib.load, forest": _joblib,
    "lc.load, forest": partial(_ours, _forest, _probabilities),
    "lc.inspect, forest": partial(_ours, _forest, lambda found: repr(found).encode(), "inspect"),
}


def damaged(data: bytes, kind: int, rng: random.Random) -> bytes:
    """The file cut off (0), with a flipped bit (1), or with one to eight other bytes in a row (2)."""
    place, changed = int(rng.random() * len(data)), bytearray(data)
    bit, length, noise = rng.randrange(8), rng.randint(1, 8), rng.randbytes(8)
    if kind == 0:
        del changed[place:]
    elif kind == 1:
        changed[place] ^= 1 << bit
    else:
        changed[place : place + length] = noise[: len(changed[place : place + length])]
    return bytes(changed)


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) * 1024


def _read_in_fork(read: Callable, numbers: Callable, named: tuple, path: str, bound: float, wanted: bytes) -> dict:
    """What became of one file."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        try:
            found = _read(read, numbers, named, path, bound, wanted)
            os.write(sending, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(sending)
    ready, _, _ = select.select([receiving], [], [], SECONDS)
    if not ready:
        os.kill(child, signal.SIGKILL)
    text = os.read(receiving, 1 << 16) if ready else b""
    os.close(receiving)
    os.waitpid(child, 0)
    if not ready:
        return {"outcome": "hang"}
    return dict(json.loads(text)) if text else {"outcome": "crash"}


def _read(read: Callable, numbers: Callable, named: tuple, path: str, bound: float, wanted: bytes) -> dict:
    """In the fork."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    limit = _status("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    Path("/proc/self/clear_refs").write_text("5")
    before, began = _status("VmRSS"), sum(os.times()[:2])
    error, model = None, None
    try:
        model = read(path)
    except BaseException as caught:
        error = caught
    seconds, grown = sum(os.times()[:2]) - began, _status("VmHWM") - before
    if seconds > SLOW:
        return {"outcome": "hang"}
    if grown > bound:
        return {"outcome": "memory"}
    if error is not None:
        if isinstance(error, (*named, zipfile.BadZipFile, pickle.UnpicklingError)):
            return {"outcome": "named error"}
        return {"outcome": "other exception", "class": type(error).__name__}
    try:
        same = numbers(model) == wanted
    except BaseException:
        same = False
    return {"outcome": "same numbers" if same else "other numbers", "grown": grown}


def main(folder: str, name: str, count: int) -> None:
    """Write and read the original, then read that many damaged files, and print what came of them as JSON."""
    warnings.simplefilter("ignore")
    os.chdir(folder)
    write, read, numbers, named = READERS[name]()
    suffix = {"torch": ".pt2", "skops": ".skops"}.get(name.partition(".")[0], "")
    path = f"file{suffix}"
    write(path)
    data = Path(path).read_bytes()
    wanted = numbers(read(path))
    original = _read_in_fork(read, numbers, named, path, math.inf, wanted)
    if original["outcome"] != "same numbers":
        raise RuntimeError(f"the original of {name}: {original}")
    rng, outcomes, others = random.Random(0), Counter(), Counter()
    for k in range(count):
        changed = damaged(data, k % 3, rng)
        if changed == data:
            changed = data[:-1]
        Path(path).write_bytes(changed)
        bound = original["grown"] + 2 * len(changed) + ALLOWED
        found = _read_in_fork(read, numbers, named, path, bound, wanted)
        outcomes[found["outcome"]] += 1
        others.update([found["class"]] if "class" in found else [])
    for left in set(os.listdir()) - {path}:
        print(f"{name}: a file was left: {left}", file=sys.stderr)
    found = {"reader": name, "bytes": len(data), "memory": original["grown"], "outcomes": dict(outcomes)}
    print(json.dumps({**found, "other_exceptions": dict(others.most_common())}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
