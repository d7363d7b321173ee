"""The scale with the least mean squared error, among some that clip the largest weights (Choukroun et al., 2019)."""

import numpy as np

LOSSLESS = False
_SHRINKAGES = np.linspace(0.4, 1.0, 31)


def scales(rows: np.ndarray, max_code: int) -> np.ndarray:
    """The best of 31 scales from 0.4 to 1 times max |w| / max_code, for each row."""
    largest = np.abs(rows).max(axis=1, initial=0.0) / max_code
    best, least = largest, np.full(len(rows), np.inf)
    for shrinkage in _SHRINKAGES[::-1]:  # of equal errors the largest scale wins
        scale = np.where(largest > 0, shrinkage * largest, 1.0)[:, None]
        error = np.square(rows - scale * np.clip(np.rint(rows / scale), -max_code, max_code)).sum(axis=1)
        best, least = np.where(error < least, scale[:, 0], best), np.minimum(error, least)
    return best
