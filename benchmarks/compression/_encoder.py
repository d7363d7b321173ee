"""MiniLM, compressed in several ways: errors of its layers, and the accuracy of a classifier of its embeddings."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch

import lifecycle as lc
from lifecycle.evaluation.paired_proportions import drop_upper_bound
from lifecycle.evaluation.proportion import proportion_interval
from lifecycle.torch import adapter

from .. import _data
from . import _minilm

N_TRAIN, N_TEST, N_CALIBRATION = 3000, 2000, 128
EMBEDDINGS = ("words", "positions", "segments")


def quantized(rounds: int, scale: float) -> dict:
    """4-bit codes of the linear layers, in groups of 64."""
    options = {"bits": 4, "group_size": 64, "activations": None, "protect": EMBEDDINGS}
    ways: dict[str, Callable] = {
        "absmax": lambda net, rows: lc.quantize(net, method="absmax", **options),
        "mse": lambda net, rows: lc.quantize(net, method="mse", **options),
        "gptq": lambda net, rows: lc.quantize(net, method="gptq", calibration=rows, **options),
    }
    return _measured(ways, scale)


def pruned(rounds: int, scale: float) -> dict:
    """Half of the weights of every linear layer."""
    options = {"scope": "layer", "protect": EMBEDDINGS}
    ways: dict[str, Callable] = {
        "magnitude": lambda net, rows: lc.prune(net, 0.5, **options),
        "wanda": lambda net, rows: lc.prune(net, 0.5, method="wanda", calibration=rows, **options),
        "obs": lambda net, rows: lc.prune(net, 0.5, method="obs", calibration=rows, **options),
    }
    return _measured(ways, scale)


def _measured(ways: dict[str, Callable], scale: float) -> dict:
    folder = _data.path("MINILM")
    net = _minilm.load(folder)
    texts, labels = _data.newsgroup_texts("NEWSGROUPS", N_TRAIN, scale)
    test_texts, test_labels = _data.newsgroup_texts("NEWSGROUPS_TEST", N_TEST, scale)
    tokens, test_tokens = _minilm.tokenize(folder, texts), _minilm.tokenize(folder, test_texts)
    calibration, unseen = tokens[:N_CALIBRATION], test_tokens[:N_CALIBRATION]
    classifier = lc.LinearClassifier(alpha=1e-5, progress=False).fit(adapter.outputs(net, tokens), labels)
    before = classifier.predict(adapter.outputs(net, test_tokens)) == test_labels
    rows: dict[str, dict[str, Any]] = {"float32": _row(before, before, None, None, net)}
    errors: dict[str, np.ndarray] = {}
    for name, compress in ways.items():
        start = perf_counter()
        small = compress(net, calibration)
        seconds = perf_counter() - start
        after = classifier.predict(adapter.outputs(small, test_tokens)) == test_labels
        errors[name] = _layer_errors(net, small, unseen)
        ratio = float(np.exp(np.mean(np.log(errors[name] / errors[next(iter(ways))]))))
        rows[name] = _row(before, after, ratio, seconds, small)
    about = (
        f"Texts of 20 Newsgroups, {len(labels)} to train a linear classifier of the float32 embeddings, "
        f"{len(test_labels)} others to test it on those of each model; {N_CALIBRATION} texts calibrate. Accuracy with "
        "its 95 % interval; the drop with that of the paired rows. The layer error is that of the outputs on texts not "
        f"seen before, as a multiple of {next(iter(ways))}'s: the geometric mean of the linear layers, each given the "
        "float32 model's inputs."
    )
    return {"rows": rows, "about": about}


def _row(before: np.ndarray, after: np.ndarray, ratio: float | None, seconds: float | None, net: Any) -> dict[str, Any]:
    accuracy = proportion_interval(int(after.sum()), len(after), 0.95)
    worse, better = int((before & ~after).sum()), int((after & ~before).sum())
    low = -drop_upper_bound(better, worse, len(after), 0.975)
    high = drop_upper_bound(worse, better, len(after), 0.975)
    linear = {layer.name: int(np.prod(layer.shape)) for layer in adapter.layers(net) if layer.kind == "linear"}
    rest = sum(p.numel() * p.element_size() for name, p in net.state_dict().items() if name not in linear)
    return {
        "accuracy": f"{accuracy.value:.4f} ({accuracy.low:.4f} – {accuracy.high:.4f})",
        "drop": "" if seconds is None else f"{(worse - better) / len(after):.4f} ({low:.4f} – {high:.4f})",
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
