"""Blocks of models that a kernel trains side by side, and how they are packed into vectors.

A block holds one score each of `used` (model, output) pairs. Its coefficients lie as (tiles, features, width); the
places that are left over repeat the first pair.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.epochs.solver import per_model
from lifecycle.linear.learning_rate import is_proximal
from lifecycle.loops.linear_minibatch import BatchModels, BatchRows, BatchState, minibatch_epoch
from lifecycle.loops.linear_penalty import penalty_sums
from lifecycle.loops.linear_sgd import SgdModels, SgdRows, sgd_epoch
from lifecycle.loops.linear_sgd_csr import CsrModels, CsrRows, csr_sgd_epoch
from lifecycle.loops.linear_update import flatten_hyperparameters, update_kind
from lifecycle.loops.vector_width import NARROW, WIDE, vector_width
from lifecycle.optim import Optimizer

_TRANSPOSED_FEATURES = 512  # that stay in the cache while coefficients are transposed


class SharedState:
    """What the blocks of many models share, and where they write what their models have become.

    coef (n_models, n_outputs, n_features), intercept and scale of coef (n_models, n_outputs); for each slot of the rule
    an array of either shape; their running means; scalars (n_models, n_scalars).
    """

    def __init__(self, problem: Problem, frame: CentredFrame, coef: np.ndarray, intercept: np.ndarray,
                 optimizers: Sequence[Optimizer], batch_size: int, average_from: int,
                 preconditioned: bool = False):  # fmt: skip
        self.problem, self.frame, self.optimizers = problem, frame, optimizers
        self.batch_size, self.average_from = batch_size, average_from
        self.dtype = problem.design.dtype
        self.is_preconditioned = np.zeros(problem.weights.n_sets, bool)
        if preconditioned:
            self.is_preconditioned = problem.features.is_preconditioned
        self.coef, self.intercept = coef.astype(self.dtype, copy=False), intercept.astype(self.dtype, copy=False)
        self.scale = np.ones(intercept.shape, self.dtype)
        rule, names = optimizers[0].rule, optimizers[0].rule.variant(optimizers[0].get_params()).slots
        initial = [np.array([rule.initial(o.get_params(), name) for o in optimizers]) for name in names]
        self.coef_slots, self.intercept_slots = (
            [np.broadcast_to(per_model(start, x), x.shape).astype(self.dtype) for start in initial]
            for x in (coef, intercept)
        )
        self.coef_mean, self.intercept_mean = np.zeros(coef.shape, self.dtype), np.zeros(intercept.shape, self.dtype)
        self.scalars = np.tile(np.array(list(rule.scalars.values())), (problem.n_models, 1))


def _on_cache_lines(size: int, dtype: Any) -> np.ndarray:
    """Zeros that begin on a cache line, so that no vector of 64 bytes lies in two."""
    memory = np.full(size * np.dtype(dtype).itemsize + 64, 0, np.uint8)  # np.zeros does not ask for large pages
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + memory.size - 64].view(dtype)


class ModelBlock(ABC):
    """Some (model, output) pairs: `model` and `output`, (used,)."""

    in_tiles: ClassVar[bool] = False

    def __init__(self, state: SharedState, model: np.ndarray, output: np.ndarray):
        problem = state.problem
        self.problem, self.state, self.model, self.output = problem, state, model, output
        self.used, self.n_features = len(model), problem.design.n_features
        self.width = vector_width(self.used, problem.design.dtype, self.in_tiles)
        self.tiles = -(-self.used // self.width)
        self.penalty_sums = penalty_sums(problem.penalty, self.width)
        self.vector_model = np.concatenate([model, np.repeat(model[:1], self.tiles * self.width - self.used)])
        self.theta = self.pack(state.coef[model, output])
        self.intercept = self.pad(state.intercept[model, output])
        self.label = self.pad(problem.class_codes[output])
        self.train_set = problem.train_set[self.vector_model]
        self.total = np.zeros(len(self.vector_model))
        self.scale = self.pad(state.scale[model, output])  # of theta
        self.is_preconditioned = bool(state.is_preconditioned[problem.train_set[model[0]]])  # all of a block or none
        factors = problem.features.preconditioner[problem.train_set[model]] if self.is_preconditioned else None
        self.preconditioner = np.empty(0, state.dtype) if factors is None else self.pack(factors)
        self.has_intercept = np.full(len(self.vector_model), float(problem.fit_intercept), state.dtype)
        self.fraction = problem.weights.fraction[self.train_set]
        self.epsilon, self.alpha, self.l1_ratio = (
            a[self.vector_model].astype(state.dtype) for a in (problem.epsilon, problem.alpha, problem.l1_ratio)
        )

    @staticmethod
    def max_models(problem: Problem) -> int:
        """How many pairs a block may hold."""
        return WIDE if problem.design.dtype == np.float32 else NARROW

    def pad(self, values: np.ndarray) -> np.ndarray:
        """(used,) -> (tiles * width,)"""
        padded = np.zeros(self.tiles * self.width, self.state.dtype)
        padded[: self.used] = values
        padded[self.used :] = padded[0]
        return padded

    def pack(self, coef: np.ndarray) -> np.ndarray:
        """(used, features) -> (tiles * features * width,)"""
        packed = _on_cache_lines(self.tiles * self.n_features * self.width, self.state.dtype)
        tiles = packed.reshape(self.tiles, self.n_features, self.width)
        for tile, begin in enumerate(range(0, self.used if coef.any() else 0, self.width)):
            rows = coef[begin : begin + self.width]
            tiles[tile, :, : len(rows)] = rows.T
            tiles[tile, :, len(rows) :] = coef[0][:, None]
        return packed

    def unpack(self, theta: np.ndarray, places: np.ndarray, out: np.ndarray, scale: Any = 1.0) -> None:
        """Write what stands at these places of (tiles * features * width,), times a scale, to (models, outputs, …)."""
        tiles, rows = theta.reshape(self.tiles, self.n_features, self.width), (self.model[places], self.output[places])
        for begin in range(0, self.n_features, _TRANSPOSED_FEATURES):
            columns = slice(begin, begin + _TRANSPOSED_FEATURES)
            piece = tiles[:, columns].transpose(0, 2, 1).reshape(self.tiles * self.width, -1)
            out[*rows, columns] = piece[places] * scale

    def step_sizes(self, hyper: list[dict[str, Any]]) -> np.ndarray:
        """(tiles * width,)"""
        return np.array([h["lr"] for h in hyper], self.state.dtype)

    def prox_params(self, hyper: list[dict[str, Any]]) -> np.ndarray:
        """(parameters, tiles * width): of the proximal step of a single row; with a preconditioner (features, …)."""
        problem, m = self.problem, self.vector_model
        alpha = problem.alpha[m] * problem.weights.fraction[problem.train_set[m]]
        lengths, ratios = np.array([h["lr"] for h in hyper]) * alpha, problem.l1_ratio[m]
        if not self.is_preconditioned:
            pairs = zip(lengths, ratios, strict=True)
            params = [problem.penalty.prox_params(length, ratio) for length, ratio in pairs]
            return np.array(params).T.astype(self.state.dtype)
        of_features = lengths * problem.features.preconditioner[problem.train_set[m]].T
        params = problem.penalty.prox_params(of_features, ratios)
        return np.stack([np.broadcast_to(p, of_features.shape) for p in params], axis=1).astype(self.state.dtype)

    @abstractmethod
    def begin_epoch(self) -> None:
        """Take the hyperparameters of each model for the next epoch."""

    @abstractmethod
    def train(self, X: Any, y: np.ndarray, weights: np.ndarray, products: np.ndarray | None, order: np.ndarray,
              t: int) -> None:  # fmt: skip
        """Make the steps of these rows in this order; `t` steps were made before."""

    def end_epoch(self) -> np.ndarray:
        """(used,): the objectives, of the losses as the rows came and the penalties as they are; the sums restart."""
        penalties = np.zeros(len(self.total))
        self.penalty_sums(self.theta, self.scale, self.l1_ratio, penalties)
        with np.errstate(over="ignore", invalid="ignore"):
            objectives = self.total / self.fraction / self.problem.design.n_samples + self.alpha * penalties
        self.total[:] = 0.0
        return objectives[: self.used]

    def decision_scores(self, X: Any, places: np.ndarray) -> np.ndarray:
        """Scores of rows of X by the pairs at these places, (pairs, rows)."""
        n_scores, table = len(places), self.theta.reshape(self.n_features, self.width)
        if n_scores < self.used:
            table = np.ascontiguousarray(table[:, places])
        else:
            places = np.arange(self.width)
        intercept = self.intercept[places]
        if not self.problem.design.sparse:
            center = self.state.frame.center[self.train_set[places]].astype(self.state.dtype)
            intercept = intercept - np.einsum("vp,pv->v", center, table)
        return (np.asarray(X @ table) * self.scale[places] + intercept).T[:n_scores]

    def write_back(self, models: np.ndarray, keep_scale: bool = False) -> None:
        """Write what these models have become into the shared state; `keep_scale`: the next block goes on from there,
        and rounds when it would have without it."""
        places = np.flatnonzero(np.isin(self.model, models))
        pairs, scale = (self.model[places], self.output[places]), self.scale[places]
        self.unpack(self.theta, places, self.state.coef, 1.0 if keep_scale else scale[:, None])
        self.state.scale[pairs] = scale if keep_scale else 1.0
        self.state.intercept[pairs] = self.intercept[places]


class SgdBlock(ModelBlock):
    """A step for each row of a dense X: the fastest kernel.

    The training sets are all near zero, or all far from it; all have a preconditioner, or none.
    """

    def __init__(self, state: SharedState, model: np.ndarray, output: np.ndarray):
        super().__init__(state, model, output)
        problem, center = state.problem, state.frame.center
        # a far centre would be lost in differences of large numbers
        far = bool(problem.features.far_from_zero[problem.train_set[model[0]]])
        prox_scales = not far and not any(map(problem.penalty.l1_weight, problem.l1_ratio[model]))
        prox_scales = prox_scales and not self.is_preconditioned
        self.kernel = sgd_epoch(
            problem.loss, problem.multinomial, problem.penalty, self.width, prox_scales, self.is_preconditioned
        )
        self.center = self.pack(center[problem.train_set[model]])
        self.center_norm2 = (center**2).sum(axis=1)[self.train_set].astype(state.dtype)

    def begin_epoch(self) -> None:
        hyper = [self.state.optimizers[m].get_params() for m in self.vector_model]
        self.models = SgdModels(
            self.center, self.center_norm2, self.train_set, self.label, self.step_sizes(hyper), self.preconditioner,
            self.prox_params(hyper).reshape(-1), self.epsilon, self.has_intercept,
        )  # fmt: skip

    def train(self, X: Any, y: np.ndarray, weights: np.ndarray, products: np.ndarray | None, order: np.ndarray,
              t: int) -> None:  # fmt: skip
        rows = SgdRows(X, y, weights, products, order)
        self.kernel(rows, self.models, self.problem.n_outputs, self.theta, self.intercept, self.total)


class CsrSgdBlock(ModelBlock):
    """A step for each row of a CSR matrix: blocks are narrow, or their coefficients would not stay in the cache."""

    @staticmethod
    def max_models(problem: Problem) -> int:
        return ModelBlock.max_models(problem) if problem.multinomial else NARROW

    def __init__(self, state: SharedState, model: np.ndarray, output: np.ndarray):
        super().__init__(state, model, output)
        problem = state.problem
        self.kernel = csr_sgd_epoch(problem.loss, problem.multinomial, self.width)

    def begin_epoch(self) -> None:
        hyper = [self.state.optimizers[m].get_params() for m in self.vector_model]
        ones = np.ones(len(self.vector_model), self.state.dtype)
        shrinkage = self.problem.penalty.prox(ones, tuple(self.prox_params(hyper)))
        self.models = CsrModels(
            self.train_set, self.label, self.step_sizes(hyper), shrinkage, self.epsilon, self.has_intercept
        )

    def train(self, X: Any, y: np.ndarray, weights: np.ndarray, products: np.ndarray | None, order: np.ndarray,
              t: int) -> None:  # fmt: skip
        rows = CsrRows(X.data, X.indices, X.indptr, y, weights, order)
        self.kernel(rows, self.models, self.problem.n_outputs, self.theta, self.scale, self.intercept, self.total)


class MinibatchBlock(ModelBlock):
    """Any rule, any number of rows in a step."""

    in_tiles = True

    def __init__(self, state: SharedState, model: np.ndarray, output: np.ndarray):
        super().__init__(state, model, output)
        problem = state.problem
        optimizer = state.optimizers[model[0]]
        self.rule = optimizer.rule
        self.kernel = minibatch_epoch(
            optimizer.rule, optimizer.get_params(), problem.loss, problem.multinomial, problem.penalty, self.width
        )
        pairs = model, output
        self.center = self.pack(state.frame.center[problem.train_set[model]])
        slots = np.array([self.pack(slot[pairs]) for slot in state.coef_slots], state.dtype)
        intercept_slots = np.array([self.pad(slot[pairs]) for slot in state.intercept_slots], state.dtype)
        n_scalars = state.scalars.shape[1]
        self.batch_state = BatchState(
            self.theta,
            self.intercept,
            slots.reshape(len(state.coef_slots), self.theta.size),
            intercept_slots.reshape(len(state.intercept_slots), self.intercept.size),
            self.pack(state.coef_mean[pairs]),
            self.pad(state.intercept_mean[pairs]),
            state.scalars[self.vector_model, 0] if n_scalars else np.zeros(len(self.vector_model)),
        )
        l1_weight = problem.alpha[model[0]] * problem.penalty.l1_weight(problem.l1_ratio[model[0]])
        self.kind = update_kind(is_proximal(optimizer), l1_weight, self.is_preconditioned)

    def begin_epoch(self) -> None:
        defaults = self.rule.defaults
        hyper = [flatten_hyperparameters(defaults, self.state.optimizers[m].get_params()) for m in self.vector_model]
        alpha = (self.alpha * self.fraction).astype(self.state.dtype)
        self.models = BatchModels(self.center, self.preconditioner, self.train_set, self.label, alpha, self.l1_ratio,
                                  self.epsilon, self.has_intercept, np.array(hyper))  # fmt: skip

    def train(self, X: Any, y: np.ndarray, weights: np.ndarray, products: np.ndarray | None, order: np.ndarray,
              t: int) -> None:  # fmt: skip
        rows = BatchRows(X, y, weights, order, self.state.batch_size)
        n_outputs = self.problem.n_outputs if self.problem.multinomial else 1
        self.kernel(rows, self.models, self.batch_state, n_outputs, self.kind, t, self.state.average_from, self.total)

    def write_back(self, models: np.ndarray, keep_scale: bool = False) -> None:
        super().write_back(models, keep_scale)
        state, mine = self.state, self.batch_state
        places = np.flatnonzero(np.isin(self.model, models))
        pairs = self.model[places], self.output[places]
        for slot, values in zip(state.coef_slots, mine.slots, strict=True):
            self.unpack(values, places, slot)
        for slot, values in zip(state.intercept_slots, mine.intercept_slots, strict=True):
            slot[pairs] = values[places]
        self.unpack(mine.mean, places, state.coef_mean)
        state.intercept_mean[pairs] = mine.intercept_mean[places]
        if state.scalars.shape[1]:
            state.scalars[pairs[0], 0] = mine.scalars[places]
