"""Where Newton's method starts along a regularization path."""

from itertools import pairwise
from math import log, prod

import numpy as np


class RegularizationPath:
    """Minima for one penalty after another, with their positive strengths α."""

    def __init__(self) -> None:
        self.points: list[tuple[float, np.ndarray]] = []

    def extrapolate(self, alpha: float, default: np.ndarray) -> np.ndarray:
        """About the minimum at α: the parabola in log α through the last three; `default` if there are none.

        It is the last minimum where α is more than twice as far from it as the last from the one before.
        """
        last = self.points[-3:]
        at = [log(a) for a in (*(a for a, _ in last), alpha)]
        gaps = [b - a for a, b in pairwise(at)]
        if len(last) < 2 or not all(0 < abs(b) <= 2.0 * abs(a) for a, b in pairwise(gaps)):
            return last[-1][1] if last else default
        lagrange = [prod((at[-1] - x) / (at[i] - x) for j, x in enumerate(at[:-1]) if j != i) for i in range(len(last))]
        return np.dot(lagrange, [theta for _, theta in last])


def interpolate(alphas: np.ndarray, minima: np.ndarray, new: np.ndarray) -> np.ndarray:
    """About the minima at other penalties: the cubic in log α through the four around each, or through all if fewer.

    Parameters
    ----------
    alphas : (points,), increasing and positive;  minima : (points, variables);  new : (k,)

    Returns
    -------
    (k, variables)
    """
    n = min(4, len(alphas))
    begin = np.clip(np.searchsorted(alphas, new) - n // 2, 0, len(alphas) - n)
    around = begin[:, None] + np.arange(n)
    at, x = np.log(alphas)[around], np.log(new)
    theta = np.zeros((len(new), minima.shape[1]))
    for i in range(n):
        others = np.delete(at, i, axis=1)
        lagrange = ((x[:, None] - others) / (at[:, i, None] - others)).prod(axis=1)
        theta += lagrange[:, None] * minima[around[:, i]]
    return theta
