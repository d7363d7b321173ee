"""What states and parameters of two bytes or one cost in quality: the same training, several seeds each.

States: AdamW with float32, bfloat16 and int8 slots. Parameters: bfloat16 ones whose step is rounded stochastically
(what `lifecycle.torch` does), to the nearest, or to the nearest with the rest kept in two bytes more (compensation).
The learning rate is tuned once, for float32, on a seed of its own.
"""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import lifecycle as lc
import lifecycle.torch as lt

from ._harness import markdown, record

IMAGES = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
SEQUENCES = Path(os.environ.get("JAPANESE_VOWELS", "aeon/datasets/data/JapaneseVowels"))
RATES = (3e-4, 1e-3, 3e-3)
STATES: dict[str, dict] = {
    "float32 states": {}, "bfloat16 states": {"state_dtype": "bfloat16"}, "int8 states": {"state_dtype": "int8"},
}  # fmt: skip
BASE = "float32 states"


class Rounded:
    """AdamW over bfloat16 parameters that are rounded to the nearest, the rest of it kept or thrown away."""

    def __init__(self, params: list[nn.Parameter], *, keep: bool, **options: Any):
        self.params = params
        self.wide = [nn.Parameter(p.detach().float()) for p in params]
        self.rest = [torch.zeros_like(p) for p in params]
        self.optimizer = lt.AdamW(self.wide, **options)
        self.keep = keep

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for p, wide, rest in zip(self.params, self.wide, self.rest, strict=True):
            wide.copy_(p.float() + rest.float())
            wide.grad = p.grad.float()
        self.optimizer.step()
        for p, wide, rest in zip(self.params, self.wide, self.rest, strict=True):
            p.copy_(wide)
            if self.keep:
                rest.copy_(wide - p.float())


PARAMETERS: dict[str, Callable] = {
    "rounded stochastically": lambda params, **options: lt.AdamW(params, state_dtype="float32", **options),
    "rounded to the nearest": lambda params, **options: Rounded(params, keep=False, **options),
    "to the nearest, compensated": lambda params, **options: Rounded(params, keep=True, **options),
}


class Images:
    """Fashion-MNIST in the reference CNN, which takes 32×32 pixels in three channels."""

    name, epochs, batch, seeds = "Fashion-MNIST, the reference CNN", 4, 64, 5

    def __init__(self, scale: float):
        n_train, n_test = round(10_000 * scale), round(10_000 * scale)
        self.train, self.test = self._read("train", n_train), self._read("t10k", n_test)

    @staticmethod
    def _read(part: str, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        def idx(kind: str, offset: int) -> np.ndarray:
            with gzip.open(IMAGES / f"{part}-{kind}-ubyte.gz") as file:
                return np.frombuffer(file.read(), np.uint8, offset=offset)

        pixels = torch.tensor(idx("images-idx3", 16).reshape(-1, 1, 28, 28)[:n]).float() / 255.0
        return nn.functional.pad((pixels - 0.286) / 0.353, (2, 2, 2, 2)), torch.tensor(idx("labels-idx1", 8)[:n]).long()

    @staticmethod
    def net() -> nn.Module:
        from tests.networks import reference_cnn

        return reference_cnn()

    @staticmethod
    def outputs(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return net(x.expand(-1, 3, -1, -1).to(next(net.parameters()).dtype)).float()


class Sequences:
    """JapaneseVowels in a bidirectional LSTM: which of nine speakers spoke, from 7 to 29 time steps of 12 numbers."""

    name, epochs, batch, seeds = "JapaneseVowels, lt.RNN", 60, 16, 25  # few rows: the loss differs by half of itself

    def __init__(self, scale: float):
        self.train, self.test = self._read("TRAIN"), self._read("TEST")
        self.epochs = max(1, round(60 * scale))

    @staticmethod
    def _read(part: str) -> tuple[list[torch.Tensor], torch.Tensor]:
        lines = (SEQUENCES / f"JapaneseVowels_{part}.ts").read_text().partition("@data\n")[2].splitlines()
        rows, labels = [], []
        for line in lines:
            *dimensions, label = line.split(":")
            rows.append(torch.tensor([[float(v) for v in d.split(",")] for d in dimensions]).t())
            labels.append(int(label) - 1)
        return rows, torch.tensor(labels)

    @staticmethod
    def net() -> nn.Module:
        return lt.RNN(12, 9, hidden_size=64, bidirectional=True)

    @staticmethod
    def outputs(net: nn.Module, x: list[torch.Tensor]) -> torch.Tensor:
        dtype = next(net.parameters()).dtype
        padded = nn.utils.rnn.pad_sequence([row.to(dtype) for row in x], batch_first=True)
        return net(padded, lengths=torch.tensor([len(row) for row in x])).float()


def rows_of(x: Any, rows: torch.Tensor) -> Any:
    return x[rows] if isinstance(x, torch.Tensor) else [x[i] for i in rows.tolist()]


def fit(task: Any, seed: int, lr: float, make: Callable, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Train one network from its seed; its loss and accuracy on rows that it was not trained on."""
    torch.manual_seed(seed)
    net = task.net().to(dtype)
    optimizer = make(list(net.parameters()), lr=lr, weight_decay=1e-2)
    (x, y), order = task.train, torch.Generator().manual_seed(seed)
    for _ in range(task.epochs):
        for rows in torch.randperm(len(y), generator=order).split(task.batch):
            optimizer.zero_grad()
            cross_entropy(task.outputs(net, rows_of(x, rows)), y[rows]).backward()
            optimizer.step()
    net.eval()
    x, y = task.test
    with torch.no_grad():
        found = torch.cat([task.outputs(net, rows_of(x, rows)) for rows in torch.arange(len(y)).split(500)])
    return {"loss": float(cross_entropy(found, y)), "accuracy": float((found.argmax(1) == y).float().mean())}


def run(rounds: int = 20, threads: int = 2, scale: float = 1.0) -> dict:
    """`rounds` is the number of seeds, at most those that a task asks for; five for the ways to round parameters."""
    torch.set_num_threads(threads)
    cases = []
    with lc.threads(threads):
        for make_task in (Images, Sequences):
            task = make_task(scale)
            tried = {lr: fit(task, 1000, lr, lt.AdamW)["loss"] for lr in RATES}
            lr = min(tried, key=tried.__getitem__)
            makers = {
                name: (lambda params, options=options, **more: lt.AdamW(params, **options, **more), torch.float32)
                for name, options in STATES.items()
            }
            makers |= {f"bfloat16 parameters, {name}": (make, torch.bfloat16) for name, make in PARAMETERS.items()}
            found: dict[str, list[dict]] = {name: [] for name in makers}
            for seed in range(min(rounds, task.seeds)):
                for name, (make, dtype) in makers.items():
                    if seed < 5 or dtype is torch.float32:
                        found[name].append(fit(task, seed, lr, make, dtype))
            cases.append({"case": task.name, "lr": lr, "epochs": task.epochs, "train_rows": len(task.train[1]),
                          "test_rows": len(task.test[1]), "rows": found})  # fmt: skip
    settings = {"scale": scale, "rates": RATES}
    return record("quality", settings=settings, cases=cases)


def table(result: dict) -> str:
    """The markdown tables of a record."""
    settings = result["settings"]
    lines = [
        "## Quality of small states and parameters",
        "AdamW, the same training for every row, for several seeds (first weights and order of the rows): "
        "mean ± its standard error, and range, on held-out rows. The learning rate is "
        f"the best of {', '.join(f'{lr:g}' for lr in settings['rates'])} for float32 on another seed.",
    ]
    for one in result["cases"]:
        lines.append(f"### {one['case']}")
        base = {what: [r[what] for r in one["rows"][BASE]] for what in ("loss", "accuracy")}
        rows = []
        for name, runs in one["rows"].items():
            cells = [name, str(len(runs))]
            for what in ("loss", "accuracy"):
                values = [r[what] for r in runs]
                error = f" ± {stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
                cells += [f"{fmean(values):.4f}{error}", f"{min(values):.4f} – {max(values):.4f}"]
            inside = all(
                min(base[what]) <= fmean([r[what] for r in runs]) <= max(base[what]) for what in ("loss", "accuracy")
            )
            rows.append([*cells, "yes" if inside else "no"])
        columns = ("", "seeds", "loss", "range", "accuracy", "range", "means in float32's range")
        lines += [
            markdown(columns, rows),
            f"{one['train_rows']:,} training and {one['test_rows']:,} test rows, {one['epochs']} epochs, "
            f"lr {one['lr']:g}.",
        ]
    return "\n\n".join(lines) + "\n"
