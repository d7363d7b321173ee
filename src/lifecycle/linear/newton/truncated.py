"""Truncated Newton method for models of many variables, whose Hessians would be dear: products with X in their place.

The Hessian of a model over rows x̃ with curvatures h = v ℓ″(z) is X̃ᵀ diag(h) X̃ + α I; its product with a vector takes
two products with X, made for all models together. That of the multinomial loss with probabilities p applies
v (diag(p) − p pᵀ) to the scores of a row in between.

The preconditioner comes from the second moments S of the training set's own features, which are seen from their means:
c_k S + α I for output k, with its mean curvature c_k. Up to 500 features, and of more where that pays, it is
inverted by the eigenvalues of S, once for all penalties and curvatures; beyond, by the diagonal of S. Products are in
float32, which a direction does not need to exceed, unless features are too large for it or too far from zero;
objectives and gradients are in float64.

Where a loss is linear it has no curvature, and a Newton step no end. There h takes a share of ℓ′ / (z − y), with which
it is that of a parabola above the loss (Huber, 1981). After a step of full length the share is a quarter of it.
"""

from functools import partial
from typing import Any

import numpy as np
from scipy.special import softmax

from lifecycle._threads import map_ordered, num_threads, single_threaded_blas
from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.problem import Problem
from lifecycle.linear.data.products import DenseRows, multiply, multiply_transposed
from lifecycle.linear.data.statistics import FEW_FEATURES
from lifecycle.linear.exact import moments_by_train_set
from lifecycle.linear.fit_result import NOT_CONVERGED, FitResult
from lifecycle.linear.newton.shared_preconditioner import LARGEST_FLOAT32, FullObjective
from lifecycle.linear.training_options import TrainingOptions
from lifecycle.loops.linear_loss import loss_dloss_hessian
from lifecycle.solvers import newton_cg
from lifecycle.solvers.convergence import Tolerances

_CHUNK_ELEMENTS = 1 << 18  # of X and of scores: a chunk stays in the cache between its two products
_KEPT_CHUNK_ELEMENTS = 1 << 20  # of rows that are read once: fewer chunks take less time to start
_KEPT_ELEMENTS = 1 << 21  # of X, up to which its rows are read once for all products, and take 16 MB more
_LEAST_EIGENVALUE = 1e-7  # of second moments, relative to the variance that the same features had if uncorrelated
_MAX_DECOMPOSED = 1 << 23  # elements of the eigenvectors of all training sets
_DECOMPOSITION_COST = 0.1  # n · outputs · models, in squares of the features of all sets, from which these vectors pay
_BATCH_ELEMENTS = 1 << 25  # of coefficients and scores of models that are minimized together
_VALUE_ERROR = 1e-14  # relative, of an objective
_ACCURATE_SHARE = 1e-2  # of the parabola's curvature, up to which a predicted decrease is that of the objective
_FAR_FROM_MEAN, _CONSTANT = 1e4, 1e-12  # squared distance by variance, and its inverse for a constant feature
SAFETY = 0.1  # of tol: what the predicted decrease may be, as the directions are inexact


def fit_truncated(problem: Problem, options: TrainingOptions) -> list[FitResult]:
    """Minimize until a step is predicted to lower the objective by less than a tenth of tol."""
    frame = problem.features.mean_frame
    preconditioners = _preconditioners(problem)
    per_model = problem.n_outputs * (problem.design.n_features + problem.design.n_samples)
    size = max(1, _BATCH_ELEMENTS // per_model)
    if problem.design.sparse:  # whose products run on the thread of their models
        size = min(size, -(-problem.n_models // num_threads()))
    n_batches = -(-problem.n_models // size)
    # neighbours have like penalties, of which small ones take the longest
    batches = [np.arange(b, problem.n_models, n_batches) for b in range(n_batches)]
    n_left, results = problem.n_models, dict[int, FitResult]()
    tolerance = np.full(problem.n_models, SAFETY * (options.tol or 0.0)) * problem.null_loss

    def run(models: np.ndarray) -> list[FitResult]:
        hessians = partial(TruncatedHessians, preconditioners, {})
        return minimize_together(problem.subset(models), options, frame, hessians, tolerance[models], models)

    products = problem.design.n_stored * problem.n_models * problem.n_outputs if problem.design.sparse else 0
    for batch, of_batch in zip(batches, map_ordered(run, batches, products), strict=True):
        results.update(zip(batch.tolist(), of_batch, strict=True))
        n_left -= len(batch)
        options.on_progress(n_left)
    return [results[m] for m in range(problem.n_models)]


@single_threaded_blas()  # once for all products, of which each asks for it
def minimize_together(
    problem: Problem,
    options: TrainingOptions,
    frame: CentredFrame,
    hessians: Any,
    tolerance: np.ndarray,
    models: np.ndarray,
) -> list[FitResult]:
    """Newton steps of all models of a problem, until these are predicted to lower the objective by `tolerance`.

    Parameters
    ----------
    hessians : (objective, shares (models,), θ (m, variables), models (m,)) -> the Hessians there
    models : which of the models of `options.initial` they are
    """
    objective = FullObjective(problem, np.float64, frame)
    coef, intercept = problem.initial_coefficients()
    if options.initial is not None:
        coef, intercept = (a[models] for a in options.initial)
    intercept = _move(coef, intercept, problem.train_set, problem.features.frame, frame)
    theta, null_loss = objective.pack(coef, intercept), problem.null_loss
    numbers, shares = np.arange(problem.n_models), np.ones(problem.n_models)
    hessian = partial(hessians, objective, shares)
    curves: list[list[float]] = [[] for _ in numbers]
    converged, gap = np.zeros(len(numbers), bool), np.full(len(numbers), np.inf)
    tolerances = Tolerances(tolerance, value_error=_VALUE_ERROR)
    iterations = newton_cg.minimize(objective.evaluate, hessian, theta, numbers, tolerances)
    for i, (functions, values, done, failed, shortened, decrease) in enumerate(iterations, 1):
        # rounding ends a line search, too
        converged[functions[done | (failed & (np.abs(decrease) <= 1e3 * _VALUE_ERROR * np.abs(values)))]] = True
        gap[functions] = decrease
        shares[functions] = np.where(shortened, np.minimum(4.0 * shares[functions], 1.0), 0.25 * shares[functions])
        for m, value in zip(functions.tolist(), values.tolist(), strict=True):
            curves[m].append(value)
        if i >= options.max_iter:
            break
    coef, intercept = objective.unpack(theta)
    if problem.multinomial:  # softmax does not depend on what all classes share, and the penalty is least without it
        coef, intercept = coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean(axis=1, keepdims=True)
    intercept = _move(coef, intercept, problem.train_set, frame, problem.features.frame)
    warning = NOT_CONVERGED.format(options.max_iter)
    return [
        FitResult(coef[m], intercept[m], curves[m], warning=None if converged[m] else warning,
                  gap=float(gap[m]), null_loss=float(null_loss[m]))
        for m in range(len(numbers))
    ]  # fmt: skip


def _preconditioners(problem: Problem) -> dict[int, Any]:
    """For each training set the eigenvectors and eigenvalues of its second moments, or None and their diagonal."""
    sets = np.unique(problem.train_set)
    if not _decomposition_pays(problem):
        return {k: (None, problem.features.variance_about_mean[k]) for k in sets.tolist()}
    moments = moments_by_train_set(problem)
    of_sets = {}
    for k in sets.tolist():
        covariance = moments[k].covariance[:-1, :-1]
        eigenvalues, vectors = np.linalg.eigh(covariance)
        # an eigenvalue that is zero but for rounding would have the largest inverse, of the noise of float32
        without_correlation = np.diagonal(covariance) @ vectors**2
        of_sets[k] = vectors, np.maximum(eigenvalues, _LEAST_EIGENVALUE * without_correlation)
    return of_sets


def _decomposition_pays(problem: Problem) -> bool:
    """Whether the eigenvalues of the second moments save more products than they cost: the cube of the features."""
    n, p = problem.design.n_samples, problem.design.n_features
    if p <= FEW_FEATURES:
        return p <= n
    n_sets = len(np.unique(problem.train_set))
    if p > n or problem.design.sparse or n_sets * p**2 > _MAX_DECOMPOSED:
        return False
    return _DECOMPOSITION_COST * n_sets * p**2 <= n * problem.n_outputs * problem.n_models


def _move(
    coef: np.ndarray, intercept: np.ndarray, train_set: np.ndarray, source: CentredFrame, target: CentredFrame
) -> np.ndarray:
    """The intercepts in another frame: that of a sparse X has no centre elsewhere."""
    if source.center is target.center:
        return intercept
    return target.to_centred(coef, source.to_raw(coef, intercept, train_set), train_set)


class Curvatures:
    """The curvatures h (models, outputs, rows) of the losses of models at θ (models, variables), or the probabilities
    of a multinomial loss; of features that are seen from the means of their rows."""

    def __init__(
        self, objective: FullObjective, shares: np.ndarray, theta: np.ndarray, models: np.ndarray, dtype: np.dtype
    ):
        self.objective, self.problem, self.models = objective, objective.problem, models
        self.shares, self.has_linear = shares[models], np.zeros(len(models), bool)
        self.frame, self.k, self.dtype = objective.losses.frame, self.problem.n_outputs, dtype
        self.offset = self.frame.offset.astype(dtype)
        self.state = np.empty((len(models), self.k, self.problem.design.n_samples), dtype)
        flat, at_shift = self._at_shift(*objective.unpack(theta), np.arange(len(models)))
        n_products = len(models) * self.k * self.problem.design.n_stored
        for _ in map_ordered(lambda rows: self._set_state(rows, flat, at_shift), self._chunk_rows(), n_products):
            pass
        self.is_accurate = ~self.has_linear | (self.shares <= _ACCURATE_SHARE)

    @property
    def _keeps_rows(self) -> bool:
        return not self.problem.design.sparse and self.problem.design.n_stored <= _KEPT_ELEMENTS

    @property
    def _sets(self) -> list[int]:
        return self.problem.train_set[self.models].tolist()

    def _chunk_rows(self) -> list[tuple[int, int]]:
        design, n_scores = self.problem.design, self.problem.n_models * self.k  # the same when models have converged
        limit = _KEPT_CHUNK_ELEMENTS if self._keeps_rows else _CHUNK_ELEMENTS
        elements = max(1, min(limit, _CHUNK_ELEMENTS // n_scores * design.n_features))
        return list(design.product_chunks(elements))

    def _at_shift(self, coef: np.ndarray, intercept: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (models * outputs, features), and intercepts of features as they are read."""
        at_shift = intercept.astype(np.float64)
        for i, k in enumerate(self.problem.train_set[self.models[places]].tolist()):
            at_shift[i] -= coef[i] @ self.frame.offset[k]
        flat = coef.reshape(-1, coef.shape[2]).astype(self.dtype, copy=False)
        return flat, at_shift.reshape(-1, 1).astype(self.dtype)

    def _read(self, rows: tuple[int, int]) -> Any:
        return self.problem.design.read_products(*rows, self.frame.shift, self.dtype)

    def _scores(self, X: Any, flat: np.ndarray, at_shift: np.ndarray) -> np.ndarray:
        z = multiply(X, flat)
        return (z + at_shift).reshape(-1, self.k, z.shape[1])

    def _set_state(self, rows: tuple[int, int], flat: np.ndarray, at_shift: np.ndarray) -> None:
        problem, z = self.problem, self._scores(self._read(rows), flat, at_shift)
        out = self.state[:, :, slice(*rows)]
        if problem.multinomial:
            out[:] = softmax(z, axis=1)
            return
        targets = problem.encode_targets(problem.y[slice(*rows)]).astype(self.dtype)
        weights = np.ascontiguousarray((problem.weights.read(*rows, self.dtype) / problem.design.n_samples).T)
        kernel = loss_dloss_hessian(problem.loss)
        for i, m in enumerate(self.models):
            scores, curvature, dloss = np.ascontiguousarray(z[i]), *np.empty((2, *z[i].shape), self.dtype)
            weight = np.ascontiguousarray(weights[problem.train_set[m]].astype(self.dtype))
            kernel(scores, targets, weight, self.dtype.type(problem.epsilon[m]), dloss, curvature)
            linear = (curvature == 0.0) & (dloss != 0.0)
            if linear.any():
                self.has_linear[i] = True
                distance = np.abs(z[i] - targets)[linear]  # the kernel changes nothing of z
                curvature[linear] = self.shares[i] * np.abs(dloss[linear]) / distance
            out[i] = curvature


class TruncatedHessians(Curvatures):
    """Hessians by their products, with preconditioners of the training sets; a direction takes conjugate gradients."""

    def __init__(
        self,
        preconditioners: dict[int, Any],
        kept: dict[tuple[int, int], tuple[Any, Any]],
        objective: FullObjective,
        shares: np.ndarray,
        theta: np.ndarray,
        models: np.ndarray,
    ):
        problem = objective.problem
        is_single = problem.design.max_abs <= LARGEST_FLOAT32 and not _loses_digits(objective)
        super().__init__(objective, shares, theta, models, np.dtype(np.float32 if is_single else np.float64))
        self.preconditioners = preconditioners
        weighted = self.state * (1.0 - self.state) if problem.multinomial else self.state
        if problem.multinomial:
            weights, n = problem.weights, problem.design.n_samples
            sums = [weights.of_set(k) @ w.T / n for k, w in zip(self._sets, weighted, strict=True)]
        else:
            sums = weighted.sum(axis=2, dtype=np.float64)
        self.mean_curvature = np.maximum(np.asarray(sums), 1e-6 * problem.max_curvature)
        self._inverses: dict[int, np.ndarray] = {}
        self._kept = kept  # rows of X with their weights, for all Hessians of a problem

    def newton_direction(
        self, gradient: np.ndarray, tolerance: np.ndarray, progress: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return newton_cg.conjugate_gradients(self, gradient, tolerance, progress)

    def multiply(self, v: np.ndarray, places: np.ndarray) -> np.ndarray:
        """H v of the models at these places, (len(places), variables)."""
        problem, objective = self.problem, self.objective
        coef, intercept = objective.unpack(v)
        flat, at_shift = self._at_shift(coef, intercept, places)
        everything = len(places) == len(self.models)
        sets = problem.train_set[self.models[places]]

        def product(chunk: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            X, weights = self._kept.get(chunk) or self._read_with_weights(chunk)
            u, rows = self._scores(X, flat, at_shift), slice(*chunk)
            state = self.state[:, :, rows] if everything else self.state[places, :, rows]
            if problem.multinomial:
                u -= (state * u).sum(axis=1, keepdims=True)
                u *= state
                u *= weights[sets][:, None, :]
            else:
                u *= state
            d = u.reshape(-1, u.shape[2])
            return multiply_transposed(X, d), d.sum(axis=1)

        n_products = len(places) * self.k * problem.design.n_stored
        (by_coef, by_intercept), *others = map_ordered(product, self._chunk_rows(), n_products)
        for part in others:
            by_coef += part[0]
            by_intercept += part[1]
        by_coef, by_intercept = by_coef.reshape(coef.shape), by_intercept.reshape(-1, self.k)
        l2_weight = objective.l2_weight[self.models[places]].astype(self.dtype)
        for i, k in enumerate(sets.tolist()):  # model by model, whose vectors stay in the cache
            by_coef[i] -= np.outer(by_intercept[i], self.offset[k])
            by_coef[i] += l2_weight[i] * coef[i]
        return objective.pack(by_coef, by_intercept, self.dtype)

    def _read_with_weights(self, chunk: tuple[int, int]) -> tuple[Any, Any]:
        """Rows of X as an argument of `multiply`, and their shares in the mean of each training set, (sets, rows)."""
        design, weights = self.problem.design, None
        if self.problem.multinomial:  # the curvatures of other losses hold them
            weights = (self.problem.weights.read(*chunk, self.dtype) / self.dtype.type(design.n_samples)).T
        X = self._read(chunk)
        if self._keeps_rows:
            X = DenseRows(X, np.ascontiguousarray(X.T))
            self._kept[chunk] = X, weights
        return X, weights

    def precondition(self, r: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(c_k S + α I)⁻¹ r for coefficients, r / c_k for intercepts."""
        coef, intercept = self.objective.unpack(r)
        result = np.empty(coef.shape, self.dtype)
        for i, place in enumerate(places.tolist()):
            vectors, inverse = self._inverse(place)
            result[i] = inverse * coef[i] if vectors is None else (inverse * (coef[i] @ vectors)) @ vectors.T
        return self.objective.pack(result, intercept / self.mean_curvature[places], self.dtype)

    def estimate_decrease(self, r: np.ndarray, places: np.ndarray) -> np.ndarray:
        """½ rᵀ(α I)⁻¹r of coefficients, a bound as the loss is convex, and of intercepts that do not mix with them."""
        coef, intercept = self.objective.unpack(r)
        l2_weight, squares = self.objective.l2_weight[self.models[places]], np.einsum("mkp,mkp->m", coef, coef)
        of_coef = np.divide(squares, l2_weight, out=np.full(len(r), np.inf), where=l2_weight > 0)
        return 0.5 * (of_coef + (intercept**2 / self.mean_curvature[places]).sum(axis=1))

    def _inverse(self, place: int) -> tuple[np.ndarray | None, np.ndarray]:
        """The eigenvectors of a model's preconditioner, or None, and its eigenvalues or its diagonal."""
        model = self.models[place]
        train_set = self.problem.train_set[model]
        vectors, squares = self.preconditioners[train_set]
        if vectors is not None and vectors.dtype != self.dtype:
            vectors = vectors.astype(self.dtype)
            self.preconditioners[train_set] = vectors, squares
        if place not in self._inverses:
            diagonal = self.mean_curvature[place][:, None] * squares + self.objective.l2_weight[model]
            inverse = 1.0 / np.where(diagonal > 0, diagonal, 1.0)
            self._inverses[place] = np.minimum(inverse, LARGEST_FLOAT32**2).astype(self.dtype)
        return vectors, self._inverses[place]


def _loses_digits(objective: FullObjective) -> bool:
    """Whether features are read so far from their means that float32 would not hold how they vary."""
    squares, variance = objective.losses.frame.offset**2, objective.problem.features.variance_about_mean
    return bool(((squares > _FAR_FROM_MEAN * variance) & (variance > _CONSTANT * squares)).any())
