"""Lasso penalty |w| (Tibshirani, 1996); its proximal step is soft thresholding."""

import numpy as np

from lifecycle._jit import element


@element
def value(w, l1_ratio):
    return np.abs(w)


@element
def slope(w, l1_ratio):
    return 0.0 * w


@element
def kink(l1_ratio):
    return 1.0


@element
def prox(w, t, l1_ratio):
    return np.sign(w) * np.maximum(np.abs(w) - t, 0.0)
