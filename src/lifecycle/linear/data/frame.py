"""Coordinates in which features are centred.

For a row x and training set k the centred features are x - c_k, with the centre c_k = shift_k + offset_k. The score is
the same in both coordinates: w·x + b_raw = w·(x - c_k) + b_centred, hence b_centred = b_raw + w·c_k.
"""

import numpy as np


class CentredFrame:
    """The centre of the features of each training set, in two parts.

    Parameters
    ----------
    center : (n_sets, n_features)
    shift : (n_sets, n_features), or (n_features,) where the training sets share it
        What is subtracted from rows when they are read: the rest, `offset`, is then small enough to cost no digits.
    """

    def __init__(self, center: np.ndarray, shift: np.ndarray):
        self.center, self.shift = center, shift
        self.offset = center - shift

    def without_offset(self) -> "CentredFrame":
        """The frame in which features are seen from `shift`."""
        return CentredFrame(np.broadcast_to(self.shift.astype(np.float64), self.center.shape), self.shift)

    def to_shifted(self, coef: np.ndarray, intercept: np.ndarray, train_set: np.ndarray) -> np.ndarray:
        """Intercepts of features seen from `shift`, from those of centred ones; coef (n_models, n_outputs, …)."""
        return intercept - np.einsum("mkp,mp->mk", coef, self.offset[train_set])

    def from_shifted(self, coef: np.ndarray, intercept: np.ndarray, train_set: np.ndarray) -> np.ndarray:
        """Intercepts of centred features, from those of features seen from `shift`."""
        return intercept + np.einsum("mkp,mp->mk", coef, self.offset[train_set])

    def to_centred(self, coef: np.ndarray, intercept: np.ndarray, train_set: np.ndarray) -> np.ndarray:
        """Intercepts of centred features, from those of raw ones."""
        return intercept + np.einsum("mkp,mp->mk", coef, self.center[train_set])

    def to_raw(self, coef: np.ndarray, intercept: np.ndarray, train_set: np.ndarray) -> np.ndarray:
        """Intercepts of raw features, from those of centred ones."""
        return intercept - np.einsum("mkp,mp->mk", coef, self.center[train_set])
