"""Mean losses of many models and their gradients, over all rows: two products of matrices for each chunk of rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lifecycle._threads import map_ordered, single_threaded_blas
from lifecycle.linear.data.problem import Task
from lifecycle.loops.linear_loss import joint_pushes, pushes

_ELEMENTS = 1 << 18  # of a chunk of X: it stays in the cache between its two products
_SCORES = 1 << 18  # of a chunk, in all models


class Objective:
    """The mean weighted loss plus penalty of a task's models.

    Chunks run on threads, each of which multiplies by itself; their sums are added in the order of the rows, so that
    the answer does not depend on how many threads there are.
    """

    def __init__(self, task: Task, around: np.ndarray | None = None, dtype: Any = None):
        """`around`: (columns, features), where features are centred, seen from the shift; None: at their centres."""
        self.task, self.around = task, task.offset if around is None else around
        self.dtype = task.rows.dtype if dtype is None else np.dtype(dtype)
        self.kernel = joint_pushes(task.loss) if task.joint else pushes(task.loss)

    def losses(self, coef: np.ndarray, intercept: np.ndarray, which: np.ndarray) -> np.ndarray:
        """(len(which),) mean losses, without penalty."""
        return np.sum([part[0] for part in self._parts(coef, intercept, which, slopes=False)], axis=0)

    def gradients(
        self, coef: np.ndarray, intercept: np.ndarray, which: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean losses of the models `which`, with their gradients by coefficients and intercepts; without penalty.

        Parameters
        ----------
        coef : (len(which), outputs, features);  intercept : (len(which), outputs)
        """
        m, k = intercept.shape
        losses, by_coef, by_intercept = np.zeros(m), np.zeros((m * k, self.task.rows.features)), np.zeros(m * k)
        for part in self._parts(coef, intercept, which, slopes=True):
            losses, by_coef, by_intercept = losses + part[0], by_coef + part[1], by_intercept + part[2]
        offset = self.around[self.task.column[which]]
        by_intercept = by_intercept.reshape(m, k)
        by_coef = by_coef.reshape(m, k, -1) - by_intercept[:, :, None] * offset[:, None, :]
        return losses, by_coef, by_intercept if self.task.fit_intercept else np.zeros_like(by_intercept)

    def _parts(self, coef: np.ndarray, intercept: np.ndarray, which: np.ndarray, slopes: bool) -> Iterator[tuple]:
        task, dtype = self.task, self.dtype
        m, k = intercept.shape
        column = np.repeat(task.column[which], k)
        flat = coef.reshape(m * k, -1)
        at_shift = (intercept.reshape(-1) - (flat * self.around[column]).sum(axis=1)).astype(dtype)
        label, epsilon = np.tile(task.labels, m).astype(dtype), np.repeat(task.epsilon[which], k).astype(dtype)
        flat, shift = flat.astype(dtype), task.shift

        unheard: Any = None if dtype == task.rows.dtype else "ignore"  # what single precision cannot hold, steps tell

        def part(chunk: tuple[int, int]) -> tuple:
            with np.errstate(over=unheard, invalid=unheard):
                return of_rows(chunk)

        def of_rows(chunk: tuple[int, int]) -> tuple:
            X, y = task.rows.read(*chunk, shift, dtype), task.y[slice(*chunk)].astype(dtype)
            weights = task.weights.read(*chunk, dtype) / dtype.type(task.rows.n)
            z = np.ascontiguousarray((X @ flat.T).T) if task.rows.sparse else flat @ X.T
            z += at_shift[:, None]
            push, weights = np.empty_like(z), np.ascontiguousarray(weights.T)
            if task.joint:
                losses = np.zeros(m)
                self.kernel(z, y, weights, task.column[which], losses, push)
            else:
                self.kernel(z, y, weights, column, label, epsilon, push)
                losses = z.sum(axis=1).reshape(m, k).sum(axis=1, dtype=np.float64)
            if not slopes:
                return (losses,)
            product = (X.T @ push.T).T if task.rows.sparse else push @ X
            return losses, product.astype(np.float64), push.sum(axis=1).astype(np.float64)

        with single_threaded_blas():
            chunks = list(task.rows.chunks(min(_ELEMENTS, _SCORES // (m * k) * task.rows.features)))
            yield from map_ordered(part, chunks, m * k * task.rows.size)
