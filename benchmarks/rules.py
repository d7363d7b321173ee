"""Every rule on two tasks, with its learning rate tuned in the same way.

The rate is the best of five around the rule's default, by the loss on a separate seed; then five other seeds.
"""

from statistics import fmean
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt

from ._harness import markdown, record
from .quality import Sequences, fit

FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0)
EXTRA = {"SGD": {"momentum": 0.9}}


class Digits:
    """scikit-learn's digits in lt.MLP."""

    name, epochs, batch = "digits, lt.MLP", 20, 64

    def __init__(self, scale: float):
        data = load_digits()
        x, y = torch.tensor(data.data / 16.0).float(), torch.tensor(data.target)
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
        train, test = order[:1200], order[1200:]
        self.train, self.test = (x[train], y[train]), (x[test], y[test])
        self.epochs = max(1, round(20 * scale))

    @staticmethod
    def net() -> nn.Module:
        return lt.MLP(64, 10)

    @staticmethod
    def outputs(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return net(x)


def run(rounds: int = 20, threads: int = 2, scale: float = 1.0) -> dict:
    """`rounds` is the number of seeds, five at most."""
    torch.set_num_threads(threads)
    tasks: list[Any] = [Digits(scale), Sequences(scale)]
    tasks[1].epochs = max(1, round(15 * scale))
    cases = []
    with lc.threads(threads):
        for task in tasks:
            rows = {}
            for rule in lc.list_rules().values():
                cls, extra = getattr(lt, rule.class_name), EXTRA.get(rule.class_name, {})

                def make(params, lr, weight_decay, cls=cls, extra=extra):
                    return cls(params, lr=lr, **extra)

                rates = [factor * rule.defaults["lr"] for factor in FACTORS]
                losses = {lr: fit(task, 1000, lr, make)["loss"] for lr in rates}
                lr = min(losses, key=lambda rate: losses[rate] if losses[rate] == losses[rate] else float("inf"))
                runs = [fit(task, seed, lr, make) for seed in range(min(rounds, 5))]
                name = ", ".join([rule.class_name, *(f"{k}={v}" for k, v in extra.items())])
                rows[name] = {"lr": lr, "default_lr": rule.defaults["lr"], "runs": runs}
            train_rows, test_rows = len(task.train[1]), len(task.test[1])
            sizes = {"epochs": task.epochs, "train_rows": train_rows, "test_rows": test_rows}
            cases.append({"case": task.name, **sizes, "rows": rows})
    return record("rules", settings={"seeds": min(rounds, 5), "scale": scale}, cases=cases)


def table(result: dict) -> str:
    """The markdown tables of a record."""
    settings = result["settings"]
    lines = [
        "## Rules",
        "Each rule with its default hyperparameters and the best of five learning rates from a tenth to ten times the "
        f"default, tuned on a separate seed; then {settings['seeds']} other seeds: mean and range on held-out rows. "
        "Sorted by loss.",
    ]
    for one in result["cases"]:
        rows = []
        for name, row in sorted(one["rows"].items(), key=lambda item: fmean(r["loss"] for r in item[1]["runs"])):
            cells = [name, f"{row['lr']:g}", f"{row['default_lr']:g}"]
            for what in ("loss", "accuracy"):
                values = [r[what] for r in row["runs"]]
                cells += [f"{fmean(values):.3f}", f"{min(values):.3f} – {max(values):.3f}"]
            rows.append(cells)
        columns = ("", "lr", "default lr", "loss", "range", "accuracy", "range")
        lines += [
            f"### {one['case']}",
            markdown(columns, rows),
            f"{one['train_rows']:,} training and {one['test_rows']:,} test rows, {one['epochs']} epochs.",
        ]
    return "\n\n".join(lines) + "\n"
