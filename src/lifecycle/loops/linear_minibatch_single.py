"""Mini-batch steps of any rule for one linear model: one kernel call an epoch."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lifecycle._jit import element, kernel, to_fixed_tuple
from lifecycle.loops.averaging import running_mean
from lifecycle.loops.linear_minibatch import BatchRows
from lifecycle.loops.linear_update import ORTHANT, PRECONDITIONED, PROXIMAL, compiled_updates, sample_loss

__all__ = ["BatchRows", "Model", "ModelState", "single_minibatch_epoch"]


class Model(NamedTuple):
    """center (features,); preconditioner (features,), of the kind PRECONDITIONED; kind: of
    `linear_update.update_kind`; hyper: arguments of the rule's `step` after t.
    """

    center: np.ndarray
    preconditioner: np.ndarray
    epsilon: float
    alpha: float
    l1_ratio: float
    kind: int
    fit_intercept: bool
    hyper: tuple


class ModelState(NamedTuple):
    """What a step changes in place.

    theta: coefficients (outputs, features), then an intercept per output; slots (slots, theta.size); mean: the running
    mean of theta; scalars: what the rule carries from step to step.
    """

    theta: np.ndarray
    slots: np.ndarray
    mean: np.ndarray
    scalars: np.ndarray


def single_minibatch_epoch(
    update: Callable, n_slots: int, step: Callable, n_scalars: int, loss: Any, multinomial: bool, penalty: Any
) -> Any:
    """Kernel of one epoch over the rows of X, of any float type, in the given order.

    Parameters
    ----------
    update, step : functions of a rule; n_slots, n_scalars : numbers of its slots and of its scalars
    loss : `multinomial`: it takes all scores of a sample at once

    Returns
    -------
    epoch(rows: BatchRows, model: Model, state: ModelState, t, average_from) -> sum of losses
        rows.y are targets (n, outputs), rows.weights (n,); t: steps made before; average_from: the step from which on
        the running mean is updated (0: never).
    """
    if n_scalars > 1:
        raise ValueError(f"a rule may carry one scalar from step to step; this one carries {n_scalars}")
    return _single_minibatch_epoch(update, n_slots, step, n_scalars, loss.functions(multinomial), penalty)


@cache
def _single_minibatch_epoch(update, n_slots, step, n_scalars, functions, penalty):
    of_outputs, penalty_l1, prox_params_of = sample_loss(functions), penalty.l1_weight, penalty.prox_params
    rule_update, smooth, proximal, orthant = compiled_updates(update, n_slots, penalty.gradient, penalty.prox)
    rule_step = element(step)

    def epoch(rows, model, state, t, average_from):
        X, Y, weights, order, batch_size = rows
        center, preconditioner, epsilon, alpha, l1_ratio, kind, fit_intercept, hyper = model
        theta, slots, mean, scalars = state
        outputs, features = Y.shape[1], X.shape[1]
        size = outputs * features
        l1_weight = alpha * penalty_l1(l1_ratio)
        z = np.empty(outputs)
        dloss = np.empty(outputs)
        g = np.empty(theta.size)
        total = 0.0
        for begin in range(0, order.size, batch_size):
            end = min(begin + batch_size, order.size)
            g[:] = 0.0
            for i in order[begin:end]:
                if weights[i] == 0.0:
                    continue
                for k in range(outputs):
                    score = theta[size + k]
                    for j in range(features):
                        score += theta[k * features + j] * (X[i, j] - center[j])
                    z[k] = score
                total += weights[i] * of_outputs(Y[i], z, epsilon, dloss)
                share = weights[i] / (end - begin)
                for k in range(outputs):
                    step_k = share * dloss[k]
                    g[size + k] += step_k
                    for j in range(features):
                        g[k * features + j] += step_k * (X[i, j] - center[j])
            t += 1
            s = rule_step(t, *(hyper + to_fixed_tuple(scalars, n_scalars)))
            if n_scalars > 0:
                scalars[0] = s[0]
            if kind == PROXIMAL:
                params = prox_params_of(hyper[0] * alpha, l1_ratio)
                for e in range(size):
                    theta[e] = proximal(theta[e], g[e], slots, e, s, params)
            elif kind == PRECONDITIONED:
                for k in range(outputs):
                    for j in range(features):
                        e, d = k * features + j, preconditioner[j]
                        params = prox_params_of(hyper[0] * alpha * d, l1_ratio)
                        theta[e] = proximal(theta[e], g[e] * d, slots, e, s, params)
            elif kind == ORTHANT:
                for e in range(size):
                    theta[e] = orthant(theta[e], g[e], slots, e, s, alpha, l1_ratio, l1_weight)
            else:
                for e in range(size):
                    theta[e] = smooth(theta[e], g[e], slots, e, s, alpha, l1_ratio)
            if fit_intercept:
                for e in range(size, theta.size):
                    theta[e] = rule_update(theta[e], g[e], slots, e, s)
            if average_from > 0 and t >= average_from:
                share = 1.0 / (t - average_from + 1)
                for e in range(theta.size):
                    mean[e] = running_mean(mean[e], theta[e], share)
        return total

    return kernel(epoch, reassociate=True)
