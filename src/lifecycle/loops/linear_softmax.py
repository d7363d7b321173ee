"""Softmax of many models: from scores of rows to multinomial losses and their derivatives by the scores."""

from functools import cache
from typing import Any

from lifecycle._jit import kernel, maximum, stack_array, wide_vectors
from lifecycle.loops.linear_update import one_hot, weighted

_ROWS = 128  # samples of a block, which stays in the cache


def multinomial_loss_dloss(loss: Any) -> Any:
    """Kernel (z, y, weights, train_set, losses, out): from scores z to weighted derivatives in out, and to losses.

    z, out (models * outputs, rows); y (rows,), class codes; weights (sets, rows); train_set (models,); the weighted
    losses of each model are added to losses (models,), float64.
    """
    return _multinomial_loss_dloss(loss.functions(True))


@cache
def _multinomial_loss_dloss(functions):
    multinomial_exp, multinomial_dloss, multinomial_value = functions
    rows = stack_array(_ROWS)

    def loop(z, y, weights, train_set, losses, out):
        wide_vectors()
        outputs, dtype = len(z) // train_set.size, z.dtype
        z_max, sum_exp, z_true, loss = rows(dtype), rows(dtype), rows(dtype), rows(dtype)
        for m in range(train_set.size):
            for begin in range(0, y.size, _ROWS):
                block = slice(begin, begin + _ROWS)
                y_block, weight = y[block], weights[train_set[m], block]
                z_k = z[m * outputs, block]
                for i in range(y_block.size):
                    z_max[i], sum_exp[i], z_true[i] = z_k[i], 0.0, 0.0
                for k in range(1, outputs):
                    z_k = z[m * outputs + k, block]
                    for i in range(y_block.size):
                        z_max[i] = maximum(z_max[i], z_k[i])
                for k in range(outputs):
                    z_k, out_k, code = z[m * outputs + k, block], out[m * outputs + k, block], dtype.type(k)
                    for i in range(y_block.size):
                        out_k[i] = multinomial_exp(z_k[i], z_max[i])
                    for i in range(y_block.size):
                        sum_exp[i] += out_k[i]
                        z_true[i] += one_hot(y_block[i], code) * (z_k[i] - z_max[i])
                for k in range(outputs):
                    out_k, code = out[m * outputs + k, block], dtype.type(k)
                    for i in range(y_block.size):
                        out_k[i] = weighted(
                            weight[i], multinomial_dloss(one_hot(y_block[i], code), out_k[i], sum_exp[i])
                        )
                for i in range(y_block.size):
                    loss[i] = weighted(weight[i], multinomial_value(z_true[i], sum_exp[i]))
                for i in range(y_block.size):
                    losses[m] += loss[i]

    return kernel(loop, contract=True)
