"""Magnitude pruning: small weights are pruned first (Han et al., 2015)."""

import numpy as np


def scores(weight: np.ndarray) -> np.ndarray:
    """|w|."""
    return np.abs(weight)
