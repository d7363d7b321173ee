"""From scores of rows to losses, slopes and curvatures."""

from functools import cache
from typing import Any

from lifecycle._jit import element, kernel, like, maximum, stack_array, where, wide_vectors
from lifecycle.loops.linear_many import target_of

_ROWS = 128  # samples of a block, which stays in the cache


@element
def one_if(y, label):
    return where(y == label, like(y, 1.0), like(y, 0.0))


def pushes(loss: Any) -> Any:
    """Kernel (z, y, weights, column, label, epsilon, push): scores z become weighted losses, push their slopes.

    z, push (lanes, rows); weights (columns, rows); column, label and epsilon (lanes,).
    """
    return _pushes(loss.dloss, loss.value, target_of(loss.task))


@cache
def _pushes(slope, value, target):

    def walk(z, y, weights, column, label, epsilon, push):
        wide_vectors()
        for v in range(len(z)):
            scores, weight, out, mine, margin = z[v], weights[column[v]], push[v], label[v], epsilon[v]
            for i in range(scores.size):
                goal, score = target(y[i], mine), scores[i]
                out[i] = weight[i] * slope(goal, score, margin)
                scores[i] = weight[i] * value(goal, score, margin)

    return kernel(walk, contract=True)


def joint_pushes(loss: Any) -> Any:
    """The same of a loss that sees all scores of a model: kernel (z, y, weights, column, losses, push).

    z, push (models * outputs, rows); y (rows,), places of the classes; weights (columns, rows); column (models,); the
    weighted losses of each model are added to losses (models,), float64.
    """
    return _joint_pushes(loss.functions(True))


@cache
def _joint_pushes(functions):
    part, slope, value = functions
    rows = stack_array(_ROWS)

    def walk(z, y, weights, column, losses, push):
        wide_vectors()
        outputs, kind = len(z) // column.size, z.dtype
        top, total, chosen, lost = rows(kind), rows(kind), rows(kind), rows(kind)
        for m in range(column.size):
            for begin in range(0, y.size, _ROWS):
                here = slice(begin, begin + _ROWS)
                seen, weight = y[here], weights[column[m], here]
                row = z[m * outputs, here]
                for i in range(seen.size):
                    top[i], total[i], chosen[i] = row[i], 0.0, 0.0
                for k in range(1, outputs):
                    row = z[m * outputs + k, here]
                    for i in range(seen.size):
                        top[i] = maximum(top[i], row[i])
                for k in range(outputs):
                    row, out, place = z[m * outputs + k, here], push[m * outputs + k, here], kind.type(k)
                    for i in range(seen.size):
                        out[i] = part(row[i], top[i])
                    for i in range(seen.size):
                        total[i] += out[i]
                        chosen[i] += one_if(seen[i], place) * (row[i] - top[i])
                for k in range(outputs):
                    out, place = push[m * outputs + k, here], kind.type(k)
                    for i in range(seen.size):
                        out[i] = weight[i] * slope(one_if(seen[i], place), out[i], total[i])
                for i in range(seen.size):
                    lost[i] = weight[i] * value(chosen[i], total[i])
                for i in range(seen.size):
                    losses[m] += lost[i]

    return kernel(walk, contract=True)


def bends(loss: Any) -> Any:
    """Kernel (z, targets, share, epsilon, push, bend) -> sum of the losses, each times the share of its row.

    z, targets, push, bend (outputs, rows), share (rows,): slopes times shares go to push, curvatures to bend.
    """
    return _bends(loss.dloss, loss.value, loss.hessian)


@cache
def _bends(slope, value, curvature):

    def walk(z, targets, share, epsilon, push, bend):
        wide_vectors()
        total = 0.0
        for k in range(len(z)):
            scores, goals, slopes, curves = z[k], targets[k], push[k], bend[k]
            for i in range(scores.size):
                slopes[i] = share[i] * slope(goals[i], scores[i], epsilon)
                curves[i] = share[i] * curvature(goals[i], scores[i], epsilon)
                total += share[i] * value(goals[i], scores[i], epsilon)
        return total

    return kernel(walk, reassociate=True, contract=True)
