"""Ridge and least squares in closed form, from the singular values of the rows' triangular factor."""

import numpy as np


def solve(X: np.ndarray, Y: np.ndarray, weights: np.ndarray, alpha: float, fit_intercept: bool):
    """Minimize Σ wᵢ ‖yᵢ - xᵢW - b‖² / Σ wᵢ + alpha ‖W‖²; with alpha = 0 the solution of least norm.

    Parameters
    ----------
    X : float64, (n, features);  Y : float64, (n, targets);  weights : float64, (n,), not all zero

    Returns
    -------
    W : (features, targets);  b : (targets,)
    """
    share = weights / weights.sum()
    x_mean = share @ X if fit_intercept else np.zeros(X.shape[1])
    y_mean = share @ Y if fit_intercept else np.zeros(Y.shape[1])
    root = np.sqrt(share)[:, None]
    A, B = root * (X - x_mean), root * (Y - y_mean)
    p = A.shape[1]
    if A.shape[0] > p + B.shape[1]:
        R: np.ndarray = np.linalg.qr(np.hstack([A, B]), mode="r")  # type: ignore[assignment]  # the same normal equations from p + targets rows
        A, B = R[:, :p], R[:, p:]
    U, d, Vt = np.linalg.svd(A, full_matrices=False)
    d = np.where(d > d.max(initial=0.0) * max(X.shape) * np.finfo(np.float64).eps, d, 0.0)
    filtered = np.divide(d, d * d + alpha, out=np.zeros_like(d), where=d > 0)
    W = Vt.T @ (filtered[:, None] * (U.T @ B))
    return W, y_mean - x_mean @ W
