"""Mini-batch training of a linear model with any rule, loss and penalty: one kernel call an epoch."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import element, kernel, like, maximum, minimum, sign, to_fixed_tuple, where
from lifecycle.loops._update import three_slot_update

# Orthant-wise steps (Andrew & Gao, 2007) bring a kink λ|w| into any rule: `pull` adds the subgradient of least size,
# and `land` stops a coefficient at zero that would cross it.


@element
def pull(w, g, kink):
    """Slope of the objective at w, g being that of its smooth part; zero where |g| ≤ kink holds w at zero."""
    held = where(w == like(w, 0.0), minimum(maximum(g, -kink), kink), like(w, 0.0))
    return g + kink * sign(w) - held


@element
def land(new, w, g):
    """The new coefficient, or 0 if it left the orthant of w (of -g, where w is zero)."""
    zero = like(w, 0.0)
    return where(new * where(w == zero, -sign(g), sign(w)) > zero, new, zero)


def compiled(update: Callable, n_slots: int, step: Callable, n_carried: int, loss: Any, joint: bool,
             penalty: Any) -> Any:  # fmt: skip
    """Kernel of one epoch over the rows of X in the given order, in place on `theta`, `slots` and `mean`.

    Parameters
    ----------
    update, step : functions of a rule; n_slots, n_carried : numbers of its slots and of its scalars
    loss : `joint`: it takes all scores of a sample at once
    penalty : its file's `slope`, `kink`, `step` and `prox` are used

    Returns
    -------
    epoch(X, Y, weights, order, center, batch, theta, slots, mean, hyper, carried, settings, t, start) -> sum of losses
        X has any float type, and center (features,) is taken off its rows; theta holds the coefficients
        (outputs, features), then an intercept per output; slots is (slots, theta.size);
        mean is the mean of theta over the steps from step `start` on (never, if start is 0); hyper are the
        arguments of `step` after t, carried the rule's scalars, updated in place;
        settings = (epsilon, alpha, l1_ratio, proximal, fit_intercept); t counts the
        steps before this epoch.
    """
    if n_carried > 1:
        raise ValueError(f"a rule may carry one scalar from step to step; this one carries {n_carried}")
    return _build(update, n_slots, step, n_carried, loss.functions(joint), penalty.gradient, penalty.l1_weight, penalty.prox_params,
                  penalty.prox)  # fmt: skip


@cache
def _build(update, n_slots, step, n_carried, functions, penalty_slope, penalty_kink, reach, prox):
    advance, row = advance_with(update, n_slots), row_of(functions)
    advance, row, coefficients = element(advance), element(row), element(step)

    def epoch(X, Y, weights, order, center, batch, theta, slots, mean, hyper, carried, settings, t, start):
        epsilon, alpha, l1_ratio, proximal, fit_intercept = settings
        outputs, features = Y.shape[1], X.shape[1]
        size = outputs * features
        kink = alpha * penalty_kink(l1_ratio)
        z = np.empty(outputs)
        pushes = np.empty(outputs)
        g = np.empty(theta.size)
        total = 0.0
        for begin in range(0, order.size, batch):
            end = min(begin + batch, order.size)
            g[:] = 0.0
            for i in order[begin:end]:
                for k in range(outputs):
                    score = theta[size + k]
                    for j in range(features):
                        score += theta[k * features + j] * (X[i, j] - center[j])
                    z[k] = score
                total += weights[i] * row(Y[i], z, epsilon, pushes)
                share = weights[i] / (end - begin)
                for k in range(outputs):
                    push = share * pushes[k]
                    g[size + k] += push
                    for j in range(features):
                        g[k * features + j] += push * (X[i, j] - center[j])
            t += 1
            s = coefficients(t, *(hyper + to_fixed_tuple(carried, n_carried)))
            if n_carried > 0:
                carried[0] = s[0]
            if proximal:
                paces = reach(hyper[0] * alpha, l1_ratio)
                for e in range(size):
                    theta[e] = prox(advance(theta[e], g[e], slots, e, s), paces)
            elif kink > 0.0:
                for e in range(size):
                    w = theta[e]
                    slant = pull(w, g[e] + alpha * penalty_slope(w, l1_ratio), kink)
                    theta[e] = land(advance(w, slant, slots, e, s), w, slant)
            else:
                for e in range(size):
                    slant = g[e] + alpha * penalty_slope(theta[e], l1_ratio)
                    theta[e] = advance(theta[e], slant, slots, e, s)
            if fit_intercept:
                for e in range(size, theta.size):
                    theta[e] = advance(theta[e], g[e], slots, e, s)
            if start > 0 and t >= start:
                share = 1.0 / (t - start + 1)
                for e in range(theta.size):
                    mean[e] += share * (theta[e] - mean[e])
        return total

    return kernel(epoch, reassociate=True)


def row_of(functions):
    """(targets, scores, epsilon, out) -> loss of one sample, of those functions of a loss; its slopes go to out.

    Outside kernels, elements of the first three may be arrays with an element per sample.
    """
    if len(functions) == 3:
        part, slope, value = functions

        def row(y, z, epsilon, out):
            top = z[0]
            for k in range(1, len(z)):
                top = maximum(top, z[k])
            total, chosen = 0.0 * top, 0.0 * top
            for k in range(len(z)):
                out[k] = part(z[k], top)
                total = total + out[k]
                chosen = chosen + y[k] * (z[k] - top)
            for k in range(len(z)):
                out[k] = slope(y[k], out[k], total)
            return value(chosen, total)

    else:
        slope, value = functions

        def row(y, z, epsilon, out):
            total = 0.0
            for k in range(len(z)):
                out[k] = slope(y[k], z[k], epsilon)
                total += value(y[k], z[k], epsilon)
            return total

    return row


def advance_with(update, n_slots):
    """(p, g, slots, e, s) -> p of element e, whose slots are updated in place."""
    apply = three_slot_update(update, n_slots)

    def advance(p, g, slots, e, s):
        a = slots[0, e] if n_slots > 0 else p
        b = slots[1, e] if n_slots > 1 else p
        c = slots[2, e] if n_slots > 2 else p
        p, a, b, c = apply(p, g, a, b, c, s)
        if n_slots > 0:
            slots[0, e] = a
        if n_slots > 1:
            slots[1, e] = b
        if n_slots > 2:
            slots[2, e] = c
        return p

    return advance
