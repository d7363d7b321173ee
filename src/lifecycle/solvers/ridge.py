"""Ridge regression and least squares in closed form, for any number of penalties at the cost of one.

For weights v_i that sum to 1 and centred features and targets (fit_intercept), the coefficients c minimize

    Σ v_i (y_i − x_iᵀc)² + α ‖c‖².

With A = diag(√v) X = U diag(d) Vᵀ they are c = V diag(d / (d² + α)) Uᵀ diag(√v) y; from the covariance matrix
AᵀA = V diag(λ) Vᵀ they are c = V diag(1 / (λ + α)) Vᵀ Xᵀ diag(v) y, which keeps half as many digits. Source: Hastie,
Tibshirani & Friedman, The Elements of Statistical Learning (2009), section 3.4.1.
"""

import numpy as np

_MIN_EIGENVALUE = 1e-7  # α included, relative to the largest: below it a covariance matrix keeps too few digits


def from_svd(X: np.ndarray, y: np.ndarray, weights: np.ndarray, alphas: np.ndarray, fit_intercept: bool):
    """Solve for each alpha from the singular values of X; with alpha = 0 the solution of least norm.

    Where features differ so much in scale that the singular values of small ones are lost, it is the solution of least
    norm in the units of the features.

    Parameters
    ----------
    X : float64, (n, features);  y : float64, (n,);  weights : float64, (n,), not all zero;  alphas : (penalties,)

    Returns
    -------
    coefficients : (penalties, features)
    losses : (penalties,)
        Weighted mean squared errors; the intercept is mean(y) - mean(X) · c, or 0.
    """
    weights = weights / weights.sum()
    x_mean = weights @ X if fit_intercept else np.zeros(X.shape[1])
    y_mean = weights @ y if fit_intercept else 0.0
    root = np.sqrt(weights)[:, None]
    A, B = root * (X - x_mean), root * (y - y_mean)[:, None]
    p = A.shape[1]
    if A.shape[0] > p + 1:  # the triangular factor has the same normal equations in p + 1 rows
        R: np.ndarray = np.linalg.qr(np.hstack([A, B]), mode="r")  # type: ignore[assignment]
        A, B = R[:, :p], R[:, p:]
    U, d, Vt = np.linalg.svd(A, full_matrices=False)
    precision = max(X.shape) * np.finfo(np.float64).eps
    d = np.where(d > d.max(initial=0.0) * precision, d, 0.0)
    rank = np.count_nonzero(d)
    if rank < p and rank < np.linalg.matrix_rank(_unit_columns(A)[0], rtol=precision):
        coef = np.stack([_solve_scaled(A, B[:, 0], alpha, precision) for alpha in alphas])
    else:
        filtered = np.divide(d, d * d + alphas[:, None], out=np.zeros((len(alphas), len(d))), where=d > 0)
        coef = (filtered * (U.T @ B)[:, 0]) @ Vt
    return coef, ((B.T - coef @ A.T) ** 2).sum(axis=1)


def _unit_columns(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A with columns of norm 1, and their norms; columns of zeros remain."""
    norms = np.linalg.norm(A, axis=0)
    norms[norms == 0] = 1.0
    return A / norms, norms


def _solve_scaled(A: np.ndarray, b: np.ndarray, alpha: float, precision: float) -> np.ndarray:
    """Solve for one alpha where small features would be lost beside the rounding of large ones.

    The rows √α I below A make it a problem of least squares, and columns of norm 1 take the scale out of it.
    """
    columns, scale = _unit_columns(A)
    rows, norms = _unit_columns(np.vstack([columns, np.diag(np.sqrt(alpha) / scale)]))
    solution = np.linalg.lstsq(rows, np.concatenate([b, np.zeros(A.shape[1])]), rcond=precision)[0]
    return solution / norms / scale


def from_covariance(covariance: np.ndarray, alphas: np.ndarray):
    """Solve from the weighted covariance matrix of (features, y), float64, (features + 1, features + 1).

    It is about the means with an intercept and about zero without one. None where the features are so collinear that
    their covariance does not tell them apart; `from_svd` does.
    """
    eigenvalues, V = np.linalg.eigh(covariance[:-1, :-1])
    if not eigenvalues[0] + alphas.min() > _MIN_EIGENVALUE * eigenvalues[-1]:
        return None
    coef = (V.T @ covariance[:-1, -1] / (eigenvalues + alphas[:, None])) @ V.T
    losses = covariance[-1, -1] - 2.0 * coef @ covariance[:-1, -1] + ((coef @ V) ** 2) @ eigenvalues
    return coef, np.maximum(losses, 0.0)
