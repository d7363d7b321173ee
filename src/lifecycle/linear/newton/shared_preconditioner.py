"""L-BFGS for many models at once whose preconditioners are shared: in float32 on all rows, then in float64.

A model begins at zero, or at the minimum over the sampled rows of its own training set. The minimum over other rows
would stay in it: in directions that its rows leave open, or where it stops early.

Steps that are short because of the curvature of other rows are no sign of a minimum. A model whose preconditioner holds
such rows has therefore converged only where its own gradient shows it: an objective with the penalty ½ α ‖w‖² lies at
most ‖∇f‖² / 2α above its minimum (Nesterov, 2004, Introductory Lectures on Convex Optimization, theorem
2.1.10). Without that penalty it first gets the Hessian of its own training set.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.newton.preconditioner import SAMPLE_ITERATIONS, VALUE_ERROR, Preconditioner
from lifecycle.linear.objective import Objective
from lifecycle.linear.training_options import TrainingOptions
from lifecycle.solvers import lbfgs
from lifecycle.solvers.convergence import Tolerances

_MAX_RENEWALS, _RENEWAL_INTERVAL = 20, 3  # of a model's preconditioner, and iterations between two at least
LARGEST_FLOAT32 = 1e15  # in X: beyond it, squares in single precision overflow
_LEAST_GAP = 1e-12  # of the objective to its minimum, relative to the loss of a constant, that a gradient can show
_ROUNDING = {"float64": 1e-18, "float32": 1e-13}  # relative to the loss of a constant


def run_lbfgs(
    problem: Problem, options: TrainingOptions, preconditioner: Preconditioner, theta: np.ndarray, tolerance: np.ndarray
) -> tuple[dict[int, list[float]], np.ndarray]:
    """Change θ in place for the models that have a preconditioner.

    Returns
    -------
    curves : the objective of each of these models after each step in float64
    converged : bool, (all models,)
    """

    def iterations(
        problem: Problem, dtype: Any, decrease: np.ndarray, gradient_norm: Any = np.inf
    ) -> Iterator[lbfgs.Iteration]:
        objective = FullObjective(problem, dtype)
        rounding, error = _ROUNDING[objective.dtype] * null_loss, VALUE_ERROR[objective.dtype]
        tolerances = Tolerances(decrease, rounding, error, gradient_norm)
        return lbfgs.minimize(objective.evaluate, preconditioner, theta, models, tolerances)

    models, null_loss = np.array(sorted(preconditioner.factors), int), problem.null_loss
    sample = preconditioner.subsample.sampled_problem() if options.initial is None else None
    if sample is not None:
        for _ in islice(iterations(sample, np.float64, tolerance), SAMPLE_ITERATIONS):
            pass
    curves: dict[int, list[float]] = {m: [] for m in models.tolist()}
    renewals, converged = np.zeros(problem.n_models, int), np.zeros(problem.n_models, bool)
    visible_decrease = np.maximum(tolerance, VALUE_ERROR["float32"] * null_loss)
    shared = set(preconditioner.shared)
    gradient_norm = np.sqrt(2.0 * problem.l2_weight * np.maximum(tolerance, _LEAST_GAP * null_loss))
    for dtype, decrease in (
        (np.float32, visible_decrease),
        (np.float64, tolerance),
    ):
        final, last_renewal = dtype == np.float64, 0
        if not final and problem.design.max_abs > LARGEST_FLOAT32:
            continue
        if final:
            if shared:
                preconditioner.renew(np.array(sorted(shared)), theta, preconditioner.subsample.n_rows)
            gradient_norm[[m for m in models if m not in preconditioner.shared]] = np.inf
        converged[:] = False
        limits = decrease, gradient_norm if final else np.inf
        for i, (functions, values, done, _, slow) in enumerate(iterations(problem, dtype, *limits), 1):
            converged[functions[done]] = True
            for m, value in zip(functions.tolist(), values.tolist(), strict=True) if final else ():
                curves[m].append(value)
            options.on_progress(len(models) - (int(converged.sum()) if final else 0))
            if i == options.max_iter:
                break
            slow = functions[slow & (renewals[functions] < _MAX_RENEWALS)]
            if slow.size and i - last_renewal >= _RENEWAL_INTERVAL:
                preconditioner.renew(slow, theta, preconditioner.subsample.max_rows)
                renewals[slow], last_renewal = renewals[slow] + 1, i
    return curves, converged


class FullObjective:
    """The mean loss over all rows + ½ α ‖w‖² of each model as functions of θ: its coefficients, (n_outputs, n_features)
    in C order, then its intercepts if they are fitted. `frame`: of these; None: that of the shift that all share."""

    def __init__(self, problem: Problem, dtype: Any, frame: CentredFrame | None = None):
        self.problem, self.n_coef = problem, problem.n_outputs * problem.design.n_features
        self.losses = Objective(problem, frame or problem.features.shared_frame.without_offset(), dtype)
        self.dtype = str(self.losses.dtype)
        self.l2_weight = problem.l2_weight

    def pack(self, coef: np.ndarray, intercept: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
        """θ (models, variables)."""
        theta = np.empty((len(coef), self.n_coef + self.problem.n_outputs * self.problem.fit_intercept), dtype)
        theta[:, : self.n_coef] = coef.reshape(len(coef), -1)
        if self.problem.fit_intercept:
            theta[:, self.n_coef :] = intercept
        return theta

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (models, n_outputs, n_features) and intercepts (models, n_outputs)."""
        n_outputs = self.problem.n_outputs
        coef = theta[:, : self.n_coef].reshape(len(theta), n_outputs, -1)
        return coef, theta[:, self.n_coef :] if self.problem.fit_intercept else np.zeros((len(theta), n_outputs))

    def evaluate(self, theta: np.ndarray, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (models,) and gradients (models, variables)."""
        losses, by_coef, by_intercept = self.losses.gradients(*self.unpack(theta), models)
        if self.problem.multinomial:  # the mean over the classes is zero, except for rounding
            by_coef = by_coef - by_coef.mean(axis=1, keepdims=True)
            by_intercept = by_intercept - by_intercept.mean(axis=1, keepdims=True)
        l2_weight, coef = self.l2_weight[models], theta[:, : self.n_coef]
        gradient = self.pack(by_coef, by_intercept)
        gradient[:, : self.n_coef] += l2_weight[:, None] * coef
        return losses + 0.5 * l2_weight * (coef**2).sum(axis=1), gradient
