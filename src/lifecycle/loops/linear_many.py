"""Many linear models over the same rows: SIMD runs across the models, the lanes.

A block holds `width` lanes for each of its tiles; the coefficients of lane v of a tile are theta[tile, j * width + v],
so that one row of X meets all lanes with one load of each element. What differs between lanes are arrays: the step
size, the penalty, the centre of the features, and which column of the weights says which rows a lane sees.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import element, kernel, like, stack_array, where, wide_vectors
from lifecycle.loops.linear_single import advance_with, land, pull, row_of

_TOGETHER = 64  # losses that are added in the precision of the lanes
NARROW, WIDE = 32, 64  # lanes of a block; fewer are unrolled by the compiler before it sees that they are a vector


def width_for(lanes: int, dtype: Any, in_tiles: bool) -> int:
    """Lanes of a tile when so many models are to be trained, all in one tile or in several."""
    if lanes <= NARROW or (in_tiles and dtype == np.float64):
        return NARROW
    return WIDE if lanes <= WIDE or in_tiles else -(-lanes // NARROW) * NARROW


@element
def as_it_is(y, label):
    return y


@element
def one_or_minus_one(y, label):
    return where(y == label, like(y, 1.0), like(y, -1.0))


def target_of(task: str) -> Callable:
    """(y, label of the lane) -> target of a loss: y holds numbers, or the places of the classes."""
    return as_it_is if task == "regression" else one_or_minus_one


def _tuple_of(n: int) -> Callable:
    """(a, v, stride) -> (a[v], a[v + stride], …), n numbers."""
    if n == 0:
        return element(lambda a, v, stride: ())
    rest, at = _tuple_of(n - 1), n - 1
    return element(lambda a, v, stride: rest(a, v, stride) + (a[v + at * stride],))


def _hyperparameters(defaults: tuple) -> tuple[Callable, int]:
    """(row of numbers) -> the arguments of a rule's `step` after t, kinds as in its defaults; and how many numbers."""
    if not defaults:
        return element(lambda row: ()), 0
    rest, at = _hyperparameters(defaults[:-1])
    last = defaults[-1]
    if isinstance(last, tuple):
        if len(last) != 2:
            raise ValueError(f"a hyperparameter of a rule is a number, a flag or a pair of numbers; got {last!r}")
        return element(lambda row: rest(row) + ((row[at], row[at + 1]),)), at + 2
    if isinstance(last, bool):
        return element(lambda row: rest(row) + (row[at] != 0.0,)), at + 1
    return element(lambda row: rest(row) + (row[at],)), at + 1


def samples(loss: Any, joint: bool, penalty: Any, width: int, factor: bool) -> Any:
    """Kernel of an epoch of steps -lr * slope, one for each row, each followed by the penalty's proximal step.

    The step of a row and the scores of the next one are one walk over the coefficients. Features are those of X less
    the centre of the lane, which is `shift` and its `offset` from there. Where the proximal step is a `factor`, all
    steps along the offset are one number: theta = u - a * offset, and the walk is over u, with the same features for
    all lanes. `joint`: the loss sees the scores of `outputs` lanes at once.

    Returns
    -------
    epoch(X, y, weights, along, order, outputs, theta, intercept, shift, offset, squares, column, label, lr, paces,
          epsilon, moves, total)
        X (rows, features), weights (rows, columns), along (rows, columns): (X - shift) @ offset, order (steps,);
        theta (features * width,), offset like theta, shift (features,); what else is of a lane (width,): squares are
        offset @ offset, paces the coefficients of the proximal steps, one after another, moves 0 where the intercept
        stays; the losses are added to total.
    """
    n_paces = len(penalty.prox_params(0.0, 0.0))
    return _samples(loss.functions(joint), joint, penalty.prox, target_of(loss.task), n_paces, width, factor)


@cache
def _samples(functions, joint, prox, target, n_paces, width, factor):
    *_, slope, value = functions
    of_row = row_of(functions)
    of_row = element(of_row)
    lanes, held, at = stack_array(width), stack_array(n_paces * width), _tuple_of(n_paces)

    def epoch(X, y, weights, along, order, outputs, theta, intercept, shift, offset, squares, column, label, lr, paces,
              epsilon, moves, total):  # fmt: skip
        wide_vectors()
        kind, features = theta.dtype, X.shape[1]
        z, push, b, s = lanes(kind), lanes(kind), lanes(kind), held(kind)
        goal, weight, lost, see = lanes(kind), lanes(kind), lanes(kind), lanes(kind)
        rate, free, margin, square = lanes(kind), lanes(kind), lanes(kind), lanes(kind)
        a, drift = lanes(kind), lanes(kind)  # drift: offset @ u
        w, c, sums = lanes(kind), lanes(kind), lanes(kind)  # no array lies here, so that these can stay in registers
        rows = np.empty((2, features), kind)
        for v in range(width):
            b[v], rate[v], free[v], margin[v], lost[v] = intercept[v], lr[v], moves[v], epsilon[v], 0.0
            a[v], drift[v], sums[v], square[v], see[v] = 0.0, 0.0, 0.0, squares[v], 0.0
        for k in range(n_paces * width):
            s[k] = paces[k]
        for j in range(features):
            x = X[order[0], j] - shift[j]
            rows[0, j] = x
            for v in range(width):
                w[v], c[v] = theta[j * width + v], offset[j * width + v]
            for v in range(width):
                sums[v] += (x if factor else x - c[v]) * w[v]
                drift[v] += c[v] * w[v]
        since = 0
        for turn in range(order.size):
            i, after = order[turn], order[min(turn + 1, order.size - 1)]
            row, coming = rows[turn % 2], rows[(turn + 1) % 2]
            for j in range(features):
                coming[j] = X[after, j] - shift[j]
            for v in range(width):
                goal[v], weight[v], see[v] = target(y[i], label[v]), weights[i, column[v]], along[i, column[v]]
            for v in range(width):
                away = drift[v] + a[v] * (see[v] - square[v]) if factor else like(b[v], 0.0)
                z[v] = sums[v] + b[v] - away
                if not joint:
                    lost[v] += weight[v] * value(goal[v], z[v], margin[v])
            since += 1
            if since == _TOGETHER:
                since = 0
                for v in range(width):
                    total[v] += lost[v]
                    lost[v] = 0.0
            if joint:
                for v in range(width):
                    push[v] = 0.0
                for k in range(outputs):
                    goal[k] = like(b[k], 1.0) if y[i] == k else like(b[k], 0.0)
                for first in range(0, width - outputs + 1, outputs):
                    model = slice(first, first + outputs)
                    lost[first] += weight[first] * of_row(goal[:outputs], z[model], margin[first], push[model])
            for v in range(width):
                push[v] = weight[v] * (push[v] if joint else slope(goal[v], z[v], margin[v])) * rate[v]
                b[v] -= push[v] * free[v]
                sums[v] = 0.0
                if factor:
                    a[v] = prox(a[v] - push[v], at(s, v, width))
                    drift[v] = prox(drift[v] - push[v] * see[v], at(s, v, width))
            for j in range(features):
                x, ahead = row[j], coming[j]
                for v in range(width):
                    w[v] = theta[j * width + v]
                if factor:
                    for v in range(width):
                        w[v] = prox(w[v] - push[v] * x, at(s, v, width))
                        sums[v] += ahead * w[v]
                else:
                    for v in range(width):
                        c[v] = offset[j * width + v]
                    for v in range(width):
                        w[v] = prox(w[v] - push[v] * (x - c[v]), at(s, v, width))
                        sums[v] += (ahead - c[v]) * w[v]
                for v in range(width):
                    theta[j * width + v] = w[v]
        for j in range(features if factor else 0):
            for v in range(width):
                theta[j * width + v] -= a[v] * offset[j * width + v]
        for v in range(width):
            intercept[v] = b[v]
            total[v] += lost[v]

    return kernel(epoch, contract=True)


def penalties(penalty: Any, width: int) -> Any:
    """Kernel (theta, scale, ratio, total): add up the penalties of the coefficients theta * scale of each lane.

    theta (tiles * features * width,); what else is of a lane (tiles * width,), total float64.
    """
    return _penalties(penalty.value, width)


@cache
def _penalties(value, width):
    lanes = stack_array(width)

    def walk(theta, scale, ratio, total):
        sums, unit, share = lanes(total.dtype), lanes(theta.dtype), lanes(theta.dtype)
        size = theta.size * width // total.size
        for tile in range(total.size // width):
            for v in range(width):
                sums[v], unit[v], share[v] = 0.0, scale[tile * width + v], ratio[tile * width + v]
            for e in range(tile * size, (tile + 1) * size, width):
                for v in range(width):
                    sums[v] += value(unit[v] * theta[e + v], share[v])
            for v in range(width):
                total[tile * width + v] += sums[v]

    return kernel(walk, contract=True)


def batches(rule: Any, hyper: dict[str, Any], loss: Any, joint: bool, penalty: Any, width: int) -> Any:
    """Kernel of an epoch of steps of any rule, one for each `batch` rows.

    Returns
    -------
    epoch(X, y, weights, order, batch, theta, intercept, center, slots, more, mean, intercept_mean, column, label,
          settings, hyper, carried, outputs, way, t, start, total)
        theta (tiles * features * width,), intercept and what is of a lane (tiles * width,); slots and mean like theta,
        `more` and intercept_mean like intercept, the slots in front; settings = (alpha, l1_ratio, epsilon, moves), each
        of a lane; hyper (lanes, numbers of `flat`), carried (lanes,); outputs: lanes that the loss sees at once;
        way: 0 a smooth penalty, 1 proximal steps, 2 orthant-wise ones; t counts the steps before, and from step
        `start` on (never, if 0) the means take part.
    """
    update, slots = rule.variant(hyper)
    n_steps = len(rule.step(1, **hyper, **rule.scalars))
    return _batches(update, len(slots), rule.step, n_steps, len(rule.scalars), tuple(rule.defaults.values()),
                    loss.functions(joint), joint, penalty.gradient, penalty.l1_weight, penalty.prox_params, penalty.prox,
                    len(penalty.prox_params(0.0, 0.0)), target_of(loss.task), width)  # fmt: skip


def flat(defaults: dict[str, Any], hyper: dict[str, Any]) -> list[float]:
    """The hyperparameters of a lane as numbers, in the order of the rule's defaults."""
    return [float(x) for name in defaults for x in (hyper[name] if isinstance(hyper[name], tuple) else (hyper[name],))]


@cache
def _batches(update, n_slots, step, n_steps, n_carried, defaults, functions, joint, penalty_slope, penalty_kink,
             reach, prox, n_paces, target, width):  # fmt: skip
    *_, slope, value = functions
    advance, row = advance_with(update, n_slots), row_of(functions)
    advance, row = element(advance), element(row)
    coefficients, of_step, of_prox = element(step), _tuple_of(n_steps), _tuple_of(n_paces)
    arguments, _ = _hyperparameters(defaults)
    lanes = stack_array(width)

    def epoch(X, y, weights, order, batch, theta, intercept, center, slots, more, mean, intercept_mean, column, label,
              settings, hyper, carried, outputs, way, t, start, total):  # fmt: skip
        kind, features, n_lanes = theta.dtype, X.shape[1], intercept.size
        alpha, l1_ratio, epsilon, moves = settings
        held, sums = lanes(kind), lanes(kind)
        z, push, goal = np.empty(n_lanes, kind), np.empty(n_lanes, kind), np.empty(outputs, kind)
        g, gi = np.empty(theta.size, kind), np.empty(n_lanes, kind)
        s, paces = np.empty(n_steps * n_lanes, kind), np.empty(n_paces * n_lanes, kind)
        kink = np.empty(n_lanes, kind)
        for lane in range(n_lanes):
            kink[lane] = alpha[lane] * penalty_kink(l1_ratio[lane])
        for begin in range(0, order.size, batch):
            end = min(begin + batch, order.size)
            g[:] = 0.0
            gi[:] = 0.0
            for i in order[begin:end]:
                for tile in range(0, n_lanes, width):
                    for v in range(width):
                        sums[v] = intercept[tile + v]
                    for j in range(features):
                        x, e = X[i, j], tile * features + j * width
                        for v in range(width):
                            sums[v] += (x - center[e + v]) * theta[e + v]
                    for v in range(width):
                        z[tile + v] = sums[v]
                if joint:
                    for k in range(outputs):
                        goal[k] = y[i] == k
                    for first in range(0, n_lanes - outputs + 1, outputs):
                        here = slice(first, first + outputs)
                        weight = weights[i, column[first]]
                        total[first] += weight * row(goal, z[here], epsilon[first], push[here])
                else:
                    for lane in range(n_lanes):
                        sought = target(y[i], label[lane])
                        total[lane] += weights[i, column[lane]] * value(sought, z[lane], epsilon[lane])
                        push[lane] = slope(sought, z[lane], epsilon[lane])
                for tile in range(0, n_lanes, width):
                    for v in range(width):
                        held[v] = push[tile + v] * weights[i, column[tile + v]] / (end - begin)
                        gi[tile + v] += held[v]
                    for j in range(features):
                        x, e = X[i, j], tile * features + j * width
                        for v in range(width):
                            g[e + v] += held[v] * (x - center[e + v])
            t += 1
            for lane in range(n_lanes):
                given = arguments(hyper[lane])
                if n_carried > 0:
                    now = coefficients(t, *(given + (carried[lane],)))
                    carried[lane] = now[0]
                else:
                    now = coefficients(t, *given)
                for k in range(n_steps):
                    s[lane + k * n_lanes] = now[k]
                near = reach(hyper[lane, 0] * alpha[lane], l1_ratio[lane])
                for k in range(n_paces):
                    paces[lane + k * n_lanes] = near[k]
            for tile in range(0, n_lanes, width):
                for j in range(features):
                    base = tile * features + j * width
                    if way == 1:
                        for v in range(width):
                            e, lane = base + v, tile + v
                            theta[e] = prox(advance(theta[e], g[e], slots, e, of_step(s, lane, n_lanes)),
                                            of_prox(paces, lane, n_lanes))  # fmt: skip
                    elif way == 2:
                        for v in range(width):
                            e, lane = base + v, tile + v
                            w = theta[e]
                            slant = pull(w, g[e] + alpha[lane] * penalty_slope(w, l1_ratio[lane]), kink[lane])
                            theta[e] = land(advance(w, slant, slots, e, of_step(s, lane, n_lanes)), w, slant)
                    else:
                        for v in range(width):
                            e, lane = base + v, tile + v
                            slant = g[e] + alpha[lane] * penalty_slope(theta[e], l1_ratio[lane])
                            theta[e] = advance(theta[e], slant, slots, e, of_step(s, lane, n_lanes))
            for lane in range(n_lanes):
                b = advance(intercept[lane], gi[lane], more, lane, of_step(s, lane, n_lanes))
                intercept[lane] = b if moves[lane] > 0 else intercept[lane]
            if start > 0 and t >= start:
                share = 1.0 / (t - start + 1)
                for e in range(theta.size):
                    mean[e] += share * (theta[e] - mean[e])
                for lane in range(n_lanes):
                    intercept_mean[lane] += share * (intercept[lane] - intercept_mean[lane])

    return kernel(epoch, contract=True)
