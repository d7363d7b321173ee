"""Mutated files, read one by one: `python -m tests.mutated_files COUNT [SEED]` prints what came of them.

Every file is one of `files/`, of either format, altered at random: in its manifest, its header, its tensors or its
bytes. The digests of most fit, so that the checks behind them are reached. Reading must give a model or the error of a
file. Anything else is a fault: another exception, an `into` that changed although the file does not fit it, a process
or a module of which the file made a start, a call of more than a second, more memory than twice the file and 16 MB
before all is checked, or much more memory afterwards. Models that are loaded predict, which may fail but not crash.
"""

import copy
import importlib
import math
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
from lifecycle.store import bundle_reader, limits
from lifecycle.store.header import DTYPES

from .forged_files import DIGEST, joined, parts_of
from .test_old_files import FORMATS, MODELS, RUNS, predictions, start

_NAMES = {stored: name for name, stored in DTYPES.items()}

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
    """The file with one to four random changes; most have digests that fit, so that what is behind them is reached."""
    if rng.random() < 0.08:
        return _damaged(data, rng)
    header, manifest, tensors = parts_of(data)
    raw_header, tensors = None, bytearray(tensors)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 4])):
        kind = rng.random()
        if kind < 0.55:
            _mutate_json(manifest, rng)
        elif kind < 0.62:
            _mutate_json({key: header[key] for key in header if key != "__metadata__"}, rng)
        elif kind < 0.72:
            _mutate_entry(header, rng)
        elif kind < 0.77:
            _rename_array(header, manifest, rng)
        elif kind < 0.84 and tensors:
            _mutate_numbers(header, tensors, rng)
        elif kind < 0.94 and tensors:
            _mutate_bytes(tensors, rng)
        else:
            raw_header = _raw_edit(rng)
    return joined(header, manifest, bytes(tensors), raw_header, right_sections=rng.random() < 0.93)


def _damaged(data, rng):
    """Bytes that are cut off, appended, flipped or overwritten, as by a disk; the digests stay as they were."""
    data, kind = bytearray(data), rng.random()
    begin = rng.randrange(len(data)) if rng.random() < 0.7 else rng.randrange(16)
    if kind < 0.3:
        del data[begin:]
    elif kind < 0.4:
        data += rng.randbytes(rng.choice([1, 8, 64, 4096]))
    elif kind < 0.5:
        data[:8] = rng.choice([0, 1, 7, len(data), 2**31, 2**63, 2**64 - 1, rng.randrange(len(data))]).to_bytes(
            8, "little"
        )
    elif kind < 0.6:
        data[begin:begin] = rng.randbytes(rng.choice([1, 8, 64]))
    else:
        for _ in range(rng.choice([1, 1, 2, 8])):
            data[rng.randrange(begin, len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _mutate_entry(header, rng):
    """Place, dtype or shape of a tensor: places that overlap or leave a gap, and sizes that do not fit."""
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    if not entries:
        return
    entry, other = rng.choice(entries), rng.choice(entries)
    kind = rng.random()
    try:
        if kind < 0.3:
            entry["data_offsets"][rng.randrange(2)] += rng.choice([-8, -4, -1, 1, 4, 8, 64, 2**40, -(2**63)])
        elif kind < 0.4:
            entry["data_offsets"] = list(other["data_offsets"])
        elif kind < 0.5:
            entry["data_offsets"], other["data_offsets"] = other["data_offsets"], entry["data_offsets"]
        elif kind < 0.75:
            entry["dtype"] = rng.choice([*DTYPES.values(), "BF16", "F8_E4M3", "C64", "f32", "", 1])
        elif kind < 0.9:
            entry["shape"] = rng.choice([[], [0], [-1], [2**62, 4], [0, 2**62], [1] * 65, entry["shape"][::-1], [1.0]])
        else:
            entry["shape"] = [*entry["shape"], 1]
    except (KeyError, IndexError, AttributeError):
        raise TypeError("an edit removed what this one needs") from None


NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    0.0,
    -0.0,
    -1.0,
    1e-45,
    1e38,
    1e308,
    2**31 - 1,
    2**63 - 1,
    -(2**63),
    255,
    65536,
]


def _mutate_numbers(header, tensors, rng):
    """One number of a tensor, or all: a scale that is NaN, a feature that no row has, a wrong place in a tree."""
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return
    name = rng.choice(names)
    try:
        (begin, end), dtype = header[name]["data_offsets"], np.dtype(_NAMES[header[name]["dtype"]])
        values = np.frombuffer(tensors, dtype, (end - begin) // dtype.itemsize, begin)
        if len(values):
            where = rng.randrange(len(values)) if rng.random() < 0.6 else slice(None)
            with np.errstate(all="ignore"):
                values[where] = np.array(rng.choice(NUMBERS)).astype(dtype)
    except (KeyError, ValueError, TypeError, OverflowError):
        raise TypeError("an edit removed what this one needs") from None


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


HOSTILE_NAMES = [
    *(
        "x",
        "../x",
        "/etc/passwd",
        "__class__",
        "__metadata__",
        "graph.onnx",
        "",
        ".",
        "a\0b",
        "a\x1b[2J",
        "a\u202eb",
        "\ud800",
    ),
    *("y" * 1000, "y" * 1001, "y" * 3000, "\u00e9", "e\u0301", "layers.0.WEIGHT", "nul", "a\r\nb"),
]


def _rename_array(header, manifest, rng):
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return
    old, new = rng.choice(names), rng.choice([*names, *HOSTILE_NAMES])
    header[new] = header.pop(old)
    if rng.random() < 0.7:
        for entry in manifest["arrays"].values() if isinstance(manifest.get("arrays"), dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("parts"), dict):
                entry["parts"] = {part: new if key == old else key for part, key in entry["parts"].items()}
    if rng.random() < 0.3 and isinstance(manifest.get("arrays"), dict) and old in manifest["arrays"]:
        manifest["arrays"][new] = manifest["arrays"].pop(old)


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
    """An edit of the text of a header: a few bytes, a key or an entry twice, or a header that is huge."""

    def edit(text):
        text, kind = bytearray(text), rng.random()
        after = DIGEST.match(text).end()  # what comes before is the place of the digest
        if kind < 0.5:
            begin = rng.randrange(after, len(text))
            text[begin : begin + rng.choice([0, 1, 2])] = rng.choice(
                [b"", b"}", b"]", b",", b'"', b"\\", b"\xff", b"\0", b"NaN", b"1e999", b"9" * 5000, b"[" * 200]
            )
        elif kind < 0.7:  # a field of the manifest or of an entry twice
            fields = list(re.finditer(rb'\\"\w+\\":(\d+|null|\{\}|\[\])|"[\w.:]+":("\w+"|\[[\d,]*\])', text))
            field = rng.choice([one for one in fields if one.start() >= after] or [None])
            if field is not None:
                text[field.end() : field.end()] = b"," + field[0]
        elif kind < 0.8:
            text += b" " * rng.choice([1, 64, 10**6])
        elif kind < 0.9:
            filler = rng.choice([b"[]," * 10**5, b"{}," * 10**5, b'{"":0},' * 10**5, b"0," * 10**5])
            text[-1:] = b',"x":[' + filler + b"0]}"
        else:
            text[-1:] = b',"x":"' + b"y" * 10**6 + rng.choice([b"", b"\\ud83d", "\U0001f600".encode()]) + b'"}'
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
    errors: Counter = field(default_factory=Counter)  # by the words of the sentence
    faults: list = field(default_factory=list)
    slow: list = field(default_factory=list)
    slowest: tuple = (0.0, "")  # seconds of the processor
    largest: tuple = (0, "")  # bytes of memory beyond what the process had before

    def __post_init__(self):
        self.path = self.folder / "f"

    def read(self, data, label, name, into=None, run=None):
        """Read a file in every way that fits it."""
        self.path.write_bytes(data)
        self._call("check", label, self._read, bound=2 * len(data) + limits.MEMORY)
        if run is None:
            loaded = []
            if self._call("load", label, lambda: loaded.append(lc.load(self.path))):
                self._call("predict", label, lambda: predictions(name, loaded[0]), Exception)
        if into is not None:
            target = copy.deepcopy(into)
            before = state_of(target)
            done = self._call("load into", label, lambda: lc.load(self.path, into=target), ValueError)
            if not done and state_of(target) != before:
                self.faults.append(f"{label}: into changed although the file does not fit it")
        if run is not None:
            parts = run()
            before = state_of(parts[0])
            arguments = dict(zip(("model", "optimizer", "scheduler"), parts, strict=True))
            done = self._call("checkpoint", label, lambda: lc.load_checkpoint(self.path, **arguments), ValueError)
            if done:  # a forged state of a generator must not make it read memory that is not its own
                torch.rand(2000), np.random.rand(2000), random.random()
            elif state_of(parts[0]) != before:
                self.faults.append(f"{label}: the model changed although the file does not fit it")
        self._call("inspect", label, lambda: (found := lc.inspect(self.path), repr(found), found._repr_html_()))

    def _read(self):
        with bundle_reader.reading(self.path.name, "a model"):
            bundle_reader.graph_of(bundle_reader.read(self.path))

    def _call(self, way, label, call, *also, bound=None):
        global _events
        memory, began, _events = Memory(), time.process_time(), []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call()
            outcome = "loaded"
        except (lc.CorruptBundle, lc.UnsupportedModel, *also) as error:
            outcome = "file error"
            self.errors[" ".join(re.findall("[a-z]{2,}", str(error))[:8])] += way == "check"
            if len(str(error)) > 1000 and way != "predict":
                self.faults.append(f"{way} {label}: a message of {len(str(error))} characters")
        except Exception as error:
            outcome = "fault"
            self.faults.append(f"{way} {label}: {type(error).__name__}: {str(error)[:300]}")
        seconds, events, _events = time.process_time() - began, _events, None
        if events:
            self.faults.append(f"{way} {label}: {events[:3]}")
        if bound is not None and memory.growth() > bound:
            self.faults.append(f"{way} {label}: {memory.growth():,} bytes of memory, and {bound:,} are allowed")
        if seconds > 1:
            self.slow.append(f"{way} {label}: {seconds:.1f} s")
        self.outcomes[f"{way}: {outcome}"] += 1
        self.slowest = max(self.slowest, (seconds, f"{way} {label}"))
        self.largest = max(self.largest, (memory.growth(), f"{way} {label}"))
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
    """Label, name, bytes, what to fill and how to make a run, of every file that is altered."""
    for version, folder in FORMATS.items():
        for name in MODELS:
            path = folder / f"{name}.safetensors"
            yield f"{name}, {version}", name, path.read_bytes(), lc.load(path), None
        for name in RUNS:
            path = folder / f"{name}.safetensors"
            yield f"{name}, {version}", name, path.read_bytes(), None, lambda name=name: start(name)
    path = FORMATS["format 2"] / "with-graph.safetensors"
    yield "with a graph, format 2", "linear-regressor", path.read_bytes(), lc.load(path), None


def read_mutated_files(folder, count, seed=0, progress=None):
    """Read `count` mutated files; every import that reading needs was done before, by reading the originals."""
    sys.addaudithook(audit)
    "\x1b".encode("unicode_escape")  # imported by Python for the first name with a control character
    importlib.import_module("multiprocessing.dummy")  # by joblib for the first file that asks for threads
    rng, files = random.Random(seed), list(originals())
    for reader in (Reader(Path(folder)), Reader(Path(folder))):
        for label, name, data, into, run in files:
            reader.read(data, f"{label}: original", name, into, run)
            reader.read(data[:-1], f"{label}: original", name, into, run)
    if reader.faults:
        raise AssertionError(reader.faults)
    reader = Reader(Path(folder))
    for k in range(count):
        label, name, data, into, run = files[k % len(files)]
        try:
            changed = mutated(data, rng)
        except (AttributeError, RecursionError, TypeError):
            reader.outcomes["no file"] += 1  # an edit removed what the next one needs
            continue
        reader.read(changed, f"{label}: {k}", name, into if rng.random() < 0.3 else None, run)
        if progress and k % progress == 0:
            print(k, dict(reader.outcomes), reader.faults[-1:], flush=True)
    return reader


def main(count, seed=0):
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        reader = read_mutated_files(folder, count, seed, progress=2000)
        print(f"{count:,} mutated files, seed {seed}: {time.perf_counter() - began:.0f} s")
        print_report(reader)
    return bool(reader.faults or reader.slow)


def print_report(reader):
    """Print what came of the files."""
    lines = [f"{outcome}: {n:,}" for outcome, n in sorted(reader.outcomes.items())]
    lines += [f"  {n:,} × {words}" for words, n in reader.errors.most_common(40) if n]
    lines.append(f"slowest: {reader.slowest[0]:.2f} s of the processor ({reader.slowest[1]})")
    lines.append(f"largest: {reader.largest[0] / 1e6:.1f} MB ({reader.largest[1]})")
    lines += [f"slow: {len(reader.slow)}", *reader.slow[:20], f"faults: {len(reader.faults)}", *reader.faults[:50]]
    print(*lines, sep="\n  ")


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
