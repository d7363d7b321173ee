"""How models are trained: what all models of a problem have in common besides the data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifecycle.linear.data.sample_weights import SampleWeights


@dataclass
class TrainingOptions:
    """The estimator's arguments of these names, checked, and the callbacks of the caller.

    Parameters
    ----------
    average : int
        The coefficients are the mean over the steps after so many rows; 0: they are those of the last step.
    initial : (coefficients, intercepts), optional
        Of centred features, (n_models, n_outputs, n_features) and (n_models, n_outputs), to go on from.
    validation : weights of the rows whose loss decides on early stopping, or None
    is_single : whether there is one model only, for which SIMD runs across the features
    preconditioned : whether steps have the factors of `FeatureStatistics.preconditioner`
    on_progress : called with the number of models that are still trained, after each epoch
    on_epoch : called with (models, the `EpochSolver` that trains them), after each epoch
    """

    max_iter: int
    tol: float | None
    n_iter_no_change: int
    shuffle: bool
    average: int
    random_state: np.random.RandomState
    initial: tuple[np.ndarray, np.ndarray] | None = None
    validation: SampleWeights | None = None
    is_single: bool = False
    preconditioned: bool = False
    on_progress: Callable[[int], Any] = lambda n: None
    on_epoch: Callable[[np.ndarray, Any], Any] | None = None
