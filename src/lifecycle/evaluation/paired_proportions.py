"""How much worse one of two classifiers is on the same rows: an exact bound on the drop of its accuracy."""

import numpy as np

METHOD = "exact unconditional test of paired proportions (Sidik, 2003)"
# The share of rows with different outcomes is unknown; it is looked for in an interval that misses it this seldom, and
# this is added to the p-value (Berger & Boos, 1994).
_GAMMA = 1e-6
_GRID = 64  # shares that are tried, and again around the largest p-value
_TOLERANCE = 1e-9  # two statistics that differ by less are equal
_PRECISION = 1e-6  # of a bound


def non_inferiority_p_value(worse: int, better: int, n: int, max_drop: float, gamma: float = _GAMMA) -> float:
    """P-value of the hypothesis that the accuracy drops by `max_drop` or more.

    The exact unconditional test of Sidik (2003) for matched pairs: the score statistic (Tango, 1998), whose
    distribution is that of the trinomial counts, at the least favourable share of rows with different outcomes. The
    latter is looked for on a grid, in the Clopper-Pearson interval of the share with an error of `gamma`.

    Parameters
    ----------
    worse, better : int
        Rows that the first classifier had right and the second has wrong, and the reverse.
    n : int
        Rows, drawn independently.
    max_drop : float
        Between −1 and 1; negative for the hypothesis that the accuracy rises by so much at most.
    """
    from scipy.stats import binom

    low, high = _clopper_pearson(worse + better, n, gamma)
    if high <= abs(max_drop):  # a drop or rise so large needs more rows with different outcomes than there can be
        return gamma if max_drop > 0 else 1.0
    largest_better = int(binom.isf(gamma**2, n, max((high - max_drop) / 2, 0.0)))
    fewer_better = np.arange(largest_better + 1)
    most_worse = _largest_worse(fewer_better, n, max_drop, float(_score(worse, better, n, max_drop)) + _TOLERANCE)

    def tail(shares: np.ndarray) -> np.ndarray:
        p_worse, p_better = (shares[:, None] + max_drop) / 2, (shares[:, None] - max_drop) / 2
        p_worse, p_better = np.maximum(p_worse, 0.0), np.clip(p_better, 0.0, 1.0)
        others = np.where(p_better < 1, 1 - p_better, 1.0)
        given = binom.cdf(most_worse, n - fewer_better, np.minimum(p_worse / others, 1.0))
        return np.asarray((binom.pmf(fewer_better, n, p_better) * given).sum(axis=1))

    shares = np.linspace(max(low, abs(max_drop)), high, _GRID)
    tails = tail(shares)
    k = int(np.argmax(tails))
    near = np.linspace(shares[max(k - 1, 0)], shares[min(k + 1, _GRID - 1)], _GRID)
    return float(min(max(tails.max(), tail(near).max()) + gamma, 1.0))


def is_non_inferior(worse: int, better: int, n: int, max_drop: float, confidence_level: float) -> bool:
    """Whether a drop of `max_drop` or more is rejected."""
    gamma = min(_GAMMA, (1 - confidence_level) / 1000)
    return non_inferiority_p_value(worse, better, n, max_drop, gamma) <= 1 - confidence_level


def drop_upper_bound(worse: int, better: int, n: int, confidence_level: float, max_drop: float | None = None) -> float:
    """One-sided bound of that confidence on the drop of the accuracy: the smallest that is rejected, to 1e-6.

    With `max_drop` it lies below that number exactly if the number itself is rejected.
    """
    low, high = max((worse - better) / n, -1 + _PRECISION), 1 - _PRECISION
    if not is_non_inferior(worse, better, n, high, confidence_level):
        return 1.0
    if max_drop is not None and low < max_drop < high:
        low, high = (
            (low, max_drop) if is_non_inferior(worse, better, n, max_drop, confidence_level) else (max_drop, high)
        )
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if is_non_inferior(worse, better, n, middle, confidence_level) else (middle, high)
    return high


def rows_needed(max_drop: float, confidence_level: float, worse: int = 0) -> int:
    """Fewest rows on which a drop below `max_drop` can be certified, if so many get worse and none better."""
    few, many = worse, max(worse, 1)
    while not is_non_inferior(worse, 0, many, max_drop, confidence_level):
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if is_non_inferior(worse, 0, middle, max_drop, confidence_level) else (middle, many)
    return many


def _score(worse: np.typing.ArrayLike, better: np.typing.ArrayLike, n: int, drop: float) -> np.ndarray:
    """Tango's score statistic of the hypothesis that the drop is `drop`; small values speak for a smaller one."""
    b, c = np.asarray(worse, dtype=float), np.asarray(better, dtype=float)
    # the most likely probability of a better row under the hypothesis: a root of 2n q² − h q − c · drop · (1 − drop)
    h = b * (1 + drop) + c * (1 - drop) - 2 * n * drop
    q = (h + np.sqrt(np.maximum(h * h + 8 * n * c * drop * (1 - drop), 0.0))) / (4 * n)
    variance = np.maximum(2 * q + drop * (1 - drop), 0.0)
    return np.where(variance > 0, (b - c - n * drop) / np.sqrt(n * np.where(variance > 0, variance, 1.0)), 0.0)


def _largest_worse(better: np.ndarray, n: int, drop: float, bound: float) -> np.ndarray:
    """For each number of better rows the largest number of worse ones whose score is at most `bound`; −1 for none."""
    low, high = np.full(len(better), -1), n - better + 1  # the score grows with the worse rows
    while (high - low > 1).any():
        middle = (low + high) // 2  # low where the two are next to each other
        is_low = (_score(np.maximum(middle, 0), better, n, drop) <= bound) | (middle == low)
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return low


def _clopper_pearson(successes: int, n: int, error: float) -> tuple[float, float]:
    from scipy.special import betaincinv

    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, error / 2))
    return low, 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - error / 2))
