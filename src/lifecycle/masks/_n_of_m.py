"""Masks of n:m sparsity: n weights of every m are kept."""

import numpy as np

from lifecycle.masks._lowest import check_no_nan


def n_of_m(scores: np.ndarray, n: int, m: int, axis: int) -> np.ndarray:
    """Mask (True: keep) with the n highest of every m consecutive elements along `axis`.

    A last group shorter than m keeps its n highest too. Among equal scores the first in memory order are kept.
    """
    check_no_nan([scores])
    last = np.moveaxis(scores, axis, -1)
    size = last.shape[-1]
    m = max(min(m, size), 1)  # a longer group takes memory only
    missing = -size % m
    groups = np.pad(last.astype(np.float64), [(0, 0)] * (last.ndim - 1) + [(0, missing)], constant_values=-np.inf)
    groups = groups.reshape(*last.shape[:-1], (size + missing) // m, m)
    order = np.argsort(-groups, axis=-1, kind="stable")
    keep = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(keep, order[..., :n], True, axis=-1)
    keep = keep.reshape(*last.shape[:-1], size + missing)[..., :size]
    return np.ascontiguousarray(np.moveaxis(keep, -1, axis))
