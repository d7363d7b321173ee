"""SGD steps of single CSR rows for many linear models, with a penalty whose proximal step multiplies w by a factor.

A row touches few coefficients but the factor all of them, so the coefficients are kept as theta times a scale of the
model (Bottou, 2012, Stochastic gradient descent tricks). SIMD runs across the models of a block.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lifecycle._jit import add_product, element, kernel, like, stack_array, where, wide_vectors
from lifecycle.loops.linear_update import sample_loss, target_encoder, weighted
from lifecycle.loops.vector_width import NARROW

_SMALLEST_SCALE = 1e-4  # at which the coefficients are multiplied by their scale


class CsrRows(NamedTuple):
    """A CSR matrix (data, indices, indptr); y (n,), numbers or class codes; weights (n, sets); order (steps,)."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    order: np.ndarray


class CsrModels(NamedTuple):
    """As `linear_sgd.SgdModels`, each (width,); shrinkage: the factor of the proximal step."""

    train_set: np.ndarray
    label: np.ndarray
    step_size: np.ndarray
    shrinkage: np.ndarray
    epsilon: np.ndarray
    has_intercept: np.ndarray


def csr_sgd_epoch(loss: Any, multinomial: bool, width: int) -> Any:
    """Kernel of an epoch of steps -step_size * dloss, one for each row, each followed by the factor `shrinkage`.

    `multinomial`: the loss sees the scores of `n_outputs` neighbouring models together; `width`: a multiple of NARROW.

    Returns
    -------
    epoch(rows: CsrRows, models: CsrModels, n_outputs, theta, scale, intercept, total)
        The coefficients of a model are its theta times its scale (width,); losses are added to total (width,).
    """
    return _csr_sgd_epoch(loss.functions(multinomial), multinomial, target_encoder(loss.task), width)


@cache
def _csr_sgd_epoch(functions, multinomial, encode, width):
    *_, dloss, value = functions
    of_outputs = sample_loss(functions)
    vector, add, chunk = stack_array(width), add_product(NARROW), NARROW

    def epoch(rows, models, n_outputs, theta, scales, intercept, total):
        wide_vectors()
        data, indices, indptr, y, weights, order = rows
        train_set, label, step_size, shrinkage, epsilon, has_intercept = models
        dtype = theta.dtype
        z, step, scale, target, weight = vector(dtype), vector(dtype), vector(dtype), vector(dtype), vector(dtype)
        b, lr, free, eps = vector(dtype), vector(dtype), vector(dtype), vector(dtype)
        factor, loss = vector(dtype), vector(dtype)
        for v in range(width):
            b[v], lr[v], free[v], eps[v] = intercept[v], step_size[v], has_intercept[v], epsilon[v]
            factor[v], scale[v] = shrinkage[v], scales[v]
        for i in order:
            is_used = False
            for v in range(width):
                z[v], weight[v] = 0.0, weights[i, train_set[v]]
                is_used |= weight[v] != 0.0
            if not is_used:  # no model trains on this row: only the penalty acts
                smallest = scale[0]
                for v in range(width):
                    scale[v] *= factor[v]
                    smallest = min(smallest, scale[v])
                if smallest < _SMALLEST_SCALE:
                    _multiply_by_scale(theta, scale)
                continue
            for k in range(indptr[i], indptr[i + 1]):
                e = np.int64(indices[k]) * width
                for v in range(0, width, chunk):
                    add(z, v, data[k], theta, e + v)
            for v in range(width):
                z[v] = z[v] * scale[v] + b[v]
            if multinomial:
                for v in range(n_outputs):
                    target[v] = y[i] == v
                for v in range(width):
                    step[v], loss[v] = 0.0, 0.0
                for first in range(0, width - n_outputs + 1, n_outputs):
                    model = slice(first, first + n_outputs)
                    of_model = of_outputs(target[:n_outputs], z[model], eps[first], step[model])
                    loss[first] = weighted(weight[first], of_model)
            else:
                for v in range(width):
                    target[v] = encode(y[i], label[v])
                for v in range(width):
                    loss[v] = weighted(weight[v], value(target[v], z[v], eps[v]))
                for v in range(width):
                    step[v] = dloss(target[v], z[v], eps[v])
            for v in range(width):
                step[v] = weighted(weight[v], step[v]) * lr[v]
                b[v] -= step[v] * free[v]
                step[v] /= scale[v]
                scale[v] *= factor[v]
            smallest, is_moved = scale[0], False
            for v in range(width):
                total[v] += loss[v]
                is_moved |= step[v] != 0.0
                smallest = min(smallest, scale[v])
            for k in range(indptr[i], indptr[i + 1] if is_moved else indptr[i]):
                e = np.int64(indices[k]) * width
                for v in range(0, width, chunk):
                    add(theta, e + v, -data[k], step, v)
            if smallest < _SMALLEST_SCALE:
                _multiply_by_scale(theta, scale)
        for v in range(width):
            intercept[v], scales[v] = b[v], scale[v]

    return kernel(epoch, contract=True)


@element
def _multiply_by_scale(theta, scale):
    """Multiply the coefficients of models whose scale is small by it."""
    for e in range(0, theta.size, scale.size):
        for v in range(scale.size):
            theta[e + v] *= where(scale[v] < _SMALLEST_SCALE, scale[v], like(scale[v], 1.0))
    for v in range(scale.size):
        scale[v] = where(scale[v] < _SMALLEST_SCALE, like(scale[v], 1.0), scale[v])
