"""Wanda: weights times the norm of what they are multiplied with (Sun, Liu, Bair & Kolter, 2024)."""

import numpy as np

STATISTIC = "input_norms"
PER_OUTPUT = True


def scores(weight: np.ndarray, statistic: np.ndarray) -> np.ndarray:
    """|w| times the root mean square of the weight's input."""
    return np.abs(weight) * statistic
