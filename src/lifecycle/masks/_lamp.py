"""Scores of layers of different size, made comparable (LAMP; Lee, Park, Mo, Ahn & Shin, 2021)."""

import numpy as np


def lamp(scores: np.ndarray) -> np.ndarray:
    """s² divided by the sum of all squares in the array that are not smaller, each of its own rank: at most 1.

    The largest score of every array becomes 1, so that no layer loses its last weight before another one does.
    """
    squares = np.square(scores, dtype=np.float64).ravel()
    order = np.argsort(squares, kind="stable")
    not_smaller = np.cumsum(squares[order][::-1])[::-1]
    result = np.empty_like(squares)
    result[order] = squares[order] / np.maximum(not_smaller, np.finfo(np.float64).tiny)
    return result.reshape(scores.shape)
