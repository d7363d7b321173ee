"""Newton's method for many models of few variables: the Hessians of all of them in one matrix product.

The Hessian of a model over rows x̃ = (x, 1) with curvatures h is Σ h x̃ x̃ᵀ + α I, so that those of all models are the
product of h (models, rows) with the products of two features each, (rows, q (q + 1) / 2) for q variables. A multinomial
loss with probabilities p has such a sum for each pair of classes, with v p_j (δ_jl − p_l) in place of h.
"""

from dataclasses import replace

import numpy as np

from lifecycle._threads import map_ordered, single_threaded_blas
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.data.statistics import FEW_FEATURES
from lifecycle.linear.fit_result import FitResult
from lifecycle.linear.newton.regularization_path import interpolate
from lifecycle.linear.newton.shared_preconditioner import FullObjective
from lifecycle.linear.newton.truncated import SAFETY, Curvatures, minimize_together
from lifecycle.linear.training_options import TrainingOptions

# multiplications for the Hessian of a model: with fewer, one alone is faster by itself, with more L-BFGS is
_MIN_PRODUCTS, _MAX_PRODUCTS = 20_000_000, 100_000_000
_BATCH_ELEMENTS = 1 << 25  # of curvatures and Hessians of models that are minimized together
_CHUNK_ROWS, _CHUNK_ELEMENTS = 1024, 1 << 20
_FEW_SUMS = 8  # for which the products of two features take longer than the sums
_SPACING = 5.0  # of penalties whose models begin at zero; models between these begin near their minimum
_DAMPING = 1e-10  # of a bound of the diagonal, which is added to it


def is_affordable(problem: Problem) -> bool:
    """Whether X is dense and the Hessian of a model costs little, but for one model more than its overhead."""
    products = _n_pairs(problem) * problem.design.n_samples * _n_products(problem)
    pays = products <= _MAX_PRODUCTS and (problem.n_models > 1 or products >= _MIN_PRODUCTS)
    return not problem.design.sparse and problem.n_joint_variables <= FEW_FEATURES and pays


def _n_pairs(problem: Problem) -> int:
    """Sums over rows in the Hessian of a model."""
    k = problem.n_outputs
    return k * (k + 1) // 2 if problem.multinomial else k


def _n_products(problem: Problem) -> int:
    """Products of two variables of an output."""
    q = problem.design.n_features + 1
    return q * (q + 1) // 2


def fit_batched(problem: Problem, options: TrainingOptions) -> list[FitResult]:
    """Minimize until a step is predicted to lower the objective by less than a tenth of tol."""
    tolerance = np.full(problem.n_models, SAFETY * (options.tol or 0.0)) * problem.null_loss
    # damping above a penalty makes decreases along flat directions seem small
    damping = _DAMPING * problem.max_curvature * problem.features.variance.max(axis=1, initial=0.0)[problem.train_set]
    tolerance *= np.clip(problem.l2_weight / np.where(damping > 0, 10.0 * damping, 1.0), 1e-3, 1.0)
    n_variables = problem.n_outputs * (problem.design.n_features + 1)
    of_hessian = n_variables * problem.n_joint_variables + 4 * _n_pairs(problem) * _n_products(problem)
    size = max(1, _BATCH_ELEMENTS // (problem.n_outputs * problem.design.n_samples + of_hessian))
    results = dict[int, FitResult]()

    def minimize(models: np.ndarray, options: TrainingOptions) -> None:
        n_batches = -(-len(models) // size)  # none for no models
        for batch in (models[b::n_batches] for b in range(n_batches)):
            subset, frame = problem.subset(batch), problem.features.mean_frame
            of_batch = minimize_together(subset, options, frame, BatchedHessians, tolerance[batch], batch)
            results.update(zip(batch.tolist(), of_batch, strict=True))
            options.on_progress(problem.n_models - len(results))

    if options.initial is not None:
        minimize(np.arange(problem.n_models), options)
    else:
        paths = _paths(problem)
        spaced = sorted(m for path in paths for m in _spaced(path, problem.l2_weight))
        minimize(np.array(spaced), options)
        between = np.setdiff1d(np.arange(problem.n_models), spaced)
        minimize(between, replace(options, initial=_interpolated(problem, paths, results)))
    return [results[m] for m in range(problem.n_models)]


def _paths(problem: Problem) -> list[list[int]]:
    """The models that differ in nothing but the penalty, in its order."""
    paths: dict[tuple, list[int]] = {}
    for m in np.argsort(problem.l2_weight).tolist():
        paths.setdefault((problem.train_set[m], problem.epsilon[m]), []).append(m)
    return list(paths.values())


def _spaced(path: list[int], l2_weight: np.ndarray) -> list[int]:
    """Models of a path whose penalties differ by a factor of _SPACING at least, and one with the largest."""
    spaced, largest = path[:1], l2_weight[path[-1]]
    for m in path[1:]:
        if l2_weight[m] >= _SPACING * l2_weight[spaced[-1]] or l2_weight[spaced[-1]] < l2_weight[m] == largest:
            spaced.append(m)
    return spaced


def _interpolated(
    problem: Problem, paths: list[list[int]], results: dict[int, FitResult]
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and intercepts for the models without a result, from those that have one."""
    coef, intercept = problem.initial_coefficients()
    for path in paths:
        known, new = ([m for m in path if (m in results) is has_result] for has_result in (True, False))
        minima = np.stack([np.append(results[m].coef.ravel(), results[m].intercept) for m in known])
        theta = interpolate(problem.l2_weight[known], minima, problem.l2_weight[new])
        coef[new], intercept[new] = theta[:, : coef[0].size].reshape(-1, *coef[0].shape), theta[:, coef[0].size :]
    return coef, intercept


class BatchedHessians(Curvatures):
    """The Hessians as matrices, with which a direction takes the solution of linear equations."""

    def __init__(self, objective: FullObjective, shares: np.ndarray, theta: np.ndarray, models: np.ndarray):
        super().__init__(objective, shares, theta, models, np.dtype(np.float64))

    def newton_direction(
        self, gradient: np.ndarray, tolerance: np.ndarray, progress: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """−H⁻¹ g, and where that is no descent −D⁻¹ g with the bound D of the diagonal, (m, variables); which it is."""
        m, k, problem = len(gradient), self.k, self.problem
        q = problem.design.n_features + problem.fit_intercept
        by_coef, by_intercept = self.objective.unpack(gradient)
        g = np.concatenate([by_coef, by_intercept[:, :, None]], axis=2)[:, :, :q]
        scale = 1.0 / np.sqrt(self._diagonal_bound())[:, None, :q]  # (m, 1, q)
        shape = (m, k * q) if problem.multinomial else (m, k, q)
        scaled, scales = (g * scale).reshape(shape), np.broadcast_to(scale, g.shape).reshape(shape)
        hessian = self._hessians()[..., :q, :q] if not problem.multinomial else self._joined(self._hessians(), q)
        hessian *= scales[..., :, None] * scales[..., None, :]
        penalty = np.zeros((m, 1, q))
        penalty[:, :, : problem.design.n_features] = self.objective.l2_weight[self.models][:, None, None]
        diagonal = np.broadcast_to(penalty * scale**2 + _DAMPING, g.shape).reshape(shape)
        variables = np.arange(hessian.shape[-1])
        hessian[..., variables, variables] += diagonal
        direction = -np.linalg.solve(hessian, scaled[..., None])[..., 0].reshape(g.shape) * scale
        slope = (direction * g).sum(axis=(1, 2))
        descends = (slope < 0) | ~g.any(axis=(1, 2))
        direction[~descends] = (-g * scale**2)[~descends]
        n_features = problem.design.n_features
        intercept = direction[:, :, n_features:].sum(axis=2)
        return self.objective.pack(direction[:, :, :n_features], intercept), descends

    def _diagonal_bound(self) -> np.ndarray:
        """(m, features + 1), positive."""
        problem = self.problem
        variance = problem.features.variance_about_mean[self._sets]
        bound = problem.max_curvature * np.append(variance, np.ones((len(variance), 1)), axis=1)
        bound[:, :-1] += self.objective.l2_weight[self.models][:, None]
        return bound

    def _hessians(self) -> np.ndarray:
        """(m, outputs or pairs of classes, q, q) with q = features + 1: sums over the rows."""
        design, n_pairs = self.problem.design, _n_pairs(self.problem)
        m, q, n_products = len(self.models), design.n_features + 1, _n_products(self.problem)
        few = m * n_pairs < _FEW_SUMS

        def sums(rows: tuple[int, int]) -> np.ndarray:
            X = np.ones((q, rows[1] - rows[0]))
            X[:-1] = self._read(rows).T
            curvature = self._pair_curvatures(slice(*rows))
            if few:
                return np.stack([(X * h) @ X.T for h in curvature])
            products = np.empty((n_products, X.shape[1]))
            begin = 0
            for j in range(q):
                np.multiply(X[j:], X[j], out=products[begin : begin + q - j])
                begin += q - j
            return curvature @ products.T

        n_rows = min(_CHUNK_ROWS, _CHUNK_ELEMENTS // max(m * n_pairs, n_products))
        with single_threaded_blas():
            size = m * n_pairs * design.n_samples * n_products
            parts = map_ordered(sums, list(design.chunks(n_rows * design.n_features)), size)
            total = next(parts)
            for part in parts:
                total += part
        if not few:
            index, upper = np.empty((q, q), int), np.triu_indices(q)
            index[upper] = index.T[upper] = np.arange(n_products)
            total = total[:, index.ravel()]
        hessians = total.reshape(m, n_pairs, q, q)
        if self.offset.any():  # from features as they are read to those that are seen from the means
            offset = self.offset[self._sets][:, None, :]
            weight, sums_of_rows = hessians[:, :, -1:, -1], hessians[:, :, -1, :-1].copy()
            centred = sums_of_rows - 0.5 * weight * offset
            outer = centred[..., :, None] * offset[..., None, :]
            hessians[:, :, :-1, :-1] -= outer + outer.swapaxes(-1, -2)
            sums_of_rows -= weight * offset
            hessians[:, :, -1, :-1] = hessians[:, :, :-1, -1] = sums_of_rows
        return hessians

    def _pair_curvatures(self, rows: slice) -> np.ndarray:
        """(m * outputs or pairs of classes, rows): the factors of x̃ x̃ᵀ."""
        state = self.state[:, :, rows]
        if self.problem.multinomial:
            n = self.problem.design.n_samples
            weights = self.problem.weights.read(rows.start, rows.stop, np.float64).T[self._sets] / n
            j, l = np.triu_indices(self.k)  # noqa: E741
            state = weights[:, None, :] * state[:, j] * ((j == l)[:, None] - state[:, l])
        return state.reshape(-1, state.shape[2])

    def _joined(self, pairs: np.ndarray, q: int) -> np.ndarray:
        """(m, k q, k q), from sums for pairs of classes (m, pairs, …)."""
        j, l = np.triu_indices(self.k)  # noqa: E741
        joined = np.empty((len(pairs), self.k, q, self.k, q))
        joined[:, j, :, l] = joined[:, l, :, j] = pairs[:, :, :q, :q].swapaxes(0, 1)
        return joined.reshape(len(pairs), self.k * q, self.k * q)
