"""Channels removed from a residual network and the fine-tuning after it, beside Torch-Pruning at equal cost."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import lifecycle as lc

from .. import _data
from . import _peers, _resnet
from ._timing import at_least, cells, seconds_of

OURS, PEER, BASELINE = "lifecycle", "Torch-Pruning, group L2", "before"
N_TRAIN, N_CALIBRATION = 20_000, 512
EPOCHS, FINE_TUNING_EPOCHS = 5, 2
LR, FINE_TUNING_LR = 0.1, 0.05
SEEDS = (0, 1, 2)
AMOUNT = 0.3  # of the channels
LEAST_DIFFERENCE = -0.005
LEAST_SPEED = 0.98  # as fast as the peer: networks of the same shapes differ by so much from run to run


def measure(rounds: int, scale: float, width: int = 8, depth: int = 3) -> dict:
    """Fashion-MNIST; the pruned networks are fine-tuned with several seeds, both with the same."""
    X, y, X_test, y_test = (torch.from_numpy(np.ascontiguousarray(part)) for part in _data.fashion_images(scale))
    n_train = max(500, round(scale * N_TRAIN))
    X, y, y_test = X[:n_train], y[:n_train].long(), y_test.long()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = _resnet.ResNet(width, depth)
    _resnet.train(net, X, y, EPOCHS, LR, seed=0)
    pruned: dict[str, nn.Module] = {OURS: lc.prune(net, AMOUNT, structure="channels", calibration=X[:N_CALIBRATION])}
    left_out = _peers.missing("torch-pruning")
    if not left_out:
        pruned[PEER] = _of_equal_macs(net, X[:1], _resnet.count_macs(pruned[OURS], X[:1]))
    rows: dict[str, dict[str, Any]] = {BASELINE: _row(net, _resnet.hits(net, X_test, y_test)[None], X[:1])}
    hits = {}
    for who, small in pruned.items():
        tuned = [_resnet.train(copy.deepcopy(small), X, y, FINE_TUNING_EPOCHS, FINE_TUNING_LR, seed) for seed in SEEDS]
        hits[who] = np.array([_resnet.hits(one, X_test, y_test) for one in tuned])
        before = {"accuracy before fine-tuning": float(_resnet.hits(small, X_test, y_test).mean())}
        rows[who] = _row(small, hits[who], X[:1]) | before
    targets = []
    if PEER in hits:
        low, mean, high = interval_of_difference(hits[OURS], hits[PEER])
        what = f"accuracy less that of {PEER}: lower end of the 95 % interval"
        targets.append({"what": what, "measured": low, "low": low, "high": high, "least": LEAST_DIFFERENCE})
        rows[OURS]["difference"] = f"{mean:+.4f} ({low:+.4f} – {high:+.4f})"
    for batch in (1, 64):
        x, every = X_test[:batch].contiguous(), {BASELINE: net} | pruned
        calls: dict[str, Callable[[], Any]] = {who: lambda one=one, x=x: one(x) for who, one in every.items()}
        seconds = seconds_of(calls, rounds)
        for who in every:
            rows[who] |= {f"{name}, batch {batch}": value for name, value in cells(seconds, who, BASELINE).items()}
        if PEER in hits:
            targets.append(at_least(f"batch {batch}", seconds, PEER, OURS, LEAST_SPEED))
    about = (
        f"A residual network of {3 * 2 * depth + 2} layers, width {width}, trained on {n_train:,} images of "
        f"Fashion-MNIST for {EPOCHS} epochs, then {AMOUNT:.0%} of its channels removed by their magnitude "
        f"({N_CALIBRATION} images calibrate), and {FINE_TUNING_EPOCHS} epochs of fine-tuning with {len(SEEDS)} seeds. "
        "Torch-Pruning removes channels of all layers in one step, so many that it has as many multiplications "
        "(MACs) as possible of the same number, and is fine-tuned with the same seeds. Accuracy on "
        f"{len(y_test):,} test images: mean of the seeds, and the smallest and largest; the difference with its 95 % "
        f"interval over the images, paired, each the mean of the seeds. {rounds} alternating rounds."
        + _peers.about_missing(left_out)
    )
    return {"rows": rows, "targets": targets, "about": about}


def _of_equal_macs(net: nn.Module, example: torch.Tensor, macs: int) -> nn.Module:
    """What the peer prunes to the nearest number of multiplications: a bisection of its ratio."""
    low, high = 0.0, 0.9
    found = []
    for _ in range(10):
        ratio = (low + high) / 2
        found.append(_peers.group_l2(net, example, ratio, [net.head]))
        own = _resnet.count_macs(found[-1], example)
        low, high = (ratio, high) if own > macs else (low, ratio)
    return min(found, key=lambda one: abs(_resnet.count_macs(one, example) - macs))


def _row(net: nn.Module, hits: np.ndarray, example: torch.Tensor) -> dict[str, Any]:
    accuracies = hits.mean(axis=1)
    spread = f" ({accuracies.min():.4f} – {accuracies.max():.4f})" if len(hits) > 1 else ""
    return {
        "MACs": _resnet.count_macs(net, example),
        "bytes": lc.size_of(net),
        "accuracy": f"{accuracies.mean():.4f}{spread}",
    }


def interval_of_difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Lower end, mean and upper end of the 95 % interval of the mean difference of the images' hits (seeds, images)."""
    differences = ours.mean(axis=0) - theirs.mean(axis=0)
    mean, error = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return mean - 1.96 * error, mean, mean + 1.96 * error
