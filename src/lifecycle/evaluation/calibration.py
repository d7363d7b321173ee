"""Calibration of predicted probabilities: accuracy by probability, and the expected calibration error."""

import numpy as np

from lifecycle.evaluation.proportion import proportion_interval
from lifecycle.evaluation.result import Bin

_N_BINS = 10


def calibration_bins(probability: np.ndarray, correct: np.ndarray, confidence_level: float) -> list[Bin]:
    """Equal ranges of the probability of the predicted class, with the accuracy in each; empty ranges are left out."""
    edges = np.linspace(0, 1, _N_BINS + 1)
    bin_of_row = np.clip(np.searchsorted(edges, probability, side="left") - 1, 0, _N_BINS - 1)
    bins = []
    for i in range(_N_BINS):
        inside = bin_of_row == i
        count = int(inside.sum())
        if count:
            accuracy = proportion_interval(int(correct[inside].sum()), count, confidence_level)
            bins.append(Bin(float(edges[i]), float(edges[i + 1]), count, float(probability[inside].mean()), accuracy))
    return bins


def expected_calibration_error(bins: list[Bin], n: int) -> float:
    """Mean gap between probability and accuracy, weighted by rows (Guo et al., 2017)."""
    return sum(b.count * abs(b.accuracy.value - b.mean_probability) for b in bins) / n
