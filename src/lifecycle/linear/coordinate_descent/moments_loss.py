"""Squared error by the moments of features and targets: no row is read again."""

import numpy as np

from lifecycle.linear.exact import Moments
from lifecycle.solvers.coordinate_descent import Quadratic, minimize_gram
from lifecycle.solvers.proximal_newton import Step

_ROUNDING = 1e-26  # variance of a constant by its squared mean


class MomentsLoss:
    """½ Σ v_i (y_i − x_iᵀw − b)² / V of coefficients w, with the best intercept b: a `SmoothLoss`.

    Parameters
    ----------
    moments : of the training set
    center : (n_features,)
        From which features are seen by the intercept.
    coef : (n_features,)
    """

    is_quadratic = True

    def __init__(self, moments: Moments, center: np.ndarray, coef: np.ndarray):
        p, covariance = len(coef), moments.covariance
        self.hessian, self.products, self.variance = covariance[:p, :p], covariance[:p, p], covariance[p, p]
        constant = self.hessian.diagonal() <= _ROUNDING * moments.mean[:p] ** 2
        if constant.any():  # what is left of them is rounding
            self.hessian, self.products = self.hessian.copy(), np.where(constant, 0.0, self.products)
            self.hessian[constant] = self.hessian[:, constant] = 0.0
        self.mean, self.y_mean = moments.mean[:p] - center, moments.mean[p]
        self._set(coef)

    def _set(self, coef: np.ndarray) -> None:
        self.coef = coef
        support = np.flatnonzero(coef)
        product = coef[support] @ self.hessian[support]
        self._gradient = product - self.products
        self.value = self.smooth_value = self.model_value = max(
            0.0, 0.5 * float(self.variance + coef @ (self._gradient - self.products))
        )

    @property
    def intercept(self) -> float:
        return self.y_mean - self.mean @ self.coef

    def gradient(self) -> np.ndarray:
        return self._gradient

    def intercept_gap(self) -> float:
        return 0.0

    def model_step(self, x: np.ndarray, working_set: np.ndarray, gradient: np.ndarray, quadratic: Quadratic) -> Step:
        at, slopes = x[working_set], gradient[working_set]
        new, hessian = at.copy(), self.hessian[working_set[:, None], working_set]
        minimize_gram(hessian, slopes.copy(), new, quadratic)
        step = new - at
        # not the difference of two values, which would round
        return Step(new, float(slopes @ step), (working_set, step, float(step @ hessian @ step)))

    def evaluate(self, direction: tuple, length: float) -> float:
        working_set, step, curvature = direction
        return self.value + length * float(self._gradient[working_set] @ step) + 0.5 * length * length * curvature

    def accept(self, direction: tuple, length: float) -> None:
        working_set, step, _ = direction
        coef = self.coef.copy()
        coef[working_set] += length * step
        self._set(coef)
