"""Some of the rows that models train on, and Newton's problems over them."""

from dataclasses import replace
from typing import Any

import numpy as np

from lifecycle.linear.data.design_matrix import DesignMatrix
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.data.sample_weights import SampleWeights
from lifecycle.linear.newton.dense_objective import Dense

FEW = 3  # rows for each variable
_SIZE, _PER_VARIABLE = 4096, 4  # rows from which models start, or so many for each variable if that is more
_WORTH = 4  # rows for each sampled one from which they are worth a start
_PRODUCTS, _ELEMENTS = 1 << 29, 1 << 22  # multiplications, and numbers read, of Hessians for those who are slow
_STEP_PRODUCTS = 1 << 31  # multiplications of one Newton step that are not too many
_HELD = 1 << 26  # numbers of samples that are kept


class Samples:
    """DesignMatrix are drawn in proportion to how much they weigh in the directions of the single features (their leverage if
    these were orthogonal; Cohen et al., 2015), or rare features would go unseen, and count for what they stand for.
    """

    def __init__(self, task: Problem):
        variables = (task.design.n_features + 1) * (task.n_outputs if task.multinomial else 1)
        self.task, self.size = task, max(_SIZE, _PER_VARIABLE * (task.design.n_features + 1))
        self.trained = np.asarray(task.weights.counts[:, np.unique(task.train_set)].any(axis=1))
        sampled = np.count_nonzero(self.trained) > self.size
        self.leverage = _leverage(task, self.trained) if sampled else np.ones(task.design.n_samples, np.float32)
        self.most = max(self.size, min(_PRODUCTS // variables**2, _ELEMENTS // task.design.n_features))
        self.affords_all = task.design.n_samples * variables**2 <= _STEP_PRODUCTS and task.design.n_stored <= _ELEMENTS
        self.drawn: dict[tuple, tuple[Dense, bool]] = {}

    def few(self) -> Problem | None:
        """The task on some rows, for models to start from: each sees its own of them. None where it would not pay."""
        task, (rows, weights) = self.task, self.draw(self.trained, self.size)
        counts = task.weights.counts[rows]
        enough = np.count_nonzero(counts, axis=0).min() > FEW * (task.design.n_features + 1)
        if len(rows) * _WORTH > task.design.n_samples or not enough:
            return None
        own = SampleWeights(counts * weights[:, None], np.float64)
        design = DesignMatrix(task.design.take(rows))
        return replace(task, design=design, y=task.y[rows], weights=own, sample_weight=None)

    def problem(self, models: list[int], everything: bool = False) -> tuple[Dense, bool]:
        """The problem of models that differ in their rows only, on a sample, and whether these are all of them."""
        columns = tuple(np.unique(self.task.train_set[models]).tolist())
        if columns not in self.drawn or everything:
            trained = np.asarray((self.task.weights.counts[:, columns] != 0).any(axis=1))
            rows, weights = self.draw(trained, self.task.design.n_samples if everything else self.size)
            weights = weights * np.mean([self.task.weights.of_set(k, rows) for k in columns], axis=0)
            if sum(kept.X.size for kept, _ in self.drawn.values()) > _HELD:
                self.drawn.clear()
            kept = Dense(*self.take(rows), weights / weights.sum(), self.task.loss, self.task.multinomial, 0.0, 0.0,
                         self.task.fit_intercept)  # fmt: skip
            kept.table, kept.squares  # noqa: B018  (made once, for all penalties)
            self.drawn[columns] = kept, np.count_nonzero(trained) <= self.size
        kept, whole = self.drawn[columns]
        task, m = self.task, models[0]
        ridge = float(task.alpha[m] * task.penalty.gradient(1.0, task.l1_ratio[m]))
        return kept.varied(ridge=ridge, epsilon=float(task.epsilon[m])), whole

    def draw(self, trained: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """About `size` of the rows that are marked, and how many each stands for."""
        n = np.count_nonzero(trained)
        if n <= size:
            return np.flatnonzero(trained), np.ones(n)
        even = self.leverage[trained].mean() or 1.0  # one half by leverage, one half evenly
        # RandomState(0), the seed of so many splitters, would draw the very rows that a fold holds out
        rows, weights, draws = [], [], np.random.default_rng(0)
        for begin, end in self.task.design.chunks():
            chance = np.minimum(1.0, (self.leverage[begin:end] / even + 1.0) * (0.5 * size / n))
            here = np.flatnonzero(trained[begin:end] & (draws.random(end - begin) < chance))
            rows.append(begin + here)
            weights.append(1.0 / chance[here])
        return np.concatenate(rows), np.concatenate(weights)

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """X, seen from the shift, and the targets of these rows."""
        return self.task.design.take(rows) - self.task.features.shift, self.task.encode_targets(
            self.task.y[rows]
        ).astype(np.float64)


def _leverage(task: Problem, trained: np.ndarray) -> np.ndarray:
    """(n,): squared features over their sums over the rows that are marked, added, and so for classes."""
    sums, found = np.zeros(task.design.n_features), np.empty(task.design.n_samples, np.float32)
    for begin, end in task.design.chunks():
        sums += trained[begin:end].astype(np.float64) @ _squares(task, begin, end)
    unit = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
    of_class = np.zeros(1)
    if task.loss.task == "classification":
        of_class = 1.0 / np.maximum(np.bincount(task.y.astype(np.intp), weights=trained), 1.0)
    for begin, end in task.design.chunks():
        found[begin:end] = _squares(task, begin, end) @ unit
        found[begin:end] += of_class[task.y[begin:end].astype(np.intp)] if len(of_class) > 1 else 0.0
    return found


def _squares(task: Problem, begin: int, end: int) -> Any:
    X = task.design.read(begin, end, task.features.shift)
    return X.multiply(X).toarray() if task.design.sparse else X * X
