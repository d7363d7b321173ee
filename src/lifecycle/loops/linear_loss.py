"""From scores of rows to losses and their derivatives by the scores."""

from functools import cache
from typing import Any

from lifecycle._jit import kernel, maximum, stack_array, wide_vectors
from lifecycle.loops.linear_update import one_hot, target_encoder

_ROWS = 128  # samples of a block, which stays in the cache


def loss_dloss(loss: Any) -> Any:
    """Kernel (z, y, weights, train_set, label, epsilon, out): scores z become weighted losses, out their derivatives.

    z, out (models, rows); weights (sets, rows); train_set, label and epsilon (models,).
    """
    return _loss_dloss(loss.dloss, loss.value, target_encoder(loss.task))


@cache
def _loss_dloss(dloss, value, encode):

    def loop(z, y, weights, train_set, label, epsilon, out):
        wide_vectors()
        for v in range(len(z)):
            z_v, weight, out_v, label_v, eps = z[v], weights[train_set[v]], out[v], label[v], epsilon[v]
            for i in range(z_v.size):
                target, score = encode(y[i], label_v), z_v[i]
                out_v[i] = weight[i] * dloss(target, score, eps)
                z_v[i] = weight[i] * value(target, score, eps)

    return kernel(loop, contract=True)


def multinomial_loss_dloss(loss: Any) -> Any:
    """The same for a loss that sees all scores of a model: kernel (z, y, weights, train_set, losses, out).

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
                        out_k[i] = weight[i] * multinomial_dloss(one_hot(y_block[i], code), out_k[i], sum_exp[i])
                for i in range(y_block.size):
                    loss[i] = weight[i] * multinomial_value(z_true[i], sum_exp[i])
                for i in range(y_block.size):
                    losses[m] += loss[i]

    return kernel(loop, contract=True)


def loss_dloss_hessian(loss: Any) -> Any:
    """Kernel (z, targets, weights, epsilon, dloss, hessian) -> sum of the weighted losses.

    z, targets, dloss, hessian (outputs, rows), weights (rows,): weighted first and second derivatives by the scores go
    to dloss and hessian.
    """
    return _loss_dloss_hessian(loss.dloss, loss.value, loss.hessian)


@cache
def _loss_dloss_hessian(dloss_of, value, hessian_of):

    def loop(z, targets, weights, epsilon, dloss, hessian):
        wide_vectors()
        total = 0.0
        for k in range(len(z)):
            z_k, y_k, dloss_k, hessian_k = z[k], targets[k], dloss[k], hessian[k]
            for i in range(z_k.size):
                dloss_k[i] = weights[i] * dloss_of(y_k[i], z_k[i], epsilon)
                hessian_k[i] = weights[i] * hessian_of(y_k[i], z_k[i], epsilon)
                total += weights[i] * value(y_k[i], z_k[i], epsilon)
        return total

    return kernel(loop, reassociate=True, contract=True)
