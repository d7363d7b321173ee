"""What training one model gives."""

from dataclasses import dataclass, field

import numpy as np

NOT_CONVERGED = (
    "stopped at max_iter={} before the loss stopped falling: increase max_iter, scale the features, "
    "or pass tol=None to make exactly max_iter epochs"
)


@dataclass
class FitResult:
    """Coefficients and what happened on the way to them.

    Parameters
    ----------
    coef : (n_outputs, n_features);  intercept : (n_outputs,), of centred features
    objectives : the objective in each epoch or iteration
    validation_losses : the loss on the rows that early stopping holds out, after each epoch
    gap : a bound or an estimate of what the objective is above its minimum, or None
    warning : half a sentence that says why the model has not converged, or None
    error : what made training impossible, or None
    """

    coef: np.ndarray
    intercept: np.ndarray
    objectives: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    warning: str | None = None
    gap: float | None = None
    error: Exception | None = None
