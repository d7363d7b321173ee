"""R², RMSE and MAE, with t intervals on the logarithmic scale."""

import numpy as np

from lifecycle.evaluation.proportion import no_interval
from lifecycle.evaluation.result import Estimate

METHOD = "t interval of the logarithm, by the jackknife"
METHOD_R2 = "t interval of log(1 - R²), by the jackknife"
_FURTHER_ROWS = 10
# variance over squared mean of a row's squared error, and of its absolute error, in the further rows
_SQUARED, _ABSOLUTE = 6.0, 1.0


def regression_metrics(y: np.ndarray, predicted: np.ndarray, confidence_level: float) -> dict[str, Estimate]:
    """R², RMSE and MAE of targets (n, targets), each the mean over the targets.

    The variance of a logarithm is that of the jackknife (Tukey, 1958) with Student's t. Few rows seldom show how large
    errors can be, so it is pooled with ten further rows whose squared errors have a kurtosis of 7 (normal: 3).
    """
    error, centred, n = y - predicted, y - y.mean(axis=0), len(y)
    squared, absolute, total = _sums(error**2), _sums(np.abs(error)), _sums(centred**2)
    # without row i the mean moves by -centred/(n - 1)
    total[1:] -= centred**2 / max(n - 1, 1)
    # a target that is constant up to rounding has no R²
    varies = total > 1e-30 * (y**2).sum(axis=0) + 1e-12 * total[0] + np.finfo(float).tiny
    unexplained = np.where(varies, squared / np.where(varies, total, 1), np.nan)
    rows = np.r_[float(n), np.full(n, float(max(n - 1, 1)))][:, None]
    mean_unexplained = unexplained.mean(axis=1)
    r2 = float(1 - mean_unexplained[0])
    log_r2 = _log_interval(mean_unexplained, _SQUARED * min(max(r2, 0.0), 1.0), confidence_level, METHOD_R2)
    return {
        # the smaller the unexplained share, the larger R²
        "r2": log_r2._replace(value=r2, low=1 - log_r2.high, high=1 - log_r2.low),
        "rmse": _log_interval(np.sqrt(squared / rows).mean(axis=1), _SQUARED / 4, confidence_level, METHOD),
        "mae": _log_interval((absolute / rows).mean(axis=1), _ABSOLUTE, confidence_level, METHOD),
    }


def _sums(values: np.ndarray) -> np.ndarray:
    """(1 + n, targets): the sum over all rows, then the sums without each row."""
    total = values.sum(axis=0)
    return np.vstack([total, np.maximum(total - values, 0)])


def _log_interval(values: np.ndarray, further_variance: float, confidence_level: float, method: str) -> Estimate:
    """Of a positive metric, from its value on all rows and its values without each row."""
    from scipy.special import stdtrit

    value, n = float(values[0]), len(values) - 1
    if not np.isfinite(value):
        return no_interval(value, "y has the same value in all rows")
    if n < 4:
        return no_interval(value, f"there are {n} rows, four are needed" if n > 1 else "there is one row")
    if value == 0:
        return no_interval(value, "every prediction is exact, which says nothing of the error of other rows")
    if not (np.isfinite(values) & (values > 0)).all():
        return no_interval(value, "it is decided by a single row")
    logs = np.log(values[1:])
    variance = (n - 1) / n * float(((logs - logs.mean()) ** 2).sum())
    pooled = (n * variance + _FURTHER_ROWS * further_variance / n) / (n + _FURTHER_ROWS)
    half_width = float(stdtrit(n - 1, 0.5 + confidence_level / 2)) * np.sqrt(max(variance, pooled))
    with np.errstate(over="ignore"):
        return Estimate(value, float(value * np.exp(-half_width)), float(value * np.exp(half_width)), method)
