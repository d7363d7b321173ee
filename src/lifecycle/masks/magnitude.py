"""Magnitude pruning: small weights are pruned first (Han et al., 2015)."""

import numpy as np

STATISTIC = None


def scores(weight: np.ndarray, statistic: None = None) -> np.ndarray:
    """|w|."""
    return np.abs(weight)
