"""Elastic net (Zou & Hastie, 2005): ρ|w| + (1 - ρ)w²/2, ρ = l1_ratio."""

import numpy as np

from lifecycle._jit import element


@element
def value(w, l1_ratio):
    return l1_ratio * np.abs(w) + (1.0 - l1_ratio) * 0.5 * w * w


@element
def slope(w, l1_ratio):
    return (1.0 - l1_ratio) * w


@element
def kink(l1_ratio):
    return l1_ratio


@element
def prox(w, t, l1_ratio):
    return np.sign(w) * np.maximum(np.abs(w) - t * l1_ratio, 0.0) / (1.0 + t * (1.0 - l1_ratio))
