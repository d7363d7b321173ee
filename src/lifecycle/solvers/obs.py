"""The optimal brain surgeon, column by column: pruning and quantization of one linear layer after its training.

Minimizes, over weights Ŵ that are zero or on a grid where it is asked for,

    tr (W − Ŵ) H (W − Ŵ)ᵀ,    H = mean of x xᵀ over the layer's inputs x.

Columns are decided from the first to the last, and those that are still free make good what the others lose. With the
Cholesky factorization H = RRᵀ, R upper triangular, the sum is ‖(W − Ŵ)R‖². Let the columns before a block B be decided
and Δ be their W − Ŵ. The sum is least if the free columns make the columns of (W − Ŵ)R from B on zero, where those of B
are W_B + Δ R_ΔB U, U = R_BB⁻¹. Inside of the block, what column j of a row loses, e = (w_j − ŵ_j) / U_jj, is made good
by w_k ← w_k − e U_jk. Rows of U are, up to a factor, those of the inverses of H without the columns that were decided
before. The sources have the Cholesky factor of H⁻¹ instead, which takes an inverse to compute (docs/decisions/0038).
Sources: Hassibi & Stork (1992); Frantar & Alistarh (SparseGPT, 2023); Frantar et al. (GPTQ, 2023).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from lifecycle._jit import add_product, kernel
from lifecycle._threads import map_ordered, single_threaded_blas

_DAMPING = 0.01  # of H, relative to the mean of its diagonal
_LARGEST_ERROR = 0.1  # of a factorization in float32, relative to the damping
_FACTOR_BLOCK = 128  # columns of H that are factorized together
_FACTOR_ROWS = 256  # of these columns that one thread takes
_WIDTH = 16  # rows that are decided together, in vectors
_ROWS = 4 * _WIDTH  # of a chunk that one thread takes
_add_product = add_product(_WIDTH)

KeepMask = Callable[[np.ndarray], np.ndarray]
Scales = Callable[[np.ndarray], np.ndarray]


def cholesky_factor(second_moments: np.ndarray) -> np.ndarray:
    """R, upper triangular, with RRᵀ = H + 0.01 · mean diag H · I.

    Of float64 in float64. Of float32 in float32 where that is exact enough: where it succeeds, and errs by less than a
    tenth of the damping in its product with a random vector. Else it is made again in float64.

    Raises
    ------
    ValueError
        The second moments are not finite.
    """
    if not np.isfinite(second_moments).all():
        raise ValueError("the inputs of a layer are NaN or infinite on the calibration rows")
    mean = float(np.trace(second_moments, dtype=np.float64)) / max(len(second_moments), 1)
    # of inputs that are zero, or so small that their products lose their digits, no weight makes another good
    damping = _DAMPING * mean if mean > 100 * np.finfo(second_moments.dtype).tiny else 1.0
    if second_moments.dtype == np.float32:
        try:
            factor = _factorize(second_moments.copy(), damping)
        except np.linalg.LinAlgError:
            pass
        else:
            if _error(factor, second_moments, damping) < _LARGEST_ERROR * damping:
                return factor
    return _factorize(np.array(second_moments, np.float64), damping)


def _factorize(h: np.ndarray, damping: float) -> np.ndarray:
    """The factor of H + damping · I, in place: blocks of columns from the last to the first."""
    n = len(h)
    h.flat[:: n + 1] += h.dtype.type(damping)

    def subtract(block: slice, inverse: np.ndarray | None, rows: slice) -> None:
        h[rows, block] -= h[rows, block.stop :] @ h[block, block.stop :].T
        if inverse is not None:
            h[rows, block] = h[rows, block] @ inverse.T

    with single_threaded_blas():
        for end in range(n, 0, -_FACTOR_BLOCK):
            block = slice(max(end - _FACTOR_BLOCK, 0), end)
            subtract(block, None, block)
            h[block, block] = np.linalg.cholesky(h[block, block][::-1, ::-1])[::-1, ::-1]
            above = [slice(at, min(at + _FACTOR_ROWS, block.start)) for at in range(0, block.start, _FACTOR_ROWS)]
            size = block.start * (n - block.start) * _FACTOR_BLOCK
            for _ in map_ordered(partial(subtract, block, _inverse_of_upper(h[block, block])), above, size):
                pass
            h[block, : block.start] = 0
    return h


def _inverse_of_upper(factor: np.ndarray) -> np.ndarray:
    """The inverse of an upper triangular matrix, by halves."""
    n = len(factor)
    if n <= 64:
        return np.triu(np.linalg.inv(factor))
    half = n // 2
    first, last = _inverse_of_upper(factor[:half, :half]), _inverse_of_upper(factor[half:, half:])
    inverse = np.zeros_like(factor)
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[:half, half:] = -first @ factor[:half, half:] @ last
    return inverse


def _error(factor: np.ndarray, second_moments: np.ndarray, damping: float) -> float:
    """‖(RRᵀ − H − damping · I) x‖ / ‖x‖ for one random x."""
    x = np.random.RandomState(0).standard_normal(len(factor)).astype(factor.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = factor @ (factor.T @ x) - second_moments @ x - factor.dtype.type(damping) * x
        return float(np.linalg.norm(difference) / np.linalg.norm(x))


class Compressed(NamedTuple):
    """Weights (float32, or float64 where they were); of quantized ones codes (int8) and scales of groups (float32)."""

    weight: np.ndarray
    codes: np.ndarray | None
    scales: np.ndarray | None


def compress_columns(
    weight: np.ndarray,
    factor: np.ndarray,
    *,
    keep_mask: KeepMask | None = None,
    fixed_mask: np.ndarray | None = None,
    scales: Scales | None = None,
    max_code: int = 127,
    group_size: int | None = None,
    block_size: int = 128,
) -> Compressed:
    """Prune, quantize, or both.

    Parameters
    ----------
    weight : ndarray of shape (n_outputs, n_inputs)
    factor : ndarray of shape (n_inputs, n_inputs)
        Of `cholesky_factor`.
    keep_mask : callable, optional
        Given scores of a block of columns, |w| / U_jj = |w| R_jj for the weights as they are when the block's turn
        comes: which of them stay, an array of booleans.
    fixed_mask : ndarray of bool, optional
        Weights that may stay; those that are pruned already are kept at zero by it.
    scales : callable, optional
        Given the weights of a group when its turn comes, (rows, columns): the scale of each row.
    max_code : int
        Codes are whole numbers from −max_code to max_code.
    group_size : int, optional
        Columns that share a scale; None: all.
    block_size : int
        Columns whose losses reach the later ones by one matrix product; a group lies within one block.
    """
    n_rows, n_columns = weight.shape
    group_size = max(1, min(group_size or n_columns, n_columns))
    if scales is not None and group_size < n_columns:
        block_size = group_size * max(1, block_size // group_size)
    layer = _Layer(weight, factor, scales, max_code, group_size)
    chunks = [slice(start, min(start + _ROWS, n_rows)) for start in range(0, n_rows, _ROWS)]

    def in_chunks(work: Callable[[slice], None], size: int) -> None:
        for _ in map_ordered(work, chunks, size):
            pass

    with single_threaded_blas():
        for start in range(0, n_columns, block_size):
            block = slice(start, min(start + block_size, n_columns))
            size = n_rows * (block.stop - start)
            inverse = _inverse_of_upper(layer.factor[block, block])
            in_chunks(partial(layer.make_good, block, inverse), size * block.stop)
            kept = None if fixed_mask is None else fixed_mask[:, block]
            if keep_mask is not None:
                scores = np.abs(layer.weight[:, block]) * np.diagonal(factor)[block]
                chosen = keep_mask(scores if kept is None else np.where(kept, scores, 0))
                kept = chosen if kept is None else kept & chosen
            in_chunks(partial(layer.decide, block, inverse, kept), size * (block.stop - start))
    return Compressed(layer.weight, *((None, None) if scales is None else (layer.codes, layer.scales)))


class _Layer:
    """The weights of which some columns are decided, and what they were decided to be."""

    def __init__(
        self, weight: np.ndarray, factor: np.ndarray, choose_scales: Scales | None, max_code: int, group_size: int
    ):
        self.dtype = np.dtype(np.float64 if weight.dtype == np.float64 else np.float32)
        self.weight, self.factor = np.array(weight, self.dtype), np.ascontiguousarray(factor, self.dtype)
        self.lost = np.empty(weight.shape, self.dtype)
        self.choose_scales, self.max_code, self.group_size = choose_scales, self.dtype.type(max_code), group_size
        n_rows, n_columns = weight.shape
        self.codes = np.zeros(weight.shape, np.int8)
        self.scales = np.ones((n_rows, -(-n_columns // group_size)), np.float32)
        if choose_scales is not None and group_size == n_columns:
            self.scales[:, 0] = choose_scales(self.weight)

    def make_good(self, block: slice, inverse: np.ndarray, rows: slice) -> None:
        """Let a block of columns in some rows make good what the columns before it lost."""
        self.lost[rows, block] = self.weight[rows, block]
        if block.start:
            self.weight[rows, block] += self.lost[rows, : block.start] @ self.factor[: block.start, block] @ inverse

    def decide(self, block: slice, inverse: np.ndarray, kept: np.ndarray | None, rows: slice) -> None:
        """Decide a block of columns in some rows; `kept`: which of its weights stay, None: all."""
        w = _to_vectors(self.weight[rows, block])
        stay = np.ones(1, bool) if kept is None else _to_vectors(kept[rows])
        lost = np.empty_like(w)
        n_rows, n_columns, quantize = rows.stop - rows.start, w.shape[1], self.choose_scales is not None
        size = min(self.group_size, n_columns) if quantize else n_columns
        for begin in range(0, n_columns, size):
            end, group = min(begin + size, n_columns), (block.start + begin) // self.group_size
            if self.choose_scales is not None and self.group_size < self.weight.shape[1]:
                self.scales[rows, group] = self.choose_scales(_from_vectors(w[:, begin:end], n_rows))
            steps = _to_vectors(self.scales[rows, group : group + 1].astype(self.dtype), padding=1)
            arrays = (w.ravel(), stay.ravel(), lost.ravel(), steps.ravel())
            _decide(*arrays, inverse, begin, end, n_columns, kept is not None, quantize, self.max_code)
        self.weight[rows, block] = _from_vectors(w, n_rows)
        self.lost[rows, block] -= self.weight[rows, block]
        if quantize:
            groups = np.arange(block.start, block.stop) // self.group_size
            scales = self.scales[rows, groups[:1]] if groups[0] == groups[-1] else self.scales[rows][:, groups]
            # exactly the codes, as a multiple of a scale is divided by that scale
            self.codes[rows, block] = np.rint(self.weight[rows, block] / scales)


def _to_vectors(rows: np.ndarray, padding: float = 0) -> np.ndarray:
    """(parts, columns, vectors): the rows of a part are next to each other; rows are added to the last part."""
    n_parts = -(-len(rows) // _WIDTH)
    padded = np.full((n_parts * _WIDTH, rows.shape[1]), padding, rows.dtype)
    padded[: len(rows)] = rows
    return np.ascontiguousarray(padded.reshape(n_parts, _WIDTH, -1).transpose(0, 2, 1))


def _from_vectors(vectors: np.ndarray, n_rows: int) -> np.ndarray:
    return vectors.transpose(0, 2, 1).reshape(-1, vectors.shape[1])[:n_rows]


@partial(kernel, contract=True)
def _decide(w, kept, lost, steps, factor, begin, end, n_columns, prune, quantize, max_code):
    """Columns begin to end of each row, and what they lose; the columns after them in the block make it good."""
    for part in range(len(w) // (n_columns * _WIDTH)):
        first = part * n_columns * _WIDTH
        for j in range(begin, end):
            at, pivot = first + j * _WIDTH, factor[j, j]
            for i in range(_WIDTH):
                old = w[at + i]
                new = lost.dtype.type(0.0) if prune and not kept[at + i] else old
                if quantize:
                    step = steps[part * _WIDTH + i]
                    new = min(max(np.rint(new / step), -max_code), max_code) * step
                lost[at + i] = (old - new) / pivot
                w[at + i] = new
            for k in range(j + 1, n_columns):
                _add_product(w, first + k * _WIDTH, -factor[j, k], lost, at)
