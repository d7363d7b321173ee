"""Cholesky factors of Hessians as preconditioners of L-BFGS, H⁰ = (∇²f(θ) + μ D)⁻¹.

D bounds the diagonal of ∇²f, and μ = 1e-7 grows tenfold until the matrix is positive definite. Models that differ in
their training sets share the factors at the minimum over a sample of all their rows; models that converge slowly get
those of their own training sets, at the mean of their θ.
"""

from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from scipy.linalg import cho_solve

from lifecycle.linear.data.fold_sums import sums_by_train_set
from lifecycle.linear.newton.dense_objective import DenseDesign, DenseObjective, run_newton
from lifecycle.linear.newton.subsample import Subsample, group_by_penalty
from lifecycle.solvers import lbfgs
from lifecycle.solvers.convergence import Tolerances

VALUE_ERROR = {"float64": 1e-14, "float32": 1e-6}  # relative, of the objective
DAMPING = 1e-7  # μ at first
SAMPLE_ITERATIONS = 20  # of L-BFGS on a sample at most
_MAX_ELEMENTS = 1 << 26  # of Hessians in memory


class CholeskyFactors:
    """The factors of a Hessian with the blocks of an objective, from the Hessians of the losses of each block."""

    def __init__(self, objective: DenseObjective, loss_hessians: Any):
        blocks = zip(objective.blocks(), loss_hessians, strict=True)
        self.factors = [(variables, _cholesky(block, hessian)) for (block, variables), hessian in blocks]

    def solve(self, gradient: np.ndarray) -> np.ndarray:
        """H⁰ times gradients (models, variables)."""
        step = np.empty_like(gradient)
        for variables, factor in self.factors:
            step[:, variables] = cho_solve((factor, True), gradient[:, variables].T, check_finite=False).T
        return step


class Preconditioner:
    """The factors of each model.

    Parameters
    ----------
    groups : models that share factors, along the regularization path
    theta : (models, variables), where the path starts
    tolerance : (models,), of the predicted decrease
    """

    def __init__(
        self, subsample: Subsample, groups: list[list[int]], theta: np.ndarray, tolerance: np.ndarray, max_iter: int
    ):
        self.subsample, self.factors = subsample, dict[int, CholeskyFactors]()
        self.shared: set[int] = set()  # models with a Hessian in which there are rows that they do not train on
        previous: tuple[np.ndarray, CholeskyFactors] | None = None  # minimum and factors for the penalty before
        for models in groups:
            objective, tolerances = subsample.objective(models), Tolerances(tolerance[models].min())
            if previous is None:
                minimum, _, _ = run_newton(objective, theta[models[0]], tolerances, max_iter)
            else:
                minimum = _minimize(objective, *previous, tolerances)
            factors = CholeskyFactors(objective, [b.loss_hessian(minimum[v]) for b, v in objective.blocks()])
            previous = minimum, factors
            self.factors.update(dict.fromkeys(models, factors))
            if len(np.unique(subsample.problem.train_set[models])) > 1:
                self.shared.update(models)

    def __call__(self, gradient: np.ndarray, models: np.ndarray) -> np.ndarray:
        """H⁰ of each model times its gradient (models, variables)."""
        step, places = np.empty_like(gradient), dict[CholeskyFactors, list[int]]()
        for i, m in enumerate(models.tolist()):
            places.setdefault(self.factors[m], []).append(i)
        for factors, at in places.items():
            step[at] = factors.solve(gradient[at])
        return step

    def renew(self, models: np.ndarray, theta: np.ndarray, n_rows: int) -> None:
        """Give models the Hessians of their own training sets, over a sample of about `n_rows` of all rows."""
        subsample, problem = self.subsample, self.subsample.problem
        rows, weights = subsample.draw(subsample.trained, n_rows)
        counts, base = problem.weights.counts[rows], problem.sample_weight
        base = None if base is None else base[rows]
        design, targets = subsample.read(rows, weights)
        enough, own = subsample.has_enough_rows(counts)[problem.train_set[models]], dict[int, DenseDesign]()
        for group in group_by_penalty(problem, models[enough].tolist()):
            train_sets, objective = np.unique(problem.train_set[group]), subsample.objective(group)
            sizes = [len(variables) for _, variables in objective.blocks()]
            if len(train_sets) * len(sizes) * sizes[0] ** 2 > _MAX_ELEMENTS:
                continue  # the factors of the group remain
            on_rows = replace(objective, design=design, targets=targets)
            hessians = partial(_hessians, on_rows, theta[group].mean(axis=0))
            sums = sums_by_train_set(counts[:, train_sets], base, hessians)
            for k, train_set in enumerate(train_sets):
                loss_hessians = sums[k][:-1].reshape(-1, sizes[0], sizes[0]) / sums[k][-1]
                if train_set not in own:  # the same rows, those of other training sets with a weight of zero
                    set_weights = weights * counts[:, train_set]
                    set_weights /= set_weights.sum()
                    own[train_set] = DenseDesign(design.matrix, set_weights, design.fit_intercept)
                # damped by what bounds the Hessian of these rows: other rows may be larger by any factor
                factors = CholeskyFactors(replace(objective, design=own[train_set]), loss_hessians)
                of_set = [m for m in group if problem.train_set[m] == train_set]
                self.factors.update(dict.fromkeys(of_set, factors))
                self.shared.difference_update(of_set)


def _minimize(
    objective: DenseObjective, theta: np.ndarray, factors: CholeskyFactors, tolerances: Tolerances
) -> np.ndarray:
    """θ after steps of L-BFGS with the factors of another penalty."""
    theta, tolerances = theta.copy(), tolerances._replace(value_error=VALUE_ERROR["float64"])

    def evaluate(x: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, gradient, _hessian = objective.evaluate(x[0])
        return np.array([value]), gradient[None]

    iterations = lbfgs.minimize(evaluate, lambda g, _: factors.solve(g), theta[None], np.zeros(1, int), tolerances)
    for _ in islice(iterations, SAMPLE_ITERATIONS):
        pass
    return theta


def _hessians(
    objective: DenseObjective, theta: np.ndarray, rows: np.ndarray, sample_weight: np.ndarray | None
) -> np.ndarray:
    """The Hessians of the losses of all blocks over some rows, one after another, then the sum of the weights."""
    design = objective.design
    weights = design.sample_weight[rows] if sample_weight is None else design.sample_weight[rows] * sample_weight[rows]
    design = DenseDesign(design.matrix[rows], weights, design.fit_intercept)
    blocks = replace(objective, design=design, targets=objective.targets[:, rows]).blocks()
    return np.append([block.loss_hessian(theta[variables]) for block, variables in blocks], weights.sum())


def _cholesky(objective: DenseObjective, loss_hessian: np.ndarray) -> np.ndarray:
    hessian, bound, damping = objective.add_penalty(loss_hessian), objective.diagonal_bound(), DAMPING
    while True:
        try:
            return np.linalg.cholesky(hessian + np.diag(damping * bound))
        except np.linalg.LinAlgError:
            damping *= 10.0
