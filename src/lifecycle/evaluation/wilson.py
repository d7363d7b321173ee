"""The interval of a proportion, such as an accuracy or a recall: Wilson's score interval."""

from statistics import NormalDist

import numpy as np

from lifecycle.evaluation.result import Estimate

METHOD = "Wilson score interval"


def wilson_interval(successes: int, n: int, confidence_level: float) -> Estimate:
    """Proportion of successes with the score interval of Wilson (1927); NaN where there is no trial."""
    if n == 0:
        return Estimate(np.nan, np.nan, np.nan, METHOD)
    z = NormalDist().inv_cdf(0.5 + confidence_level / 2)
    proportion, shrinkage = successes / n, 1 + z * z / n
    centre = (proportion + z * z / (2 * n)) / shrinkage
    half_width = z / shrinkage * np.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n))
    # at 0 and at n successes one end is the proportion itself, which rounding would miss by an ulp
    low = 0.0 if successes == 0 else float(centre - half_width)
    high = 1.0 if successes == n else float(centre + half_width)
    return Estimate(proportion, low, high, METHOD)
