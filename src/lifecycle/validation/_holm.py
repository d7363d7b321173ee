"""Correction of p-values for several comparisons: Holm (1979)."""

import numpy as np


def holm_correction(p_values: list[float]) -> list[float]:
    """Holm's step-down correction; a p-value that is NaN counts as a comparison, and stays NaN."""
    p = np.asarray(p_values)
    corrected = np.full(len(p), np.nan)
    largest = 0.0
    for k, i in enumerate(np.argsort(p)):  # NaN last
        if not np.isnan(p[i]):
            largest = max(largest, min(1.0, (len(p) - k) * p[i]))
            corrected[i] = largest
    return corrected.tolist()
