"""Coordinates in which features are centred.

For a row x and training set k the centred features are x - c_k, with the centre c_k = shift + offset_k. The score is
the same in both coordinates: w·x + b_raw = w·(x - c_k) + b_centred, hence b_centred = b_raw + w·c_k.
"""

import numpy as np


class CentredFrame:
    """The centre of the features of each training set, in two parts.

    Parameters
    ----------
    center : (n_sets, n_features)
    shift : (n_features,)
        A row near all centres, which is subtracted when rows are read: the rest, `offset`, is then small.
    """

    def __init__(self, center: np.ndarray, shift: np.ndarray):
        self.center, self.shift = center, shift
        self.offset = center - shift

    def without_offset(self) -> "CentredFrame":
        """The frame of all training sets alike in which features are seen from `shift`."""
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
