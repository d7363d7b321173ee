"""What is measured of features and targets before training, for each training set.

With weights w_i of mean 1 over the n rows, for training set k: the centre c = Σ w_i x_i / n, the variances
Σ w_i (x_i - c)² / n, the largest eigenvalue of Σ w_i (x_i - c)(x_i - c)ᵀ / n, and max_i w_i (‖x_i - c‖² + 1).
"""

from functools import cached_property

import numpy as np

from lifecycle.linear.data.design_matrix import DesignMatrix
from lifecycle.linear.data.frame import CentredFrame
from lifecycle.linear.data.sample_weights import SampleWeights

# features up to which all eigenvalues are cheaper than a few by iteration, and threads cost more than they give
FEW_FEATURES = 500
_FAR_FROM_ZERO = 4.0  # standard deviations: a mean so far from zero takes four bits of a sum of squares
_CENTERS_APART = 0.5  # the same, of centres: single precision then keeps four digits over 100,000 steps
_SPREAD_ELEMENTS = 1 << 18  # elements of X from which the spread is estimated
_POWER_ITERATIONS = 60


class FeatureStatistics:
    """Statistics of the features of each training set; each is computed when it is first asked for.

    Centres are zero where X is sparse, because it would not stay sparse, and where there is no intercept.
    """

    def __init__(self, design: DesignMatrix, weights: SampleWeights, fit_intercept: bool):
        self.design, self.weights, self.fit_intercept = design, weights, fit_intercept

    @cached_property
    def center(self) -> np.ndarray:
        """(n_sets, n_features): means of the features, with which the intercept of centred features does not mix.

        The mean of a constant feature is exact, or its rounding error would pass for a feature.
        """
        sums = np.zeros((self.weights.n_sets, self.design.n_features))
        if not self.fit_intercept or self.design.sparse:
            return sums
        first = np.stack([self.design.X[in_set.argmax()] for in_set in (self.weights.counts != 0).T])
        constant = np.ones(sums.shape, bool)
        for begin, end in self.design.chunks():
            X, weights = self.design.read(begin, end), self.weights.read(begin, end)
            sums += weights.T @ X
            for k in np.flatnonzero(constant.any(axis=1)):
                candidates = np.flatnonzero(constant[k])
                constant[k, candidates] = (X[weights[:, k] > 0][:, candidates] == first[k, candidates]).all(axis=0)
        return np.where(constant, first, sums / self.design.n_samples)

    @cached_property
    def mean_center(self) -> np.ndarray:
        """(n_features,): the mean of the centres."""
        return self.center.mean(axis=0).astype(self.design.dtype)

    @cached_property
    def shift(self) -> np.ndarray:
        """(n_features,): a row near all centres, which is subtracted before anything is multiplied.

        It is zero where the mean is so small beside the spread that the subtraction, which copies what is read, would
        save few digits.
        """
        far = np.abs(self.mean_center) > _FAR_FROM_ZERO * self._smallest_std
        return np.where(far, self.mean_center, 0.0).astype(self.design.dtype)

    @cached_property
    def _smallest_std(self) -> np.ndarray:
        """(n_features,): the smallest standard deviation in a training set, estimated from rows of that set only."""
        p = self.design.n_features
        if self.design.sparse:
            return np.zeros(p)
        sampled = slice(None, None, max(1, self.design.n_stored // _SPREAD_ELEMENTS))
        X, in_set = self.design.X[sampled], self.weights.counts[sampled] != 0
        stds = [X[rows].std(axis=0, dtype=np.float64) if rows.any() else np.zeros(p) for rows in in_set.T]
        return np.min(stds, axis=0)

    @cached_property
    def frame(self) -> CentredFrame:
        """The coordinates of the centres."""
        return CentredFrame(self.center, self.shift)

    @cached_property
    def variance(self) -> np.ndarray:
        """(n_sets, n_features): mean squares of the centred features."""
        sums = np.zeros((self.weights.n_sets, self.design.n_features))
        for begin, end in self.design.chunks():
            X = self.design.read(begin, end, self.shift)
            sums += self.weights.read(begin, end).T @ (X.multiply(X) if self.design.sparse else X * X)
        return np.maximum(sums / self.design.n_samples - self.frame.offset**2, 0.0)

    @cached_property
    def centers_are_close(self) -> np.ndarray:
        """(n_sets,): whether each centre is so near to `mean_center` that differences from it lose no digits."""
        distance, std = np.abs(self.center - self.mean_center), np.sqrt(self.variance)
        total = np.sqrt(self.variance.sum(axis=1, keepdims=True))
        # a feature such as a word that only other rows have
        constant = (std <= 1e-3 * distance) & (distance <= _CENTERS_APART * total)
        return ((distance <= _CENTERS_APART * std) | constant).all(axis=1)

    @cached_property
    def max_squared_norm(self) -> np.ndarray:
        """(n_sets,): the largest weight times squared norm of a row, the 1 of the intercept included."""
        largest = np.zeros(self.weights.n_sets)
        offset = self.frame.offset
        for begin, end in self.design.chunks():
            X = self.design.read(begin, end, self.shift)
            squares = X.multiply(X).sum(axis=1) if self.design.sparse else (X * X).sum(axis=1)
            norms = np.asarray(squares).reshape(-1, 1) - 2.0 * (X @ offset.T) + (offset**2).sum(axis=1)
            largest = np.maximum(largest, (self.weights.read(begin, end) * (norms + self.fit_intercept)).max(axis=0))
        return largest

    @cached_property
    def max_eigenvalue(self) -> np.ndarray:
        """(n_sets,): the largest eigenvalue of the second moments of the centred features, or a bound of it.

        Where X is sparse, the intercept mixes with the features and is included. 1 where all features are constant.
        """
        if self.design.n_features <= FEW_FEATURES:
            largest = np.linalg.eigvalsh(self._covariances())[:, -1]
        else:
            largest = self._by_power_iteration()
        if self.design.sparse:
            largest = largest + self.fit_intercept
        rounding = 1e-28 * np.square(self.shift, dtype=np.float64).max(initial=1e-260)
        return np.where(largest > rounding, largest, 1.0)

    def _covariances(self) -> np.ndarray:
        p, sparse, offset = self.design.n_features, self.design.sparse, self.frame.offset
        moments = np.zeros((self.weights.n_sets, p, p))
        for begin, end in self.design.chunks():
            X, weights = self.design.read(begin, end, self.shift), self.weights.read(begin, end)
            for k in range(len(moments)):
                product = (X.multiply(weights[:, [k]]) if sparse else X * weights[:, [k]]).T @ X
                moments[k] += product.toarray() if sparse else product
        return moments / self.design.n_samples - offset[:, :, None] * offset[:, None, :]

    def _by_power_iteration(self) -> np.ndarray:
        """Power iteration from a vector that no eigenvector is orthogonal to in practice, with a margin of 5 %."""
        v = np.sqrt(self.variance) + np.finfo(np.float64).tiny
        offset, largest = self.frame.offset, np.zeros(len(v))
        for _ in range(_POWER_ITERATIONS):
            v /= np.linalg.norm(v, axis=1, keepdims=True)
            product = np.zeros_like(v)
            for begin, end in self.design.chunks():
                X, weights = self.design.read(begin, end, self.shift), self.weights.read(begin, end)
                projected = weights * (X @ v.T.astype(X.dtype) - (offset * v).sum(axis=1).astype(X.dtype))
                product += (X.T @ projected).T - projected.sum(axis=0)[:, None] * offset
            previous, largest = largest, np.linalg.norm(product, axis=1) / self.design.n_samples
            v = product
            if (np.abs(largest - previous) <= 1e-3 * largest).all():
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
