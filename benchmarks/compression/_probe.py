"""What compression does to the answers: a linear classifier of MiniLM's embeddings, and drops with their intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import lifecycle as lc
from lifecycle.evaluation.paired_proportions import drop_upper_bound
from lifecycle.evaluation.proportion import proportion_interval
from lifecycle.torch import adapter

from .. import _data
from . import _minilm

N_TRAIN, N_TEST = 3000, 2000


@dataclass
class Probe:
    """A classifier of the texts of 20 Newsgroups, trained on the embeddings of the float32 network."""

    net: nn.Module
    tokens: torch.Tensor
    test_tokens: torch.Tensor
    labels: np.ndarray
    test_labels: np.ndarray
    classifier: lc.LinearClassifier

    @classmethod
    def load(cls, scale: float) -> "Probe":
        """FileNotFoundError without MiniLM or the texts."""
        folder = _data.path("MINILM")
        net = _minilm.load(folder)
        texts, labels = _data.newsgroup_texts("NEWSGROUPS", N_TRAIN, scale)
        test_texts, test_labels = _data.newsgroup_texts("NEWSGROUPS_TEST", N_TEST, scale)
        tokens, test_tokens = _minilm.tokenize(folder, texts), _minilm.tokenize(folder, test_texts)
        classifier = lc.LinearClassifier(alpha=1e-5, progress=False).fit(adapter.outputs(net, tokens), labels)
        return cls(net, tokens, test_tokens, labels, test_labels, classifier)

    def hits(self, embed: nn.Module | Callable[[torch.Tensor], np.ndarray]) -> np.ndarray:
        """Which of the test texts are classified right from the embeddings of another network."""
        embeddings = (
            adapter.outputs(embed, self.test_tokens) if isinstance(embed, nn.Module) else embed(self.test_tokens)
        )
        return self.classifier.predict(embeddings) == self.test_labels

    @property
    def about(self) -> str:
        """A sentence for the table."""
        return (
            f"Texts of 20 Newsgroups, {len(self.labels)} to train a linear classifier of the float32 embeddings, "
            f"{len(self.test_labels)} others to test it on those of each model."
        )


def accuracy_cells(before: np.ndarray, after: np.ndarray) -> dict[str, str]:
    """Accuracy of a compressed model with its 95 % interval, and its drop with that of the paired rows."""
    accuracy = proportion_interval(int(after.sum()), len(after), 0.95)
    worse, better = int((before & ~after).sum()), int((after & ~before).sum())
    low = -drop_upper_bound(better, worse, len(after), 0.975)
    high = drop_upper_bound(worse, better, len(after), 0.975)
    return {
        "accuracy": f"{accuracy.value:.4f} ({accuracy.low:.4f} – {accuracy.high:.4f})",
        "drop": "" if after is before else f"{(worse - better) / len(after):.4f} ({low:.4f} – {high:.4f})",
    }


def at_most(what: str, before: np.ndarray, after: np.ndarray, most: float) -> dict[str, Any]:
    """A target for the drop of the accuracy: see `_tables.targets_of`."""
    drop = float(before.mean() - after.mean())
    return {"what": f"{what}: drop of the accuracy", "measured": drop, "most": most}
