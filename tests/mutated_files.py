"""Mutated files with a right checksum, read one by one: `python -m tests.mutated_files COUNT [SEED]` prints what came.

Every file is one of `files/`, altered at random: in its manifest, its header, its tensors or its bytes. Reading it must
give a model or the error of a file. Anything else is a fault: another exception, an `into` that changed although the
file does not fit it, a process or a module of which the file made a start, and much more memory than the file has.
"""

import copy
import random
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

import lifecycle as lc

from .forged_files import joined, parts_of
from .test_old_files import FILES, MODELS, RUNS, start

JUNK = [
    *(None, True, False, 0, 1, -1, 2, 7, 64, 10**5, 10**12, 2**31 - 1, 2**63, -(2**63), 10**300, 0.5, -1.5, 1e308),
    *("", "x", "__class__", "os.system", "float64", "complex128", "int8", "bitmask", "passthrough", "drop", "\x1b[2J"),
    *("x" * 100_000, "é" * 1000, "9" * 400, "a.b.c", "torch.module", "checkpoint", "object", "<U4", "layers.0.weight"),
    *([], {}, [[]], [None], ["a"], [0, 1], [0] * 5000, ["x"] * 3000, {"a": 1}, {"x": {"y": {"z": []}}}),
    {"$optimizer": "Adam", "value": 3},
    {"$optimizer": "SGD", "value": {"$dict": [["lr", 1]]}},
    {"$array": "<U100000", "value": ["x"] * 50},
    {"$array": "|O", "value": [[], [1], {"$tuple": []}]},
    {"$array": "<f8", "value": [[1.0] * 50] * 50},
    {"$numpy": "<i8", "value": 10**18},
    {"$numpy": "<U9999999", "value": "x"},
    {"$float": "nan"},
    {"$tuple": [1, "x", None]},
    {"$dict": [[[], 1]]},
    {"$counter": [[1, 2]]},
    {"$tensor": "model.a.weight", "dtype": "float32", "order": [0, 1]},
]


def nested(value, depth, rng):
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def mutated(data, rng):
    """The file with one to four random changes, and a checksum that fits."""
    header, manifest, tensors = parts_of(data)
    raw_header, tensors = None, bytearray(tensors)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 4])):
        kind = rng.random()
        if kind < 0.65:
            _mutate_json(manifest, rng)
        elif kind < 0.75:
            _mutate_json({key: header[key] for key in header if key != "__metadata__"}, rng)
        elif kind < 0.8:
            _rename_array(header, manifest, rng)
        elif kind < 0.95 and tensors:
            _mutate_bytes(tensors, rng)
        else:
            raw_header = _raw_edit(rng)
    return joined(header, manifest, bytes(tensors), raw_header)


def places(value):
    """Every (container, key) of nested lists and dicts."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])


def _mutate_json(root, rng):
    every = [(box, key) for box, key in places(root) if key not in ("sha256",)]
    if not every:
        return
    box, key = rng.choice(every)
    kind = rng.random()
    if kind < 0.35:
        box[key] = copy.deepcopy(rng.choice(JUNK))
    elif kind < 0.5:  # a value from elsewhere
        other, other_key = rng.choice(every)
        box[key] = copy.deepcopy(other[other_key])
    elif kind < 0.6 and isinstance(box, dict):
        del box[key]
    elif kind < 0.7 and isinstance(box[key], list) and box[key]:
        box[key] = box[key] * rng.choice([2, 3, 1000])
    elif kind < 0.85 and type(box[key]) in (int, float):
        box[key] = rng.choice([-1, 0, 1, 10, 10**6, 10**12]) * box[key] + rng.choice([-1, 0, 1])
    elif kind < 0.9:
        box[key] = nested(box[key], rng.choice([1, 2, 60, 300]), rng)
    elif isinstance(box, dict):
        box[rng.choice(["x", "missing", "__init__", "n_jobs", "random_state", "x" * 5000])] = box[key]
    elif rng.random() < 0.5:
        box.insert(key, copy.deepcopy(rng.choice(JUNK)))
    else:
        del box[key]


def _rename_array(header, manifest, rng):
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return
    old, new = rng.choice(names), rng.choice([*names, "x", "../x", "__class__", "y" * 3000])
    header[new] = header.pop(old)
    if rng.random() < 0.7:
        for entry in manifest["arrays"].values() if isinstance(manifest.get("arrays"), dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("parts"), dict):
                entry["parts"] = {part: new if key == old else key for part, key in entry["parts"].items()}


def _mutate_bytes(tensors, rng):
    size = rng.choice([1, 1, 4, 8, 64, len(tensors)])
    begin = rng.randrange(len(tensors))
    end = min(begin + size, len(tensors))
    fill = rng.choice([b"\0", b"\xff", b"\x7f", None])
    tensors[begin:end] = fill * (end - begin) if fill else rng.randbytes(end - begin)
    if rng.random() < 0.1:
        del tensors[rng.randrange(len(tensors)) :]
    elif rng.random() < 0.1:
        tensors += bytes(rng.choice([1, 8, 4096]))


def _raw_edit(rng):
    def edit(text):
        text, begin = bytearray(text), rng.randrange(len(text))
        digest = re.search(rb'"lifecycle":"\{\\"sha256\\":\\"[0-9a-f]{64}\\"', bytes(text)).span()
        if not digest[0] - 8 <= begin < digest[1]:
            end = begin + rng.choice([0, 1, 2])
            text[begin:end] = rng.choice([b"", b"}", b"]", b",", b'"', b"\xff", b"9" * 5000])
        return bytes(text)

    return edit


# -- reading -----------------------------------------------------------------------------------------------------------

# what no file may cause; other events, such as reading our own modules, are usual
FORBIDDEN = re.compile(r"os\.(system|exec|posix_spawn|fork|remove|rename)|subprocess|socket|ctypes|pickle|marshal")
_events: list | None = None


def audit(event, arguments):
    """An audit hook of `sys`, which stays for the rest of the process."""
    if _events is not None and (FORBIDDEN.match(event) or event == "import"):
        if event != "import" or str(arguments[0]) not in sys.modules:
            _events.append(f"{event} {str(arguments)[:100]}")


@dataclass
class Reader:
    """Reads files, and keeps what came of them."""

    folder: Path
    outcomes: Counter = field(default_factory=Counter)
    faults: list = field(default_factory=list)
    slowest: tuple = (0.0, "")  # seconds of the processor
    largest: tuple = (0, "")  # bytes of memory beyond what the process had before

    def __post_init__(self):
        self.path = self.folder / "f"

    def read(self, data, label, into=None, run=None):
        """Read a file in every way that fits it."""
        self.path.write_bytes(data)
        if run is None:
            self._call(f"load {label}", lambda: lc.load(self.path))
        if into is not None:
            target = copy.deepcopy(into)
            before = state_of(target)
            done = self._call(f"load into {label}", lambda: lc.load(self.path, into=target), ValueError)
            if not done and state_of(target) != before:
                self.faults.append(f"{label}: into changed although the file does not fit it")
        if run is not None:
            parts = run()
            before = state_of(parts[0])
            arguments = dict(zip(("model", "optimizer", "scheduler"), parts, strict=True))
            done = self._call(f"checkpoint {label}", lambda: lc.load_checkpoint(self.path, **arguments), ValueError)
            if done:  # a forged state of a generator must not make it read memory that is not its own
                torch.rand(2000), np.random.rand(2000), random.random()
            elif state_of(parts[0]) != before:
                self.faults.append(f"{label}: the model changed although the file does not fit it")
        self._call(f"inspect {label}", lambda: (found := lc.inspect(self.path), repr(found), found._repr_html_()))

    def _call(self, label, call, *also):
        global _events
        memory, began, _events = Memory(), time.process_time(), []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call()
            outcome = "loaded"
        except (lc.CorruptBundle, lc.UnsupportedModel, *also) as error:
            outcome = "file error"
            if len(str(error)) > 1000:
                self.faults.append(f"{label}: a message of {len(str(error))} characters")
        except Exception as error:
            outcome = "fault"
            self.faults.append(f"{label}: {type(error).__name__}: {str(error)[:300]}")
        events, _events = _events, None
        if events:
            self.faults.append(f"{label}: {events[:3]}")
        self.outcomes[f"{label.partition(':')[0].rpartition(' ')[0]}: {outcome}"] += 1
        self.slowest = max(self.slowest, (time.process_time() - began, label))
        self.largest = max(self.largest, (memory.growth(), label))
        return outcome == "loaded"


def state_of(model):
    """What loading changes, to compare."""
    if isinstance(model, nn.Module):
        values = {k: (v.dtype, v.shape, v.numpy(force=True).tobytes()) for k, v in floats(model.state_dict()).items()}
        return [type(m).__name__ for m in model.modules()], values
    return {k: repr(v) if not isinstance(v, nn.Module) else state_of(v) for k, v in vars(model).items()}


def floats(state):
    return {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in state.items()}


class Memory:
    """The largest resident memory since this was made, where Linux tells; else none."""

    def __init__(self):
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            pass
        self.before = self._status("VmRSS")

    def growth(self):
        return max(0, self._status("VmHWM") - self.before)

    @staticmethod
    def _status(name):
        try:
            text = Path("/proc/self/status").read_text()
        except OSError:
            return 0
        return int(re.search(rf"{name}:\s+(\d+)", text)[1]) * 1024


def originals():
    """Name, bytes, what to fill and how to make a run, of every file that is altered."""
    for name in MODELS:
        path = FILES / f"{name}.safetensors"
        yield name, path.read_bytes(), lc.load(path), None
    for name in RUNS:
        yield name, (FILES / f"{name}.safetensors").read_bytes(), None, lambda name=name: start(name)


def read_mutated_files(folder, count, seed=0, progress=None):
    """Read `count` mutated files; every import that reading needs was done before, by reading the originals."""
    sys.addaudithook(audit)
    "\x1b".encode("unicode_escape")  # imported by Python for the first name with a control character
    rng, files = random.Random(seed), list(originals())
    for reader in (Reader(Path(folder)), Reader(Path(folder))):
        for name, data, into, run in files:
            reader.read(data, f"{name}: original", into, run)
            reader.read(data[:-1], f"{name}: original", into, run)
    if reader.faults:
        raise AssertionError(reader.faults)
    reader = Reader(Path(folder))
    for k in range(count):
        name, data, into, run = files[k % len(files)]
        try:
            changed = mutated(data, rng)
        except (AttributeError, RecursionError, TypeError):
            continue  # no file: an edit removed what the next one needs
        reader.read(changed, f"{name}: {k}", into if rng.random() < 0.3 else None, run)
        if progress and k % progress == 0:
            print(k, dict(reader.outcomes), reader.faults[-1:], flush=True)
    return reader


def main(count, seed=0):
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        reader = read_mutated_files(folder, count, seed, progress=2000)
        print(f"{count:,} files with a right checksum, seed {seed}: {time.perf_counter() - began:.0f} s")
        for outcome, n in sorted(reader.outcomes.items()):
            print(f"  {outcome}: {n:,}")
        print(f"  slowest: {reader.slowest[0]:.2f} s of the processor ({reader.slowest[1]})")
        print(f"  largest: {reader.largest[0] / 1e6:.1f} MB ({reader.largest[1]})")
        print(f"  faults: {len(reader.faults)}", *reader.faults[:50], sep="\n    ")
    return bool(reader.faults)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
