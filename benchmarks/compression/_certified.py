"""compress with its certificate: a CNN on Fashion-MNIST, and whether the certificate holds on rows never seen."""

from time import perf_counter
from typing import Any

import numpy as np

import lifecycle as lc

from .. import _data

N_TRAIN = 40_000


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
    start = perf_counter()
    result = lc.compress(model, X[n_train:], y[n_train:], max_drop=0.01, random_state=0, progress=False)
    seconds = perf_counter() - start
    rows: dict[str, dict[str, Any]] = {}
    for who, one in (("before", model), ("after", result.model)):
        rows[who] = {
            "bytes": lc.size_of(one),
            "times smaller": lc.size_of(model) / lc.size_of(one),
            "accuracy on the test set": float(np.mean(one.predict(X_test) == y_test)),
        }
    rows["after"] |= {
        "drop, certified": f"< {result.certificate.bound:.4f}",
        "certificate holds on the test set": bool(
            rows["before"]["accuracy on the test set"] - rows["after"]["accuracy on the test set"] < 0.01
        ),
        "seconds": seconds,
    }
    about = f"{n_train} images to train, {len(y) - n_train} to search and certify, {len(y_test)} untouched."
    return {"rows": rows, "about": about, "candidates": [one.description for one in result.candidates]}
