"""SGD steps of single rows for many dense linear models: SIMD runs across the models of a block.

The coefficient of feature j of model v is theta[j * width + v], so that one row of X meets all models with one load of
each element. What differs between models are arrays: the step size, the penalty, the centre of the features, and which
column of the weights says which rows a model trains on.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lifecycle._jit import kernel, like, stack_array, wide_vectors
from lifecycle.loops.linear_update import sample_loss, strided_tuple, target_encoder, weighted

_LOSSES_AT_ONCE = 64  # losses that are added in the precision of the models


class SgdRows(NamedTuple):
    """The rows of an epoch.

    X (n, features); y (n,), numbers or class codes; weights (n, sets); center_products (n, sets): X @ centers;
    order (steps,): row numbers.
    """

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    center_products: np.ndarray | None
    order: np.ndarray


class SgdModels(NamedTuple):
    """What differs between the models of a block, (width,) unless said otherwise.

    center, like theta; center_norm2: center @ center; train_set: column of the weights; label: class code;
    preconditioner: factors of the steps, like theta, or none; prox_params: coefficients of the proximal steps, one
    parameter after another, and with a preconditioner one feature after another; has_intercept: 0 where the intercept
    is fixed.
    """

    center: np.ndarray
    center_norm2: np.ndarray
    train_set: np.ndarray
    label: np.ndarray
    step_size: np.ndarray
    preconditioner: np.ndarray
    prox_params: np.ndarray
    epsilon: np.ndarray
    has_intercept: np.ndarray


def sgd_epoch(loss: Any, multinomial: bool, penalty: Any, width: int, prox_scales: bool,
              preconditioned: bool = False) -> Any:  # fmt: skip
    """Kernel of an epoch of steps -step_size * dloss, one for each row, each followed by the penalty's proximal step.

    The step of a row and the scores of the next row are computed in one loop over the coefficients. Features are those
    of X minus the centre of the model. `prox_scales`: the proximal step multiplies w by a factor. Then all steps along
    the centre are one number: theta = u - a * center, and the loop is over u, with the same features for all models.
    `multinomial`: the loss sees the scores of `n_outputs` neighbouring models together. `preconditioned`: a step has a
    factor for each feature, and the proximal step is as long.

    Returns
    -------
    epoch(rows: SgdRows, models: SgdModels, n_outputs, theta, intercept, total)
        theta (features * width,) and intercept (width,) change in place; losses are added to total (width,).
    """
    n_params = len(penalty.prox_params(0.0, 0.0))
    functions, encode = loss.functions(multinomial), target_encoder(loss.task)
    return _sgd_epoch(functions, multinomial, penalty.prox, encode, n_params, width, prox_scales, preconditioned)


@cache
def _sgd_epoch(functions, multinomial, prox, encode, n_params, width, prox_scales, preconditioned):
    *_, dloss, value = functions
    of_outputs = sample_loss(functions)
    vector, parameters, params_of = stack_array(width), stack_array(n_params * width), strided_tuple(n_params)

    def epoch(rows, models, n_outputs, theta, intercept, total):
        wide_vectors()
        X, y, weights, center_products, order = rows
        center, center_norm2, train_set, label, step_size, preconditioner, prox_params, epsilon, has_intercept = models
        dtype, features = theta.dtype, X.shape[1]
        z, step, b, params = vector(dtype), vector(dtype), vector(dtype), parameters(dtype)
        target, weight, loss, product = vector(dtype), vector(dtype), vector(dtype), vector(dtype)
        lr, free, eps, norm2 = vector(dtype), vector(dtype), vector(dtype), vector(dtype)
        a, center_dot_u = vector(dtype), vector(dtype)
        # copies without an alias can stay in registers
        w, c, d, sums = vector(dtype), vector(dtype), vector(dtype), vector(dtype)
        x_rows = np.empty((2, features), dtype)
        for v in range(width):
            b[v], lr[v], free[v], eps[v], loss[v] = intercept[v], step_size[v], has_intercept[v], epsilon[v], 0.0
            a[v], center_dot_u[v], sums[v], norm2[v], product[v] = 0.0, 0.0, 0.0, center_norm2[v], 0.0
        for k in range(0 if preconditioned else n_params * width):
            params[k] = prox_params[k]
        for j in range(features):
            x = X[order[0], j]
            x_rows[0, j] = x
            for v in range(width):
                w[v], c[v] = theta[j * width + v], center[j * width + v]
            for v in range(width):
                sums[v] += (x if prox_scales else x - c[v]) * w[v]
                center_dot_u[v] += c[v] * w[v]
        n_added = 0
        for t in range(order.size):
            i, following = order[t], order[min(t + 1, order.size - 1)]
            x_now, x_next = x_rows[t % 2], x_rows[(t + 1) % 2]
            for j in range(features):
                x_next[j] = X[following, j]
            for v in range(width):
                target[v], weight[v] = encode(y[i], label[v]), weights[i, train_set[v]]
                product[v] = center_products[i, train_set[v]]
            for v in range(width):
                of_center = center_dot_u[v] + a[v] * (product[v] - norm2[v]) if prox_scales else like(b[v], 0.0)
                z[v] = sums[v] + b[v] - of_center
                if not multinomial:
                    loss[v] += weighted(weight[v], value(target[v], z[v], eps[v]))
            n_added += 1
            if n_added == _LOSSES_AT_ONCE:
                n_added = 0
                for v in range(width):
                    total[v] += loss[v]
                    loss[v] = 0.0
            if multinomial:
                for v in range(width):
                    step[v] = 0.0
                for k in range(n_outputs):
                    target[k] = like(b[k], 1.0) if y[i] == k else like(b[k], 0.0)
                for first in range(0, width - n_outputs + 1, n_outputs):
                    model = slice(first, first + n_outputs)
                    of_model = of_outputs(target[:n_outputs], z[model], eps[first], step[model])
                    loss[first] += weighted(weight[first], of_model)
            for v in range(width):
                step[v] = weighted(weight[v], step[v] if multinomial else dloss(target[v], z[v], eps[v])) * lr[v]
                b[v] -= step[v] * free[v]
                d[v], sums[v] = step[v], 0.0
                if prox_scales:
                    a[v] = prox(a[v] - step[v], params_of(params, v, width))
                    center_dot_u[v] = prox(center_dot_u[v] - step[v] * product[v], params_of(params, v, width))
            for j in range(features):
                x, x_ahead = x_now[j], x_next[j]
                for v in range(width):
                    w[v] = theta[j * width + v]
                if prox_scales:
                    for v in range(width):
                        w[v] = prox(w[v] - step[v] * x, params_of(params, v, width))
                        sums[v] += x_ahead * w[v]
                else:
                    for v in range(width):
                        c[v] = center[j * width + v]
                    if preconditioned:
                        of_j = j * n_params * width
                        for v in range(width):
                            d[v] = step[v] * preconditioner[j * width + v]
                        for k in range(n_params * width):
                            params[k] = prox_params[of_j + k]
                    for v in range(width):
                        w[v] = prox(w[v] - d[v] * (x - c[v]), params_of(params, v, width))
                        sums[v] += (x_ahead - c[v]) * w[v]
                for v in range(width):
                    theta[j * width + v] = w[v]
        for j in range(features if prox_scales else 0):
            for v in range(width):
                theta[j * width + v] -= a[v] * center[j * width + v]
        for v in range(width):
            intercept[v] = b[v]
            total[v] += loss[v]

    return kernel(epoch, contract=True)
