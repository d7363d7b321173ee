"""Coordinate descent for a convex quadratic function with an l1 and an l2 penalty.

Minimizes over x, from where it is,

    m(x) = cᵀx + ½ xᵀHx + λ₁ ‖x‖₁ + λ₂ ‖x‖²/2,    q = c + Hx the gradient of the first two terms.

A step in coordinate j is x_j ← S(H_jj x_j − q_j, λ₁) / (H_jj + λ₂) with soft thresholding S. Where coordinates are
correlated, their steps are short: so sweeps alternate with Newton steps on the coordinates that are not zero. Sources:
Friedman, Hastie & Tibshirani (2010); for the bound of the gap, `penalty_gap`, Fenchel's inequality.
"""

from typing import Any, NamedTuple

import numpy as np

from lifecycle._jit import absolute, element, kernel, maximum, minimum

_SWEEPS = 8  # between two Newton steps
_ROUNDS = 60  # of sweeps and a Newton step
_FULL_SWEEP = 5  # sweeps over columns: each fifth visits the coordinates that are zero, too


class Quadratic(NamedTuple):
    """λ₁, λ₂, a bound of ‖x‖₁ at the minimum, and the gap at which the minimization ends."""

    l1: float
    l2: float
    radius: float
    tolerance: float


@element
def coordinate_step(x, q, h, l1, l2):
    """The minimizer in one coordinate; where nothing depends on it, the coordinate as it is."""
    u = h * x - q
    return (u - minimum(maximum(u, -l1), l1)) / (h + l2) if h + l2 > 0.0 else x


@element
def gap_terms(x, q, l1, l2):
    """Of one coordinate: its terms in the gap, the excess of |q| over λ₁, and its squared excess."""
    excess = maximum(absolute(q) - l1, 0.0)
    return q * x + l1 * absolute(x) + 0.5 * l2 * x * x, excess, excess * excess


@element
def bound_gap(terms, excess, squares, l2, radius):
    """A bound of the gap: terms plus how far the linear and penalty terms can fall elsewhere.

    They fall by Σ excess² / 2λ₂ at most, and by radius · max excess at most.
    """
    bound = np.inf if squares > 0.0 else 0.0
    if l2 > 0.0:
        bound = 0.5 * squares / l2
    if excess * radius < bound:
        bound = excess * radius
    return maximum(terms, 0.0) + bound


def penalty_gap(x: np.ndarray, q: np.ndarray, l1: float, l2: float, radius: float) -> float:
    """A bound of f(x) + λ₁‖x‖₁ + λ₂‖x‖²/2 less its minimum, for convex f with the gradient q at x.

    f(u) ≥ f(x) + qᵀ(u − x), and the minimum over u of qᵀu + λ₁‖u‖₁ + λ₂‖u‖²/2 is known: with λ₂ > 0 this is the
    duality gap at the dual point that belongs to q. `radius`: a bound of ‖u‖₁ at the minimum; inf: unknown.
    """
    terms, excess, squares = gap_terms(x, q, l1, l2) if x.size else (x, x, x)
    if not x.size:
        return 0.0
    return float(bound_gap(terms.sum(), excess.max(), squares.sum(), l2, radius))


def _gram_sweeps(hessian, gradient, x, l1, l2, radius, tolerance, max_sweeps):
    gap = np.inf
    for _ in range(max_sweeps):
        decrease = 0.0
        for j in range(x.size):
            row = hessian[j]
            delta = coordinate_step(x[j], gradient[j], row[j], l1, l2) - x[j]
            if delta != 0.0:
                x[j] += delta
                decrease += (row[j] + l2) * delta * delta
                for i in range(x.size):
                    gradient[i] += delta * row[i]
        terms, excess, squares = 0.0, 0.0, 0.0
        for j in range(x.size):
            term, over, square = gap_terms(x[j], gradient[j], l1, l2)
            terms, excess, squares = terms + term, maximum(excess, over), squares + square
        gap = bound_gap(terms, excess, squares, l2, radius)
        if l1 + l2 == 0.0:
            gap = decrease  # no bound without a penalty
        if gap <= tolerance or decrease == 0.0:
            break
    return gap


gram_sweeps: Any = kernel(_gram_sweeps, contract=True)


def minimize_gram(hessian: np.ndarray, gradient: np.ndarray, x: np.ndarray, quadratic: Quadratic) -> None:
    """Minimize by sweeps over the rows of H (m, m); x (m,) and its gradient q (m,) change in place."""
    l1, l2, radius, tolerance = quadratic
    for _ in range(_ROUNDS):
        if gram_sweeps(hessian, gradient, x, l1, l2, radius, tolerance, _SWEEPS) <= tolerance:
            return
        if not _newton_on_support(hessian, gradient, x, l1, l2):
            return


def _newton_on_support(hessian: np.ndarray, gradient: np.ndarray, x: np.ndarray, l1: float, l2: float) -> bool:
    """A Newton step of the coordinates that are not zero, shortened where one would change its sign; False: none."""
    support = np.flatnonzero(x)
    at, block = x[support], hessian[np.ix_(support, support)]
    slopes = gradient[support] + l2 * at + l1 * np.sign(at)
    block.ravel()[:: len(support) + 1] += l2
    scale = 1.0 / np.sqrt(np.maximum(block.diagonal(), np.finfo(float).tiny))
    try:
        step = -scale * np.linalg.solve(block * scale * scale[:, None], scale * slopes)
    except np.linalg.LinAlgError:
        return True  # sweeps go on
    slope = float(slopes @ step)
    if not np.isfinite(step).all() or slope >= 0.0:
        return True
    step *= min(1.0, -slope / max(float(step @ block @ step), np.finfo(float).tiny))
    # all that change their sign become zero if that is a descent, else the first of them
    crossing = np.sign(at + step) != np.sign(at)
    if crossing.any():
        projected = np.where(crossing, -at, step)
        change = slopes @ projected + 0.5 * projected @ block @ projected
        if not change < 0.0:
            ratios = np.where(crossing, -at / np.where(crossing, step, 1.0), np.inf)
            first = ratios.argmin()
            projected = step * ratios[first]
            projected[first] = -at[first]
        step = projected
    x[support] = at + step
    gradient += step @ hessian[support]
    return bool(np.abs(step).max(initial=0.0) > 0.0)


def _dense_dot(data, indices, indptr, j, a, d, s):
    total, begin = 0.0, indptr[j]
    for i in range(a.size):
        total += data[begin + i] * a[i] * (d[i] - s[i])
    return total


def _dense_add(data, indices, indptr, j, delta, pi, d, s):
    begin = indptr[j]
    for i in range(d.size):
        change = delta * data[begin + i]
        d[i] += change
        s[i] += pi[i] * change


def _sparse_dot(data, indices, indptr, j, a, d, s):
    total = 0.0
    for e in range(indptr[j], indptr[j + 1]):
        i = indices[e]
        total += data[e] * a[i] * (d[i] - s[i])
    return total


def _sparse_add(data, indices, indptr, j, delta, pi, d, s):
    for e in range(indptr[j], indptr[j + 1]):
        i = indices[e]
        change = delta * data[e]
        d[i] += change
        s[i] += pi[i] * change


def _make_column_sweeps(dot, add):
    dot, add = element(dot), element(add)

    def column_sweeps(data, indices, indptr, columns, outputs, a, pi, d, s, gradient, diagonal, x, intercept_gradient,
                      intercept_diagonal, l1, l2, radius, tolerance, max_sweeps):  # fmt: skip
        is_full = True
        for sweep in range(max_sweeps):
            is_full = is_full or sweep % _FULL_SWEEP == 0
            for k in range(intercept_diagonal.size):
                if intercept_diagonal[k] > 0.0:
                    total = intercept_gradient[k]
                    for i in range(s.size):
                        total += a[k, i] * (d[k, i] - s[i])
                    delta = -total / intercept_diagonal[k]
                    for i in range(s.size):
                        d[k, i] += delta
                        s[i] += pi[k, i] * delta
            terms, excess, squares, decrease = 0.0, 0.0, 0.0, 0.0
            for e in range(x.size):
                if not (is_full or x[e] != 0.0):
                    continue
                j, k, h = columns[e], outputs[e], diagonal[e]
                q = gradient[e] + dot(data, indices, indptr, j, a[k], d[k], s)
                term, over, square = gap_terms(x[e], q, l1, l2)
                terms, excess, squares = terms + term, maximum(excess, over), squares + square
                delta = coordinate_step(x[e], q, h, l1, l2) - x[e]
                if delta != 0.0:
                    x[e] += delta
                    decrease += (h + l2) * delta * delta
                    add(data, indices, indptr, j, delta, pi[k], d[k], s)
            gap = bound_gap(terms, excess, squares, l2, radius)
            if l1 + l2 == 0.0:
                gap = decrease
            if gap <= tolerance:
                if is_full:
                    break
                is_full = True
            else:
                is_full = False

    return kernel(column_sweeps, reassociate=True, contract=True)


# Kernels (data, indices, indptr, columns (m,), outputs (m,), a, pi, d (outputs, n), s (n,), gradient, diagonal, x (m,),
# intercept_gradient, intercept_diagonal (outputs,), l1, l2, radius, tolerance, max_sweeps): sweeps over the columns of
# a matrix, one after the other in `data`, or compressed. The gradient is that at the start plus
# Σ_i x_ij a_ki (d_ki − s_i), with the change d of the scores and s_i = Σ_k pi_ki d_ki. They change x, d and s.
dense_column_sweeps: Any = _make_column_sweeps(_dense_dot, _dense_add)
sparse_column_sweeps: Any = _make_column_sweeps(_sparse_dot, _sparse_add)
