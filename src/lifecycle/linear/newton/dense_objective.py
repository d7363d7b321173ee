"""The objective of one model over rows in memory: value, gradient, Hessian, and the minimum by Newton steps.

With the rows x̃_i = (x_i, 1) of X̃, weights v_i and scores z_i = wᵀx_i + b of θ = (w, b),

    f(θ)   = Σ v_i ℓ(y_i, z_i) + ½ α ‖w‖²
    ∇f(θ)  = X̃ᵀ (v ℓ′(z)) + α (w, 0)
    ∇²f(θ) = X̃ᵀ diag(v ℓ″(z)) X̃ + α diag(1, …, 1, 0).

For the multinomial loss with probabilities p, block (j, k) of the first term is X̃ᵀ diag(v (p_j δ_jk − p_j p_k)) X̃.
θ holds the coefficients of all outputs, (n_outputs, n_features) in C order, and then their intercepts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from scipy.linalg.lapack import dposv

from lifecycle._threads import map_ordered
from lifecycle.linear.data.statistics import FEW_FEATURES
from lifecycle.loops.linear_loss import loss_dloss_hessian
from lifecycle.loops.linear_update import sample_loss
from lifecycle.losses import Loss
from lifecycle.solvers import newton
from lifecycle.solvers.convergence import Tolerances

_CHUNK_ROWS = 1024


class DenseDesign:
    """What objectives over the same weighted rows share: X̃, float64, whose last column is 1 with an intercept, X (n,
    n_features), a view of it, and the weights v (n,)."""

    def __init__(self, matrix: np.ndarray, sample_weight: np.ndarray, fit_intercept: bool):
        self.matrix, self.X = matrix, matrix[:, : matrix.shape[1] - fit_intercept]
        self.sample_weight, self.fit_intercept = sample_weight, fit_intercept

    @cached_property
    def squares(self) -> np.ndarray:
        """(n_features,): weighted sums of squared features."""
        return self.sample_weight @ self.X**2


@dataclass
class DenseObjective:
    """f over a design, for targets (n_outputs, n) that are ±1, one-hot or real; `l2_weight` is α."""

    design: DenseDesign
    targets: np.ndarray
    loss: Loss
    multinomial: bool
    l2_weight: float
    epsilon: float

    def __post_init__(self) -> None:
        self.n_outputs, self.n_features = len(self.targets), self.design.X.shape[1]
        self.n_coef = self.n_outputs * self.n_features
        self.n_variables = self.n_coef + self.n_outputs * self.design.fit_intercept

    def evaluate(self, theta: np.ndarray) -> tuple[float, np.ndarray, Callable[[], np.ndarray]]:
        """Value, gradient and a function () -> the Hessian."""
        value, dloss, loss_hessian = self._losses(theta)
        coef = theta[: self.n_coef]
        gradient = np.concatenate([(dloss @ self.design.X).ravel() + self.l2_weight * coef, dloss.sum(axis=1)])
        value += 0.5 * self.l2_weight * float(coef @ coef)
        return value, gradient[: self.n_variables], lambda: self.add_penalty(loss_hessian())

    def loss_hessian(self, theta: np.ndarray) -> np.ndarray:
        """The Hessian without the penalty."""
        return self._losses(theta)[2]()

    def add_penalty(self, loss_hessian: np.ndarray) -> np.ndarray:
        """The Hessian, from that without the penalty."""
        hessian = loss_hessian.copy()
        hessian[np.arange(self.n_coef), np.arange(self.n_coef)] += self.l2_weight
        return hessian

    def diagonal_bound(self) -> np.ndarray:
        """(n_variables,): a bound of the Hessian's diagonal."""
        curvature = self.loss.multinomial_max_curvature if self.multinomial else self.loss.max_curvature
        by_feature = curvature * self.design.squares + self.l2_weight
        bound = np.tile(np.where(by_feature > 0, by_feature, 1.0), self.n_outputs)
        return np.concatenate([bound, np.full(self.n_variables - self.n_coef, curvature)])

    def blocks(self) -> list[tuple["DenseObjective", np.ndarray]]:
        """The objectives of outputs that share no loss, each with its variables in θ; the Hessian has these blocks."""
        if self.multinomial or self.n_outputs == 1:
            return [(self, np.arange(self.n_variables))]
        coef = np.arange(self.n_coef).reshape(self.n_outputs, self.n_features)
        intercept = np.arange(self.n_coef, self.n_variables).reshape(self.n_outputs, -1)
        return [
            (replace(self, targets=self.targets[[k]]), np.concatenate([coef[k], intercept[k]]))
            for k in range(self.n_outputs)
        ]

    def _losses(self, theta: np.ndarray) -> tuple[float, np.ndarray, Callable[[], np.ndarray]]:
        """The sum of the losses, their derivatives by the scores (n_outputs, n), and () -> their Hessian."""
        coef = theta[: self.n_coef].reshape(self.n_outputs, self.n_features)
        scores = coef @ self.design.X.T + (theta[self.n_coef :, None] if self.design.fit_intercept else 0.0)
        dloss, weight = np.empty_like(scores), self.design.sample_weight
        if self.multinomial:
            losses = sample_loss(self.loss.functions(True))(self.targets, scores, self.epsilon, dloss)
            probabilities = dloss + self.targets  # as the derivative of the cross-entropy is p − y
            return float(losses @ weight), dloss * weight, partial(self._multinomial_hessian, probabilities)
        curvature = np.empty_like(scores)
        value = loss_dloss_hessian(self.loss)(scores, self.targets, weight, self.epsilon, dloss, curvature)
        return value, dloss, partial(self._sum, _weighted_gram, curvature)

    def _multinomial_hessian(self, probabilities: np.ndarray) -> np.ndarray:
        hessian = self._sum(_multinomial_blocks, probabilities)
        # from the coefficients and intercept of each class to the order of θ
        order = np.arange(self.n_variables).reshape(self.n_outputs, -1)
        order = np.concatenate([order[:, : self.n_features].ravel(), order[:, self.n_features :].ravel()])
        return hessian[np.ix_(order, order)]

    def _sum(self, chunk_hessian: Callable, by_score: np.ndarray) -> np.ndarray:
        """The sum of Hessians of chunks of rows; `by_score` (n_outputs, n) are their curvatures or probabilities."""
        matrix, weight = self.design.matrix, self.design.sample_weight
        chunks = [slice(begin, begin + _CHUNK_ROWS) for begin in range(0, len(matrix), _CHUNK_ROWS)]
        if len(chunks) == 1:
            return chunk_hessian(matrix, by_score, weight)
        # large Hessians may not wait in memory to be added, and BLAS uses threads for each of them
        run = partial(map_ordered, size=len(matrix) * self.n_variables**2) if self.n_variables <= FEW_FEATURES else map
        total = np.zeros((self.n_variables, self.n_variables))
        for hessian in run(lambda rows: chunk_hessian(matrix[rows], by_score[:, rows], weight[rows]), chunks):
            total += hessian
        return total


def _weighted_gram(matrix: np.ndarray, curvature: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """X̃ᵀ diag(v ℓ″) X̃; the curvatures (1, n) include the weights."""
    root = matrix * np.sqrt(curvature[0])[:, None]
    return root.T @ root


def _multinomial_blocks(matrix: np.ndarray, probabilities: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Σ v (diag(p) − p pᵀ) ⊗ x̃ x̃ᵀ over rows."""
    (k, n), p = probabilities.shape, matrix.shape[1]
    root = matrix * np.sqrt(weight)[:, None]
    outer = (probabilities.T[:, :, None] * root[:, None, :]).reshape(n, k * p)
    hessian = -(outer.T @ outer)
    for j in range(k):
        block = slice(j * p, (j + 1) * p)
        hessian[block, block] += (root * probabilities[j][:, None]).T @ root
    return hessian


def run_newton(
    objective: DenseObjective, theta: np.ndarray, tolerances: Tolerances, max_iter: int
) -> tuple[np.ndarray, list[float], bool]:
    """θ at the minimum, the objective after each step, and whether it converged; block by block of the Hessian."""
    theta, results = theta.copy(), []
    for block, variables in objective.blocks():
        scale = block.diagonal_bound()
        results.append(newton.minimize(block.evaluate, _solve, theta[variables], scale, tolerances, max_iter))
        theta[variables] = results[-1].x
    # a block that has converged keeps its value while others go on
    values = [r.values + r.values[-1:] * (max(len(b.values) for b in results) - len(r.values)) for r in results]
    return theta, [float(sum(column)) for column in zip(*values, strict=True)], all(r.converged for r in results)


def _solve(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray | None:
    """By Cholesky's factors; None where the matrix is not positive definite."""
    _, solution, failed = dposv(matrix, vector)
    return None if failed else solution
