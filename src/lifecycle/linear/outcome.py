"""How models are trained, and what comes of each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lifecycle.linear.data.sample_weights import Weights

UNFINISHED = (
    "stopped at max_iter={} before the loss stopped falling: increase max_iter, scale the features, "
    "or pass tol=None to make exactly max_iter epochs"
)


@dataclass
class Settings:
    """What all models of a task have in common: the estimator's arguments of these names, checked.

    start : coefficients (models, outputs, features) and intercepts (models, outputs) to go on from, of centred features
    held_out : weights of the rows whose loss decides on stopping, or None
    alone : whether there is one model only, whose features are the vector instead
    advance : called with the number of models that are still trained, after each epoch
    watch : called with (models, the Steps that have them) after each epoch
    """

    max_iter: int
    tol: float | None
    n_iter_no_change: int
    shuffle: bool
    average: int
    rng: np.random.RandomState
    start: tuple[np.ndarray, np.ndarray] | None = None
    held_out: Weights | None = None
    alone: bool = False
    advance: Callable[[int], Any] = lambda n: None
    watch: Callable[[np.ndarray, Any], Any] | None = None


@dataclass
class Outcome:
    """Coefficients (outputs, features) and intercepts (outputs,) of centred features, the objective in each epoch, the
    held-out loss after it, what went wrong (a half-sentence), and the error of a model that could not be trained."""

    coef: np.ndarray
    intercept: np.ndarray
    curve: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    fault: str | None = None
    error: Exception | None = None
