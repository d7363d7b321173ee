"""A sample of the training rows, drawn by leverage scores, and objectives over it.

Row i is drawn with probability min(1, ½ (l_i / mean(l) + 1) m / n), to give about m of n rows, and counts for one over
that. l_i = Σ_j x_ij² / Σ_i x_ij² (+ one over the size of its class) is its leverage score if the features were
orthogonal; rows drawn evenly would leave rare features out. Source: Cohen et al., Uniform Sampling for Matrix
Approximation (2015).
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np

from lifecycle._threads import map_ordered, single_threaded_blas
from lifecycle.linear.data.design_matrix import DesignMatrix
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.data.products import squared
from lifecycle.linear.data.sample_weights import SampleWeights
from lifecycle.linear.newton.dense_objective import DenseDesign, DenseObjective

_MIN_ROWS_PER_VARIABLE = 3  # with fewer, the Hessian of one training set says too little of that of another
_SAMPLE_ROWS, _SAMPLE_ROWS_PER_VARIABLE = 4096, 4  # of which the larger number of rows is drawn
_MORE_ROWS_PER_VARIABLE, _LARGEST_SHARE = 28, 16  # up to a part of the rows, more of them save iterations
_MIN_REDUCTION = 4  # rows for each sampled one from which L-BFGS on the sample pays
_FEW_PRODUCTS = 1 << 24  # multiplications of a Hessian of all rows, up to which no sample is needed
# multiplications and elements of X, of Hessians of single training sets
_MAX_PRODUCTS, _MAX_ELEMENTS = 1 << 29, 1 << 22
_CACHE_ELEMENTS = 1 << 26


class Subsample:
    """The sample of a problem's rows, with as many rows as Hessians of its variables need."""

    def __init__(self, problem: Problem):
        self.problem, n_features = problem, problem.design.n_features
        n_variables = problem.n_joint_variables
        more_rows = min(_MORE_ROWS_PER_VARIABLE * (n_features + 1), problem.design.n_samples // _LARGEST_SHARE)
        self.n_rows = max(_SAMPLE_ROWS, _SAMPLE_ROWS_PER_VARIABLE * (n_features + 1), more_rows)
        if problem.design.n_samples * n_variables**2 <= _FEW_PRODUCTS:
            self.n_rows = problem.design.n_samples
        self.max_rows = max(self.n_rows, min(_MAX_PRODUCTS // n_variables**2, _MAX_ELEMENTS // n_features))
        self.trained = np.asarray(problem.weights.counts[:, np.unique(problem.train_set)].any(axis=1))
        self.leverage = np.ones(problem.design.n_samples, np.float32)
        if np.count_nonzero(self.trained) > self.n_rows:
            self.leverage = _leverage_scores(problem, self.trained)
        self._cache: dict[tuple, DenseObjective] = {}

    def objective(self, models: list[int]) -> DenseObjective:
        """The objective of models that differ in their training sets only, with the mean weights of these."""
        problem, m = self.problem, models[0]
        train_sets = tuple(np.unique(problem.train_set[models]).tolist())
        if train_sets not in self._cache:
            trained = np.asarray((problem.weights.counts[:, train_sets] != 0).any(axis=1))
            rows, weights = self.draw(trained, self.n_rows)
            weights = weights * np.mean([problem.weights.of_set(k, rows) for k in train_sets], axis=0)
            if sum(cached.design.X.size for cached in self._cache.values()) > _CACHE_ELEMENTS:
                self._cache.clear()
            design, targets = self.read(rows, weights / weights.sum())
            self._cache[train_sets] = DenseObjective(design, targets, problem.loss, problem.multinomial, 0.0, 0.0)
        l2_weight = float(problem.l2_weight[m])
        return replace(self._cache[train_sets], l2_weight=l2_weight, epsilon=float(problem.epsilon[m]))

    def sampled_problem(self) -> Problem | None:
        """The problem on the sample, each model on its own training rows of it; None where that would not pay."""
        problem, (rows, weights) = self.problem, self.draw(self.trained, self.n_rows)
        counts = problem.weights.counts[rows]
        if len(rows) * _MIN_REDUCTION > problem.design.n_samples or not self.has_enough_rows(counts).all():
            return None
        design, y = DesignMatrix(problem.design.take(rows)), problem.y[rows]
        sampled = SampleWeights(counts * weights[:, None], np.float64)
        return replace(problem, design=design, y=y, weights=sampled, sample_weight=None)

    def has_enough_rows(self, counts: np.ndarray) -> np.ndarray:
        """(n_sets,): whether the counts (rows, n_sets) have enough rows for the Hessian of the problem's variables."""
        return np.count_nonzero(counts, axis=0) > _MIN_ROWS_PER_VARIABLE * (self.problem.design.n_features + 1)

    def draw(self, trained: np.ndarray, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """About `n_rows` of the rows that are marked, and how many each stands for."""
        n = np.count_nonzero(trained)
        if n <= n_rows:
            return np.flatnonzero(trained), np.ones(n)
        mean_leverage = self.leverage[trained].mean() or 1.0
        # RandomState(0), the seed of so many splitters, would draw the very rows that a fold holds out
        rows, weights, rng = [], [], np.random.default_rng(0)
        for begin, end in self.problem.design.chunks():
            probability = np.minimum(1.0, (self.leverage[begin:end] / mean_leverage + 1.0) * (0.5 * n_rows / n))
            drawn = np.flatnonzero(trained[begin:end] & (rng.random(end - begin) < probability))
            rows.append(begin + drawn)
            weights.append(1.0 / probability[drawn])
        return np.concatenate(rows), np.concatenate(weights)

    def read(self, rows: np.ndarray, weights: np.ndarray) -> tuple[DenseDesign, np.ndarray]:
        """The design of these rows, less the shift of the features, with these weights; and their targets."""
        problem = self.problem
        matrix = np.ones((len(rows), problem.design.n_features + problem.fit_intercept))
        np.subtract(
            problem.design.take(rows), problem.features.shared_frame.shift, out=matrix[:, : problem.design.n_features]
        )
        design = DenseDesign(matrix, weights, problem.fit_intercept)
        return design, problem.encode_targets(problem.y[rows]).astype(np.float64)


def group_by_penalty(problem: Problem, models: Iterable[int], separate: Collection[int] = ()) -> list[list[int]]:
    """Models that differ in their training sets only, from the strongest penalty to the weakest; those in `separate`
    are groups of one."""
    groups: dict[tuple, list[int]] = {}
    for m in models:
        key = float(problem.alpha[m]), float(problem.l1_ratio[m]), float(problem.epsilon[m]), m if m in separate else -1
        groups.setdefault(key, []).append(m)
    return [groups[key] for key in sorted(groups, reverse=True)]


def _leverage_scores(problem: Problem, trained: np.ndarray) -> np.ndarray:
    """(n,): squared features, each over its mean square in the training sets, and for classes one over their size."""
    features, frame = problem.features, problem.features.shared_frame
    sums = problem.design.n_samples * (features.variance + (features.center - frame.shift) ** 2).mean(axis=0)
    unit = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)

    def squares(rows: tuple[int, int]) -> np.ndarray:
        X = problem.design.read(*rows, frame.shift)
        return squared(X) @ unit

    with single_threaded_blas():
        parts = map_ordered(squares, list(problem.design.chunks()), problem.design.n_stored)
        scores = np.concatenate(list(parts)).astype(np.float32)
    if problem.loss.task == "classification":
        codes = problem.y.astype(np.intp)
        of_class = 1.0 / np.maximum(np.bincount(codes, weights=trained), 1.0)
        scores += of_class[codes].astype(np.float32)
    return scores
