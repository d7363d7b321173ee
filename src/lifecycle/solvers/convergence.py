"""When the solvers stop."""

from typing import NamedTuple

import numpy as np


class Tolerances(NamedTuple):
    """What a step predicts where the minimization of m functions has converged.

    predicted_decrease : float or (m,), of the quadratic model of a function
    rounding : float or (m,), predicted decrease at which a function has converged whatever else holds
    value_error : relative rounding error of a value
    gradient_norm : float or (m,), largest norm of the gradient; inf: any
    """

    predicted_decrease: np.ndarray | float
    rounding: np.ndarray | float = 0.0
    value_error: float = 1e-15
    gradient_norm: np.ndarray | float = np.inf
