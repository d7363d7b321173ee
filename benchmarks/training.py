"""TorchClassifier.fit against a torch loop written by hand and against skorch, on scikit-learn's digits.

All train the same network from the same first weights with the same optimizer, batch size and epochs. Beside each time
stands its answer: the accuracy on rows that were not trained on.
"""

import copy
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt

from ._harness import alternate, markdown, record, summary, version_of
from .optimizers import duration

OURS, BY_HAND, SKORCH = "lifecycle", "torch, a loop by hand", "skorch"
BATCH, LR, EPOCHS = 128, 1e-3, 20
# case -> (network, shape of a sample, optimizer)
CASES: dict[str, tuple[Any, tuple[int, ...], Any]] = {
    "MLP, AdamW of lifecycle": (lambda: lt.MLP(64, 10), (64,), lt.AdamW),
    "MLP, AdamW of torch": (lambda: lt.MLP(64, 10), (64,), torch.optim.AdamW),
    "CNN, AdamW of lifecycle": (lambda: lt.CNN(1, 10, 8, channels=(16, 32)), (1, 8, 8), lt.AdamW),
}


class Ours:
    """TorchClassifier; a call fits it."""

    def __init__(self, net: nn.Module, optimizer: Any, X: np.ndarray, y: np.ndarray, epochs: int):
        self.model = lt.TorchClassifier(
            net, optimizer=optimizer, lr=LR, batch_size=BATCH, max_epochs=epochs, progress=False, random_state=0
        )
        self.data = X, y

    def __call__(self) -> None:
        self.model.fit(*self.data)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model.predict(X)


class ByHand:
    """The loop that one writes, with nothing that training does not need."""

    def __init__(self, net: nn.Module, optimizer: Any, X: np.ndarray, y: np.ndarray, epochs: int):
        self.first, self.optimizer, self.epochs = net, optimizer, epochs
        self.data = X, y

    def __call__(self) -> None:
        X, y = map(torch.from_numpy, self.data)
        torch.manual_seed(np.random.RandomState(0).randint(2**31 - 1))  # as Ours, so that the answer is the same
        self.net = copy.deepcopy(self.first)
        optimizer = self.optimizer(self.net.parameters(), lr=LR)
        self.net.train()
        for _ in range(self.epochs):
            for rows in torch.randperm(len(X)).split(BATCH):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(self.net(X[rows]), y[rows])
                loss.backward()
                optimizer.step()

    def predict(self, X: np.ndarray) -> np.ndarray:
        self.net.eval()
        with torch.no_grad():
            return self.net(torch.from_numpy(X)).argmax(dim=1).numpy()


class Skorch(Ours):
    """NeuralNetClassifier, with neither its validation split nor its printing."""

    def __init__(self, net: nn.Module, optimizer: Any, X: np.ndarray, y: np.ndarray, epochs: int):
        from skorch import NeuralNetClassifier

        torch.manual_seed(0)
        self.model = NeuralNetClassifier(
            copy.deepcopy, module__x=net, criterion=nn.CrossEntropyLoss, optimizer=optimizer, lr=LR, batch_size=BATCH,
            max_epochs=epochs, train_split=None, iterator_train__shuffle=True, verbose=0,
        )  # fmt: skip
        self.data = X, y


def measure(case: str, rounds: int, epochs: int) -> dict:
    """One network and optimizer: a record of all candidates."""
    make, shape, optimizer = CASES[case]
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32).reshape(-1, *shape)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=0)
    torch.manual_seed(0)
    candidates = {OURS: Ours, BY_HAND: ByHand} | ({} if version_of("skorch") == "not installed" else {SKORCH: Skorch})
    net = make()
    runs = {name: cls(net, optimizer, X, y, epochs) for name, cls in candidates.items()}
    rows = summary(alternate(runs, rounds), BY_HAND)
    for name, row in rows.items():
        row["accuracy"] = float(np.mean(runs[name].predict(X_test) == y_test))
    return {"case": case, "rows_trained": len(X), "rows_tested": len(X_test), "rows": rows}


def run(rounds: int = 20, threads: int = 2, scale: float = 1.0) -> dict:
    """All cases; `scale` < 1 trains for fewer epochs, to try the program."""
    torch.set_num_threads(threads)
    epochs = max(1, round(scale * EPOCHS))
    with lc.threads(threads):
        cases = [measure(case, rounds, epochs) for case in CASES]
    settings = {"rounds": rounds, "threads": threads, "scale": scale, "epochs": epochs, "batch_size": BATCH, "lr": LR,
                "skorch": version_of("skorch")}  # fmt: skip
    return record("training", settings=settings, cases=cases)


def table(result: dict) -> str:
    """The markdown tables of a record."""
    settings = result["settings"]
    lines = [
        "## Training an estimator",
        f"`TorchClassifier.fit` on scikit-learn's digits: {settings['epochs']} epochs, batches of "
        f"{settings['batch_size']}, lr {settings['lr']:g}, {settings['threads']} threads; median and quartiles of "
        f"{settings['rounds']} alternating runs in one process. × is the time as a multiple of the loop by hand, which "
        "has no checks, no history and no seed of its own. Accuracy is measured on held-out rows. "
        f"skorch: {settings['skorch']}.",
    ]
    for one in result["cases"]:
        lines.append(f"### {one['case']}")
        rows = [
            (who, duration(row["median"]), f"{duration(row['q1'])} – {duration(row['q3'])}", f"{row['ratio']:.2f}",
             f"{row['accuracy']:.4f}")
            for who, row in one["rows"].items()
        ]  # fmt: skip
        lines.append(markdown(("", "median", "quartiles", "×", "accuracy"), rows))
        lines.append(f"{one['rows_trained']:,} rows trained on, {one['rows_tested']:,} tested.")
    return "\n\n".join(lines) + "\n"
