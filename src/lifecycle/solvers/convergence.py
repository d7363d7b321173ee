"""When the solvers stop."""

from typing import NamedTuple

import numpy as np


class Tolerances(NamedTuple):
    """What a step predicts and changes at most where the minimization of m functions has converged.

    predicted_decrease : float or (m,), of the quadratic model of a function
    step : largest element of the step, relative to the largest element of x; inf: steps of any size
    n_scale : how many of the first elements of x a step is compared with, unless they are all zero; None: all
    rounding : float or (m,), predicted decrease at which a function has converged whatever else holds
    value_error : relative rounding error of a value
    gradient_norm : float or (m,), largest norm of the gradient; inf: any
    """

    predicted_decrease: np.ndarray | float
    step: float
    n_scale: int | None = None
    rounding: np.ndarray | float = 0.0
    value_error: float = 1e-15
    gradient_norm: np.ndarray | float = np.inf

    def is_small(self, step: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(m,): whether max |step| ≤ tolerance · max |x|, for step and x (m, variables)."""
        if self.step == np.inf:
            return np.ones(len(x), bool)
        scale = np.abs(x[:, : self.n_scale]).max(axis=1, initial=0.0)
        if not scale.all():
            scale = np.where(scale > 0, scale, np.abs(x).max(axis=1))
        return np.abs(step).max(axis=1) <= self.step * scale
