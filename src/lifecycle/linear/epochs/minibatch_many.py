"""Epochs of mini-batches for many models: SIMD runs across models, threads across blocks of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle._threads import map_ordered, num_threads
from lifecycle.linear.capabilities import Capabilities
from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.epochs.model_blocks import CsrSgdBlock, MinibatchBlock, ModelBlock, SgdBlock, SharedState
from lifecycle.linear.epochs.row_order import RowOrder, first_averaged_step, n_steps
from lifecycle.linear.epochs.solver import EpochSolver
from lifecycle.linear.learning_rate import is_proximal
from lifecycle.linear.training_options import TrainingOptions
from lifecycle.optim import Optimizer

# of steps for single rows with the penalty's proximal step, which on sparse rows has to be a factor
SGD_CAPABILITIES = Capabilities(losses="any", penalties="any", sparse_penalties="without l1")
MINIBATCH_CAPABILITIES = Capabilities(losses="any", penalties="any", sparse_penalties="none")


class ManyModels(EpochSolver):
    """Blocks of (model, output) pairs, each of which runs on one thread."""

    def __init__(self, problem: Problem, frame: CentredFrame, coef: np.ndarray, intercept: np.ndarray,
                 optimizers: Sequence[Optimizer], batch_size: int, options: TrainingOptions):  # fmt: skip
        self.problem, self.frame, self.batch_size = problem, frame, batch_size
        self.y = np.asarray(problem.y, problem.design.dtype)
        self.order = RowOrder(problem.design, options.shuffle, options.random_state)
        self.average_from, self.t = first_averaged_step(options.average, batch_size), 0
        self.state = SharedState(problem, frame, coef, intercept, optimizers, batch_size, self.average_from,
                                 options.preconditioned)  # fmt: skip
        self.blocks: list[ModelBlock] = []
        self.products: np.ndarray | None = None
        is_sgd = is_proximal(optimizers[0]) and batch_size == 1 and not self.average_from
        self.block_type: type[ModelBlock] = (
            CsrSgdBlock if problem.design.sparse else SgdBlock if is_sgd else MinibatchBlock
        )

    def epoch(self, models: np.ndarray) -> np.ndarray:
        self._distribute(models)
        size = self.problem.design.n_stored * len(models) * self.problem.n_outputs
        for begin, end, order in self.order:
            X, y = self.problem.design.read(begin, end), self.y[begin:end]
            weights, t = self.problem.weights.read_for_steps(begin, end), self.t
            products = self._center_products(begin, end) if self.block_type is SgdBlock else None
            list(map_ordered(lambda b: b.train(X, y, weights, products, order, t), self.blocks, size))  # noqa: B023
            self.t += n_steps(len(order), self.batch_size)
        objectives = np.zeros(self.problem.n_models)
        of_blocks = map_ordered(lambda block: block.end_epoch(), self.blocks, size)
        for block, values in zip(self.blocks, of_blocks, strict=True):
            np.add.at(objectives, block.model, values)
        return objectives[models]

    def _center_products(self, begin: int, end: int) -> np.ndarray:
        """(rows, n_sets): products of the rows and the centres, the same in all epochs."""
        if len(self.order.chunks) == 1 and self.products is not None:
            return self.products
        center = self.frame.center.T.astype(self.problem.design.dtype)
        self.products = np.empty((end - begin, center.shape[1]), center.dtype)
        for first, last in self.problem.design.chunks(begin=begin, end=end):
            self.products[first - begin : last - begin] = self.problem.design.read(first, last) @ center
        return self.products

    def _distribute(self, models: np.ndarray) -> None:
        """Divide the pairs into blocks, a share for each thread, anew where fewer blocks will do.

        Pairs of the same training set are together, and among these those of the same class: a row that no pair of a
        block trains on, or that moves none, is skipped. Training sets far from zero, and those with a preconditioner,
        have blocks of their own.
        """
        problem, k = self.problem, self.problem.n_outputs
        model, output = (a.ravel() for a in np.meshgrid(models, np.arange(k), indexing="ij"))
        train_set = problem.train_set[model]
        # the outputs of a multinomial model stay together
        own = self.state.is_preconditioned[train_set].astype(int)
        if self.block_type is SgdBlock:
            own += 2 * problem.features.far_from_zero[train_set]
        keys = (output, model, train_set, own) if problem.multinomial else (model, output, train_set, own)
        places = np.lexsort(keys)
        pairs = np.stack([model, output], axis=1)[places].reshape(-1, k if problem.multinomial else 1, 2)
        limit = max(1, self.block_type.max_models(problem) // pairs.shape[1])
        size = min(limit, max(1, -(-len(pairs) // num_threads())))
        parts = np.split(pairs, np.cumsum(np.bincount(own, minlength=4) // pairs.shape[1])[:-1])
        shares = [share for part in parts if len(part) for share in np.array_split(part, -(-len(part) // size))]
        if len(shares) != len(self.blocks):
            self._write_back(models, keep_scale=True)
            shares = [share.reshape(-1, 2).T for share in shares]
            self.blocks = list(
                map_ordered(lambda share: self.block_type(self.state, *share), shares, self.state.coef.size)
            )
        for block in self.blocks:
            block.begin_epoch()

    def _write_back(self, models: np.ndarray, keep_scale: bool = False) -> None:
        list(map_ordered(lambda block: block.write_back(models, keep_scale), self.blocks, self.state.coef.size))

    def coefficients(self, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._write_back(models)
        averaged, state = self.average_from and self.t >= self.average_from, self.state
        coef, intercept = (state.coef_mean, state.intercept_mean) if averaged else (state.coef, state.intercept)
        if len(models) < self.problem.n_models:
            coef, intercept = coef[models], intercept[models]
        return coef.astype(np.float64, copy=False), intercept.astype(np.float64, copy=False)

    def decision_scores(self, X: Any, models: np.ndarray) -> np.ndarray:
        if self.average_from or not self.blocks or self.blocks[0].tiles > 1:
            return super().decision_scores(X, models)
        z = np.empty((self.problem.n_models, self.problem.n_outputs, X.shape[0]), self.problem.design.dtype)
        for block in self.blocks:
            places = np.flatnonzero(np.isin(block.model, models))
            if places.size:
                z[block.model[places], block.output[places]] = block.decision_scores(X, places)
        return z[models]
