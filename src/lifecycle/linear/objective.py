"""Mean losses of many models and their gradients over all rows: two matrix products for each chunk of rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lifecycle._threads import map_ordered, single_threaded_blas
from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.data.products import multiply, multiply_transposed
from lifecycle.linear.data.sample_weights import SampleWeights
from lifecycle.loops.linear_loss import loss_dloss
from lifecycle.loops.linear_softmax import multinomial_loss_dloss

_CHUNK_ELEMENTS = 1 << 18  # of X: a chunk stays in the cache between its two products
_CHUNK_SCORES = 1 << 18  # of all models
# of a row of a sparse X, whose products are made for all rows together, and of all rows
_SPARSE_SCORES, _MAX_SPARSE_SCORES = 16, 1 << 25


class Objective:
    """The mean weighted loss of a problem's models, and its gradient.

    Chunks of rows run on threads, each of which multiplies by itself; their sums are added in the order of the rows,
    so that the result does not depend on the number of threads. Of a sparse X threads share each product, of all rows.

    Parameters
    ----------
    problem : Problem
    frame : CentredFrame
        The coordinates of coefficients and intercepts. With a shift for each training set, no bit of a model depends on
        rows that it does not train on; with one for all, models of all training sets share their products.
    dtype : of the products; None: that of X
    weights : SampleWeights, optional
        In place of the problem's, such as those of held-out rows.
    """

    def __init__(self, problem: Problem, frame: CentredFrame, dtype: Any = None, weights: SampleWeights | None = None):
        self.problem, self.frame = problem, frame
        self.weights = problem.weights if weights is None else weights
        self.dtype = problem.design.dtype if dtype is None else np.dtype(dtype)
        self.kernel = multinomial_loss_dloss(problem.loss) if problem.multinomial else loss_dloss(problem.loss)

    def losses(self, coef: np.ndarray, intercept: np.ndarray, models: np.ndarray) -> np.ndarray:
        """(len(models),): mean losses, without penalty."""
        losses = np.zeros(len(models))
        for group, shift in self._groups(models):
            for sums in self._chunk_sums(coef[group], intercept[group], models[group], shift, gradient=False):
                losses[group] += sums[0]
        return losses

    def gradients(
        self, coef: np.ndarray, intercept: np.ndarray, models: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean losses of some models with their gradients by coefficients and intercepts; without penalty.

        Parameters
        ----------
        coef : (len(models), n_outputs, n_features);  intercept : (len(models), n_outputs)
        """
        losses, by_coef, by_intercept = np.zeros(len(models)), np.zeros(coef.shape), np.zeros(intercept.shape)
        for group, shift in self._groups(models):
            for sums in self._chunk_sums(coef[group], intercept[group], models[group], shift, gradient=True):
                losses[group] += sums[0]
                by_coef[group] += sums[1]
                by_intercept[group] += sums[2]
        offset = self.frame.offset[self.problem.train_set[models]]
        by_coef -= by_intercept[:, :, None] * offset[:, None, :]
        return losses, by_coef, by_intercept if self.problem.fit_intercept else np.zeros_like(by_intercept)

    def _groups(self, models: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Places of the models whose products are made together, and the shift of their rows.

        Models of several training sets only where the frame has one shift for all: the last bits of a product depend on
        how many models take part, and in what others reach when.
        """
        shift, train_set, n_models = self.frame.shift, self.problem.train_set[models], len(models)
        if self.problem.design.sparse:  # rows are read as they are, and each product is made for itself
            n_scores = min(_SPARSE_SCORES, _MAX_SPARSE_SCORES // self.problem.design.n_samples)
            size = max(1, n_scores // self.problem.n_outputs)
            yield from ((slice(b, b + size), shift) for b in range(0, n_models, size))
            return
        if shift.ndim == 1:
            yield slice(None), shift
            return
        for k in np.unique(train_set):
            yield np.flatnonzero(train_set == k), shift[k]

    def _chunk_sums(
        self, coef: np.ndarray, intercept: np.ndarray, models: np.ndarray, shift: np.ndarray, gradient: bool
    ) -> Iterator[tuple]:
        """For each chunk of rows: losses and, if asked for, gradients by the shifted features and the intercept."""
        problem, design, dtype = self.problem, self.problem.design, self.dtype
        m, k = intercept.shape
        sets, train_set = np.unique(problem.train_set[models], return_inverse=True)  # which are read
        flat = coef.reshape(m * k, -1)
        offset = self.frame.offset[np.repeat(problem.train_set[models], k)]
        at_shift = (intercept.reshape(-1) - (flat * offset).sum(axis=1)).astype(dtype)
        label = np.tile(problem.class_codes, m).astype(dtype)
        epsilon = np.repeat(problem.epsilon[models], k).astype(dtype)
        flat = flat.astype(dtype)
        # the line search sees what single precision cannot hold
        overflow: Any = None if dtype == design.dtype else "ignore"

        def chunk_sums(chunk: tuple[int, int]) -> tuple:
            X, y = design.read_products(*chunk, shift, dtype), problem.y[slice(*chunk)].astype(dtype)
            weights = np.ascontiguousarray((self.weights.read(*chunk, dtype, sets) / dtype.type(design.n_samples)).T)
            z = multiply(X, flat)
            z += at_shift[:, None]
            dloss = np.empty_like(z)
            if problem.multinomial:
                losses = np.zeros(m)
                self.kernel(z, y, weights, train_set, losses, dloss)
            else:
                self.kernel(z, y, weights, np.repeat(train_set, k), label, epsilon, dloss)
                losses = z.sum(axis=1).reshape(m, k).sum(axis=1, dtype=np.float64)
            if not gradient:
                return (losses,)
            by_coef = multiply_transposed(X, dloss)
            return losses, by_coef.reshape(m, k, -1), dloss.sum(axis=1).reshape(m, k)

        def quiet_chunk_sums(chunk: tuple[int, int]) -> tuple:
            with np.errstate(over=overflow, invalid=overflow):
                return chunk_sums(chunk)

        with single_threaded_blas():
            elements = min(_CHUNK_ELEMENTS, _CHUNK_SCORES // (m * k) * design.n_features)
            yield from map_ordered(quiet_chunk_sums, list(design.product_chunks(elements)), m * k * design.n_stored)
