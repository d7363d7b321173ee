"""Many linear models over the rows of a CSR matrix, as lanes, with a penalty whose proximal step is a factor.

A row touches few coefficients, but the factor all of them: they are kept as `shrunk` times a scale of the lane.
"""

from functools import cache
from typing import Any

import numpy as np

from .._jit import element, kernel, stamp
from .lanes import target_of

_LEAST = 1e-4  # scale at which the coefficients are multiplied out


def samples(loss: Any, width: int) -> Any:
    """Kernel of an epoch of steps -lr * slope, one for each row, each followed by the factor `keep`.

    Returns
    -------
    epoch(data, indices, indptr, y, weights, order, theta, intercept, column, label, lr, keep, epsilon, moves, total)
        Of a CSR matrix, then as `lanes.samples`.
    """
    return _samples(loss.slope, loss.value, target_of(loss.task), width)


@cache
def _samples(slope, value, target, width):
    mark = stamp(slope, value, target, width, _LEAST)
    slope, value, target = (element(f) for f in (slope, value, target))

    def epoch(
        data, indices, indptr, y, weights, order, theta, intercept, column, label, lr, keep, epsilon, moves, total
    ):
        mark  # noqa: B018  (in the closure, so that the disk cache sees an edited loss)
        kind = theta.dtype
        z, push, scale = np.empty(width, kind), np.empty(width, kind), np.ones(width, kind)
        goal, weight = np.empty(width, kind), np.empty(width, kind)
        for i in order:
            for v in range(width):
                z[v] = 0.0
            for at in range(indptr[i], indptr[i + 1]):
                x, e = data[at], indices[at] * width
                for v in range(width):
                    z[v] += x * theta[e + v]
            for v in range(width):
                goal[v], weight[v] = target(y[i], label[v]), weights[i, column[v]]
            least = scale[0]
            for v in range(width):
                z[v] = z[v] * scale[v] + intercept[v]
                total[v] += weight[v] * value(goal[v], z[v], epsilon[v])
                push[v] = weight[v] * slope(goal[v], z[v], epsilon[v]) * lr[v]
                intercept[v] -= push[v] * moves[v]
                push[v] /= scale[v]
                scale[v] *= keep[v]
                least = min(least, scale[v])
            for at in range(indptr[i], indptr[i + 1]):
                x, e = data[at], indices[at] * width
                for v in range(width):
                    theta[e + v] -= push[v] * x
            if least < _LEAST:
                _multiply_out(theta, scale)
        _multiply_out(theta, scale)

    return kernel(epoch, mark, contract=True)


@element
def _multiply_out(theta, scale):
    for e in range(0, theta.size, scale.size):
        for v in range(scale.size):
            theta[e + v] *= scale[v]
    scale[:] = 1.0
