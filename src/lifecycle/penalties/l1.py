"""Lasso penalty |w| (Tibshirani, 1996); its proximal step is soft thresholding."""

import numpy as np

from lifecycle._jit import element, like, maximum, minimum


@element
def value(w, l1_ratio):
    return np.abs(w)


@element
def slope(w, l1_ratio):
    return like(w, 0.0) * w


@element
def kink(l1_ratio):
    return 1.0


@element
def step(t, l1_ratio):
    return (t,)


@element
def prox(w, s):
    return w - minimum(maximum(w, -s[0]), s[0])
