"""Lasso penalty |w| (Tibshirani, 1996); its proximal step is soft thresholding (Donoho, 1995)."""

import numpy as np

from lifecycle._jit import element, like, maximum, minimum


@element
def value(w, l1_ratio):
    return np.abs(w)


@element
def gradient(w, l1_ratio):
    return like(w, 0.0) * w


@element
def l1_weight(l1_ratio):
    return 1.0


@element
def prox_params(step_size, l1_ratio):
    return (step_size,)


@element
def prox(w, params):
    (threshold,) = params
    return w - minimum(maximum(w, -threshold), threshold)
