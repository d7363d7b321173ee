"""Mini-batch steps of any rule for many dense linear models: SIMD runs across the models of a tile.

Block layout as in `linear_sgd`, with several tiles one after another: theta[tile, j * width + v].
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lifecycle._jit import element, kernel, stack_array
from lifecycle.loops.averaging import running_mean
from lifecycle.loops.linear_update import (
    ORTHANT,
    PRECONDITIONED,
    PROXIMAL,
    compiled_updates,
    rule_arguments,
    sample_loss,
    strided_tuple,
    target_encoder,
    weighted,
)


class BatchRows(NamedTuple):
    """X (n, features); y (n,), numbers or class codes; weights (n, sets); order (rows,); batch_size: rows of a step."""

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    order: np.ndarray
    batch_size: int


class BatchModels(NamedTuple):
    """What differs between the models, (models,) unless said otherwise.

    center (tiles * features * width,): of the features; preconditioner: as long, of the kind PRECONDITIONED;
    train_set: column of the weights; label: class code;
    alpha, l1_ratio, epsilon; has_intercept: 0 where the intercept is fixed; hyper (models, numbers of
    `flatten_hyperparameters`).
    """

    center: np.ndarray
    preconditioner: np.ndarray
    train_set: np.ndarray
    label: np.ndarray
    alpha: np.ndarray
    l1_ratio: np.ndarray
    epsilon: np.ndarray
    has_intercept: np.ndarray
    hyper: np.ndarray


class BatchState(NamedTuple):
    """What a step changes in place.

    theta (tiles * features * width,) and intercept (models,); their slots, (slots, …); their running means; scalars
    (models,): the number that a rule carries from step to step.
    """

    theta: np.ndarray
    intercept: np.ndarray
    slots: np.ndarray
    intercept_slots: np.ndarray
    mean: np.ndarray
    intercept_mean: np.ndarray
    scalars: np.ndarray


def minibatch_epoch(rule: Any, hyper: dict[str, Any], loss: Any, multinomial: bool, penalty: Any, width: int) -> Any:
    """Kernel of an epoch of steps of a rule, one for each `batch_size` rows.

    Returns
    -------
    epoch(rows: BatchRows, models: BatchModels, state: BatchState, n_outputs, kind, t, average_from, total)
        n_outputs: models whose scores the loss sees together; kind: of `linear_update.update_kind`; t: steps made
        before; average_from: the step from which on the running means are updated (0: never); losses are added to
        total (models,).
    """
    update, slots = rule.variant(hyper)
    n_coefficients = len(rule.step(1, **hyper, **rule.scalars))
    n_params = len(penalty.prox_params(0.0, 0.0))
    return _minibatch_epoch(
        update, len(slots), rule.step, n_coefficients, len(rule.scalars), tuple(rule.defaults.values()),
        loss.functions(multinomial), multinomial, penalty, n_params, target_encoder(loss.task), width,
    )  # fmt: skip


@cache
def _minibatch_epoch(update, n_slots, step, n_coefficients, n_scalars, defaults, functions, multinomial, penalty,
                     n_params, encode, width):  # fmt: skip
    *_, dloss, value = functions
    of_outputs = sample_loss(functions)
    rule_update, smooth, proximal, orthant = compiled_updates(update, n_slots, penalty.gradient, penalty.prox)
    penalty_l1, prox_params_of = penalty.l1_weight, penalty.prox_params
    rule_step, coefficients_of, params_of = element(step), strided_tuple(n_coefficients), strided_tuple(n_params)
    arguments, _ = rule_arguments(defaults)
    vector = stack_array(width)

    def epoch(rows, models, state, n_outputs, kind, t, average_from, total):
        X, y, weights, order, batch_size = rows
        center, preconditioner, train_set, label, alpha, l1_ratio, epsilon, has_intercept, hyper = models
        theta, intercept, slots, intercept_slots, mean, intercept_mean, scalars = state
        dtype, features, n_models = theta.dtype, X.shape[1], intercept.size
        step_v, sums = vector(dtype), vector(dtype)
        z, dloss_of, target = np.empty(n_models, dtype), np.empty(n_models, dtype), np.empty(n_outputs, dtype)
        g, g_intercept = np.empty(theta.size, dtype), np.empty(n_models, dtype)
        s, params = np.empty(n_coefficients * n_models, dtype), np.empty(n_params * n_models, dtype)
        l1_weight = np.empty(n_models, dtype)
        for m in range(n_models):
            l1_weight[m] = alpha[m] * penalty_l1(l1_ratio[m])
        for begin in range(0, order.size, batch_size):
            end = min(begin + batch_size, order.size)
            g[:] = 0.0
            g_intercept[:] = 0.0
            for i in order[begin:end]:
                for tile in range(0, n_models, width):
                    for v in range(width):
                        sums[v] = intercept[tile + v]
                    for j in range(features):
                        x, e = X[i, j], tile * features + j * width
                        for v in range(width):
                            sums[v] += (x - center[e + v]) * theta[e + v]
                    for v in range(width):
                        z[tile + v] = sums[v]
                if multinomial:
                    for k in range(n_outputs):
                        target[k] = y[i] == k
                    for first in range(0, n_models - n_outputs + 1, n_outputs):
                        model = slice(first, first + n_outputs)
                        weight = weights[i, train_set[first]]
                        loss = of_outputs(target, z[model], epsilon[first], dloss_of[model])
                        total[first] += weighted(weight, loss)
                else:
                    for m in range(n_models):
                        y_m = encode(y[i], label[m])
                        total[m] += weighted(weights[i, train_set[m]], value(y_m, z[m], epsilon[m]))
                        dloss_of[m] = dloss(y_m, z[m], epsilon[m])
                for tile in range(0, n_models, width):
                    for v in range(width):
                        step_v[v] = weighted(weights[i, train_set[tile + v]], dloss_of[tile + v]) / (end - begin)
                        g_intercept[tile + v] += step_v[v]
                    for j in range(features):
                        x, e = X[i, j], tile * features + j * width
                        for v in range(width):
                            g[e + v] += step_v[v] * (x - center[e + v])
            t += 1
            for m in range(n_models):
                given = arguments(hyper[m])
                if n_scalars > 0:
                    now = rule_step(t, *(given + (scalars[m],)))
                    scalars[m] = now[0]
                else:
                    now = rule_step(t, *given)
                for k in range(n_coefficients):
                    s[m + k * n_models] = now[k]
                of_prox = prox_params_of(hyper[m, 0] * alpha[m], l1_ratio[m])
                for k in range(n_params):
                    params[m + k * n_models] = of_prox[k]
            for tile in range(0, n_models, width):
                for j in range(features):
                    base = tile * features + j * width
                    if kind == PROXIMAL:
                        for v in range(width):
                            e, m = base + v, tile + v
                            theta[e] = proximal(theta[e], g[e], slots, e, coefficients_of(s, m, n_models),
                                                params_of(params, m, n_models))  # fmt: skip
                    elif kind == PRECONDITIONED:
                        for v in range(width):
                            e, m = base + v, tile + v
                            d = preconditioner[e]
                            of_prox = prox_params_of(hyper[m, 0] * alpha[m] * d, l1_ratio[m])
                            theta[e] = proximal(theta[e], g[e] * d, slots, e, coefficients_of(s, m, n_models), of_prox)
                    elif kind == ORTHANT:
                        for v in range(width):
                            e, m = base + v, tile + v
                            theta[e] = orthant(theta[e], g[e], slots, e, coefficients_of(s, m, n_models), alpha[m],
                                               l1_ratio[m], l1_weight[m])  # fmt: skip
                    else:
                        for v in range(width):
                            e, m = base + v, tile + v
                            theta[e] = smooth(theta[e], g[e], slots, e, coefficients_of(s, m, n_models), alpha[m],
                                              l1_ratio[m])  # fmt: skip
            for m in range(n_models):
                b = rule_update(intercept[m], g_intercept[m], intercept_slots, m, coefficients_of(s, m, n_models))
                intercept[m] = b if has_intercept[m] > 0 else intercept[m]
            if average_from > 0 and t >= average_from:
                share = 1.0 / (t - average_from + 1)
                for e in range(theta.size):
                    mean[e] = running_mean(mean[e], theta[e], share)
                for m in range(n_models):
                    intercept_mean[m] = running_mean(intercept_mean[m], intercept[m], share)

    return kernel(epoch, contract=True)
