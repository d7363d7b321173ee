"""Peak memory and time of 4-bit quantization with gptq, each in a fresh process."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from .. import _data
from .._harness import memory_of

ROOT = Path(__file__).parents[2]
RESET = Path("/proc/self/clear_refs")  # a 5 sets the peak of a process to what it has in use
N_CALIBRATION = 128
N_LAYERS, WIDTH = 25, 2000
MOST_MEMORY, MOST_MINUTES = 1.3, 30.0


def minilm(rounds: int, scale: float) -> dict:
    """MiniLM, in groups of 64."""
    for name in ("MINILM", "NEWSGROUPS"):
        _data.path(name)  # raises here, not in the process
    _data.require("tokenizers")
    found = _fresh("minilm_in_process", max(16, round(scale * N_CALIBRATION)))
    about = (
        f"MiniLM, 4 bits in groups of 64, gptq with {found['rows']} texts to calibrate. The aim, beside the model that "
        f"is given, is {MOST_MEMORY} × its floats, which the result holds too, and one Hessian. "
    )
    return {"rows": _rows(found), "targets": [_memory_target(found)], "about": about + ABOUT}


def stack(rounds: int, scale: float) -> dict:
    """100 million parameters in linear layers."""
    n_layers, width = max(2, round(scale * N_LAYERS)), max(64, round(scale * WIDTH))
    found = _fresh("stack_in_process", n_layers, width, max(64, round(scale * 512)))
    about = (
        f"{n_layers} linear layers of {width} × {width} with ReLU between them, 4 bits, gptq with {found['rows']} "
        "rows to calibrate. "
    )
    minutes = {"what": "minutes", "measured": found["seconds"] / 60, "most": MOST_MINUTES}
    return {"rows": _rows(found), "targets": [_memory_target(found), minutes], "about": about + ABOUT}


def _memory_target(found: dict[str, Any]) -> dict[str, Any]:
    most = MOST_MEMORY + found["hessian"] / found["model"]
    return {"what": f"{GROWN} / float32 model", "measured": found["grown"] / found["model"], "most": most}


PEAK, GROWN = "peak over the imports", "peak over the imports and the model"
ABOUT = (
    "Peak: the most memory that the process had in use during the quantization, less what it had in use after its "
    "imports, or when the model had been made that is given and stays as it is. Kernels were compiled before. The "
    "Hessian is that of the layer with the most inputs, in float64."
)


def _rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    def row(size: float) -> dict[str, Any]:
        return {"MB": size / 1e6, "× float32 model": size / found["model"]}

    return {
        "float32 model": row(found["model"]),
        "largest Hessian": row(found["hessian"]),
        PEAK: row(found["peak"]) | {
            "seconds": found["seconds"], "relative error of the outputs": found["error"],
        },
        GROWN: row(found["grown"]),
        "quantized model, stored": row(found["stored"]),
    }  # fmt: skip


def _fresh(name: str, *arguments: int) -> dict[str, Any]:
    """What a function of this file finds in a process of its own."""
    if not (RESET.exists() and Path("/proc/self/status").exists()):
        raise FileNotFoundError("the peak memory of a process is read from /proc, which Linux has")
    call = f"print_result({name!r}, {torch.get_num_threads()}, *{arguments})"
    code = f"from benchmarks.compression import _memory; _memory.{call}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def print_result(name: str, threads: int, *arguments: int) -> None:
    """In the fresh process: compile on a small network, then measure."""
    import lifecycle as lc

    torch.set_num_threads(threads)
    with lc.threads(threads):
        small = nn.Sequential(nn.Linear(128, 8), nn.ReLU(), nn.Linear(8, 8))
        for group_size in (None, 64):
            lc.quantize(small, bits=4, group_size=group_size, method="gptq", calibration=torch.randn(64, 128))
        sys.stdout.write(json.dumps(globals()[name](*arguments)) + "\n")


def minilm_in_process(n_rows: int) -> dict[str, Any]:
    """Quantize MiniLM."""
    from . import _minilm

    folder = _data.path("MINILM")
    texts, _ = _data.newsgroup_texts("NEWSGROUPS", 2 * n_rows)
    tokens = _minilm.tokenize(folder, texts[: 2 * n_rows])
    rows, unseen = tokens[:n_rows], tokens[n_rows:]
    return _measured(lambda: _minilm.load(folder), rows, unseen, {"group_size": 64, "protect": _minilm.EMBEDDINGS})


def stack_in_process(n_layers: int, width: int, n_rows: int) -> dict[str, Any]:
    """Quantize a stack of linear layers."""
    generator = torch.Generator().manual_seed(0)
    rows, unseen = torch.randn(2 * n_rows, width, generator=generator).split(n_rows)

    def make() -> nn.Module:
        layers = []
        for _ in range(n_layers):
            layers += [nn.utils.skip_init(nn.Linear, width, width), nn.ReLU()]
            nn.init.normal_(layers[-2].weight, 0, (2 / width) ** 0.5, generator)
            nn.init.zeros_(layers[-2].bias)
        return nn.Sequential(*layers[:-1]).eval()

    return _measured(make, rows, unseen, {})


def _measured(
    make: Callable[[], nn.Module], rows: torch.Tensor, unseen: torch.Tensor, options: dict[str, Any]
) -> dict[str, Any]:
    import lifecycle as lc

    imported = memory_of("VmRSS")
    net = make()
    loaded = memory_of("VmRSS")
    RESET.write_text("5")
    begin = perf_counter()
    small = lc.quantize(net, bits=4, method="gptq", activations=None, calibration=rows, **options)
    seconds = perf_counter() - begin
    peak = memory_of("VmHWM")
    with torch.no_grad():
        before, after = net(unseen), small(unseen)
    most_inputs = max(m.in_features for m in net.modules() if isinstance(m, nn.Linear))
    return {
        "model": sum(p.numel() * p.element_size() for p in net.parameters()),
        "hessian": 8 * most_inputs**2,
        "peak": peak - imported,
        "grown": peak - loaded,
        "stored": lc.size_of(small),
        "seconds": seconds,
        "error": float((after - before).norm() / before.norm()),
        "rows": len(rows),
    }
