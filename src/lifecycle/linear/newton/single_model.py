"""Newton's method for one model on rows in memory, and where it starts along a regularization path."""

from itertools import pairwise
from math import log, prod

import numpy as np
from scipy.linalg.lapack import dposv

from lifecycle.linear.newton.dense_objective import DenseObjective
from lifecycle.solvers import newton
from lifecycle.solvers.convergence import Tolerances


def minimize(
    objective: DenseObjective, theta: np.ndarray, tolerances: Tolerances, max_iter: int
) -> tuple[np.ndarray, list[float], bool]:
    """θ at the minimum, the objective after each step, and whether it converged; block by block of the Hessian."""
    theta, results = theta.copy(), []
    for block, variables in objective.blocks():
        scale, tolerances = block.diagonal_bound(), tolerances._replace(n_scale=block.n_coef)
        results.append(newton.minimize(block.evaluate, _solve, theta[variables], scale, tolerances, max_iter))
        theta[variables] = results[-1].x
    # a block that has converged keeps its value while others go on
    values = [r.values + r.values[-1:] * (max(len(b.values) for b in results) - len(r.values)) for r in results]
    return theta, [float(sum(column)) for column in zip(*values, strict=True)], all(r.converged for r in results)


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


def _solve(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray | None:
    """By Cholesky's factors; None where the matrix is not positive definite."""
    _, solution, failed = dposv(matrix, vector)
    return None if failed else solution
