"""Log loss, with an interval that knows of the rare large losses that few rows do not show."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle.evaluation.proportion import no_interval
from lifecycle.evaluation.result import Estimate

METHOD = "t interval of the logarithm"
METHOD_OF_FEW = f"{METHOD}, widened to that of normal margins"
_ROWS_THAT_SUFFICE = 50
_DRAWS, _NODES = 1000, 32
_CHUNK = 1 << 21  # elements held at once


def log_loss(codes: np.ndarray, probabilities: np.ndarray, labels: Sequence[Any], confidence_level: float) -> Estimate:
    """Mean of -log(probability of the true class); `codes` are the true columns.

    The t interval of the logarithm of the mean. Where fewer than 50 rows bring most of the loss, (Σ loss)² / Σ loss²
    (Kish, 1965), it misses what rare rows would lose, and is widened to the generalized interval (Weerahandi, 1993) of
    a model of the margins log(p/(1 - p)) of the true class: normal in each class, with a common variance.
    """
    from scipy.special import stdtrit

    eps = np.finfo(probabilities.dtype).eps if probabilities.dtype.kind == "f" else np.finfo(float).eps
    p = np.clip(probabilities[np.arange(len(codes)), codes], eps, 1 - eps).astype(float)
    losses, n = -np.log(p), len(codes)
    value, counts = float(losses.mean()), np.bincount(codes, minlength=probabilities.shape[1])
    if counts.min() == 0:
        return no_interval(value, f"no row has the class {labels[int(counts.argmin())]!r}")
    if n <= len(counts):
        return no_interval(value, "no class has two rows")
    if np.ptp(losses) <= 1e-12 * value:
        return no_interval(value, "all rows have the same loss, which says nothing of its error")
    relative = float(np.sqrt((losses / value - 1) @ (losses / value - 1) / (n * (n - 1))))
    half_width = float(stdtrit(n - 1, 0.5 + confidence_level / 2)) * relative
    low, high = value * np.exp(-half_width), value * np.exp(half_width)
    if losses.sum() ** 2 / (losses @ losses) >= _ROWS_THAT_SUFFICE:
        return Estimate(value, low, high, METHOD)
    draws = _means_of_normal_margins(np.log(p) - np.log1p(-p), codes, counts)
    tail = 50 * (1 - confidence_level)
    model_low, model_high = np.percentile(draws, [tail, 100 - tail])
    return Estimate(value, float(min(low, model_low)), float(max(high, model_high)), METHOD_OF_FEW)


def _means_of_normal_margins(margins: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean losses under means, variance and class shares that the rows may stem from, one for each draw."""
    n, k = len(margins), len(counts)
    means = np.bincount(codes, margins, k) / counts
    squares = float(((margins - means[codes]) ** 2).sum())
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    rng = np.random.default_rng(0)
    chunk, draws = max(1, _CHUNK // (k * _NODES)), []
    for m in (min(chunk, _DRAWS - start) for start in range(0, _DRAWS, chunk)):
        scale = np.sqrt(squares / rng.chisquare(n - k, (m, 1)))
        centre = means + scale * rng.standard_normal((m, k)) / np.sqrt(counts)
        of_class = np.logaddexp(0, -(centre[:, :, None] + scale[:, :, None] * nodes)) @ (weights / weights.sum())
        draws.append((rng.dirichlet(counts, m) * of_class).sum(axis=1))
    return np.concatenate(draws)
