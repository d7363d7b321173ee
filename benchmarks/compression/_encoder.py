"""MiniLM, compressed in several ways: errors of its layers, and the accuracy of a classifier of its embeddings."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch

import lifecycle as lc
from lifecycle.torch import adapter

from ._minilm import EMBEDDINGS
from ._probe import Probe, accuracy_cells, at_most

N_CALIBRATION = 128


def quantized(rounds: int, scale: float) -> dict:
    """4-bit codes of the linear layers, in groups of 64."""
    options = {"bits": 4, "group_size": 64, "activations": None, "protect": EMBEDDINGS}
    ways: dict[str, Callable] = {
        "absmax": lambda net, rows: lc.quantize(net, method="absmax", **options),
        "mse": lambda net, rows: lc.quantize(net, method="mse", **options),
        "gptq": lambda net, rows: lc.quantize(net, method="gptq", calibration=rows, **options),
    }
    one, before, hits = _measured(ways, scale)
    row = one["rows"]["gptq"]
    targets = [
        {"what": "gptq: layer error, of absmax", "measured": row["layer error"], "most": 0.7},
        {"what": "gptq: bytes a linear weight", "measured": row["bytes a linear weight"], "most": 0.6},
        at_most("gptq", before, hits["gptq"], 0.01),
    ]
    return one | {"targets": targets}


def pruned(rounds: int, scale: float) -> dict:
    """Half of the weights of every linear layer."""
    options = {"scope": "layer", "protect": EMBEDDINGS}
    ways: dict[str, Callable] = {
        "magnitude": lambda net, rows: lc.prune(net, 0.5, **options),
        "wanda": lambda net, rows: lc.prune(net, 0.5, method="wanda", calibration=rows, **options),
        "obs": lambda net, rows: lc.prune(net, 0.5, method="obs", calibration=rows, **options),
    }
    one, before, hits = _measured(ways, scale)
    half = float(before.mean() - hits["magnitude"].mean()) / 2
    return one | {"targets": [at_most("obs, half of the drop of magnitude allowed", before, hits["obs"], half)]}


def _measured(ways: dict[str, Callable], scale: float) -> tuple[dict, np.ndarray, dict[str, np.ndarray]]:
    probe = Probe.load(scale)
    net, calibration, unseen = probe.net, probe.tokens[:N_CALIBRATION], probe.test_tokens[:N_CALIBRATION]
    before = probe.hits(net)
    rows: dict[str, dict[str, Any]] = {"float32": _row(before, before, None, None, net)}
    errors: dict[str, np.ndarray] = {}
    hits: dict[str, np.ndarray] = {}
    for name, compress in ways.items():
        start = perf_counter()
        small = compress(net, calibration)
        seconds = perf_counter() - start
        errors[name] = _layer_errors(net, small, unseen)
        ratio = float(np.exp(np.mean(np.log(errors[name] / errors[next(iter(ways))]))))
        hits[name] = probe.hits(small)
        rows[name] = _row(before, hits[name], ratio, seconds, small)
    about = (
        f"{probe.about} {N_CALIBRATION} texts calibrate. Accuracy with its 95 % interval; the drop with that of the "
        "paired rows. The layer error is that of the outputs on texts not seen before, as a multiple of "
        f"{next(iter(ways))}'s: the geometric mean of the linear layers, each given the float32 model's inputs."
    )
    return {"rows": rows, "about": about}, before, hits


def _row(before: np.ndarray, after: np.ndarray, ratio: float | None, seconds: float | None, net: Any) -> dict[str, Any]:
    linear = {layer.name: int(np.prod(layer.shape)) for layer in adapter.layers(net) if layer.kind == "linear"}
    rest = sum(p.numel() * p.element_size() for name, p in net.state_dict().items() if name not in linear)
    return {
        **accuracy_cells(before, after),
        "layer error": ratio,
        "bytes a linear weight": (lc.size_of(net) - rest) / sum(linear.values()),
        "seconds": seconds,
    }


@torch.no_grad()
def _layer_errors(net: Any, small: Any, tokens: torch.Tensor) -> np.ndarray:
    """Of each linear layer the squared change of its outputs, for the inputs that it has in `net`."""
    errors = []
    linear = [layer.name for layer in adapter.layers(net) if layer.kind == "linear"]
    for name, (moments,) in adapter.second_moments(net, linear, tokens).items():
        change = adapter.read_weight(net, name) - adapter.read_weight(small, name)
        errors.append(float(np.einsum("ij,jk,ik", change, moments, change)))
    return np.array(errors)
