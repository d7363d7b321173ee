"""A bound on the mean of bounded values whose distribution is unknown."""

import numpy as np


def mean_upper_bound(values: np.ndarray, width: float, confidence_level: float) -> float:
    """One-sided bound of that confidence on the mean, for independent values in an interval of that width.

    The empirical Bernstein bound of Maurer & Pontil (2009, theorem 4), which holds for every number of values ≥ 2.
    """
    n = len(values)
    log = np.log(2 / (1 - confidence_level))
    slack = np.sqrt(2 * np.var(values, ddof=1) * log / n) + 7 * width * log / (3 * (n - 1))
    return float(np.mean(values) + slack)


def fewest_values(bound: float, width: float, confidence_level: float) -> int:
    """The number of values from which the bound of their mean can lie below `bound`: where all are zero."""
    return int(7 * width * np.log(2 / (1 - confidence_level)) / (3 * bound)) + 2
