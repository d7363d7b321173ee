"""Many linear models over the rows of a CSR matrix, as lanes, with a penalty whose proximal step is a factor.

A row touches few coefficients, but the factor all of them: they are kept as theta times a scale of the lane.
"""

from functools import cache
from typing import Any

import numpy as np

from lifecycle._jit import add_product, element, kernel, stack_array, wide_vectors
from lifecycle.loops.linear_many import NARROW, target_of
from lifecycle.loops.linear_single import row_of

_LEAST = 1e-4  # scale at which the coefficients are multiplied out


def samples(loss: Any, joint: bool, width: int) -> Any:
    """Kernel of an epoch of steps -lr * slope, one for each row, each followed by the factor `keep`.

    `joint`: the loss sees the scores of `outputs` lanes at once; `width`: a multiple of NARROW.

    Returns
    -------
    epoch(data, indices, indptr, y, weights, order, outputs, theta, scales, intercept, column, label, lr, keep, epsilon,
          moves, total)
        Of a CSR matrix, then as `lanes.samples`; the coefficients of a lane are its theta times its scale.
    """
    return _samples(loss.functions(joint), joint, target_of(loss.task), width)


@cache
def _samples(functions, joint, target, width):
    *_, slope, value = functions
    row = row_of(functions)
    row = element(row)
    lanes, add, line = stack_array(width), add_product(NARROW), NARROW

    def epoch(data, indices, indptr, y, weights, order, outputs, theta, scales, intercept, column, label, lr, keep,
              epsilon, moves, total):  # fmt: skip
        wide_vectors()
        kind = theta.dtype
        z, push, scale, goal, weight = lanes(kind), lanes(kind), lanes(kind), lanes(kind), lanes(kind)
        b, rate, free, margin, factor, lost = (
            lanes(kind), lanes(kind), lanes(kind), lanes(kind), lanes(kind), lanes(kind))  # fmt: skip
        for v in range(width):
            b[v], rate[v], free[v], margin[v], factor[v] = intercept[v], lr[v], moves[v], epsilon[v], keep[v]
            scale[v] = scales[v]
        for i in order:
            seen = False
            for v in range(width):
                z[v], weight[v] = 0.0, weights[i, column[v]]
                seen |= weight[v] != 0.0
            if not seen:  # by no lane: only the penalty acts
                least = scale[0]
                for v in range(width):
                    scale[v] *= factor[v]
                    least = min(least, scale[v])
                if least < _LEAST:
                    _multiply_out(theta, scale)
                continue
            for at in range(indptr[i], indptr[i + 1]):
                e = np.int64(indices[at]) * width
                for v in range(0, width, line):
                    add(z, v, data[at], theta, e + v)
            for v in range(width):
                z[v] = z[v] * scale[v] + b[v]
            if joint:
                for v in range(outputs):
                    goal[v] = y[i] == v
                for v in range(width):
                    push[v], lost[v] = 0.0, 0.0
                for first in range(0, width - outputs + 1, outputs):
                    here = slice(first, first + outputs)
                    lost[first] = weight[first] * row(goal[:outputs], z[here], margin[first], push[here])
            else:
                for v in range(width):
                    goal[v] = target(y[i], label[v])
                for v in range(width):
                    lost[v] = weight[v] * value(goal[v], z[v], margin[v])
                for v in range(width):
                    push[v] = slope(goal[v], z[v], margin[v])
            for v in range(width):
                push[v] *= weight[v] * rate[v]
                b[v] -= push[v] * free[v]
                push[v] /= scale[v]
                scale[v] *= factor[v]
            least, moved = scale[0], False
            for v in range(width):
                total[v] += lost[v]
                moved |= push[v] != 0.0
                least = min(least, scale[v])
            for at in range(indptr[i], indptr[i + 1] if moved else indptr[i]):
                e = np.int64(indices[at]) * width
                for v in range(0, width, line):
                    add(theta, e + v, -data[at], push, v)
            if least < _LEAST:
                _multiply_out(theta, scale)
        for v in range(width):
            intercept[v], scales[v] = b[v], scale[v]

    return kernel(epoch, contract=True)


@element
def _multiply_out(theta, scale):
    for e in range(0, theta.size, scale.size):
        for v in range(scale.size):
            theta[e + v] *= scale[v]
    for v in range(scale.size):
        scale[v] = 1.0
