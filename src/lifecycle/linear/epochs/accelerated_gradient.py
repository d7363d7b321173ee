"""Accelerated proximal gradient descent on all rows (FISTA) with adaptive restart.

From y_k = x_k + β_k (x_k - x_{k-1}) it makes the step x_{k+1} = prox(y_k - ∇f(y_k) / L), with
t_{k+1} = (1 + √(1 + 4 t_k²)) / 2 and β_k = (t_k - 1) / t_{k+1} (Beck & Teboulle, 2009). The momentum starts anew where
it points uphill, (y_k - x_{k+1})·(x_{k+1} - x_k) > 0 (O'Donoghue & Candès, 2015).
"""

import numpy as np

from lifecycle.linear.data.problem import Problem
from lifecycle.linear.epochs.solver import EpochSolver, per_model, prox_params
from lifecycle.linear.objective import Objective


class AcceleratedGradient(EpochSolver):
    """Steps of length 1/L for the coefficients and for the intercept.

    These do not mix where features are centred, and have an L each: small features would else be moved by steps that
    suit the intercept.
    """

    def __init__(self, problem: Problem, coef: np.ndarray, intercept: np.ndarray):
        self.problem, self.frame = problem, problem.features.frame
        self.objective = Objective(problem, self.frame)
        self.coef, self.intercept = coef, intercept
        lipschitz = (problem.max_curvature * problem.features.max_eigenvalue)[problem.train_set]
        of_intercept = lipschitz if problem.design.sparse else np.full(problem.n_models, problem.max_curvature)
        self.step_sizes = 1.0 / lipschitz, 1.0 / of_intercept
        self.previous = coef.copy(), intercept.copy()
        self.t, self.has_restarted = np.ones(len(coef)), np.zeros(len(coef), bool)
        self.run, self.longest_run = np.zeros(len(coef), int), np.zeros(len(coef), int)  # steps between two restarts
        # above the minimum, of the last y_k; infinite where no l2 penalty makes the objective strongly convex
        self.gap_bound = np.full(len(coef), np.inf)

    def note_progress(self, models: np.ndarray) -> None:
        """These models have a smaller objective than ever: each may restart once more when it stalls."""
        self.has_restarted[models] = False

    def restart(self, m: int) -> bool:
        """Drop the momentum of model m, which has stalled; False if that was done since its last progress."""
        if self.has_restarted[m]:
            return False
        self.t[m], self.run[m], self.has_restarted[m] = 1.0, 0, True
        return True

    def epoch(self, models: np.ndarray) -> np.ndarray:
        """One step of these models; returns their objectives at y_k."""
        x = self.coef[models], self.intercept[models]
        t_next = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * self.t[models] ** 2))
        beta = (self.t[models] - 1.0) / t_next
        y = [a + per_model(beta, a) * (a - last[models]) for a, last in zip(x, self.previous, strict=True)]
        losses, *gradients = self.objective.gradients(y[0], y[1], models)
        self.gap_bound[models] = self._gap_bound(y[0], gradients, models)
        step_sizes = [step_size[models] for step_size in self.step_sizes]
        new = [a - per_model(lr, a) * g for a, lr, g in zip(y, step_sizes, gradients, strict=True)]
        new[0] = self.problem.penalty.prox(new[0], prox_params(self.problem, models, step_sizes[0]))
        uphill = sum(
            ((b - n) * (n - a)).reshape(len(models), -1).sum(axis=1) / lr
            for a, b, n, lr in zip(x, y, new, step_sizes, strict=True)
        )
        self.t[models] = np.where(uphill > 0, 1.0, t_next)
        self.run[models] = np.where(uphill > 0, 0, self.run[models] + 1)
        self.longest_run[models] = np.maximum(self.longest_run[models], self.run[models])
        for last, current, n in zip(self.previous, (self.coef, self.intercept), new, strict=True):
            last[models], current[models] = current[models], n
        return losses + self.problem.subset(models).penalty_value(y[0])

    def _gap_bound(self, coef: np.ndarray, gradients: list[np.ndarray], models: np.ndarray) -> np.ndarray:
        """‖∇f‖² / 2α, for which f must be smooth and its penalty l2 (Nesterov, 2004, theorem 2.1.10)."""
        alpha, l1_weight = self.problem.l2_weight[models], self.problem.l1_weight[models]
        total = gradients[0] + per_model(alpha, coef) * coef
        norm2 = (total**2).sum(axis=(1, 2)) + (gradients[1] ** 2).sum(axis=1)
        has_bound = (alpha > 0) & (l1_weight == 0)
        return np.where(has_bound, 0.5 * norm2 / np.where(has_bound, alpha, 1.0), np.inf)

    def coefficients(self, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.coef[models], self.intercept[models]
