"""Penalties of the coefficients of many linear models."""

from functools import cache
from typing import Any

from lifecycle._jit import kernel, stack_array


def penalty_sums(penalty: Any, width: int) -> Any:
    """Kernel (theta, scale, l1_ratio, total): add up the penalties of the coefficients theta * scale of each model.

    theta (tiles * features * width,) in blocks as in `linear_sgd`; scale, l1_ratio and total, float64, (models,).
    """
    return _penalty_sums(penalty.value, width)


@cache
def _penalty_sums(value, width):
    vector = stack_array(width)

    def loop(theta, scale, l1_ratio, total):
        sums, factor, ratio = vector(total.dtype), vector(theta.dtype), vector(theta.dtype)
        size = theta.size * width // total.size
        for tile in range(total.size // width):
            for v in range(width):
                sums[v], factor[v], ratio[v] = 0.0, scale[tile * width + v], l1_ratio[tile * width + v]
            for e in range(tile * size, (tile + 1) * size, width):
                for v in range(width):
                    sums[v] += value(factor[v] * theta[e + v], ratio[v])
            for v in range(width):
                total[tile * width + v] += sums[v]

    return kernel(loop, contract=True)
