"""compress with its certificate: a CNN on Fashion-MNIST, and whether the certificates hold on rows never seen."""

from time import perf_counter
from typing import Any

import numpy as np

import lifecycle as lc

from .. import _data
from ._probe import accuracy_cells
from ._timing import about_vnni, at_least, cells, seconds_of

N_TRAIN = 40_000
MAX_DROP = 0.01
BEFORE, SMALL, FAST = "before", 'objective="bytes"', 'objective="latency", batch_size=32'
OBJECTIVES: dict[str, dict[str, Any]] = {SMALL: {}, FAST: {"objective": "latency", "batch_size": 32}}


def fashion(rounds: int, scale: float) -> dict:
    """Two convolutions and a linear layer, trained for some epochs; the test set stays untouched."""
    from torch import nn

    import lifecycle.torch as lt

    X, y, X_test, y_test = _data.fashion_images(scale)
    n_train = round(len(y) * N_TRAIN / 60_000)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip
    model = lt.TorchClassifier(net, max_epochs=6, lr=2e-3, lr_scheduler="cosine", random_state=0, progress=False)
    model.fit(X[:n_train], y[:n_train])
    models, facts, candidates = {BEFORE: model}, dict[str, dict[str, Any]](), dict[str, list[str]]()
    for who, options in OBJECTIVES.items():
        start = perf_counter()
        result = lc.compress(
            model, X[n_train:], y[n_train:], max_drop=MAX_DROP, random_state=0, progress=False, **options
        )
        models[who] = result.model
        facts[who] = {"drop, certified": f"< {result.certificate.bound:.4f}", "seconds": perf_counter() - start}
        candidates[who] = [one.description for one in result.candidates]
    rows: dict[str, dict[str, Any]] = {}
    hits = {who: one.predict(X_test) == y_test for who, one in models.items()}
    for who, one in models.items():
        rows[who] = {
            "bytes": lc.size_of(one),
            "times smaller": lc.size_of(model) / lc.size_of(one),
            "accuracy on the test set": float(np.mean(hits[who])),
        }
        if who != BEFORE:
            rows[who] |= facts[who] | {
                "drop on the test set": accuracy_cells(hits[BEFORE], hits[who])["drop"],
                "holds on the test set": bool(np.mean(hits[BEFORE]) - np.mean(hits[who]) < MAX_DROP),
            }
    small = {"what": f"{SMALL}: times smaller", "measured": rows[SMALL]["times smaller"], "least": 12.0}
    targets: list[dict[str, Any]] = [small]
    for batch in (32, 1):
        calls = {who: lambda one=one, x=X_test[:batch]: one.predict(x) for who, one in models.items()}
        seconds = seconds_of(calls, rounds)
        for who in models:
            rows[who] |= {f"{name}, batch {batch}": value for name, value in cells(seconds, who, BEFORE).items()}
        if batch == 32:
            targets.append(at_least(f"{FAST}, batch {batch}", seconds, BEFORE, FAST, 1.5))
    about = (
        f"{n_train:,} images to train, {len(y) - n_train:,} to search and certify, {len(y_test):,} untouched; "
        f"max_drop={MAX_DROP}. The drop on the test set has the 95 % interval of its paired rows. {about_vnni()}"
    )
    return {"rows": rows, "targets": targets, "about": about, "candidates": candidates}
