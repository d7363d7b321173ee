"""From scores of rows to losses and their derivatives by the scores."""

from functools import cache
from typing import Any

from lifecycle._jit import kernel, wide_vectors
from lifecycle.loops.linear_update import target_encoder, weighted


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
                out_v[i] = weighted(weight[i], dloss(target, score, eps))
                z_v[i] = weighted(weight[i], value(target, score, eps))

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
                dloss_k[i] = weighted(weights[i], dloss_of(y_k[i], z_k[i], epsilon))
                hessian_k[i] = weighted(weights[i], hessian_of(y_k[i], z_k[i], epsilon))
                total += weighted(weights[i], value(y_k[i], z_k[i], epsilon))
        return total

    return kernel(loop, reassociate=True, contract=True)
