"""Many linear models of one kind over the same rows: they differ in numbers and in the weights of the rows."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lifecycle.linear.data.design_matrix import Rows
from lifecycle.linear.data.sample_weights import Weights
from lifecycle.loops.linear_single import row_of
from lifecycle.losses import Loss
from lifecycle.penalties import Penalty

# features up to which all eigenvalues are cheaper than a few by iteration, and threads cost more than they give
SMALL = 500
_NEAR = 4.0  # standard deviations: a mean so far from zero takes four bits of a sum of squares
_BESIDE = 0.5  # the same, of centres: single precision then keeps four digits of a coefficient over 100,000 steps
_SOME = 1 << 18  # elements of X


@dataclass
class Task:
    """Models that share loss, penalty, classes and whether there is an intercept.

    rows : X;  y : (n,), numbers or places of the classes
    outputs : scores of a model: 1, or the number of classes if there are more than two
    weights : (n, columns): rows of weight zero are not in the model's training set
    column, alpha, l1_ratio, epsilon : (models,)
    base : (n,), sample weights of which a column of `weights` is a multiple where it is not zero, or None: ones

    Coefficients are (models, outputs, features), intercepts (models, outputs): those of centred features.
    """

    rows: Rows
    y: np.ndarray
    outputs: int
    weights: Weights
    loss: Loss
    penalty: Penalty
    fit_intercept: bool
    column: np.ndarray
    alpha: np.ndarray
    l1_ratio: np.ndarray
    epsilon: np.ndarray
    base: np.ndarray | None

    def __post_init__(self) -> None:
        self.models = len(self.column)
        # one score per class, seen by the loss at once: only log_loss with more than two classes
        self.joint = self.loss.multinomial_exp is not None and self.outputs > 1
        steepest = self.loss.multinomial_max_curvature if self.joint else self.loss.max_curvature
        self.steepest = 1.0 if steepest is None else steepest
        self.labels = np.arange(self.outputs) if self.outputs > 1 else np.ones(1, int)

    def some(self, models: np.ndarray) -> "Task":
        """The task of these models alone."""
        numbers = ("column", "alpha", "l1_ratio", "epsilon")
        part = replace(self, **{name: getattr(self, name)[models] for name in numbers})
        columns = ("center", "squares", "longest", "curvatures_of_coef")
        part.__dict__.update({name: self.__dict__[name] for name in columns if name in self.__dict__})
        return part

    def alone(self, m: int) -> "Task":
        """The task of model m, to which no rows of others are known."""
        weights = Weights(self.weights.counts[:, self.column[[m]]], self.weights.dtype)
        return replace(self.some(np.array([m])), weights=weights, column=np.zeros(1, int))

    def targets(self, y: np.ndarray | None = None) -> np.ndarray:
        """(outputs, n): numbers, ±1, or for a joint loss one-hot."""
        y = self.y if y is None else y
        if self.loss.task == "regression":
            return y[None]
        hit = y == self.labels[:, None]
        return np.where(hit, 1.0, 0.0 if self.joint else -1.0)

    @cached_property
    def center(self) -> np.ndarray:
        """(columns, features): means of the features, which an intercept does not mix with.

        That of a constant feature is exact, or its rounding error would pass for a feature. Zero where X is sparse,
        which it would not stay.
        """
        found = np.zeros((self.weights.columns, self.rows.features))
        if not self.fit_intercept or self.rows.sparse:
            return found
        first = np.stack([self.rows.X[seen.argmax()] for seen in (self.weights.counts != 0).T])
        constant = np.ones(found.shape, bool)
        for begin, end in self.rows.chunks():
            X, weights = self.rows.read(begin, end), self.weights.read(begin, end)
            found += weights.T @ X
            for k in np.flatnonzero(constant.any(axis=1)):
                maybe = np.flatnonzero(constant[k])
                constant[k, maybe] = (X[weights[:, k] > 0][:, maybe] == first[k, maybe]).all(axis=0)
        return np.where(constant, first, found / self.rows.n)

    @cached_property
    def shift(self) -> np.ndarray:
        """(features,): a row near all centres, which is taken off before anything is multiplied; zero where the mean is
        so small beside the spread that this, which takes a copy of what is read, would save few digits."""
        return np.where(np.abs(self.middle) > _NEAR * self._least_spread, self.middle, 0.0).astype(self.rows.dtype)

    @cached_property
    def _least_spread(self) -> np.ndarray:
        """(features,): the least standard deviation in a training set, from some of its rows, and of no others."""
        if self.rows.sparse:
            return np.zeros(self.rows.features)
        some = slice(None, None, max(1, self.rows.size // _SOME))
        X, seen = self.rows.X[some], self.weights.counts[some] != 0
        return np.min([X[mine].std(axis=0, dtype=np.float64) if mine.any() else np.zeros(self.rows.features)
                       for mine in seen.T], axis=0)  # fmt: skip

    @cached_property
    def centers_are_near(self) -> np.ndarray:
        """(columns,): whether the centre of each is near the middle of all, so that no digits are lost on the way."""
        away, spread = np.abs(self.center - self.middle), np.sqrt(self.squares)
        total = np.sqrt(self.squares.sum(axis=1, keepdims=True))
        constant = (spread <= 1e-3 * away) & (away <= _BESIDE * total)  # such as a word that only other rows have
        return ((away <= _BESIDE * spread) | constant).all(axis=1)

    @cached_property
    def middle(self) -> np.ndarray:
        """(features,): the mean of the centres."""
        return self.center.mean(axis=0).astype(self.rows.dtype)

    @cached_property
    def offset(self) -> np.ndarray:
        """(columns, features): the centres, seen from `shift`."""
        return self.center - self.shift

    @cached_property
    def squares(self) -> np.ndarray:
        """(columns, features): mean squares of the centred features."""
        found = np.zeros((self.weights.columns, self.rows.features))
        for begin, end in self.rows.chunks():
            X = self.rows.read(begin, end, self.shift)
            found += self.weights.read(begin, end).T @ (X.multiply(X) if self.rows.sparse else X * X)
        return np.maximum(found / self.rows.n - self.offset**2, 0.0)

    @cached_property
    def longest(self) -> np.ndarray:
        """(columns,): the largest weight times squared length of a row, the intercept's 1 included."""
        found = np.zeros(self.weights.columns)
        for begin, end in self.rows.chunks():
            X = self.rows.read(begin, end, self.shift)
            squares = X.multiply(X).sum(axis=1) if self.rows.sparse else (X * X).sum(axis=1)
            lengths = np.asarray(squares).reshape(-1, 1) - 2.0 * (X @ self.offset.T) + (self.offset**2).sum(axis=1)
            found = np.maximum(found, (self.weights.read(begin, end) * (lengths + self.fit_intercept)).max(axis=0))
        return found

    @cached_property
    def curvatures(self) -> np.ndarray:
        """(columns,): L, the largest eigenvalue of the Hessian of the mean loss, or a bound of it."""
        return np.maximum(self.curvatures_of_coef, self.steepest if self.fit_intercept else 0.0)

    @cached_property
    def curvatures_of_coef(self) -> np.ndarray:
        """(columns,): the same of the coefficients alone, with which the intercept of centred features does not mix."""
        p = self.rows.features
        if p <= SMALL:
            grams = np.zeros((self.weights.columns, p, p))
            for begin, end in self.rows.chunks():
                X, weights = self.rows.read(begin, end, self.shift), self.weights.read(begin, end)
                for k in range(len(grams)):
                    heavy = X.multiply(weights[:, [k]]) if self.rows.sparse else X * weights[:, [k]]
                    product = heavy.T @ X
                    grams[k] += product.toarray() if self.rows.sparse else product
            grams = grams / self.rows.n - self.offset[:, :, None] * self.offset[:, None, :]
            top = np.linalg.eigvalsh(grams)[:, -1]
            if self.rows.sparse:  # the intercept mixes with features that are not centred
                top = top + self.fit_intercept
        else:
            top = self._largest_by_iteration()
        rounding = 1e-28 * np.square(self.shift, dtype=np.float64).max(initial=1e-260)
        return self.steepest * np.where(top > rounding, top, 1.0)  # features that are constant have any step

    def _largest_by_iteration(self, steps: int = 60) -> np.ndarray:
        """By power iteration from a vector that no eigenvector is orthogonal to in practice, with a margin."""
        v = np.sqrt(self.squares) + np.finfo(np.float64).tiny
        top = np.zeros(len(v))
        for _ in range(steps):
            v /= np.linalg.norm(v, axis=1, keepdims=True)
            product = np.zeros_like(v)
            for begin, end in self.rows.chunks():
                X, weights = self.rows.read(begin, end, self.shift), self.weights.read(begin, end)
                seen = weights * (X @ v.T.astype(X.dtype) - (self.offset * v).sum(axis=1).astype(X.dtype))
                product += (X.T @ seen).T - seen.sum(axis=0)[:, None] * self.offset
            before, top = top, np.linalg.norm(product, axis=1) / self.rows.n
            v = product
            if (np.abs(top - before) <= 1e-3 * top).all():
                break
        return 1.05 * top + (self.fit_intercept if self.rows.sparse else 0.0)

    # -- numbers of each model -------------------------------------------------------------------------------------

    @cached_property
    def _mean(self) -> np.ndarray:
        """(columns,): of y, for regression."""
        return np.array([self.weights.column(k) @ self.y for k in range(self.weights.columns)]) / self.rows.n

    @cached_property
    def _spread(self) -> np.ndarray:
        """(columns,): standard deviation of y, for regression."""
        squares = [self.weights.column(k) @ (self.y - mean) ** 2 for k, mean in enumerate(self._mean)]
        return np.sqrt(np.array(squares) / self.rows.n)

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Zero coefficients; for regression, the mean of y as intercept."""
        intercept = np.zeros((self.models, self.outputs))
        if self.fit_intercept and self.loss.task == "regression":
            intercept[:, 0] = self._mean[self.column]
        # np.zeros would leave the memory for later, in small pages
        return np.full((self.models, self.outputs, self.rows.features), 0.0), intercept

    @cached_property
    def scale(self) -> np.ndarray:
        """(models,): the loss of the best constant that is known without a fit; the unit of tol."""
        pairs = list(zip(self.column.tolist(), self.epsilon.tolist(), strict=True))
        found = dict.fromkeys(pairs, 0.0)
        for begin, end in self.rows.chunks():
            targets = self.targets(self.y[begin:end].astype(np.float64))
            for k, epsilon in found:
                z = np.full(targets.shape, self._mean[k] if self.loss.task == "regression" else 0.0)
                weights = self.weights.column(k, slice(begin, end))
                found[k, epsilon] += float(self.losses(targets, z, epsilon) @ weights)
        return np.array([found[pair] / self.rows.n or 1.0 for pair in pairs])

    def losses(self, targets: np.ndarray, z: np.ndarray, epsilon: float) -> np.ndarray:
        """(n,): of scores (outputs, n)."""
        if self.joint:
            return row_of(self.loss.functions(True))(targets, z, epsilon, np.empty_like(z))
        return self.loss.value(targets, z, epsilon).sum(axis=0)

    def penalty_value(self, coef: np.ndarray) -> np.ndarray:
        """(models,): alpha times the penalty of coefficients (models, outputs, features)."""
        ratio = self.l1_ratio[:, None, None]
        return self.alpha * self.penalty.value(coef.astype(np.float64), ratio).sum(axis=(1, 2))

    def first_lr(self, by_slope: bool, all_rows: bool) -> np.ndarray:
        """(models,): where lr=None begins; `by_slope`: the rule's step is proportional to the slope, else to lr."""
        regression, k = self.loss.task == "regression", self.column
        spread = np.ones(self.models)
        if regression:
            mean, spread = self._mean[k], self._spread[k]
            spread = spread if self.fit_intercept else np.sqrt(spread**2 + mean**2)
            spread = np.where(spread > 0, spread, 1.0)
        squares, p = self.squares[k].sum(axis=1) + self.fit_intercept, self.rows.features
        if not by_slope:
            root = np.sqrt(squares / (p + self.fit_intercept))
            return 0.1 * spread / np.where(root > 0, root, 1.0)
        if all_rows and self.loss.smooth:
            return 1.0 / self.curvatures[k]
        if self.loss.dloss_bound is None:  # no single row may overshoot
            longest = self.longest[k] * (1.0 if all_rows else self.weights.share[k])
            return 1.0 / (self.steepest * np.where(longest > 0, longest, 1.0))
        # steps of bounded length do not grow with y
        away = (
            np.maximum(spread / np.array([self.loss.dloss_bound(e) for e in self.epsilon]), 1.0) if regression else 1.0
        )
        return away / (self.steepest * np.where(squares > 0, squares, 1.0))
