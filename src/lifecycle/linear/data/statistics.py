"""What is measured of features and targets before training, for each training set.

With weights w_i of mean 1 over the n rows, for training set k: the centre c = Σ w_i x_i / n, the variances
Σ w_i (x_i - c)² / n, the largest eigenvalue of Σ w_i (x_i - c)(x_i - c)ᵀ / n, and max_i w_i (‖x_i - c‖² + 1).
"""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np

from lifecycle._threads import map_ordered, single_threaded_blas
from lifecycle.linear.data.design_matrix import DesignMatrix
from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.products import multiply_transposed, squared
from lifecycle.linear.data.sample_weights import SampleWeights

# features up to which all eigenvalues are cheaper than a few by iteration, and threads cost more than they give
FEW_FEATURES = 500
# standard deviations; a mean so far from zero takes 4 of 24 and 20 of 53 bits of a sum of squares
_FAR_FROM_ZERO = {"float32": 4.0, "float64": 1e3}
_CENTERS_APART = 4.0  # the same, of centres of training sets that share a shift
_UNEQUAL_SCALES = 10.0  # ratio of standard deviations
# of the variance of all features; steps for single rows that cannot be preconditioned stall sooner
_LARGE_SHARE = {"dense": 0.95, "sparse": 0.5}
_SPREAD_ELEMENTS, _SPREAD_ROWS = 1 << 18, 4096  # of X, from which the spread is estimated
_FEW_ROWS = 64
_POWER_ITERATIONS = 60


class FeatureStatistics:
    """Statistics of the features of each training set; each is computed when it is first asked for.

    Those of a training set depend on no value in other rows, to the last bit: products of all training sets with rows
    as they are have the same shape whatever the values, and a training set far from zero is read by itself.
    Centres are zero where X is sparse, because it would not stay sparse, and where there is no intercept; `center` are
    those that were computed before, so that the same training sets keep the same coordinates.
    """

    def __init__(
        self, design: DesignMatrix, weights: SampleWeights, fit_intercept: bool, center: np.ndarray | None = None
    ):
        self.design, self.weights, self.fit_intercept, self._center = design, weights, fit_intercept, center

    @cached_property
    def center(self) -> np.ndarray:
        """(n_sets, n_features): means of the features, with which the intercept of centred features does not mix.

        The mean of a constant feature is exact, or its rounding error would pass for a feature.
        """
        if self._center is not None:
            return self._center
        sums = np.zeros((self.weights.n_sets, self.design.n_features))
        if not self.fit_intercept or self.design.sparse:
            return sums
        first = np.stack([self.design.X[in_set.argmax()] for in_set in (self.weights.counts != 0).T])
        constant = np.ones(sums.shape, bool)

        def weighted_sums(rows: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            X, weights, still = self.design.read(*rows), self.weights.read(*rows), constant.copy()
            for k in np.flatnonzero(still.any(axis=1)):
                in_set = np.flatnonzero(weights[:, k] > 0)
                for some in (in_set[:_FEW_ROWS], in_set):  # a few rows tell most features that vary
                    candidates = np.flatnonzero(still[k])
                    if candidates.size:
                        still[k, candidates] = (X[some[:, None], candidates] == first[k, candidates]).all(axis=0)
            return weights.T @ X, still

        for of_chunk, still in self._map_chunks(weighted_sums):
            sums += of_chunk
            constant &= still
        return np.where(constant, first, sums / self.design.n_samples)

    @cached_property
    def sampled_std(self) -> np.ndarray:
        """(n_sets, n_features): standard deviations, estimated from some rows of each training set."""
        p = self.design.n_features
        if self.design.sparse:
            return np.zeros((self.weights.n_sets, p))
        samples = map(self._sample, range(self.weights.n_sets))
        return np.stack([X.std(axis=0, dtype=np.float64) if len(X) else np.zeros(p) for X in samples])

    @cached_property
    def preconditioner(self) -> np.ndarray:
        """(n_sets, n_features): factors of steps that make features of different scales move alike, 1/s².

        The scale s is the standard deviation, or the root of the root of the mean fourth power of centred features if
        that is larger: a feature of few large values would else make some rows far longer than others. Fourth powers
        are of some rows of the training set; a feature that is constant there has the largest s. Ones where X is sparse
        or the standard deviations are within a factor of ten.
        """
        factors = np.ones((self.weights.n_sets, self.design.n_features))
        for k in range(0 if self.design.sparse else len(factors)):
            X = self._sample(k).astype(np.float64)
            if len(X) == 0:
                continue
            rounding = 10.0 * np.finfo(self.design.dtype).eps * np.abs(X).max(axis=0)
            varying = self.sampled_std[k] > rounding
            std = np.maximum(np.sqrt(self.variance[k]), self.sampled_std[k])
            if not varying.any() or std[varying].max() <= _UNEQUAL_SCALES * std[varying].min():
                continue
            unit = std.max()
            squares = np.square((X - self.center[k]) / unit)
            scale = np.maximum(std, np.square(squares).mean(axis=0) ** 0.25 * unit)
            factors[k] = 1.0 / np.where(varying, scale, scale.max()) ** 2
        return factors

    @cached_property
    def is_preconditioned(self) -> np.ndarray:
        """(n_sets,): whether the preconditioner is not all ones."""
        return (self.preconditioner != 1.0).any(axis=1)

    def large_feature(self, k: int) -> int | None:
        """The feature that has nearly all variance of a training set, so that others move little; or None."""
        variance, share = self.variance[k], _LARGE_SHARE["sparse" if self.design.sparse else "dense"]
        j = int(variance.argmax())
        return j if len(variance) > 1 and variance[j] > share * variance.sum() else None

    def _sample(self, k: int) -> np.ndarray:
        """Some rows of a training set."""
        rows = self.weights.rows_of_set(k)
        n_stored = len(rows) * self.design.n_stored // self.design.n_samples
        return self.design.X[rows[:: max(1, n_stored // _SPREAD_ELEMENTS, len(rows) // _SPREAD_ROWS)]]

    @cached_property
    def far_from_zero(self) -> np.ndarray:
        """(n_sets,): whether sums over features as they are would lose digits to the distance of a mean from zero.

        A constant feature is compared with the spread of all features.
        """
        std = self.sampled_std
        distance = np.abs(self.center)
        spread = np.where(std > 1e-12 * distance, std, np.sqrt((std**2).sum(axis=1, keepdims=True)))
        return (distance > _FAR_FROM_ZERO[self.design.dtype.name] * spread).any(axis=1)

    @cached_property
    def frame(self) -> CentredFrame:
        """The coordinates of the centres; rows are shifted to the centre of a training set that is far from zero."""
        shift = np.where(self.far_from_zero[:, None], self.center, 0.0).astype(self.design.dtype)
        return CentredFrame(self.center, shift)

    @cached_property
    def shared_frame(self) -> CentredFrame:
        """The coordinates of centres that are near each other, with one shift for all: see `similar_sets`.

        It is zero where the mean is so small beside the spread that the subtraction, which copies what is read, would
        save few digits.
        """
        mean = self.center.mean(axis=0)
        far = np.abs(mean) > _FAR_FROM_ZERO["float32"] * self.sampled_std.min(axis=0)
        return CentredFrame(self.center, np.where(far, mean, 0.0).astype(self.design.dtype))

    @cached_property
    def mean_frame(self) -> CentredFrame:
        """The coordinates of means, also where X is sparse: there only offsets, so that rows are read as they are."""
        if not self.design.sparse or not self.fit_intercept:
            return self.shared_frame
        X = self.design.read_products(0, self.design.n_samples, None, np.float64)
        sums = multiply_transposed(X, self.weights.read(0, self.design.n_samples, np.float64).T)
        return CentredFrame(sums / self.design.n_samples, np.zeros(self.design.n_features, self.design.dtype))

    @cached_property
    def variance_about_mean(self) -> np.ndarray:
        """(n_sets, n_features): `variance`, which is about zero where X is sparse, about the means of `mean_frame`."""
        moved = self.mean_frame.center - self.center
        return np.maximum(self.variance - moved**2, 0.0)

    def similar_sets(self) -> list[list[int]]:
        """Training sets in groups whose centres are so near that features seen from their mean lose no digits."""
        std = self.sampled_std
        total = np.sqrt((std**2).sum(axis=1))
        groups: list[list[int]] = []
        for k in range(len(std)):
            for group in groups:
                j = group[0]
                distance, least = np.abs(self.center[j] - self.center[k]), np.minimum(std[j], std[k])
                # a feature such as a word that only other rows have
                constant = (least <= 1e-3 * distance) & (distance <= 0.5 * min(total[j], total[k]))
                if ((distance <= _CENTERS_APART * least) | constant).all():
                    group.append(k)
                    break
            else:
                groups.append([k])
        return groups

    @cached_property
    def variance(self) -> np.ndarray:
        """(n_sets, n_features): mean squares of the centred features."""
        return self._by_shift(self._variance)

    def _by_shift(self, statistic: Callable[[Any, np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """`statistic` (training sets, shift (n_features,), offset (sets, n_features)) -> (sets, …), of all sets.

        Training sets near zero are read together and without a shift, each that is far from zero by itself.
        """
        frame, far = self.frame, np.flatnonzero(self.far_from_zero)
        values = None
        if len(far) < self.weights.n_sets:
            # of all, so that the shapes of products do not depend on which sets are far
            values = statistic(slice(None), np.zeros(self.design.n_features, self.design.dtype), self.center)
        for k in far.tolist():
            of_set = statistic([k], frame.shift[k], frame.offset[[k]])
            values = np.empty((self.weights.n_sets, *of_set.shape[1:])) if values is None else values
            values[k] = of_set[0]
        assert values is not None
        return values

    def _variance(self, sets: Any, shift: np.ndarray, offset: np.ndarray) -> np.ndarray:
        sums = np.zeros(offset.shape)

        def weighted_sums(rows: tuple[int, int]) -> np.ndarray:
            X = self.design.read(*rows, shift)
            squares = squared(X)
            return self.weights.read(*rows)[:, sets].T @ squares

        for of_chunk in self._map_chunks(weighted_sums):
            sums += of_chunk
        return np.maximum(sums / self.design.n_samples - offset**2, 0.0)

    def _map_chunks(self, work: Callable[[tuple[int, int]], Any]) -> Iterator[Any]:
        """work(rows) for chunks of rows on threads, in the order of the rows."""
        with single_threaded_blas():
            yield from map_ordered(work, list(self.design.sum_chunks()), self.design.n_stored * self.weights.n_sets)

    @cached_property
    def max_squared_norm(self) -> np.ndarray:
        """(n_sets,): the largest weight times squared norm of a row, the 1 of the intercept included."""
        return self._by_shift(self._max_squared_norm)

    @cached_property
    def preconditioned_max_squared_norm(self) -> np.ndarray:
        """(n_sets,): the same of features times the roots of the preconditioner."""
        if not self.is_preconditioned.any():
            return self.max_squared_norm
        norms = self._by_shift(partial(self._max_squared_norm, factors=self.preconditioner))
        return np.where(self.is_preconditioned, norms, self.max_squared_norm)

    def _max_squared_norm(
        self, sets: Any, shift: np.ndarray, offset: np.ndarray, factors: np.ndarray | None = None
    ) -> np.ndarray:
        largest = np.zeros(len(offset))
        scaled = offset if factors is None else offset * factors[sets]
        for begin, end in self.design.chunks():
            X = self.design.read(begin, end, shift)
            squares = squared(X)
            squares = squares.sum(axis=1) if factors is None else squares @ factors[sets].T
            norms = np.asarray(squares).reshape(end - begin, -1)
            norms = norms - 2.0 * (X @ scaled.T) + (offset * scaled).sum(axis=1)
            weights = self.weights.read(begin, end)[:, sets]
            largest = np.maximum(largest, (weights * (norms + self.fit_intercept)).max(axis=0))
        return largest

    @cached_property
    def max_eigenvalue(self) -> np.ndarray:
        """(n_sets,): the largest eigenvalue of the second moments of the centred features, or a bound of it.

        Where X is sparse, the intercept mixes with the features and is included. 1 where all features are constant.
        """
        few = self.design.n_features <= FEW_FEATURES
        largest = self._by_shift(self._max_eigenvalue if few else self._by_power_iteration)
        if self.design.sparse:
            largest = largest + self.fit_intercept
        rounding = 1e-28 * np.square(self.center).max(axis=1, initial=1e-260)
        return np.where(largest > rounding, largest, 1.0)

    def _max_eigenvalue(self, sets: Any, shift: np.ndarray, offset: np.ndarray) -> np.ndarray:
        p, sparse = self.design.n_features, self.design.sparse
        moments = np.zeros((len(offset), p, p))
        for begin, end in self.design.chunks():
            X, weights = self.design.read(begin, end, shift), self.weights.read(begin, end)[:, sets]
            for k in range(len(moments)):
                product = (X.multiply(weights[:, [k]]) if sparse else X * weights[:, [k]]).T @ X
                moments[k] += product.toarray() if sparse else product
        return np.linalg.eigvalsh(moments / self.design.n_samples - offset[:, :, None] * offset[:, None, :])[:, -1]

    def _by_power_iteration(self, sets: Any, shift: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Power iteration from a vector that no eigenvector is orthogonal to in practice, with a margin of 5 %."""
        v = np.sqrt(self.variance[sets]) + np.finfo(np.float64).tiny
        largest, done = np.zeros(len(v)), np.zeros(len(v), bool)
        for _ in range(_POWER_ITERATIONS):
            v /= np.linalg.norm(v, axis=1, keepdims=True)
            product = np.zeros_like(v)
            for begin, end in self.design.chunks():
                X, weights = self.design.read(begin, end, shift), self.weights.read(begin, end)[:, sets]
                projected = weights * (X @ v.T.astype(X.dtype) - (offset * v).sum(axis=1).astype(X.dtype))
                product += (X.T @ projected).T - projected.sum(axis=0)[:, None] * offset
            previous = largest
            # a training set keeps its value while others go on
            largest = np.where(done, largest, np.linalg.norm(product, axis=1) / self.design.n_samples)
            v = product
            done |= np.abs(largest - previous) <= 1e-3 * largest
            if done.all():
                break
        return 1.05 * largest


class TargetStatistics:
    """Mean and standard deviation of the targets of each training set, for regression."""

    def __init__(self, y: np.ndarray, weights: SampleWeights):
        self.y, self.weights = y, weights

    @cached_property
    def mean(self) -> np.ndarray:
        """(n_sets,)"""
        sums = [self.weights.of_set(k) @ self.y for k in range(self.weights.n_sets)]
        return np.array(sums) / self.weights.n_samples

    @cached_property
    def std(self) -> np.ndarray:
        """(n_sets,)"""
        squares = [self.weights.of_set(k) @ (self.y - mean) ** 2 for k, mean in enumerate(self.mean)]
        return np.sqrt(np.array(squares) / self.weights.n_samples)
