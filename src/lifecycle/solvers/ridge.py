"""Ridge and least squares in closed form, for any number of penalties at the price of one."""

import numpy as np

_TELLS_APART = 1e-7  # least share of the largest eigenvalue, penalty included, at which products of features suffice


def solve(X: np.ndarray, y: np.ndarray, weights: np.ndarray, alphas: np.ndarray, fit_intercept: bool):
    """Minimize Σ wᵢ (yᵢ - xᵢ·c - b)² / Σ wᵢ + alpha ‖c‖² for each alpha; with alpha = 0 the solution of least norm.

    From the singular values of the rows' triangular factor.

    Parameters
    ----------
    X : float64, (n, features);  y : float64, (n,);  weights : float64, (n,), not all zero;  alphas : (penalties,)

    Returns
    -------
    coefficients : (penalties, features)
    losses : (penalties,)
        Mean squared errors; the intercept is mean(y) - mean(X) · c, or 0.
    """
    share = weights / weights.sum()
    x_mean = share @ X if fit_intercept else np.zeros(X.shape[1])
    y_mean = share @ y if fit_intercept else 0.0
    root = np.sqrt(share)[:, None]
    A, B = root * (X - x_mean), root * (y - y_mean)[:, None]
    p = A.shape[1]
    if A.shape[0] > p + 1:
        R: np.ndarray = np.linalg.qr(np.hstack([A, B]), mode="r")  # type: ignore[assignment]  # the same normal equations from p + 1 rows
        A, B = R[:, :p], R[:, p:]
    U, d, Vt = np.linalg.svd(A, full_matrices=False)
    d = np.where(d > d.max(initial=0.0) * max(X.shape) * np.finfo(np.float64).eps, d, 0.0)
    filtered = np.divide(d, d * d + alphas[:, None], out=np.zeros((len(alphas), len(d))), where=d > 0)
    coef = (filtered * (U.T @ B)[:, 0]) @ Vt
    return coef, ((B.T - coef @ A.T) ** 2).sum(axis=1)


def from_products(products: np.ndarray, alphas: np.ndarray, fit_intercept: bool):
    """The same from weighted sums of products of (features, y, 1), float64, (features + 2, features + 2).

    None where the features are so alike that their products do not tell them apart: `solve` does.
    """
    total = products[-1, -1]
    mean = products[:-1, -1] / total if fit_intercept else np.zeros(len(products) - 1)
    moments = products[:-1, :-1] / total - np.outer(mean, mean)
    d, V = np.linalg.eigh(moments[:-1, :-1])
    if not d[0] + alphas.min() > _TELLS_APART * d[-1]:
        return None
    along = V.T @ moments[:-1, -1]
    coef = (along / (d + alphas[:, None])) @ V.T
    return coef, np.maximum(moments[-1, -1] - 2.0 * coef @ moments[:-1, -1] + ((coef @ V) ** 2) @ d, 0.0)
