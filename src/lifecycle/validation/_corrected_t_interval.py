"""The corrected resampled t interval and test: for a mean over folds whose training sets overlap.

The variance of the mean over J folds is (1/J + n_test/n_train) s², with s² that of the fold scores (Nadeau & Bengio,
"Inference for the Generalization Error", 2003; Bouckaert & Frank, 2004).
"""

from typing import NamedTuple

import numpy as np

from lifecycle._check import number


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


def fold_size_ratio(folds: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """n_test/n_train: mean number of test rows over mean number of training rows."""
    n_train = float(np.mean([len(train) for train, _ in folds]))
    return float(np.mean([len(test) for _, test in folds])) / n_train if n_train else np.inf


def corrected_standard_error(values: np.ndarray, ratio: float) -> float:
    """Standard error of the mean of `values`, one for each fold; `ratio` is n_test/n_train."""
    return float(np.sqrt((1 / len(values) + ratio) * values.var(ddof=1)))


def corrected_t_interval(
    values: np.ndarray, ratio: float, confidence_level: float, upper_bound: float = np.inf
) -> Interval:
    """Student's t interval of the mean over folds, cut at `upper_bound`.

    Raises
    ------
    ValueError
        If there are fewer than two folds, one has no score, or all have the same.
    """
    level = number("confidence_level", confidence_level, above=0, below=1)
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        raise ValueError("an interval needs the scores of at least 2 folds; there is 1")
    if not np.isfinite(values).all():
        raise ValueError(f"an interval needs the scores of all folds; they are {values.tolist()}")
    if values.max() == values.min():
        raise ValueError(
            f"an interval needs folds whose scores differ; all are {values[0]:.4g}, which says nothing of its error"
        )
    from scipy.special import stdtrit

    half_width = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * corrected_standard_error(values, ratio)
    mean = float(values.mean())
    return Interval(mean - half_width, min(mean + half_width, upper_bound))


def corrected_t_p_value(differences: np.ndarray, ratio: float) -> float:
    """Two-sided p-value of the paired test that the mean of the folds' differences is zero."""
    from scipy.special import stdtr

    t = abs(float(differences.mean())) / corrected_standard_error(differences, ratio)
    return float(2 * stdtr(len(differences) - 1, -t))
