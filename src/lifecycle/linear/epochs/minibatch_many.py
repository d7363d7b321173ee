"""Epochs of a step for each batch of rows, in a new order each time, of many models as lanes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lifecycle._threads import map_ordered, num_threads
from lifecycle.linear.data.problem import Task
from lifecycle.linear.epochs.solver import Steps, products
from lifecycle.linear.outcome import Settings
from lifecycle.loops import linear_many, linear_many_csr
from lifecycle.optim import Optimizer

_PIECE = 512  # features that are turned together


class Order:
    """The rows in the order of an epoch: pieces of X that are read at once, the rows of each shuffled."""

    def __init__(self, task: Task, settings: Settings):
        self.settings, self.chunks = settings, task.rows.large_chunks()
        self.orders = [np.arange(end - begin) for begin, end in self.chunks]
        self.turns = np.arange(len(self.chunks))

    def __iter__(self) -> Iterator[tuple[int, int, np.ndarray]]:
        if self.settings.shuffle:
            if len(self.turns) > 1:
                self.settings.rng.shuffle(self.turns)
            for order in self.orders:
                self.settings.rng.shuffle(order)
        for k in self.turns:
            yield *self.chunks[k], self.orders[k]

    def steps(self, batch: int) -> int:
        """In an epoch."""
        return sum(-(-len(order) // batch) for order in self.orders)


def _on_cache_lines(size: int, dtype: Any) -> np.ndarray:
    """Zeros, of which each 64 bytes lie in one line of the cache, as numpy's may not."""
    memory = np.full(size * np.dtype(dtype).itemsize + 64, 0, np.uint8)  # np.zeros does not ask for large pages
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + memory.size - 64].view(dtype)


class Blocks(Steps):
    """Many models: blocks of lanes, each on a thread, and a lane for each score of a model."""

    def __init__(self, task: Task, coef: np.ndarray, intercept: np.ndarray, optimizers: Sequence[Optimizer],
                 proximal: bool, batch: int, settings: Settings):  # fmt: skip
        self.task, self.optimizers, self.batch, self.proximal = task, optimizers, batch, proximal
        self.dtype = task.rows.dtype
        self.coef, self.intercept = coef.astype(self.dtype, copy=False), intercept.astype(self.dtype, copy=False)
        self.y = np.asarray(task.y, self.dtype)
        self.order = Order(task, settings)
        self.first = 0 if not settings.average else max(1, -(-settings.average // batch))
        self.t = 0
        hyper, rule = optimizers[0].get_params(), optimizers[0].rule
        names = rule.variant(hyper).slots
        starts = np.empty((len(names), len(optimizers)))
        for i, name in enumerate(names):
            starts[i] = [rule.initial(o.get_params(), name) for o in optimizers]
        self.slots = [np.broadcast_to(starts.reshape(*starts.shape, *[1] * (x.ndim - 1)), (len(names), *x.shape))
                      .astype(self.dtype) for x in (coef, intercept)]  # fmt: skip
        self.mean = [np.zeros(self.coef.shape, self.dtype), np.zeros(self.intercept.shape, self.dtype)]
        self.carried = np.tile(np.array(list(rule.scalars.values())), (task.models, 1))
        self.blocks: list[_Block] = []
        self.along: np.ndarray | None = None
        self.simple = proximal and batch == 1 and not self.first

    def epoch(self, which: np.ndarray) -> np.ndarray:
        self._deal(which)
        size = self.task.rows.size * len(which) * self.task.outputs
        for begin, end, order in self.order:
            X = self.task.rows.read(begin, end)
            y, weights, t = self.y[begin:end], self.task.weights.of_steps(begin, end), self.t
            if self.simple and not self.task.rows.sparse:
                self._see(begin, end)
            list(map_ordered(lambda block: block.run(X, y, weights, order, t), self.blocks, size))  # noqa: B023
            self.t += -(-len(order) // self.batch)
        found = np.zeros(self.task.models)
        for block, values in zip(
            self.blocks, map_ordered(lambda block: block.values(), self.blocks, size), strict=True
        ):
            np.add.at(found, block.model, values)
        return found[which]

    def _see(self, begin: int, end: int) -> None:
        """Products of the rows and the offsets of the centres, which are the same in all epochs."""
        if len(self.order.chunks) > 1 or self.along is None:
            away = (self.task.center - self.task.middle).T.astype(self.dtype)
            self.along = np.empty((end - begin, away.shape[1]), self.dtype)
            for first, last in self.task.rows.chunks(begin=begin, end=end):
                part = self.task.rows.read(first, last, self.task.middle)
                self.along[first - begin : last - begin] = part @ away

    def _deal(self, which: np.ndarray) -> None:
        """Lanes into blocks: a share for each thread, no more than a block holds; anew where fewer blocks will do.

        Those that see the same rows are together, and of these those of a class: what none of them sees, or what moves
        none, is passed over.
        """
        hyper = [o.get_params() for o in self.optimizers]
        k, kind = self.task.outputs, _Sparse if self.task.rows.sparse else _Samples if self.simple else _Batches
        most = kind.widest(self.task)
        model, output = (a.ravel() for a in np.meshgrid(which, np.arange(k), indexing="ij"))
        column = self.task.column[model]
        places = np.lexsort((output, model, column) if self.task.joint else (model, output, column))
        parts = np.stack([model, output], axis=1)[places].reshape(-1, k if self.task.joint else 1, 2)
        most = max(1, most // parts.shape[1])
        n = -(-len(parts) // min(most, max(1, -(-len(parts) // num_threads()))))
        if n != len(self.blocks):
            self._unpack(which)
            shares = [some.reshape(-1, 2).T for some in np.array_split(parts, n)]
            self.blocks = list(map_ordered(lambda some: kind(self, *some), shares, self.coef.size))
        for block in self.blocks:
            block.follow([hyper[m] for m in block.lane_model])

    def _unpack(self, which: np.ndarray) -> None:
        list(map_ordered(lambda block: block.unpack(which), self.blocks, self.coef.size))

    def result(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._unpack(which)
        coef, intercept = self.mean if self.first and self.t >= self.first else (self.coef, self.intercept)
        if len(which) < self.task.models:
            coef, intercept = coef[which], intercept[which]
        return coef.astype(np.float64, copy=False), intercept.astype(np.float64, copy=False)

    def state(self) -> dict[str, Any]:
        """Nothing: what goes through sparse rows has no memory."""
        return {}

    def resume(self, state: dict[str, Any]) -> None:
        """Nothing."""

    def products(self, X: Any, which: np.ndarray) -> np.ndarray:
        if self.first or len(self.blocks) == 0 or self.blocks[0].tiles > 1:
            return products(X, *self.raw(which))
        z = np.empty((self.task.models, self.task.outputs, X.shape[0]), self.dtype)
        for block in self.blocks:
            mine = np.flatnonzero(np.isin(block.model, which))
            if mine.size:
                z[block.model[mine], block.output[mine]] = block.products(X, mine)
        return z[which]


class _Block:
    """What blocks have in common: outputs of models to lanes and back."""

    in_tiles = False

    def __init__(self, of: Blocks, model: np.ndarray, output: np.ndarray):
        task = of.task
        self.of, self.model, self.output, self.p, self.used = of, model, output, task.rows.features, len(model)
        self.width = self.width_for(self.used, task)
        self.tiles = -(-self.used // self.width)
        self.measure = linear_many.penalties(task.penalty, self.width)
        # the lanes that are left over do what the first one does
        self.lane_model = np.concatenate([model, np.repeat(model[:1], self.tiles * self.width - self.used)])
        self.theta = self.packed(of.coef[model, output])
        self.intercept = self.of_lanes(of.intercept[model, output])
        self.label = self.of_lanes(task.labels[output])
        self.column = task.column[self.lane_model]
        self.total = np.zeros(len(self.lane_model))
        self.scale = np.ones(len(self.lane_model), of.dtype)  # of theta
        self.moves = np.full(len(self.lane_model), float(task.fit_intercept), of.dtype)
        self.share = task.weights.share[self.column]
        self.epsilon, self.alpha, self.ratio = (self.of_models(a) for a in (task.epsilon, task.alpha, task.l1_ratio))

    @staticmethod
    def widest(task: Task) -> int:
        """Lanes of a block at most."""
        return linear_many.WIDE if task.rows.dtype == np.float32 else linear_many.NARROW

    @classmethod
    def width_for(cls, used: int, task: Task) -> int:
        """Lanes of a tile."""
        return linear_many.width_for(used, task.rows.dtype, cls.in_tiles)

    def of_models(self, numbers: np.ndarray) -> np.ndarray:
        """A number of each model, for its lanes."""
        return numbers[self.lane_model].astype(self.of.dtype)

    def of_lanes(self, values: np.ndarray) -> np.ndarray:
        """(used,) -> (lanes,)"""
        flat = np.zeros(self.tiles * self.width, self.of.dtype)
        flat[: self.used] = values
        flat[self.used :] = flat[0]
        return flat

    def packed(self, coef: np.ndarray) -> np.ndarray:
        """(used, features) -> (tiles * features * width,)"""
        packed = _on_cache_lines(self.tiles * self.p * self.width, self.of.dtype)
        tiles = packed.reshape(self.tiles, self.p, self.width)
        for tile, begin in enumerate(range(0, self.used if coef.any() else 0, self.width)):
            some = coef[begin : begin + self.width]
            tiles[tile, :, : len(some)] = some.T
            tiles[tile, :, len(some) :] = coef[0][:, None]
        return packed

    def unpacked(self, theta: np.ndarray, lanes: np.ndarray, into: np.ndarray, places: tuple, scale: Any = 1.0) -> None:
        """Write (tiles * features * width,) of some lanes, times a scale, to places of (models, outputs, features)."""
        table = theta.reshape(self.tiles, self.p, self.width)
        for begin in range(0, self.p, _PIECE):  # which stays in the cache while it is turned
            piece = table[:, begin : begin + _PIECE].transpose(0, 2, 1).reshape(self.tiles * self.width, -1)
            into[*places, begin : begin + _PIECE] = piece[lanes] * scale

    def paces(self, hyper: list[dict[str, Any]]) -> np.ndarray:
        """Coefficients of the penalty's proximal step, one after another, each of the lanes."""
        task = self.of.task
        found = [task.penalty.prox_params(h["lr"] * task.alpha[m] * task.weights.share[task.column[m]], task.l1_ratio[m])
                 for h, m in zip(hyper, self.lane_model, strict=True)]  # fmt: skip
        return np.array(found).T.astype(self.of.dtype)

    def rates(self, hyper: list[dict[str, Any]]) -> np.ndarray:
        return np.array([h["lr"] for h in hyper], self.of.dtype)

    def follow(self, hyper: list[dict[str, Any]]) -> None:
        """Take the hyperparameters of each lane for the next epoch."""
        raise NotImplementedError

    def run(self, X: Any, y: np.ndarray, weights: np.ndarray, order: np.ndarray, t: int) -> None:
        """The steps of these rows in this order, `t` having gone before."""
        raise NotImplementedError

    def values(self) -> np.ndarray:
        """(used,) of the objectives: losses as the rows came, penalties as they are; the losses are counted anew."""
        task, penalties = self.of.task, np.zeros(len(self.total))
        self.measure(self.theta, self.scale, self.ratio, penalties)
        with np.errstate(over="ignore", invalid="ignore"):
            lanes = self.total / self.share / task.rows.n + self.alpha * penalties
        self.total[:] = 0.0
        return lanes[: self.used]

    def products(self, X: Any, lanes: np.ndarray) -> np.ndarray:
        """Scores of rows of X by these of the block's lanes, (lanes, rows)."""
        asked, table = len(lanes), self.theta.reshape(self.p, self.width)
        if len(lanes) < self.used:
            table = np.ascontiguousarray(table[:, lanes])
        else:
            lanes = np.arange(self.width)
        at_zero = self.intercept[lanes]
        if not self.of.task.rows.sparse:
            center = self.of.task.center[self.column[lanes]].astype(self.of.dtype)
            at_zero = at_zero - np.einsum("vp,pv->v", center, table)
        return (np.asarray(X @ table) * self.scale[lanes] + at_zero).T[:asked]

    def unpack(self, models: np.ndarray) -> None:
        """Give back what these models have become."""
        of, here = self.of, np.flatnonzero(np.isin(self.model, models))
        mine = self.model[here], self.output[here]
        self.unpacked(self.theta, here, of.coef, mine, self.scale[here, None])
        of.intercept[mine] = self.intercept[here]


class _Samples(_Block):
    """A step for each row: the fastest walk."""

    def __init__(self, of: Blocks, model: np.ndarray, output: np.ndarray):
        super().__init__(of, model, output)
        task = of.task
        # what lies far from the middle would be lost in differences of large numbers
        near = bool(task.centers_are_near[task.column[model]].all())
        factor = near and not any(map(task.penalty.l1_weight, task.l1_ratio[model]))
        self.kernel = linear_many.samples(task.loss, task.joint, task.penalty, self.width, factor)
        self.shift = task.middle if factor else np.zeros_like(task.middle)
        offset = task.center - self.shift
        self.offset = self.packed(offset[task.column[model]])
        self.squares = (offset**2).sum(axis=1)[self.column].astype(of.dtype)

    def follow(self, hyper: list[dict[str, Any]]) -> None:
        paces = self.paces(hyper).reshape(-1)
        self.arguments = (self.shift, self.offset, self.squares, self.column, self.label, self.rates(hyper),
                          paces, self.epsilon, self.moves)  # fmt: skip

    def run(self, X: Any, y: np.ndarray, weights: np.ndarray, order: np.ndarray, t: int) -> None:
        self.kernel(X, y, weights, self.of.along, order, self.of.task.outputs, self.theta, self.intercept,
                    *self.arguments, self.total)  # fmt: skip


class _Sparse(_Block):
    """A step for each row of a CSR matrix: blocks are narrow, or their coefficients would not stay in the cache."""

    @staticmethod
    def widest(task: Task) -> int:
        return _Block.widest(task) if task.joint else linear_many.NARROW

    def __init__(self, of: Blocks, model: np.ndarray, output: np.ndarray):
        super().__init__(of, model, output)
        self.kernel = linear_many_csr.samples(of.task.loss, of.task.joint, self.width)

    def follow(self, hyper: list[dict[str, Any]]) -> None:
        keep = self.of.task.penalty.prox(np.ones(len(self.lane_model), self.of.dtype), tuple(self.paces(hyper)))
        self.arguments = (self.column, self.label, self.rates(hyper), keep, self.epsilon, self.moves)

    def run(self, X: Any, y: np.ndarray, weights: np.ndarray, order: np.ndarray, t: int) -> None:
        self.kernel(X.data, X.indices, X.indptr, y, weights, order, self.of.task.outputs, self.theta, self.scale,
                    self.intercept, *self.arguments, self.total)  # fmt: skip


class _Batches(_Block):
    """Any rule, any number of rows in a step."""

    in_tiles = True

    def __init__(self, of: Blocks, model: np.ndarray, output: np.ndarray):
        super().__init__(of, model, output)
        task, optimizer, mine = of.task, of.optimizers[model[0]], (model, output)
        self.kernel = linear_many.batches(
            optimizer.rule, optimizer.get_params(), task.loss, task.joint, task.penalty, self.width
        )
        self.center = self.packed(task.center[task.column[model]])
        self.slots = np.array([self.packed(s[mine]) for s in of.slots[0]], of.dtype).reshape(
            len(of.slots[0]), self.theta.size
        )
        self.more = np.array([self.of_lanes(s[mine]) for s in of.slots[1]], of.dtype).reshape(
            len(of.slots[1]), self.intercept.size
        )
        self.mean, self.intercept_mean = self.packed(of.mean[0][mine]), self.of_lanes(of.mean[1][mine])
        self.carried = of.carried[self.lane_model, 0] if of.carried.shape[1] else np.zeros(len(self.lane_model))
        kinked = task.alpha[model[0]] * task.penalty.l1_weight(task.l1_ratio[model[0]]) > 0
        self.way = 1 if of.proximal else 2 if kinked else 0
        self.settings = ((self.alpha * self.share).astype(of.dtype), self.ratio, self.epsilon, self.moves)

    def follow(self, hyper: list[dict[str, Any]]) -> None:
        self.flat = np.array([linear_many.flat(self.of.optimizers[0].rule.defaults, h) for h in hyper])

    def run(self, X: Any, y: np.ndarray, weights: np.ndarray, order: np.ndarray, t: int) -> None:
        of, seen_at_once = self.of, self.of.task.outputs if self.of.task.joint else 1
        self.kernel(X, y, weights, order, of.batch, self.theta, self.intercept, self.center, self.slots, self.more,
                    self.mean, self.intercept_mean, self.column, self.label, self.settings, self.flat, self.carried,
                    seen_at_once, self.way, t, of.first, self.total)  # fmt: skip

    def unpack(self, models: np.ndarray) -> None:
        super().unpack(models)
        of, here = self.of, np.flatnonzero(np.isin(self.model, models))
        mine = self.model[here], self.output[here]
        for slot, values in zip(of.slots[0], self.slots, strict=True):
            self.unpacked(values, here, slot, mine)
        for slot, values in zip(of.slots[1], self.more, strict=True):
            slot[mine] = values[here]
        self.unpacked(self.mean, here, of.mean[0], mine)
        of.mean[1][mine] = self.intercept_mean[here]
        if of.carried.shape[1]:
            of.carried[self.model[here], 0] = self.carried[here]
