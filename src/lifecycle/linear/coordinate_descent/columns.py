"""The rows of one training set, column by column."""

from functools import cached_property
from typing import Any

import numpy as np

from lifecycle.linear.data.problem import Problem
from lifecycle.solvers.coordinate_descent import (
    dense_column_sums,
    dense_column_sweeps,
    sparse_column_sums,
    sparse_column_sweeps,
)

_CHUNK_ELEMENTS = 1 << 19
_MIN_DENSITY = 0.1  # of sparse columns that are multiplied as dense ones


class Columns:
    """A copy of the rows of a training set in float64: dense and less their centre, or CSC.

    Parameters
    ----------
    y : (rows,);  weights : (rows,), with sum 1
    """

    def __init__(self, problem: Problem, train_set: int):
        rows = problem.weights.rows_of_set(train_set)
        self.y, design = problem.y[rows], problem.design
        self.weights = problem.weights.of_set(train_set, rows) / design.n_samples
        self.shape = self.n, self.p = len(rows), design.n_features
        self.sparse = design.sparse
        if self.sparse:
            part = design.X if len(rows) == design.n_samples else design.X[rows]
            self.matrix: Any = part.tocsc().astype(np.float64, copy=False)
            self.data, self.indices, self.indptr = self.matrix.data, self.matrix.indices, self.matrix.indptr
            return
        self.matrix, center = np.empty(self.shape, order="F"), problem.features.center[train_set]
        size = max(64, _CHUNK_ELEMENTS // max(1, self.p))
        for begin in range(0, self.n, size):
            chunk = rows[begin : begin + size]
            np.subtract(design.X[chunk], center, out=self.matrix[begin : begin + size])
        self.data = self.matrix.ravel("F")  # no copy
        self.indices, self.indptr = np.zeros(0, np.int32), np.arange(self.p + 1) * self.n

    @cached_property
    def means(self) -> np.ndarray:
        """(p,): of the columns, not weighted."""
        return np.asarray(self.matrix.mean(axis=0)).ravel()

    def products(self, by_score: np.ndarray) -> np.ndarray:
        """(outputs, p): the columns times each row of (outputs, rows)."""
        return (self.matrix.T @ by_score.T).T if self.sparse else by_score @ self.matrix

    def scores(self, coef: np.ndarray) -> np.ndarray:
        """(outputs, rows): scores of coefficients (outputs, p) without intercepts."""
        if self.sparse:
            return np.ascontiguousarray((self.matrix @ coef.T).T)
        used = np.flatnonzero(coef.any(axis=0))
        return coef[:, used] @ self.matrix[:, used].T

    def prefers_gram(self, features: np.ndarray, most: int) -> bool:
        """Whether products of these columns with each other cost less than sweeps over them."""
        if len(features) > most:
            return False
        if not self.sparse:
            return True
        stored = int((self.indptr[features + 1] - self.indptr[features]).sum())
        return stored >= _MIN_DENSITY * self.n * len(features)

    def take(self, features: np.ndarray) -> np.ndarray:
        """(rows, features), dense."""
        part = self.matrix[:, features]
        return part.toarray(order="F") if self.sparse else part

    def sums(self, features: np.ndarray, outputs: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ_i w_i x_ij and Σ_i w_i x_ij² of features with the weights (outputs, rows) of their outputs."""
        kernel = sparse_column_sums if self.sparse else dense_column_sums
        first, second = np.empty(len(features)), np.empty(len(features))
        kernel(self.data, self.indices, self.indptr, features, outputs, weights, first, second)
        return first, second

    def sweep(self, *arguments: Any) -> None:
        """Sweeps over the columns (solvers/coordinate_descent.py)."""
        kernel = sparse_column_sweeps if self.sparse else dense_column_sweeps
        kernel(self.data, self.indices, self.indptr, *arguments)
