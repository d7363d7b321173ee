"""Elastic net (Zou & Hastie, 2005): ρ|w| + (1 - ρ)w²/2, ρ = l1_ratio."""

import numpy as np

from lifecycle._jit import element, like, maximum, minimum


@element
def value(w, l1_ratio):
    return l1_ratio * np.abs(w) + (1.0 - l1_ratio) * 0.5 * w * w


@element
def gradient(w, l1_ratio):
    return (like(w, 1.0) - l1_ratio) * w


@element
def l1_weight(l1_ratio):
    return l1_ratio


@element
def prox_params(step_size, l1_ratio):
    return step_size * l1_ratio, 1.0 / (1.0 + step_size * (1.0 - l1_ratio))


@element
def prox(w, params):
    threshold, shrinkage = params
    return shrinkage * (w - minimum(maximum(w, -threshold), threshold))
